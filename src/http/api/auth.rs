//! Signing up, logging in and out, and who one is.

use crate::{
    http::{error::ApiError, extract::Call},
    store::sessions::Person,
};
use actix_web::HttpResponse;

/// `GET /api/auth`.
pub async fn get_account(_call: Call, _who: Person) -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found("account"))
}
