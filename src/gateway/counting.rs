//! Tokens of a prompt, before anything is answered: asked of the provider where it counts for free, else counted
//! here. Nothing is billed and nothing recorded; a provider that does not say is no failure. What it costs the operator
//! is the rate of its account: that is lent to who could also pay, and to few at a time.

use super::{
    course::fits,
    failure::Failure,
    inference::{Inbound, unplanned},
    receipt::CredentialKind,
    scoped::Scope,
};
use crate::{
    billing::report,
    credentials,
    dialect::{
        Dialect, Limits as RequestLimits, Target,
        messages::{self, MessagesRequest},
        prompt_of, write,
    },
    domain::{kind::Kind, money::NanoUsd, provider::Count, secret::Secret, tokens, usage::Basis},
    providers::transport::{Destination, Outgoing, Url, read_body},
    routing::plan::{self, Candidate, Keys, Wanted},
    store::StoreError,
};
use std::{borrow::Cow, sync::Arc, time::Duration};
use tokio::sync::SemaphorePermit;

/// How long a provider may take to count.
const TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Counts on platform keys at a time; more are counted here.
pub const ON_PLATFORM_MAX: usize = 16;

/// What was counted.
pub struct Counted {
    pub tokens: u64,
    /// `Reported` by the provider, or `Counted` here.
    pub basis: Basis,
    pub provider: &'static str,
    pub model: Arc<str>,
}

/// Counts the prompt of a Messages request for the first model that could answer it.
pub async fn count(inbound: &Inbound<'_>) -> Result<Counted, Failure> {
    let gateway = inbound.gateway;
    let limits =
        RequestLimits { depth_max: gateway.settings.limits.body_depth_max, ..RequestLimits::default() };
    let request = messages::read_for_count(&inbound.body, &limits).map_err(Failure::Invalid)?;
    let now = gateway.ambient.now();
    let kind = Kind::Conversation(Dialect::Messages);
    let scope = Scope::of(&inbound.brought, &request.head, kind, &gateway.catalog.load(), now.date())?;
    let candidate = first(inbound, &request, &scope)?;
    let counted = |tokens, basis| Counted {
        tokens,
        basis,
        provider: candidate.provider.row().name,
        model: candidate.name.clone(),
    };
    let asked = tokio::time::timeout(TIME_MAX, ask(inbound, &request, &candidate, &scope)).await;
    if let Ok(Some(tokens)) = asked {
        return Ok(counted(tokens, Basis::Reported));
    }
    let family = tokens::family(candidate.provider, &candidate.upstream);
    let prompt = prompt_of(request.canonical());
    let counting = tokio::task::spawn_blocking(move || {
        tokens::count_prompt(family, prompt.pieces.iter().map(String::as_str), prompt.messages)
    });
    let tokens =
        counting.await.map_err(|_| Failure::Unavailable("the prompt could not be counted".into()))?;
    Ok(counted(tokens, Basis::Counted))
}

fn first(
    inbound: &Inbound<'_>,
    request: &MessagesRequest<'_>,
    scope: &Scope<'_>,
) -> Result<Candidate, Failure> {
    let (gateway, principal, head) = (inbound.gateway, &inbound.principal, &request.head);
    let wanted = Wanted {
        names: &scope.names,
        facts: &head.facts,
        output_limit: head.output_limit,
        service_tier: None,
        kind: Kind::Conversation(Dialect::Messages),
        needs_state: false,
        pin: scope.pin,
        strategy: scope.strategy,
        measured: &|id| gateway.measurements.of(id, gateway.now_ms()),
        at: gateway.ambient.now(),
    };
    let keys = Keys {
        own: &|provider, candidate| {
            scope.key_for(provider).is_some() || principal.keys_of(provider).any(|key| fits(key, candidate))
        },
        platform: &|provider| gateway.platform_keys.get(provider).is_some(),
    };
    let planned = plan::plan(&gateway.catalog.load(), &wanted, &principal.policy, &keys);
    let plan = planned.map_err(|no_plan| unplanned(&no_plan))?;
    plan.candidates.into_iter().next().ok_or_else(|| Failure::NoModels { message: "No model is left".into() })
}

