//! The plan of one request: ordered candidates, each with the reason it stands where it does, and everything
//! that was considered and left out. Pure: the same facts, policy and catalogue give the same plan.

mod choose;
mod hosts;

use super::{
    auto::Automatic,
    filter::{self, Preferences},
    host_stats::HostStats,
    session::KnownSession,
    strategy::Strategy,
};
use crate::{
    dialect::Facts,
    domain::{
        catalog::{Catalog, Model, Resolved, ServiceTier},
        kind::Kind,
        money::{self, NanoUsd},
        policy::KeyPolicy,
        provider::ProviderId,
    },
};
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};
use time::OffsetDateTime;

/// Candidates tried at the most; the rest are named in the receipt as left out.
pub const CANDIDATES_MAX: usize = 16;
/// Bytes of ordinary text per token, for estimates only.
const BYTES_PER_TOKEN: u64 = 4;
/// Output tokens assumed for an estimate when the client set no limit.
const OUTPUT_TOKENS_ASSUMED: u64 = 500;
/// Characters told of a name that means nothing.
const SHOWN_MAX: usize = 200;

/// One model at one provider that may serve the request.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub provider: ProviderId,
    /// The catalogue's row; `None` for a model it does not know, which only an own key may call.
    pub model: Option<Arc<Model>>,
    /// Canonical `provider/model`.
    pub id: Arc<str>,
    /// The canonical id without its provider.
    pub name: Arc<str>,
    /// What the provider calls it.
    pub upstream: Arc<str>,
    /// Retired or unknown to the catalogue: never on a platform key.
    pub byok_only: bool,
}

/// One line of the receipt's `candidates`.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateTrace {
    /// Of a name that means nothing: the name.
    pub model_id: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
    /// Lower bound of the quality, as a share of the reference's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub est_cost_usd: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtered_out_by: Option<&'static str>,
}

/// What may be tried, in order.
#[derive(Debug)]
pub struct Plan {
    pub candidates: Vec<Candidate>,
    pub considered: Vec<CandidateTrace>,
    pub strategy: &'static str,
    /// What the choice among all models came to, where it was the gateway's.
    pub automatic: Option<Outcome>,
}

/// What the choice among all models came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub floor_permille: u16,
    /// No model that may serve reaches the floor; the first candidate is the best there is.
    pub floor_not_met: bool,
    /// Models that are not among the candidates listed, by the filter that took them out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<&'static str, u32>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum RoutingError {
    /// The gateway's own choice was asked for where it makes none: for this kind of request, or for this API key.
    Automatic,
    /// No model that may serve reaches the quality that the request demands.
    BelowFloor { floor_permille: u16, considered: Vec<CandidateTrace> },
    /// The name means nothing here, or only a retired model. `instead` is its successor, `nearest` are names like it.
    UnknownModel {
        name: String,
        instead: Option<Arc<str>>,
        nearest: Vec<Arc<str>>,
        considered: Vec<CandidateTrace>,
    },
    /// What stands before the first slash is neither a provider nor the beginning of a known name.
    UnknownProvider { name: String, nearest: Vec<Arc<str>>, considered: Vec<CandidateTrace> },
    /// Every candidate was filtered out.
    NothingLeft { considered: Vec<CandidateTrace> },
}

/// What the request wants.
pub struct RouteRequest<'a> {
    /// Model names, to be tried in this order.
    pub names: &'a [Cow<'a, str>],
    pub facts: &'a Facts,
    pub output_limit: Option<u64>,
    pub service_tier: Option<&'a str>,
    pub kind: Kind,
    /// Builds on what a provider keeps.
    pub needs_state: bool,
    /// Who shall serve the first name, and every later one that does not name somebody else.
    pub pin: Option<ProviderId>,
    /// The order of the hosts of one name; by price when nothing is preferred.
    pub strategy: Option<Strategy>,
    /// What it demands of hosts, and prefers.
    pub preferences: &'a Preferences,
    pub measured: &'a dyn Fn(&str) -> HostStats,
    /// The conversation that it goes on with. Looked up only where there is a choice of hosts.
    pub session: &'a dyn Fn() -> Option<KnownSession>,
    pub at: OffsetDateTime,
    /// What the gateway's own choice goes by; `None` where it makes none.
    pub automatic: Option<Automatic<'a>>,
    /// The embedding model of the organization, which stands for `auto` where vectors are asked for.
    pub embedding: Option<&'a str>,
}

