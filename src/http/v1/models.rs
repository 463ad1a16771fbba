//! `GET /v1/models` and `GET /v1/models/{name}`: the available models, in OpenAI's format with the catalogue's facts,
//! and whether this API key may use them; in Anthropic's format for a client of that API.

use crate::{
    domain::{
        catalog::{Flag, Mode, Model, PricePeriod, Resolved, ServiceTier, Status},
        kind::Kind,
        money::NanoUsd,
        provider::{Dialect, ProviderId},
    },
    gateway::{Gateway, targets::Credentials},
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    routing::{filter, plan},
    store::api_keys::Principal,
};
use actix_web::{HttpResponse, http::header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use time::Date;

/// Models on a page of Anthropic's list: the default, and the maximum.
const PAGE_MODELS: usize = 1_000;
const PAGE_MODELS_MAX: usize = 1_000;
/// In Anthropic's document: unknown.
const UNKNOWN_DAY: Date = time::macros::date!(1970 - 01 - 01);

/// The caller, and the format of the answer.
pub(in crate::http) struct Asking {
    gateway: Arc<Gateway>,
    principal: Arc<Principal>,
    anthropic: bool,
}

/// Lists the models that are served today.
pub async fn list_models(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let asking = Asking::of(&call, principal)?;
    asking.list(&call, |_| true)
}

/// One model by any of its names, else the models of a provider; slashes may arrive percent-encoded.
pub async fn get_model(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let asking = Asking::of(&call, principal)?;
    let name = named(&call);
    if let Some(model) = asking.find(&name) {
        return Ok(HttpResponse::Ok().json(asking.told(&model)));
    }
    if let Some(provider) = ProviderId::by_name(&name) {
        return asking.list(&call, |model| model.provider == provider);
    }
    let nearest = asking.gateway.catalog.load().nearest(&name, asking.gateway.ambient.now().date());
    let nearest: Vec<String> = nearest.iter().map(|model| format!("`{}`", model.id)).collect();
    let hint = match nearest.as_slice() {
        [] => "GET /v1/models lists the names".to_owned(),
        names => format!("did you mean {}?", names.join(" or ")),
    };
    let message = format!("There is no model `{}`; {hint}", plan::shown(&name));
    Err(ApiError::new(Code::ModelNotFound, message).param("model"))
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

    /// The model of any of these names, including retired ones.
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

    fn list(&self, call: &Call, wanted: impl Fn(&Model) -> bool) -> Result<HttpResponse, ApiError> {
        // A client of Messages needs only models for conversations.
        let spoken =
            |model: &Model| !self.anthropic || Kind::Conversation(Dialect::Messages).is_served_by(model.mode);
        let models = self.live(|model| wanted(model) && spoken(model));
        if !self.anthropic {
            let filter: Filter = call.query()?;
            let models = models.iter().filter(|model| filter.mode.is_none_or(|mode| mode == model.mode));
            let is_wanted = |view: &Value| {
                filter.available.is_none_or(|wanted| view.get("available") == Some(&Value::Bool(wanted)))
            };
            let data: Vec<Value> = models.map(|model| self.told(model)).filter(is_wanted).collect();
            return Ok(tagged(call, json!({ "object": "list", "data": data }).to_string()));
        }
        let (page, has_more) = call.query::<Page>()?.of(&models)?;
        let id = |model: Option<&Arc<Model>>| model.map(|model| model.id.to_string());
        let (first, last) = (id(page.first()), id(page.last()));
        let data: Vec<Value> = page.iter().map(|model| self.told(model)).collect();
        let body = json!({ "data": data, "has_more": has_more, "first_id": first, "last_id": last });
        Ok(HttpResponse::Ok().json(body))
    }

    pub(in crate::http) fn told(&self, model: &Model) -> Value {
        if self.anthropic {
            return anthropic_model(model, self.gateway.ambient.now().date());
        }
        let now = self.gateway.ambient.now();
        let own = self.credentials().has_own_for(model);
        json!({
            "id": &*model.id,
            "object": "model",
            "created": created(model),
            "owned_by": model.provider.as_str(),
            "name": &*model.name,
            "provider": model.provider.row().name,
            "mode": model.mode,
            "context_length": model.context_tokens,
            "max_output_tokens": model.output_tokens_max,
            "status": model.status,
            "aliases": model.aliases.iter().map(|alias| &**alias).collect::<Vec<_>>(),
            "fixed_versions": model.snapshots.iter().map(|version| &**version).collect::<Vec<_>>(),
            "shutdown_date": model.shutdown.map(|date| date.to_string()),
            "capabilities": model.flags.iter().collect::<Vec<_>>(),
            "pricing": model.prices.as_ref().and_then(|prices| prices.at(now)).map(|period| priced(period, now)),
            "byok": own,
            "available": self.is_available(model, own),
        })
    }

    fn credentials(&self) -> Credentials<'_> {
        Credentials::of_caller(&self.gateway, &self.principal)
    }

    /// Whether a request of this API key could be served by the model.
    fn is_available(&self, model: &Model, own: bool) -> bool {
        let platform = self.credentials().has_platform(model.provider) && model.prices.is_some();
        let today = self.gateway.ambient.now().date();
        (own || (platform && model.is_servable_by_name(today)))
            && is_served(model)
            && filter::policy_obstacle(&self.principal.policy, model.provider, &model.id, &model.name)
                .is_none()
    }
}

/// The filters of OpenAI's list; other parameters have no effect.
#[derive(serde::Deserialize)]
struct Filter {
    mode: Option<Mode>,
    /// `true`: those that a request of this API key could be served by.
    available: Option<bool>,
}

