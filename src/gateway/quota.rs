//! The rate limit stage: what a request takes from the limits of its API key, its organization and its end user before
//! any provider is called, and what it returns at its end.

use super::{
    cost_bounds, failure::Failure, open_request::OpenRequest, request::Inbound,
    request_options::RequestRouting,
};
use crate::{
    dialect::Head,
    domain::{
        policy::{ByokFallback, RateRules},
        usage::Usage,
    },
    quotas::{Limit, Metric, Permit, PoolKey, Refused, Standing},
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// Bytes of ordinary text per token, for estimates.
const BYTES_PER_TOKEN: u64 = 4;
/// Output tokens that are taken if the request sets no limit. The real number is counted at the end.
const OUTPUT_TOKENS_ASSUMED: u64 = 1_024;

/// The owner of a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimitOwner {
    ApiKey,
    Organization,
    EndUser,
}

/// A limit that is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimited {
    pub owner: LimitOwner,
    pub metric: Metric,
    pub limit: u32,
    pub wait_ms: i64,
}

/// The state of the tightest limits of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RateStandings {
    pub requests: Option<Standing>,
    pub tokens: Option<Standing>,
}

/// The units that a request holds of its limits. They are returned when the last turn drops them.
pub struct Ticket {
    _concurrent: Vec<Permit>,
    tokens: Mutex<Vec<Permit>>,
}

impl Ticket {
    /// Counts the tokens that a turn used.
    pub fn spend(&self, usage: &Usage) {
        let tokens = i64::try_from(usage.prompt().saturating_add(usage.completion())).unwrap_or(i64::MAX);
        let mut permits = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        permits.iter_mut().for_each(|permit| permit.spend(tokens));
    }
}

/// Takes the needed units of every limit that applies, once for all turns. No limit applies to a request with a
/// request-scoped key.
pub async fn admit(
    inbound: &Inbound<'_>,
    head: &Head<'_>,
    scope: &RequestRouting<'_>,
    open: &mut OpenRequest,
) -> Result<(), Failure> {
    let principal = &inbound.principal;
    let (key, organization) = (&principal.policy.rules, &principal.organization.rates);
    let end_user = (!key.end_user.is_empty()).then(|| EndUser::read(&inbound.body)).flatten();
    if open.ticket.is_some() || (key.rates.is_empty() && organization.is_empty() && end_user.is_none()) {
        return Ok(());
    }
    // A request that may end on a platform key counts in any case.
    if scope.key.is_some() && inbound.fallback != Some(ByokFallback::Platform) {
        open.bypasses_rates = true;
        return Ok(());
    }
    // Most requests have no limits; the future of those that have is not part of every request's.
    Box::pin(take(inbound, head, end_user, open)).await
}

/// Takes of each limit in turn; what was taken is given back where one of them is used up.
async fn take(
    inbound: &Inbound<'_>,
    head: &Head<'_>,
    end_user: Option<String>,
    open: &mut OpenRequest,
) -> Result<(), Failure> {
    let principal = &inbound.principal;
    let (key, organization) = (&principal.policy.rules, &principal.organization.rates);
    let api_key = principal.api_key_id.0;
    let subjects = [
        Some((LimitOwner::ApiKey, api_key, key.rates)),
        Some((LimitOwner::Organization, principal.scope.org_id().0, *organization)),
        end_user.map(|user| (LimitOwner::EndUser, end_user_id(api_key, &user), key.end_user)),
    ];
    let tokens = estimate(head, open);
    let limits: Vec<(LimitOwner, Limit)> = subjects
        .into_iter()
        .flatten()
        .flat_map(|(owner, subject, rates)| {
            let key = move |metric| PoolKey { scope: principal.scope, subject, metric };
            limits_of(&rates, tokens)
                .map(move |(metric, limit, units)| (owner, Limit { key: key(metric), limit, units }))
        })
        .collect();
    let mut permits: Vec<(Metric, Permit)> = Vec::with_capacity(limits.len());
    for (owner, limit) in limits {
        match inbound.gateway.quotas.acquire(limit).await {
            Ok(permit) => permits.push((limit.key.metric, permit)),
            Err(refused) => {
                note_standing(open, limit.key.metric, inbound.gateway.quotas.standing(&limit));
                return Err(failure(owner, &limit, refused));
            }
        }
    }
    let (mut concurrent, mut of_tokens) = (Vec::new(), Vec::new());
    for (metric, permit) in permits {
        match metric {
            Metric::Requests => note_standing(open, metric, Some(permit.spend_all())),
            Metric::Tokens => {
                note_standing(open, metric, Some(permit.standing()));
                of_tokens.push(permit);
            }
            Metric::Concurrent => concurrent.push(permit),
        }
    }
    let ticket = Ticket { _concurrent: concurrent, tokens: Mutex::new(of_tokens) };
    open.ticket = Some(ticket.into());
    Ok(())
}

