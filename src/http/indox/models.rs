//! The catalogue in the format of indoxhub's client: providers with their models. Facts and availability are those of
//! the usual list.

use crate::{
    domain::{catalog::Model, provider::ProviderId},
    http::{
        error::{ApiError, Code},
        extract::Call,
        v1::models::{Asking, named},
    },
    store::api_keys::Principal,
};
use actix_web::HttpResponse;
use serde_json::{Value, json};
use std::sync::Arc;

/// Every provider with its models.
pub async fn list_models(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let asking = Asking::of(&call, principal)?;
    let providers: Vec<Value> = ProviderId::all().map(|provider| told(&asking, provider)).collect();
    Ok(HttpResponse::Ok().json(providers))
}

/// One provider with its models (`/models/{provider}`), or one model (`/models/{provider}/{model}`). The client
/// distinguishes missing entries by the words in the message.
pub async fn get_models(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let asking = Asking::of(&call, principal)?;
    let name = named(&call);
    let (first, rest) = name.split_once('/').map_or((&*name, None), |(first, rest)| (first, Some(rest)));
    let Some(provider) = ProviderId::by_name(first) else {
        let known = ProviderId::ids().join(", ");
        return Err(ApiError::new(Code::NotFound, format!("No such provider. Supported providers: {known}")));
    };
    let Some(rest) = rest else { return Ok(HttpResponse::Ok().json(told(&asking, provider))) };
    let found = [&*name, rest].into_iter().filter_map(|name| asking.find(name));
    match found.into_iter().find(|model| model.provider == provider) {
        Some(model) => Ok(HttpResponse::Ok().json(told_model(&asking, &model))),
        None => Err(ApiError::new(Code::ModelNotFound, "No such model").param("model")),
    }
}

fn told(asking: &Asking, provider: ProviderId) -> Value {
    let models = asking.live(|model| model.provider == provider);
    let models: Vec<Value> = models.iter().map(|model| told_model(asking, model)).collect();
    json!({ "id": provider.as_str(), "name": provider.row().name, "models": models })
}

/// Here `id` is the name without the provider; the client's users put the provider before it.
fn told_model(asking: &Asking, model: &Model) -> Value {
    let mut told = asking.told(model);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("id".to_owned(), json!(&*model.name));
        fields.insert("model".to_owned(), json!(&*model.id));
        fields.insert("provider".to_owned(), json!(model.provider.as_str()));
        fields.insert("description".to_owned(), Value::Null);
    }
    told
}
