//! The facts by which the gateway chooses a model: the category of the user's text, and the floor that the request or
//! its API key sets. Stores no text.

use super::{
    failure::Failure,
    open_request::OpenRequest,
    planning::planned,
    request::{Inbound, ParsedRequest},
    request_options::RequestRouting,
    targets::Credentials,
};
use crate::{
    dialect::{
        ClientRequest, Head,
        canonical::{Effort, Part, Request, Role},
    },
    domain::{
        catalog::{Catalog, Mode, Model, ServiceTier},
        ids::OrgId,
        kind::Kind,
        policy::{KeyPolicy, RoutingMode},
    },
    routing::{
        auto::Automatic,
        filter::policy_obstacle,
        plan::{Outcome, Plan, is_automatic},
        quality,
    },
    store::{StoreError, embedding_models},
};
use kairosroute_classifier::{Category, Classification, Context, classify};
use serde::Serialize;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};
use time::OffsetDateTime;

/// The floor where neither the request nor the key sets one, in permille of the reference model's quality.
const FLOOR_DEFAULT_PERMILLE: u16 = 850;
/// A reply with fewer words than this ("yes, do it") does not identify its task: an earlier text of the same user is
/// used.
const WORDS_MIN: usize = 12;
/// How many texts are examined for that, from the last one back.
const TEXTS_MAX: usize = 8;
/// Organizations whose embedding model is kept in memory.
const ORGANIZATIONS_MAX: usize = 10_000;

/// The result of the classification of an `auto` request.
#[derive(Clone, Copy, Debug)]
pub struct Judged {
    pub classification: Classification,
    pub effort: Option<Effort>,
}

impl Judged {
    /// The input of the choice.
    pub fn automatic<'a>(
        &self,
        requested_permille: Option<u16>,
        policy: &KeyPolicy,
        reference: Option<&'a Model>,
    ) -> Automatic<'a> {
        let floor = requested_permille.or(policy.min_quality_permille);
        Automatic {
            classification: self.classification,
            effort: self.effort,
            floor_permille: floor.unwrap_or(FLOOR_DEFAULT_PERMILLE),
            is_strict: requested_permille.is_some(),
            table: quality::built_in(),
            reference,
        }
    }
}

/// Classifies a request if the gateway chooses its model, or if the choice is to be compared with the named model.
pub fn judge(request: &ParsedRequest<'_>, names: &[Cow<'_, str>], policy: &KeyPolicy) -> Option<Judged> {
    match request {
        ParsedRequest::Conversation(request) => judge_conversation(request, names, policy),
        ParsedRequest::Kind(_) => None,
    }
}

/// As [`judge`].
pub fn judge_conversation(
    request: &ClientRequest<'_>,
    names: &[Cow<'_, str>],
    policy: &KeyPolicy,
) -> Option<Judged> {
    let chooses = names.iter().any(|name| is_automatic(name));
    let applies = match policy.routing_mode {
        RoutingMode::Off => false,
        RoutingMode::On => chooses,
        RoutingMode::Shadow | RoutingMode::Advise => true,
    };
    applies.then(|| Judged { classification: classify_request(request), effort: request.thinking().effort })
}

/// The category of a conversation.
pub fn classify_request(request: &ClientRequest<'_>) -> Classification {
    let context = Context { has_tools: request.head().facts.has_tools };
    let text = request.canonical().ok().and_then(|canonical| task(&canonical));
    classify(text.as_deref().unwrap_or_default(), context)
}

/// The last text of the user that is long enough to classify; else the longest of the last texts.
fn task(request: &Request<'_>) -> Option<String> {
    let users = request.turns.iter().rev().filter(|turn| turn.role == Role::User);
    let texts = users.map(|turn| turn.parts.iter().filter_map(text).collect::<Vec<_>>().join("\n"));
    let mut longest: Option<String> = None;
    for text in texts.filter(|text| !text.trim().is_empty()).take(TEXTS_MAX) {
        if text.split_whitespace().take(WORDS_MIN).count() == WORDS_MIN {
            return Some(text);
        }
        if longest.as_ref().is_none_or(|longest| longest.len() < text.len()) {
            longest = Some(text);
        }
    }
    longest
}

fn text(part: &Part<'_>) -> Option<String> {
    match part {
        Part::Text { text, .. } => Some(text.decode().into_owned()),
        _ => None,
    }
}

/// A share as shown in receipts.
pub fn share(permille: u16) -> f64 {
    f64::from(permille) / 1_000.0
}

/// The basis of the choice, for the receipt.
#[derive(Clone, Debug)]
pub struct RoutingTrace {
    pub judged: Judged,
    /// The choice that was made, or would have been made.
    pub outcome: Outcome,
    pub reference: Option<Arc<str>>,
    /// The request named its model; the gateway would have chosen this one.
    pub instead: Option<Arc<str>>,
    /// The response names this model in a header.
    pub advises: bool,
}

/// The receipt's `classification`.
#[derive(Serialize)]
pub struct ClassificationView {
    category: &'static str,
    categories: Vec<&'static str>,
    confidence: f64,
    difficulty: f64,
    top_features: Vec<String>,
    router_version: u32,
}

/// The receipt's `routing`: the basis of the choice among all models.
#[derive(Serialize)]
pub struct RoutingView<'a> {
    floor: f64,
    floor_not_met: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    left_out: &'a BTreeMap<&'static str, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would_have_chosen: Option<&'a str>,
}