/// Which credentials there are.
pub struct CredentialLookup<'a> {
    /// An enabled stored key of the customer fits this provider and model.
    pub own: &'a dyn Fn(ProviderId, &Candidate) -> bool,
    /// The operator has a key for this provider.
    pub platform: &'a dyn Fn(ProviderId) -> bool,
}

/// Names that ask the gateway to choose.
pub fn is_automatic(name: &str) -> bool {
    matches!(name, "auto" | "kr-auto" | "kr-auto-embed" | "kairosroute/auto" | "openrouter/auto")
}

impl CandidateTrace {
    /// A name of the request that means nothing here.
    fn unknown(name: &str) -> Self {
        Self {
            model_id: shown(name).into(),
            provider: None,
            score: None,
            est_cost_usd: None,
            reasons: Vec::new(),
            filtered_out_by: Some("unknown_model"),
        }
    }

    /// A host that is not what the suffix of its name asks for.
    fn left_out(host: &Candidate) -> Self {
        Self {
            model_id: host.id.clone(),
            provider: Some(host.provider.row().name),
            score: None,
            est_cost_usd: None,
            reasons: Vec::new(),
            filtered_out_by: Some("name_suffix"),
        }
    }

    /// Says that the conversation was served there, if it was.
    fn note_session(&mut self, session: Option<&KnownSession>) {
        if self.filtered_out_by.is_none() && session.is_some_and(|session| session.model == self.model_id) {
            self.reasons.push("same_session");
        }
    }

    /// Whether the name meant nothing.
    pub fn is_unknown(&self) -> bool {
        self.provider.is_none()
    }
}

/// A client's name of a model, fit to be told.
pub fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

/// Makes the plan.
pub fn plan(
    catalog: &Catalog,
    request: &RouteRequest<'_>,
    policy: &KeyPolicy,
    keys: &CredentialLookup<'_>,
) -> Result<Plan, RoutingError> {
    let mut plan =
        Plan { candidates: Vec::new(), considered: Vec::new(), strategy: "pinned", automatic: None };
    let mut first_unknown = None;
    for (index, name) in request.names.iter().enumerate() {
        let mut name = name.as_ref();
        if is_automatic(name) {
            match (&request.automatic, request.embedding) {
                (Some(automatic), _) => {
                    choose::choose(&mut plan, catalog, automatic, request, policy, keys)?;
                    continue;
                }
                (None, Some(fixed)) => name = fixed,
                (None, None) => return Err(RoutingError::Automatic),
            }
        }
        let (plain, variant) = hosts::split_variant(catalog, name, request);
        match named(catalog, index, plain, request) {
            Ok(mut hosts) => {
                let mut session = None;
                if hosts.len() > 1 {
                    plan.strategy = "price";
                    session = (request.session)();
                    hosts::order_by_price(&mut hosts, session.as_ref(), request);
                }
                let missed = variant.map(|variant| variant.narrow(&mut hosts)).unwrap_or_default();
                missed.iter().for_each(|(host, _)| plan.considered.push(CandidateTrace::left_out(host)));
                let strategy = variant.and_then(hosts::Variant::strategy).or(request.strategy);
                if let Some(strategy) = strategy {
                    plan.strategy = strategy.as_str();
                    strategy.sort(&mut hosts, |(host, estimate)| (*estimate, (request.measured)(&host.id)));
                }
                hosts::prefer(&mut hosts, request);
                for (candidate, estimate) in hosts {
                    let before = plan.considered.len();
                    consider(&mut plan, candidate, estimate, request, policy, keys);
                    let line = plan.considered.get_mut(before..).and_then(<[_]>::first_mut);
                    line.into_iter().for_each(|line| line.note_session(session.as_ref()));
                }
            }
            Err(unknown) => {
                plan.considered.push(CandidateTrace::unknown(name));
                first_unknown = first_unknown.or(Some((name.to_owned(), unknown)));
            }
        }
    }
    if plan.automatic.is_some() {
        plan.strategy = "auto";
    }
    if request.names.len() > 1 {
        plan.strategy = "list";
    }
    if request.preferences.no_fallbacks {
        plan.candidates.truncate(1);
    }
    finished(catalog, request, plan, first_unknown)
}