/// A long list that rarely changes: a client that has it gets 304 instead.
fn tagged(call: &Call, body: String) -> HttpResponse {
    let digest = Sha256::digest(body.as_bytes());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{hash}\"");
    let known = call.header("if-none-match").unwrap_or_default();
    let is_known = known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = match is_known {
        true => HttpResponse::NotModified(),
        false => HttpResponse::Ok(),
    };
    // It depends on the API key.
    response.insert_header((header::ETAG, tag)).insert_header((header::CACHE_CONTROL, "private, no-cache"));
    match is_known {
        true => response.finish(),
        false => response.content_type("application/json").body(body),
    }
}

/// The parameters of Anthropic's list.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<usize>,
    after_id: Option<String>,
    before_id: Option<String>,
    /// Sent by some of its clients, without an effect here.
    #[serde(rename = "beta")]
    _beta: Option<String>,
}

impl Page {
    /// The models of the page, and whether more follow in its direction.
    fn of<'m>(&self, models: &'m [Arc<Model>]) -> Result<(&'m [Arc<Model>], bool), ApiError> {
        let limit = self.limit.unwrap_or(PAGE_MODELS);
        if limit == 0 || limit > PAGE_MODELS_MAX {
            let message = format!("`limit` must be a number from 1 to {PAGE_MODELS_MAX}");
            return Err(ApiError::invalid("limit", message));
        }
        let place = |param: &str, id: &Option<String>| match id {
            None => Ok(None),
            Some(id) => match models.iter().position(|model| *model.id == **id) {
                Some(place) => Ok(Some(place)),
                None => Err(ApiError::invalid(param, format!("`{param}` is the id of no listed model"))),
            },
        };
        let after = place("after_id", &self.after_id)?.map_or(0, |place| place + 1);
        let before = place("before_id", &self.before_id)?;
        let range = models.get(after..before.unwrap_or(models.len())).unwrap_or_default();
        let has_more = range.len() > limit;
        let page = match before {
            Some(_) => range.get(range.len().saturating_sub(limit)..),
            None => range.get(..limit.min(range.len())),
        };
        Ok((page.unwrap_or_default(), has_more))
    }
}

/// A model with every member that Anthropic's document requires. An ability that the catalogue does not state is not
/// supported.
fn anthropic_model(model: &Model, today: Date) -> Value {
    let supported = |supported: bool| json!({ "supported": supported });
    let can = |flag: Flag| supported(model.flags.has(flag));
    let own = supported(model.provider.as_str() == "anthropic");
    let reasoning = can(Flag::Reasoning);
    let always = model.flags.has(Flag::ThinkAlways);
    let is_deprecated = model.status == Status::Deprecated;
    let lifecycle = match model.is_servable_by_name(today) {
        false => "retired",
        true if is_deprecated => "deprecated",
        true => "active",
    };
    json!({
        "type": "model",
        "id": &*model.id,
        "display_name": &*model.name,
        "created_at": created_at(model),
        "lifecycle": lifecycle,
        "deprecated_at": null,
        "retires_at": model.shutdown.map(|day| format!("{day}T00:00:00Z")),
        "line": null,
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens_max,
        "capabilities": {
            "batch": supported(false),
            "citations": own,
            "code_execution": supported(false),
            "context_management": own,
            "effort": {
                "supported": reasoning.get("supported"),
                "low": reasoning, "medium": reasoning, "high": reasoning, "xhigh": null, "max": reasoning,
            },
            "image_input": can(Flag::Vision),
            "pdf_input": can(Flag::Pdf),
            "server_tools": {
                "supported": model.flags.has(Flag::WebSearch),
                "web_search": can(Flag::WebSearch),
                "code_execution": supported(false),
            },
            "structured_outputs": can(Flag::JsonSchema),
            "thinking": {
                "supported": reasoning.get("supported"),
                "types": {
                    "adaptive": reasoning, "enabled": reasoning, "between_tools": supported(false),
                    "disabled": supported(!always),
                },
            },
        },
    })
}

/// The day in a name (`claude-haiku-4-5-20251001`, `gpt-5.4-2026-03-05`), else the epoch, which in Anthropic's document
/// means that the day is unknown.
fn created_at(model: &Model) -> String {
    format!("{}T00:00:00Z", created_day(model).unwrap_or(UNKNOWN_DAY))
}

/// The same in seconds; 0: unknown.
fn created(model: &Model) -> i64 {
    created_day(model).map_or(0, |day| day.midnight().assume_utc().unix_timestamp())
}

fn created_day(model: &Model) -> Option<Date> {
    let versions = model.snapshots.iter().chain(&model.aliases);
    let mut names = [&model.upstream, &model.name].into_iter().chain(versions);
    names.find_map(|name| day_in(name))
}

fn day_in(name: &str) -> Option<Date> {
    let digits: String = name.chars().rev().filter(|letter| *letter != '-').take(8).collect();
    let digits: String = digits.chars().rev().collect();
    let is_year =
        digits.len() == 8 && digits.starts_with("20") && digits.bytes().all(|digit| digit.is_ascii_digit());
    let (year, rest) = digits.split_at_checked(4).filter(|_| is_year)?;
    let (month, day) = rest.split_at_checked(2)?;
    let text = format!("{year}-{month}-{day}");
    Date::parse(&text, time::macros::format_description!("[year]-[month]-[day]")).ok()
}

/// Whether the gateway can send requests to it.
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

/// Today's prices: for a million tokens, and for every other unit in the catalogue's words.
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
