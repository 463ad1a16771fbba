//! The plan of one request: ordered candidates, each with the reason it stands where it does, and everything
//! that was considered and left out. Pure: the same facts, policy and catalogue give the same plan.

use super::{measured::Measured, strategy::Strategy};
use crate::{
    dialect::Facts,
    domain::{
        catalog::{Catalog, Flag, Mode, Model, Resolved, ServiceTier},
        kind::Kind,
        money::{self, NanoUsd},
        policy::KeyPolicy,
        provider::{Dialect, ProviderId},
    },
};
use serde::Serialize;
use std::{borrow::Cow, sync::Arc};
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
    pub own_key_only: bool,
}

/// One line of the receipt's `candidates`.
#[derive(Clone, Debug, Serialize)]
pub struct Considered {
    /// Of a name that means nothing: the name.
    pub model_id: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<&'static str>,
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
    pub considered: Vec<Considered>,
    pub strategy: &'static str,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum NoPlan {
    /// Routing by the gateway's own choice was asked for.
    Automatic,
    /// The name means nothing here, or only a retired model. `instead` is its successor, `nearest` are names like it.
    UnknownModel {
        name: String,
        instead: Option<Arc<str>>,
        nearest: Vec<Arc<str>>,
        considered: Vec<Considered>,
    },
    /// What stands before the first slash is neither a provider nor the beginning of a known name.
    UnknownProvider { name: String, nearest: Vec<Arc<str>>, considered: Vec<Considered> },
    /// Every candidate was filtered out.
    NothingLeft { considered: Vec<Considered> },
}

/// What the request wants.
pub struct Wanted<'a> {
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
    pub measured: &'a dyn Fn(&str) -> Measured,
    pub at: OffsetDateTime,
}

/// Which credentials there are.
pub struct Keys<'a> {
    /// An enabled stored key of the customer fits this provider and model.
    pub own: &'a dyn Fn(ProviderId, &Candidate) -> bool,
    /// The operator has a key for this provider.
    pub platform: &'a dyn Fn(ProviderId) -> bool,
}

/// Names that ask the gateway to choose.
fn is_automatic(name: &str) -> bool {
    matches!(name, "auto" | "kr-auto" | "kr-auto-embed" | "kairosroute/auto")
}

