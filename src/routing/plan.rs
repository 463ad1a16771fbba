//! The plan of one request: ordered candidates, each with the reason for its position, and everything that was
//! considered and excluded. Pure: the same facts, policy and catalogue give the same plan.

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

/// Maximum candidates that are tried; the receipt lists the others as left out.
pub const CANDIDATES_MAX: usize = 16;
/// Bytes of ordinary text per token, for estimates only.
const BYTES_PER_TOKEN: u64 = 4;
/// Output tokens assumed for an estimate when the client set no limit.
const OUTPUT_TOKENS_ASSUMED: u64 = 500;
/// Characters of an unknown name that are shown.
const SHOWN_MAX: usize = 200;

/// One model at one provider that may serve the request.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub provider: ProviderId,
    /// The catalogue's row; `None` for a model that is not in the catalogue, which only a customer's own key may call.
    pub model: Option<Arc<Model>>,
    /// Canonical `provider/model`.
    pub id: Arc<str>,
    /// The canonical id without its provider.
    pub name: Arc<str>,
    /// The name of the model at the provider.
    pub upstream: Arc<str>,
    /// Retired or not in the catalogue: never on a platform key.
    pub byok_only: bool,
}

/// One line of the receipt's `candidates`.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateTrace {
    /// For an unknown name: the name.
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

/// The candidates in the order in which they are tried.
#[derive(Debug)]
pub struct Plan {
    pub candidates: Vec<Candidate>,
    pub considered: Vec<CandidateTrace>,
    pub strategy: &'static str,
    /// The result of the gateway's own choice, if it chose.
    pub automatic: Option<Outcome>,
}

/// The result of the choice among all models.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub floor_permille: u16,
    /// No available model reaches the floor; the first candidate is the best one.
    pub floor_not_met: bool,
    /// Number of models that are not among the listed candidates, by the filter that excluded them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<&'static str, u32>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum RoutingError {
    /// `auto` was requested where the gateway does not choose: for this endpoint kind, or for this API key.
    Automatic,
    /// No available model reaches the quality that the request requires.
    BelowFloor { floor_permille: u16, considered: Vec<CandidateTrace> },
    /// The name is unknown, or only a retired model has it. `instead` is its successor, `nearest` are similar names.
    UnknownModel {
        name: String,
        instead: Option<Arc<str>>,
        nearest: Vec<Arc<str>>,
        considered: Vec<CandidateTrace>,
    },
    /// The part before the first slash is neither a provider nor the beginning of a known name.
    UnknownProvider { name: String, nearest: Vec<Arc<str>>, considered: Vec<CandidateTrace> },
    /// Every candidate was filtered out.
    NothingLeft { considered: Vec<CandidateTrace> },
}

/// The requirements of a request for the plan.
pub struct RouteRequest<'a> {
    /// Model names, in the order in which they are tried.
    pub names: &'a [Cow<'a, str>],
    pub facts: &'a Facts,
    pub output_limit: Option<u64>,
    pub service_tier: Option<&'a str>,
    pub kind: Kind,
    /// The request refers to something that a provider stores.
    pub needs_state: bool,
    /// The provider of the first name, and of every later name that states no other provider.
    pub pin: Option<ProviderId>,
    /// The order of the hosts of one name; by price without a preference.
    pub strategy: Option<Strategy>,
    /// Required and preferred properties of hosts.
    pub preferences: &'a Preferences,
    pub measured: &'a dyn Fn(&str) -> HostStats,
    /// The conversation that the request continues. Looked up only if there is a choice of hosts.
    pub session: &'a dyn Fn() -> Option<KnownSession>,
    pub at: OffsetDateTime,
    /// The facts for the gateway's own choice; `None` if it does not choose.
    pub automatic: Option<Automatic<'a>>,
    /// The embedding model of the organization, which `auto` means for embeddings.
    pub embedding: Option<&'a str>,
}

/// The available credentials.
pub struct CredentialLookup<'a> {
    /// An enabled stored key of the customer exists for this provider and model.
    pub own: &'a dyn Fn(ProviderId, &Candidate) -> bool,
    /// The operator has a key for this provider.
    pub platform: &'a dyn Fn(ProviderId) -> bool,
}

/// Names that ask the gateway to choose.
pub fn is_automatic(name: &str) -> bool {
    matches!(name, "auto" | "kr-auto" | "kr-auto-embed" | "kairosroute/auto" | "openrouter/auto")
}

impl CandidateTrace {
    /// A name in the request that is unknown.
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

    /// A host without the property that the suffix of the name requires.
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

    /// Records that the host served the conversation before, if it did.
    fn note_session(&mut self, session: Option<&KnownSession>) {
        if self.filtered_out_by.is_none() && session.is_some_and(|session| session.model == self.model_id) {
            self.reasons.push("same_session");
        }
    }

    /// Whether the name was unknown.
    pub fn is_unknown(&self) -> bool {
        self.provider.is_none()
    }
}

/// A model name of the client, made safe to show.
pub fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect()
}

/// Creates the plan.
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

/// The unknown part of a name.
enum Unknown {
    Model,
    Provider,
}

/// Canonical ids of the models with the most similar names.
fn nearest(catalog: &Catalog, name: &str, request: &RouteRequest<'_>) -> Vec<Arc<str>> {
    catalog.nearest(name, request.at.date()).iter().map(|model| model.id.clone()).collect()
}

/// The hosts of a name, with the estimated cost at each.
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
            // The name states no other provider: whether it is known is decided by the fixed provider.
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

/// The cost at a host that has cached `cached` tokens of the prompt.
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
        // Billed by units other than text.
        _ => None,
    }
}

/// Every model that was found is retired or unlisted, and the caller has no own key for it.
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