/// The plan, or why there is none: `first_unknown` is the first name that is not known.
fn finished(
    catalog: &Catalog,
    request: &RouteRequest<'_>,
    plan: Plan,
    first_unknown: Option<(String, Unknown)>,
) -> Result<Plan, RoutingError> {
    let mut known = plan.considered.iter().filter(|line| !line.is_unknown());
    let nothing_known = known.clone().next().is_none();
    let only_own_keys_could = known.all(|line| line.filtered_out_by == Some("own_key_only"));
    match first_unknown {
        _ if !plan.candidates.is_empty() => Ok(plan),
        Some((name, unknown)) if nothing_known => {
            let (nearest, considered) = (nearest(catalog, &name, request), plan.considered);
            Err(match unknown {
                Unknown::Model => RoutingError::UnknownModel { name, instead: None, nearest, considered },
                Unknown::Provider => RoutingError::UnknownProvider { name, nearest, considered },
            })
        }
        _ if only_own_keys_could => Err(gone(catalog, request, plan.considered)),
        _ => Err(RoutingError::NothingLeft { considered: plan.considered }),
    }
}

/// One of the hosts of a name, with the estimated cost there.
type Host = (Candidate, Option<NanoUsd>);

/// What of a name is unknown.
enum Unknown {
    Model,
    Provider,
}

/// Canonical ids of the models whose names are most like this one.
fn nearest(catalog: &Catalog, name: &str, request: &RouteRequest<'_>) -> Vec<Arc<str>> {
    catalog.nearest(name, request.at.date()).iter().map(|model| model.id.clone()).collect()
}

/// The hosts that a name stands for, with the estimated cost at each.
fn named(
    catalog: &Catalog,
    index: usize,
    name: &str,
    request: &RouteRequest<'_>,
) -> Result<Vec<Host>, Unknown> {
    let listed = |model: &Arc<Model>, byok_only| {
        let candidate = Candidate {
            provider: model.provider,
            id: model.id.clone(),
            name: model.name.clone(),
            upstream: model.upstream.clone(),
            model: Some(model.clone()),
            byok_only,
        };
        (candidate, estimate(model, request, 0))
    };
    match resolved(catalog, index, name, request) {
        Resolved::Listed(models) => Ok(models.iter().map(|model| listed(model, false)).collect()),
        Resolved::Retired { models } => Ok(models.iter().map(|model| listed(model, true)).collect()),
        Resolved::Unlisted { provider, upstream } => {
            let candidate = Candidate {
                provider,
                model: None,
                id: format!("{provider}/{upstream}").into(),
                name: upstream.as_str().into(),
                upstream: upstream.into(),
                byok_only: true,
            };
            Ok(vec![(candidate, None)])
        }
        Resolved::Unknown { prefix_known: true } => Err(Unknown::Model),
        Resolved::Unknown { prefix_known: false } => Err(Unknown::Provider),
    }
}