impl Considered {
    /// A name of the request that means nothing here.
    fn unknown(name: &str) -> Self {
        Self {
            model_id: shown(name).into(),
            provider: None,
            est_cost_usd: None,
            reasons: Vec::new(),
            filtered_out_by: Some("unknown_model"),
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
    wanted: &Wanted<'_>,
    policy: &KeyPolicy,
    keys: &Keys<'_>,
) -> Result<Plan, NoPlan> {
    let mut plan = Plan { candidates: Vec::new(), considered: Vec::new(), strategy: "pinned" };
    let mut first_unknown = None;
    for (index, name) in wanted.names.iter().enumerate() {
        if is_automatic(name) {
            return Err(NoPlan::Automatic);
        }
        match named(catalog, index, name, wanted) {
            Ok(mut hosts) => {
                if hosts.len() > 1 {
                    plan.strategy = "price";
                    hosts.sort_by_key(|(_, estimate)| estimate.map_or(i64::MAX, |cost| cost.0));
                }
                if let Some(strategy) = wanted.strategy {
                    strategy.sort(&mut hosts, |(host, estimate)| (*estimate, (wanted.measured)(&host.id)));
                }
                for (candidate, estimate) in hosts {
                    consider(&mut plan, candidate, estimate, wanted, policy, keys);
                }
            }
            Err(unknown) => {
                plan.considered.push(Considered::unknown(name));
                first_unknown = first_unknown.or(Some((name.to_string(), unknown)));
            }
        }
    }
    if wanted.names.len() > 1 {
        plan.strategy = "list";
    }
    plan.strategy = wanted.strategy.map_or(plan.strategy, Strategy::as_str);
    let mut known = plan.considered.iter().filter(|line| !line.is_unknown());
    let nothing_known = known.clone().next().is_none();
    let only_own_keys_could = known.all(|line| line.filtered_out_by == Some("own_key_only"));
    match first_unknown {
        _ if !plan.candidates.is_empty() => Ok(plan),
        Some((name, unknown)) if nothing_known => {
            let (nearest, considered) = (nearest(catalog, &name, wanted), plan.considered);
            Err(match unknown {
                Unknown::Model => NoPlan::UnknownModel { name, instead: None, nearest, considered },
                Unknown::Provider => NoPlan::UnknownProvider { name, nearest, considered },
            })
        }
        _ if only_own_keys_could => Err(gone(catalog, wanted, plan.considered)),
        _ => Err(NoPlan::NothingLeft { considered: plan.considered }),
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
fn nearest(catalog: &Catalog, name: &str, wanted: &Wanted<'_>) -> Vec<Arc<str>> {
    catalog.nearest(name, wanted.at.date()).iter().map(|model| model.id.clone()).collect()
}

/// The hosts that a name stands for, with the estimated cost at each.
fn named(catalog: &Catalog, index: usize, name: &str, wanted: &Wanted<'_>) -> Result<Vec<Host>, Unknown> {
    let listed = |model: &Arc<Model>, own_key_only| {
        let candidate = Candidate {
            provider: model.provider,
            id: model.id.clone(),
            name: model.name.clone(),
            upstream: model.upstream.clone(),
            model: Some(model.clone()),
            own_key_only,
        };
        (candidate, estimate(model, wanted))
    };
    match resolved(catalog, index, name, wanted) {
        Resolved::Listed(models) => Ok(models.iter().map(|model| listed(model, false)).collect()),
        Resolved::Retired { models } => Ok(models.iter().map(|model| listed(model, true)).collect()),
        Resolved::Unlisted { provider, upstream } => {
            let candidate = Candidate {
                provider,
                model: None,
                id: format!("{provider}/{upstream}").into(),
                name: upstream.as_str().into(),
                upstream: upstream.into(),
                own_key_only: true,
            };
            Ok(vec![(candidate, None)])
        }
        Resolved::Unknown { prefix_known: true } => Err(Unknown::Model),
        Resolved::Unknown { prefix_known: false } => Err(Unknown::Provider),
    }
}

fn resolved(catalog: &Catalog, index: usize, name: &str, wanted: &Wanted<'_>) -> Resolved {
    let today = wanted.at.date();
    match (wanted.pin, index) {
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
    wanted: &Wanted<'_>,
    policy: &KeyPolicy,
    keys: &Keys<'_>,
) {
    if plan.candidates.iter().any(|known| known.id == candidate.id) {
        return;
    }
    let (has_own, has_platform) =
        ((keys.own)(candidate.provider, &candidate), (keys.platform)(candidate.provider));
    let filter = filter(&candidate, wanted, policy)
        .or((!has_own && candidate.own_key_only).then_some("own_key_only"))
        .or((!has_own && !has_platform).then_some("no_credential"))
        .or((plan.candidates.len() >= CANDIDATES_MAX).then_some("too_many_candidates"));
    let mut reasons = Vec::new();
    if filter.is_none() {
        reasons.push(if has_own { "own_key" } else { "platform_key" });
        if candidate.own_key_only {
            reasons.push("not_in_catalog");
        }
    }
    plan.considered.push(Considered {
        model_id: candidate.id.clone(),
        provider: Some(candidate.provider.row().name),
        est_cost_usd: estimate.map(|cost| cost.to_string()),
        reasons,
        filtered_out_by: filter,
    });
    if filter.is_none() {
        plan.candidates.push(candidate);
    }
}

/// What of an API key's rules keeps a model out.
pub fn policy_obstacle(
    policy: &KeyPolicy,
    provider: ProviderId,
    id: &str,
    name: &str,
) -> Option<&'static str> {
    if policy.excluded_providers.contains(&provider) {
        return Some("excluded_providers");
    }
    if policy.allowed_providers.as_ref().is_some_and(|allowed| !allowed.contains(&provider)) {
        return Some("allowed_providers");
    }
    let is_listed = |allowed: &Vec<String>| allowed.iter().any(|model| model == id || model == name);
    if policy.allowed_models.as_ref().is_some_and(|allowed| !is_listed(allowed)) {
        return Some("allowed_models");
    }
    None
}

/// The first rule that keeps a candidate out.
fn filter(candidate: &Candidate, wanted: &Wanted<'_>, policy: &KeyPolicy) -> Option<&'static str> {
    let provider = candidate.provider;
    if let Some(obstacle) = policy_obstacle(policy, provider, &candidate.id, &candidate.name) {
        return Some(obstacle);
    }
    if candidate.model.as_ref().is_some_and(|model| !wanted.kind.is_served_by(model.mode)) {
        return Some("model_of_another_kind");
    }
    if !matches!(wanted.kind, Kind::Conversation(_)) && provider.serves(wanted.kind).is_none() {
        return Some("endpoint_not_served");
    }
    // A model for bare text has no conversations.
    let bare = candidate.model.as_ref().is_some_and(|model| model.mode == Mode::Completion);
    if bare && provider.path(Dialect::Completions).is_none() {
        return Some("endpoint_not_served");
    }
    if wanted.needs_state && !provider.row().keeps_state {
        return Some("keeps_no_state");
    }
    if !matches!(wanted.kind, Kind::Conversation(_)) {
        // Its texts are read one by one: their sum has no bound.
        return None;
    }
    if let Some(lacking) = candidate.model.as_ref().and_then(|model| ability_lacking(model, wanted.facts)) {
        return Some(lacking);
    }
    let context = candidate.model.as_ref().and_then(|model| model.context_tokens);
    // A prompt of this many bytes cannot have fewer tokens than a sixteenth: words that long do not exist.
    if context.is_some_and(|tokens| wanted.facts.text_bytes / 16 > tokens) {
        return Some("context_length");
    }
    None
}

/// What the request holds or asks for that the model cannot take. A provider whose sources list no abilities is asked.
fn ability_lacking(model: &Model, facts: &Facts) -> Option<&'static str> {
    let row = model.provider.row();
    if !row.lists_abilities {
        return None;
    }
    let needs = [
        (facts.images > 0, Flag::Vision, "lacks_vision"),
        (facts.audio_parts > 0, Flag::AudioIn, "lacks_audio_input"),
        (facts.wants_audio_output, Flag::AudioOut, "lacks_audio_output"),
        (facts.files > 0 && row.dialect == Dialect::Chat, Flag::Pdf, "lacks_pdf"),
        (facts.has_tools, Flag::Tools, "lacks_tools"),
        (facts.json_schema && !row.schema_by_prompt, Flag::JsonSchema, "lacks_json_schema"),
    ];
    needs
        .into_iter()
        .find(|(needed, flag, _)| *needed && !model.flags.has(*flag))
        .map(|(_, _, reason)| reason)
}

fn estimate(model: &Model, wanted: &Wanted<'_>) -> Option<NanoUsd> {
    let prompt = wanted.facts.text_bytes / BYTES_PER_TOKEN;
    let output = wanted.output_limit.unwrap_or(OUTPUT_TOKENS_ASSUMED).min(OUTPUT_TOKENS_ASSUMED);
    let service = ServiceTier::by_name(wanted.service_tier)?;
    let rates = model.prices.as_ref()?.at(wanted.at)?.rates(service, prompt, wanted.at)?.rates;
    match wanted.kind {
        Kind::Conversation(_) => money::cost([(prompt, rates.input), (output, rates.output?)]).ok(),
        Kind::Embeddings | Kind::Rerank | Kind::Moderation => money::cost([(prompt, rates.input)]).ok(),
        // Billed by something else than words.
        _ => None,
    }
}

/// All that was found is retired or unlisted, and the caller has no key of its own for it.
fn gone(catalog: &Catalog, wanted: &Wanted<'_>, considered: Vec<Considered>) -> NoPlan {
    let name = wanted.names.first().map(|name| name.to_string()).unwrap_or_default();
    let instead = match catalog.resolve(&name, wanted.at.date()) {
        Resolved::Retired { models } => models.iter().find_map(|model| model.successor.clone()),
        _ => None,
    };
    let nearest = nearest(catalog, &name, wanted);
    NoPlan::UnknownModel { name, instead, nearest, considered }
}
