//! `GET /v1/models` and `GET /v1/models/{name}`: what can be called, in OpenAI's shape with the catalogue's facts
//! beside it, and what of it this API key may use; in Anthropic's shape for a client that says it speaks that.

use crate::{
    domain::{
        catalog::{Mode, Model, PricePeriod, Resolved, ServiceTier},
        kind::Kind,
        money::NanoUsd,
        provider::{Dialect, ProviderId},
    },
    gateway::Gateway,
    http::{
        error::{ApiError, Code, Envelope},
        extract::Call,
    },
    routing::plan,
    store::api_keys::Principal,
};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Value, json};
use std::sync::Arc;

/// Anthropic's clients want a date for every model; the catalogue knows none.
const UNKNOWN_DATE: &str = "1970-01-01T00:00:00Z";

/// Who asks, and in whose shape.
pub(in crate::http) struct Asking {
    gateway: Arc<Gateway>,
    principal: Arc<Principal>,
    anthropic: bool,
}

/// Lists the models that are served today.
pub async fn list_models(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let asking = Asking::of(&call, principal)?;
    Ok(asking.list(|_| true))
}

/// One model by any of its names, else the models of a provider; slashes may arrive percent-encoded.
pub async fn get_model(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let asking = Asking::of(&call, principal)?;
    let name = named(&call);
    if let Some(model) = asking.find(&name) {
        return Ok(HttpResponse::Ok().json(asking.told(&model)));
    }
    if let Some(provider) = ProviderId::by_name(&name) {
        return Ok(asking.list(|model| model.provider == provider));
    }
    let unknown = ApiError::new(Code::ModelNotFound, "No such model").param("model");
    match asking.anthropic {
        true => Ok(unknown.envelope(Envelope::Anthropic).error_response()),
        false => Err(unknown),
    }
}

/// The name in the path. The router leaves an encoded slash encoded.
pub(in crate::http) fn named(call: &Call) -> String {
    percent_encoding::percent_decode_str(call.path("id")).decode_utf8_lossy().into_owned()
}

impl Asking {
    pub(in crate::http) fn of(call: &Call, principal: Arc<Principal>) -> Result<Self, ApiError> {
        let gateway = call.state::<Gateway>()?.into_inner();
        Ok(Self { gateway, principal, anthropic: call.header("anthropic-version").is_some() })
    }

    /// The model of any such name, retired ones too.
    pub(in crate::http) fn find(&self, name: &str) -> Option<Arc<Model>> {
        match self.gateway.catalog.load().resolve(name, self.gateway.ambient.now().date()) {
            Resolved::Listed(models) | Resolved::Retired { models } => models.into_iter().next(),
            Resolved::Unlisted { .. } | Resolved::Unknown { .. } => None,
        }
    }

    /// The models that are served today.
    pub(in crate::http) fn live(&self, wanted: impl Fn(&Model) -> bool) -> Vec<Arc<Model>> {
        let catalog = self.gateway.catalog.load();
        let today = self.gateway.ambient.now().date();
        catalog.models().filter(|model| model.is_live(today) && wanted(model)).cloned().collect()
    }

    fn list(&self, wanted: impl Fn(&Model) -> bool) -> HttpResponse {
        // A client of Messages has no use for models that do not converse.
        let spoken =
            |model: &Model| !self.anthropic || Kind::Conversation(Dialect::Messages).is_served_by(model.mode);
        let models = self.live(|model| wanted(model) && spoken(model));
        let data: Vec<Value> = models.iter().map(|model| self.told(model)).collect();
        let body = match self.anthropic {
            true => {
                let id = |model: Option<&Value>| model.map(|model| model["id"].clone());
                let (first, last) = (id(data.first()), id(data.last()));
                json!({ "data": data, "has_more": false, "first_id": first, "last_id": last })
            }
            false => json!({ "object": "list", "data": data }),
        };
        HttpResponse::Ok().json(body)
    }

    pub(in crate::http) fn told(&self, model: &Model) -> Value {
        if self.anthropic {
            return json!({
                "type": "model",
                "id": &*model.id,
                "display_name": &*model.name,
                "created_at": UNKNOWN_DATE,
            });
        }
        let now = self.gateway.ambient.now();
        let own = self.has_own_key(model);
        json!({
            "id": &*model.id,
            "object": "model",
            "created": 0,
            "owned_by": model.provider.as_str(),
            "name": &*model.name,
            "provider": model.provider.row().name,
            "mode": model.mode,
            "context_length": model.context_tokens,
            "max_output_tokens": model.output_tokens_max,
            "status": model.status,
            "shutdown_date": model.shutdown.map(|date| date.to_string()),
            "capabilities": model.flags.iter().collect::<Vec<_>>(),
            "pricing": model.prices.as_ref().and_then(|prices| prices.at(now)).map(|period| priced(period, now)),
            "byok": own,
            "available": self.is_available(model, own),
        })
    }

    fn has_own_key(&self, model: &Model) -> bool {
        self.principal.keys_of(model.provider).any(|key| key.fits(&model.id, &model.name, &model.upstream))
    }

    /// Whether a request of this API key could be served by the model.
    fn is_available(&self, model: &Model, own: bool) -> bool {
        let platform = self.gateway.platform_keys.get(model.provider).is_some() && model.prices.is_some();
        let today = self.gateway.ambient.now().date();
        (own || (platform && model.is_servable_by_name(today)))
            && is_served(model)
            && plan::policy_obstacle(&self.principal.policy, model.provider, &model.id, &model.name).is_none()
    }
}

/// Whether the gateway has a way to ask for it.
fn is_served(model: &Model) -> bool {
    let serves = |kind: Kind| model.provider.serves(kind).is_some();
    match model.mode {
        Mode::Chat | Mode::Responses => true,
        Mode::Completion => model.provider.path(Dialect::Completions).is_some(),
        Mode::Embedding => serves(Kind::Embeddings),
        Mode::ImageGeneration => serves(Kind::Images),
        Mode::AudioSpeech => serves(Kind::Speech),
        Mode::AudioTranscription => serves(Kind::Transcription),
        Mode::Rerank => serves(Kind::Rerank),
        Mode::Moderation => serves(Kind::Moderation),
        Mode::Ocr => serves(Kind::Ocr),
    }
}

/// Today's prices: by million tokens, and by every other unit in the catalogue's words.
fn priced(period: &PricePeriod, now: time::OffsetDateTime) -> Value {
    let text = |nano: i64| NanoUsd(nano).to_string();
    let mut pricing = json!({});
    let Some(fields) = pricing.as_object_mut() else { return pricing };
    if let Some(applied) = period.rates(ServiceTier::Standard, 0, now) {
        let rates = applied.rates;
        fields.insert("unit".to_owned(), json!("USD per million tokens"));
        fields.insert("input".to_owned(), json!(text(rates.input.0)));
        fields.insert("output".to_owned(), json!(rates.output.map(|price| text(price.0))));
        fields.insert("cache_read".to_owned(), json!(text(rates.cache_read.0)));
    }
    if !period.other.is_empty() {
        let others = period.other.iter().map(|other| (other.unit.to_string(), json!(other.usd.to_string())));
        fields.insert("usd_per".to_owned(), Value::Object(others.collect()));
    }
    pricing
}