/// The provider's own count, where it gives one.
async fn ask(
    inbound: &Inbound<'_>,
    request: &MessagesRequest<'_>,
    candidate: &Candidate,
    scope: &Scope<'_>,
) -> Option<u64> {
    let count = candidate.provider.row().count?;
    let target = Target {
        provider: candidate.provider,
        upstream_model: &candidate.upstream,
        dialect: candidate.provider.row().dialect,
        flags: candidate.model.as_ref().map(|model| model.flags),
        output_tokens_max: candidate.model.as_ref().and_then(|model| model.output_tokens_max),
        seed: "",
    };
    let (path, body, said): (Cow<'_, str>, _, _) = match count {
        Count::Messages(path) => (path.into(), request.encode(&target).ok()?.body, "input_tokens"),
        Count::Gemini => {
            let encoded = write(request.canonical(), &target).ok()?;
            let path = encoded.path?.split_once(":generateContent")?.0.to_owned() + ":countTokens";
            (path.into(), within(&candidate.upstream, &encoded.body)?, "totalTokens")
        }
    };
    let (kind, base, secret) = credential(inbound, candidate, scope)?;
    let _lent = match kind {
        CredentialKind::Platform => Some(lent(inbound).await?),
        CredentialKind::Byok => None,
    };
    let url = |base: &str| Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).ok();
    let to = match base {
        Some(base) => Destination::Customer(url(&base)?),
        None => Destination::Operator(url(inbound.gateway.settings.base_url(candidate.provider)?)?),
    };
    let beta = inbound.beta.clone().filter(|_| matches!(count, Count::Messages(_)));
    let outgoing = Outgoing { to, body, content_type: "application/json".into(), beta };
    let response = inbound.transport.post(candidate.provider, outgoing, &secret).await.ok()?;
    let answer = read_body(response, ANSWER_BYTES_MAX).await.ok()?;
    serde_json::from_slice::<serde_json::Value>(&answer).ok()?.get(said)?.as_u64()
}

/// The request as `countTokens` wants it.
fn within(upstream_model: &str, request: &[u8]) -> Option<Vec<u8>> {
    let inside = request.strip_prefix(b"{")?;
    let model = serde_json::to_string(&format!("models/{upstream_model}")).ok()?;
    let mut body = format!(r#"{{"generateContentRequest":{{"model":{model},"#).into_bytes();
    body.extend_from_slice(inside);
    body.push(b'}');
    Some(body)
}

/// The use of a platform key, for an organization with credit; `None` also when too many have one.
async fn lent<'g>(inbound: &Inbound<'g>) -> Option<SemaphorePermit<'g>> {
    let permit = inbound.gateway.counts.try_acquire().ok()?;
    let (db, scope) = (inbound.gateway.db.clone(), inbound.principal.scope);
    let pool = db.clone();
    let balance =
        db.run::<_, StoreError, _>(async move { report::balance(&mut *pool.acquire().await?, scope).await });
    (balance.await.ok()?.available_usd > NanoUsd::ZERO).then_some(permit)
}

/// The key that came with the request, else the customer's, else the platform's.
fn credential(
    inbound: &Inbound<'_>,
    candidate: &Candidate,
    scope: &Scope<'_>,
) -> Option<(CredentialKind, Option<String>, Secret)> {
    let (gateway, principal) = (inbound.gateway, &inbound.principal);
    if let Some(key) = scope.key_for(candidate.provider) {
        return Some((CredentialKind::Byok, None, key.secret.clone()));
    }
    let stored = principal.keys_of(candidate.provider).find(|key| fits(key, candidate));
    match stored {
        Some(key) => {
            let ring = &gateway.installation.ring;
            let secret = credentials::open_stored(ring, principal.scope, principal.api_key_id, key).ok()?;
            Some((CredentialKind::Byok, key.base_url.clone(), secret))
        }
        None if candidate.own_key_only => None,
        None => {
            let secret = gateway.platform_keys.get(candidate.provider)?.secret.clone();
            Some((CredentialKind::Platform, None, secret))
        }
    }
}
