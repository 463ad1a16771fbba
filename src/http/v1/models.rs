//! `GET /v1/models` and `GET /v1/models/{id}`: what can be called, in OpenAI's shape with the catalogue's facts
//! beside it, and whether this API key would use a key of its own.

use crate::{
    domain::catalog::{Catalog, Mode, Model, Resolved, ServiceTier},
    domain::money::NanoUsd,
    gateway::Gateway,
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    store::api_keys::Principal,
};
use actix_web::HttpResponse;
use serde_json::{Value, json};
use std::sync::Arc;

/// Lists the chat models that are served today.
pub async fn list_models(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    let catalog = gateway.catalog.load_full();
    let today = gateway.ambient.now().date();
    let served = catalog
        .models()
        .filter(|model| model.is_live(today) && matches!(model.mode, Mode::Chat | Mode::Responses));
    let data: Vec<Value> = served.map(|model| described(model, &gateway, &principal)).collect();
    Ok(HttpResponse::Ok().json(json!({ "object": "list", "data": data })))
}

/// One model by any of its names; slashes may arrive percent-encoded.
pub async fn get_model(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let gateway = call.state::<Gateway>()?;
    // The router leaves an encoded slash encoded.
    let name = percent_encoding::percent_decode_str(call.path("id")).decode_utf8_lossy().into_owned();
    match find(&gateway.catalog.load(), &name, &gateway) {
        Some(model) => Ok(HttpResponse::Ok().json(described(&model, &gateway, &principal))),
        None => Err(ApiError::new(Code::ModelNotFound, "No such model").param("model")),
    }
}

fn find(catalog: &Catalog, name: &str, gateway: &Gateway) -> Option<Arc<Model>> {
    match catalog.resolve(name, gateway.ambient.now().date()) {
        Resolved::Listed(models) | Resolved::Retired { models } => models.into_iter().next(),
        Resolved::Unlisted { .. } | Resolved::Unknown { .. } => None,
    }
}

fn described(model: &Model, gateway: &Gateway, principal: &Principal) -> Value {
    let now = gateway.ambient.now();
    let own = principal.keys_of(model.provider).next().is_some();
    let rates = model
        .prices
        .as_ref()
        .and_then(|prices| prices.at(now))
        .and_then(|period| Some(period.rates(ServiceTier::Standard, 0, now)?.rates));
    json!({
        "id": &*model.id,
        "object": "model",
        "created": 0,
        "owned_by": model.provider.as_str(),
        "name": &*model.name,
        "provider": model.provider.row().name,
        "context_length": model.context_tokens,
        "max_output_tokens": model.output_tokens_max,
        "status": model.status,
        "shutdown_date": model.shutdown.map(|date| date.to_string()),
        "capabilities": model.flags.iter().collect::<Vec<_>>(),
        "pricing": rates.map(|rates| json!({
            "unit": "USD per million tokens",
            "input": NanoUsd(rates.input.0).to_string(),
            "output": rates.output.map(|price| NanoUsd(price.0).to_string()),
            "cache_read": NanoUsd(rates.cache_read.0).to_string(),
        })),
        "byok": own,
        "available": own || gateway.platform_keys.get(model.provider).is_some(),
    })
}