impl RoutingTrace {
    pub fn category(&self) -> Category {
        self.judged.classification.category
    }

    pub fn classification(&self) -> ClassificationView {
        let found = &self.judged.classification;
        ClassificationView {
            category: found.category.as_str(),
            categories: found.categories.iter().map(Category::as_str).collect(),
            confidence: rounded(found.confidence),
            difficulty: rounded(found.difficulty),
            top_features: found.top_feature_names().collect(),
            router_version: found.version,
        }
    }

    pub fn view(&self) -> RoutingView<'_> {
        RoutingView {
            floor: share(self.outcome.floor_permille),
            floor_not_met: self.outcome.floor_not_met,
            reference: self.reference.as_deref(),
            left_out: &self.outcome.left_out,
            would_have_chosen: self.instead.as_deref(),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// The trace of the choice. If the request named a model and its key compares, the choice is made for the record only
/// and changes nothing.
pub(super) fn trace(
    inbound: &Inbound<'_>,
    head: &Head<'_>,
    scope: &RequestRouting<'_>,
    judged: Option<Judged>,
    plan: &Plan,
    open: &OpenRequest,
) -> Option<Box<RoutingTrace>> {
    let judged = judged?;
    let mode = inbound.principal.policy.routing_mode;
    let (outcome, instead) = match &plan.automatic {
        Some(outcome) => (outcome.clone(), None),
        None => {
            let all = RequestRouting {
                names: vec![Cow::Borrowed("auto")],
                pin: scope.pin,
                ..RequestRouting::default()
            };
            let chosen =
                planned(inbound, head, &all, &open.catalog, open.started_at, (Some(&judged), None), &|| None);
            let chosen = chosen.ok()?;
            (chosen.automatic?, chosen.candidates.first().map(|first| first.id.clone()))
        }
    };
    let reference = inbound.gateway.settings.reference_model.clone();
    let advises = instead.is_some() && mode == RoutingMode::Advise;
    Some(Box::new(RoutingTrace { judged, outcome, reference, instead, advises }))
}

/// The embedding model of `auto`, by organization. The database is authoritative; this cache saves the query.
#[derive(Default)]
pub struct EmbeddingModels(Mutex<HashMap<OrgId, Arc<str>>>);

impl EmbeddingModels {
    fn get(&self, org: OrgId) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&org).cloned()
    }

    fn insert(&self, org: OrgId, model: Arc<str>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= ORGANIZATIONS_MAX {
            kept.clear();
        }
        kept.insert(org, model);
    }
}

/// The embedding model of the organization, if the request leaves the choice to the gateway. The first such request
/// fixes it: the cheapest model that this API key may use.
pub(super) async fn embedding_model(
    inbound: &Inbound<'_>,
    head: &Head<'_>,
) -> Result<Option<Arc<str>>, Failure> {
    let chooses = head.models.iter().any(|name| is_automatic(name));
    if inbound.kind != Kind::Embeddings
        || !chooses
        || inbound.principal.policy.routing_mode == RoutingMode::Off
    {
        return Ok(None);
    }
    let (gateway, scope) = (inbound.gateway, inbound.principal.scope);
    if let Some(known) = gateway.embedding_models.get(scope.org_id()) {
        return Ok(Some(known));
    }
    let (catalog, now) = (gateway.catalog.load_full(), gateway.ambient.now());
    let Some(cheapest) = cheapest_embedding(inbound, &catalog, now) else { return Ok(None) };
    let db = gateway.db.clone();
    let pool = db.clone();
    let fixed = db.run::<_, StoreError, _>(async move {
        embedding_models::fix(&mut *pool.acquire().await?, scope, &cheapest, now).await
    });
    let fixed: Arc<str> =
        Box::pin(fixed).await.map_err(|error| Failure::Unavailable(error.to_string()))?.into();
    gateway.embedding_models.insert(scope.org_id(), fixed.clone());
    Ok(Some(fixed))
}

fn cheapest_embedding(inbound: &Inbound<'_>, catalog: &Catalog, now: OffsetDateTime) -> Option<Arc<str>> {
    let principal = &inbound.principal;
    let credentials = Credentials::of_caller(inbound.gateway, principal);
    let price = |model: &Model| {
        let rates = model.prices.as_ref()?.at(now)?.rates(ServiceTier::Standard, 0, now)?;
        Some(rates.rates.input)
    };
    let may_serve = |model: &Model| {
        model.mode == Mode::Embedding
            && model.is_live(now.date())
            && model.provider.serves(Kind::Embeddings).is_some()
            && policy_obstacle(&principal.policy, model.provider, &model.id, &model.name).is_none()
            && (credentials.has_own_for(model) || credentials.has_platform(model.provider))
    };
    let models = catalog.models().filter(|model| may_serve(model));
    let priced = models.filter_map(|model| Some((price(model)?, model.id.clone())));
    priced.min().map(|(_, id)| id)
}

#[cfg(test)]
mod tests;