fn limits_of(rates: &RateRules, tokens: i64) -> impl Iterator<Item = (Metric, u32, i64)> + use<> {
    let limits = [
        (Metric::Concurrent, rates.concurrent_requests, 1),
        (Metric::Requests, rates.requests_per_minute, 1),
        (Metric::Tokens, rates.tokens_per_minute, tokens),
    ];
    limits.into_iter().filter_map(|(metric, limit, units)| Some((metric, limit?, units)))
}

/// The estimated tokens of the request, before it is answered.
fn estimate(head: &Head<'_>, open: &OpenRequest) -> i64 {
    let media = cost_bounds::media_estimate(&head.facts);
    let prompt = (head.facts.text_bytes / BYTES_PER_TOKEN)
        .saturating_add(open.prompt_tokens)
        .saturating_add(media.prompt());
    let output = match open.kind {
        crate::domain::kind::Kind::Conversation(_) => {
            head.n.max(1).saturating_mul(head.output_limit.unwrap_or(OUTPUT_TOKENS_ASSUMED))
        }
        _ => 0,
    };
    i64::try_from(prompt.saturating_add(output)).unwrap_or(i64::MAX).max(1)
}

/// The fields in which a request names its end user, in each dialect's order of preference.
#[derive(Deserialize)]
struct EndUser<'a> {
    #[serde(borrow, default)]
    safety_identifier: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Option<Metadata<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
}

impl EndUser<'_> {
    /// The end user in a body; `None` if the body names none.
    fn read(body: &[u8]) -> Option<String> {
        let fields: EndUser<'_> = serde_json::from_slice(body).ok()?;
        let named = fields.safety_identifier.or(fields.user);
        let named = named.or(fields.metadata.and_then(|metadata| metadata.user_id))?;
        (!named.is_empty()).then(|| named.into_owned())
    }
}

/// The number under which an end user of an API key is counted. The name itself is not stored.
fn end_user_id(api_key: Uuid, user: &str) -> Uuid {
    let digest = Sha256::new().chain_update(api_key.as_bytes()).chain_update(user.as_bytes()).finalize();
    let half: [u8; 16] = std::array::from_fn(|index| digest.get(index).copied().unwrap_or_default());
    Uuid::from_bytes(half)
}

/// Of several limits, the one with the least left is reported.
fn note_standing(open: &mut OpenRequest, metric: Metric, standing: Option<Standing>) {
    let Some(standing) = standing.filter(|_| metric != Metric::Concurrent) else { return };
    let rates = open.rates.get_or_insert_default();
    let known = match metric {
        Metric::Tokens => &mut rates.tokens,
        Metric::Requests | Metric::Concurrent => &mut rates.requests,
    };
    if known.is_none_or(|known| standing.remaining < known.remaining) {
        *known = Some(standing);
    }
}

fn failure(owner: LimitOwner, limit: &Limit, refused: Refused) -> Failure {
    match refused {
        Refused::Full { wait_ms } => {
            Failure::RateLimited(RateLimited { owner, metric: limit.key.metric, limit: limit.limit, wait_ms })
        }
        Refused::Unknown => Failure::Unavailable("a rate limit could not be checked".to_owned()),
    }
}

impl RateLimited {
    /// Whole seconds until another try may succeed.
    pub fn retry_after_s(&self) -> u32 {
        u32::try_from(self.wait_ms.max(1).unsigned_abs().div_ceil(1_000)).unwrap_or(u32::MAX)
    }

    pub fn text(&self) -> String {
        let owner = match self.owner {
            LimitOwner::ApiKey => "this API key",
            LimitOwner::Organization => "your organization",
            LimitOwner::EndUser => "this end user of the API key",
        };
        let (limit, advice) = (self.limit, format!("try again in {} s", self.retry_after_s()));
        match self.metric {
            Metric::Requests => {
                format!("Rate limit of {owner} reached: {limit} requests per minute; {advice}")
            }
            Metric::Tokens => format!(
                "Rate limit of {owner} reached: {limit} tokens per minute, this request's estimate included; {advice}"
            ),
            Metric::Concurrent => format!(
                "Limit of {owner} reached: {limit} requests at the same time; send more when some of them have ended"
            ),
        }
    }
}