fn resolved(catalog: &Catalog, index: usize, name: &str, request: &RouteRequest<'_>) -> Resolved {
    let today = request.at.date();
    match (request.pin, index) {
        (None, _) => catalog.resolve(name, today),
        (Some(provider), 0) => catalog.resolve_pinned(provider, name, today),
        (Some(provider), _) => match catalog.resolve(name, today) {
            Resolved::Listed(mut hosts) => {
                if hosts.iter().any(|model| model.provider == provider) {
                    hosts.retain(|model| model.provider == provider);
                }
                Resolved::Listed(hosts)
            }
            // It names nobody else: whether it means anything is for the pinned provider to say.
            Resolved::Unknown { .. } => catalog.resolve_at(provider, name, today),
            other => other,
        },
    }
}

fn consider(
    plan: &mut Plan,
    candidate: Candidate,
    estimate: Option<NanoUsd>,
    request: &RouteRequest<'_>,
    policy: &KeyPolicy,
    keys: &CredentialLookup<'_>,
) {
    if plan.candidates.iter().any(|known| known.id == candidate.id) {
        return;
    }
    let has_own = (keys.own)(candidate.provider, &candidate);
    let filter = filter::obstacle(&candidate, request, policy)
        .or(credential_obstacle(&candidate, has_own, keys))
        .or((plan.candidates.len() >= CANDIDATES_MAX).then_some("too_many_candidates"));
    let mut reasons = Vec::new();
    if filter.is_none() {
        reasons.push(if has_own { "own_key" } else { "platform_key" });
        if candidate.byok_only {
            reasons.push("not_in_catalog");
        }
    }
    plan.considered.push(CandidateTrace {
        model_id: candidate.id.clone(),
        provider: Some(candidate.provider.row().name),
        score: None,
        est_cost_usd: estimate.map(|cost| cost.to_string()),
        reasons,
        filtered_out_by: filter,
    });
    if filter.is_none() {
        plan.candidates.push(candidate);
    }
}

fn credential_obstacle(
    candidate: &Candidate,
    has_own: bool,
    keys: &CredentialLookup<'_>,
) -> Option<&'static str> {
    if has_own {
        return None;
    }
    let unusable = candidate.byok_only.then_some("own_key_only");
    unusable.or((!(keys.platform)(candidate.provider)).then_some("no_credential"))
}

/// The cost at a host that has read `cached` tokens of the prompt before.
fn estimate(model: &Model, request: &RouteRequest<'_>, cached: u64) -> Option<NanoUsd> {
    let prompt = request.facts.text_bytes / BYTES_PER_TOKEN;
    let cached = cached.min(prompt);
    let output = request.output_limit.unwrap_or(OUTPUT_TOKENS_ASSUMED).min(OUTPUT_TOKENS_ASSUMED);
    let service = ServiceTier::by_name(request.service_tier)?;
    let rates = model.prices.as_ref()?.at(request.at)?.rates(service, prompt, request.at)?.rates;
    match request.kind {
        Kind::Conversation(_) => {
            let read = [(prompt - cached, rates.input), (cached, rates.cache_read), (output, rates.output?)];
            money::cost(read).ok()
        }
        Kind::Embeddings | Kind::Rerank | Kind::Moderation => money::cost([(prompt, rates.input)]).ok(),
        // Billed by something else than words.
        _ => None,
    }
}

/// All that was found is retired or unlisted, and the caller has no key of its own for it.
fn gone(catalog: &Catalog, request: &RouteRequest<'_>, considered: Vec<CandidateTrace>) -> RoutingError {
    let name = request.names.first().map(|name| name.to_string()).unwrap_or_default();
    let instead = match catalog.resolve(&name, request.at.date()) {
        Resolved::Retired { models } => models.iter().find_map(|model| model.successor.clone()),
        _ => None,
    };
    let nearest = nearest(catalog, &name, request);
    RoutingError::UnknownModel { name, instead, nearest, considered }
}

#[cfg(test)]
mod tests;
