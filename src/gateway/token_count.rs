//! Counts the tokens of a prompt before any answer: by the provider if it counts for free, else by the gateway. Nothing
//! is charged and nothing is recorded. A provider that does not count is not a failure; if it rejects the
//! request-scoped key, that rejection is the answer. Provider and key are chosen as for an answer. A count uses the
//! rate limit of the operator's account, so only organizations with credit may use a platform key, and only a few at a
//! time.

use super::{
    automatic,
    compute::{NotDone, Wanted},
    failure::{Failure, redact_for_customer},
    owner,
    planning::planned,
    receipt::CredentialKind,
    refusals::{Subject, unplanned},
    request::{Inbound, request_limits},
    request_options::{RequestRouting, rejects_key},
    respond::ResponseMeta,
    targets::{Credential, Credentials},
};
use crate::{
    billing::report,
    dialect::{self, ClientRequest, Invalid, Target, Unsupported, prompt_of},
    domain::{
        money::NanoUsd,
        provider::{Count, ProviderId},
        tokens::{self, Counter, Family},
        usage::Basis,
    },
    providers::{
        error::{ErrorClass, UpstreamError},
        transport::{Outgoing, read_body},
    },
    routing::plan::Candidate,
    store::StoreError,
};
use std::{borrow::Cow, time::Duration};
use tokio::{
    sync::SemaphorePermit,
    time::{Instant, timeout_at},
};

/// Time limit for a count by a provider.
const TIME_MAX: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Concurrent counts on platform keys; above this the gateway counts itself.
pub const ON_PLATFORM_MAX: usize = 16;

/// The result of a count.
pub struct Counted {
    pub tokens: u64,
    /// `Reported` by the provider, or `Counted` here.
    pub basis: Basis,
    /// The provider of the count, and the key's owner if a provider counted.
    pub meta: ResponseMeta,
}

/// A provider's reply.
enum ProviderCount {
    Tokens(u64),
    /// The request-scoped key is not allowed to count.
    Rejected(UpstreamError),
}

/// Counts the prompt of a Messages request for the first model that can answer it.
pub async fn count(inbound: &Inbound<'_>) -> Result<Counted, (Failure, ResponseMeta)> {
    let mut meta = ResponseMeta::default();
    match counted(inbound, &mut meta).await {
        Ok((tokens, basis)) => Ok(Counted { tokens, basis, meta }),
        Err(failure) => Err((failure, meta)),
    }
}

async fn counted(inbound: &Inbound<'_>, meta: &mut ResponseMeta) -> Result<(u64, Basis), Failure> {
    let gateway = inbound.gateway;
    let limits = request_limits(gateway);
    let plain = dialect::normalize(inbound.kind, &inbound.body, &limits).map_err(Failure::Invalid)?;
    let body = plain.as_deref().unwrap_or(&inbound.body);
    let request = ClientRequest::read_for_count(body, &limits).map_err(Failure::Invalid)?;
    let (catalog, now) = (gateway.catalog.load(), gateway.ambient.now());
    let scope =
        RequestRouting::of(&inbound.routing_headers, request.head(), inbound.kind, &catalog, now.date())?;
    let judged = automatic::judge_conversation(&request, &scope.names, &inbound.principal.policy);
    let plan = planned(inbound, request.head(), &scope, &catalog, now, (judged.as_ref(), None), &|| None);
    let plan = plan.map_err(|no_plan| {
        let text_bytes = request.head().facts.text_bytes;
        unplanned(&no_plan, &Subject { catalog: &catalog, text_bytes })
    })?;
    let until = Instant::now() + TIME_MAX;
    let mut last: Option<(UpstreamError, ProviderId)> = None;
    for candidate in &plan.candidates {
        let provider = candidate.provider;
        let key_rejected = last.as_ref().is_some_and(|(rejection, _)| rejects_key(rejection.class));
        if key_rejected && scope.key_for(provider).is_some() {
            continue;
        }
        (meta.provider, meta.model) = (Some(provider.row().name), Some(candidate.name.clone()));
        match timeout_at(until, ask(inbound, &request, candidate, &scope, meta)).await {
            Ok(Some(ProviderCount::Tokens(tokens))) => return Ok((tokens, Basis::Reported)),
            Ok(Some(ProviderCount::Rejected(rejection))) => last = Some((rejection, provider)),
            Ok(None) | Err(_) => {
                (meta.byok, meta.by_byok_api_key) = (false, false);
                return Ok((count_locally(inbound, &request, candidate).await?, Basis::Counted));
            }
        }
    }
    let Some((rejection, provider)) = last else {
        return Err(Failure::NoModels {
            param: Some("model"),
            message: "The provider key of this request was refused before, and no other model is named: send a valid \
                      key, or name a model of another provider"
                .into(),
        });
    };
    let credential = CredentialKind::Byok;
    let rejection = Box::new(redact_for_customer(&rejection, provider, credential));
    Err(Failure::Upstream { rejection, provider, credential, tried: meta.attempts })
}

/// The gateway's own count. It stops when its caller no longer waits.
async fn count_locally(
    inbound: &Inbound<'_>,
    request: &ClientRequest<'_>,
    candidate: &Candidate,
) -> Result<u64, Failure> {
    let family = tokens::family(candidate.provider, &candidate.upstream);
    let prompt = prompt_of(&*request.canonical().map_err(refused)?);
    let work = move |wanted: &Wanted<'_, Option<u64>>| {
        count_while(family, &prompt.pieces, prompt.messages, || !wanted.is_given_up())
    };
    match inbound.gateway.compute.compute(owner(inbound.principal.scope), work).await {
        Ok(Some(tokens)) => Ok(tokens),
        Err(NotDone::Full) => {
            Err(Failure::Busy("Too many counts of your organization are waiting; try again".into()))
        }
        Ok(None) | Err(NotDone::Lost) => Err(Failure::Unavailable("the prompt could not be counted".into())),
    }
}

