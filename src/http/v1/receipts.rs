//! `GET /v1/receipts/{id}`: what was decided and done for one request of this API key's organization.

use crate::{
    domain::ids::ReceiptId,
    gateway::Gateway,
    http::{error::ApiError, extract::Call},
    store::{StoreError, api_keys::Principal, receipts},
};
use actix_web::HttpResponse;
use std::sync::Arc;

/// The receipt as it was written. One of another API key or organization is not found.
pub async fn get_receipt(call: Call, principal: Arc<Principal>) -> Result<HttpResponse, ApiError> {
    let id: ReceiptId = call.path("id").parse().map_err(|_| ApiError::not_found("receipt"))?;
    let db = call.state::<Gateway>()?.db.clone();
    let (scope, key) = (principal.scope, principal.api_key_id);
    let reading = db.clone();
    let document = db
        .run::<_, StoreError, _>(async move {
            let mut connection = reading.acquire().await?;
            receipts::get(&mut connection, scope, Some(key), id).await
        })
        .await?;
    match document {
        Some(document) => Ok(HttpResponse::Ok().content_type("application/json").body(document)),
        None => Err(ApiError::not_found("receipt")),
    }
}