/// Counts a prompt for as long as `goes_on` returns true.
fn count_while(family: Family, pieces: &[String], messages: u64, goes_on: impl Fn() -> bool) -> Option<u64> {
    let mut text = 0u64;
    for piece in pieces {
        let (mut counter, mut left) = (Counter::new(family), piece.as_str());
        while !left.is_empty() {
            if !goes_on() {
                return None;
            }
            let (part, rest) = left.split_at(left.floor_char_boundary(tokens::HELD_BYTES_MAX));
            counter.push(part);
            left = rest;
        }
        text = text.saturating_add(counter.total());
    }
    Some(tokens::count_prompt(family, [], messages).saturating_add(text))
}

fn refused(unsupported: Unsupported) -> Failure {
    let (param, message) = (Some(unsupported.field.to_string()), unsupported.to_string());
    Failure::Invalid(Invalid { param, message })
}

/// The provider's own count, if it offers one.
async fn ask(
    inbound: &Inbound<'_>,
    request: &ClientRequest<'_>,
    candidate: &Candidate,
    scope: &RequestRouting<'_>,
    meta: &mut ResponseMeta,
) -> Option<ProviderCount> {
    let provider = candidate.provider;
    let count = provider.row().count?;
    let wire = Target {
        provider,
        upstream_model: &candidate.upstream,
        dialect: provider.row().dialect,
        flags: candidate.model.as_ref().map(|model| model.flags),
        output_tokens_max: candidate.model.as_ref().and_then(|model| model.output_tokens_max),
        seed: "",
    };
    let encoded = request.encode(&wire).ok()?;
    let (path, body, said): (Cow<'_, str>, _, _) = match count {
        Count::Messages(path) => (path.into(), encoded.body, "input_tokens"),
        Count::Gemini => {
            let path = encoded.path?.split_once(":generateContent")?.0.to_owned() + ":countTokens";
            (path.into(), within(&candidate.upstream, &encoded.body)?, "totalTokens")
        }
    };
    let target = Credentials::of_request(inbound, scope).targets(candidate).next()?;
    let secret = target.secret(inbound)?;
    let _permit = match target.kind() {
        CredentialKind::Platform => Some(platform_permit(inbound).await?),
        CredentialKind::Byok => None,
    };
    let to = target.destination(inbound, &path)?;
    let beta = inbound.beta.clone().filter(|_| matches!(count, Count::Messages(_)));
    let outgoing = Outgoing { to, body, content_type: "application/json".into(), beta, traceparent: None };
    meta.byok = target.kind() == CredentialKind::Byok;
    meta.by_byok_api_key = target.is_byok_api_key();
    let is_of_request = matches!(target.credential, Credential::Request(_));
    meta.attempts += 1;
    let response = match inbound.transport.post(provider, outgoing, &secret).await {
        Ok(response) => response,
        Err(rejection) => {
            let about_the_key = rejects_key(rejection.class) || rejection.class == ErrorClass::Permission;
            return (is_of_request && about_the_key).then_some(ProviderCount::Rejected(rejection));
        }
    };
    let answer = read_body(response, ANSWER_BYTES_MAX, &mut inbound.memory.another()).await.ok()?;
    let answer = serde_json::from_slice::<serde_json::Value>(&answer).ok()?;
    answer.get(said)?.as_u64().map(ProviderCount::Tokens)
}

/// The request in the format of `countTokens`.
fn within(upstream_model: &str, request: &[u8]) -> Option<Vec<u8>> {
    let inside = request.strip_prefix(b"{")?;
    let model = serde_json::to_string(&format!("models/{upstream_model}")).ok()?;
    let mut body = format!(r#"{{"generateContentRequest":{{"model":{model},"#).into_bytes();
    body.extend_from_slice(inside);
    body.push(b'}');
    Some(body)
}

/// Permission to use a platform key, for an organization with credit; `None` also if too many counts are running.
async fn platform_permit<'g>(inbound: &Inbound<'g>) -> Option<SemaphorePermit<'g>> {
    let permit = inbound.gateway.counts.try_acquire().ok()?;
    let (db, scope) = (inbound.gateway.db.clone(), inbound.principal.scope);
    let pool = db.clone();
    let balance =
        db.run::<_, StoreError, _>(async move { report::balance(&mut *pool.acquire().await?, scope).await });
    (balance.await.ok()?.available_usd > NanoUsd::ZERO).then_some(permit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_count_in_parts_is_the_count_and_ends_when_nobody_waits_for_it() {
        let pieces = ["The tide is high. ".repeat(4_000), "é".repeat(3), String::new()];
        let whole = tokens::count_prompt(Family::OpenAi, pieces.iter().map(String::as_str), 2);
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            true
        };
        assert_eq!(count_while(Family::OpenAi, &pieces, 2, look), Some(whole));
        assert!(looks.get() >= 72_000 / tokens::HELD_BYTES_MAX);
        let left = Cell::new(3);
        let given_up = || left.replace(left.get() - 1) > 0;
        assert_eq!(count_while(Family::OpenAi, &pieces, 2, given_up), None);
        assert_eq!(left.get(), -1, "it looks no more");
    }
}
