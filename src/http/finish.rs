//! The headers of every response, and the choice of the error envelope.

use super::error::{ApiError, Envelope};
use crate::{domain::ids::RequestId, gateway::Gateway};
use actix_web::{
    HttpRequest, HttpResponse, ResponseError,
    http::{
        ConnectionType,
        header::{HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    },
    web,
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Anthropic's clients state their API version in every request, and read only Anthropic's errors.
pub fn envelope_for(request: &HttpRequest, otherwise: Envelope) -> Envelope {
    match request.headers().contains_key("anthropic-version") {
        true => Envelope::Anthropic,
        false => otherwise,
    }
}

/// Answers a path without a route, with the headers of every response.
pub fn refuse(request: &HttpRequest, error: ApiError) -> HttpResponse {
    let gateway = request.app_data::<web::Data<Gateway>>().map(|gateway| &***gateway);
    finished(request, identified(error, gateway).error_response())
}

pub fn finished(request: &HttpRequest, mut response: HttpResponse) -> HttpResponse {
    finish(&mut response, request.app_data::<web::Data<Gateway>>().map(|gateway| &***gateway));
    response
}

/// Anthropic's errors also contain the request's id in their body.
pub fn identified(error: ApiError, gateway: Option<&Gateway>) -> ApiError {
    match gateway {
        Some(gateway) => error.with_request_id(&RequestId(gateway.ambient.uuid()).to_string()),
        None => error,
    }
}

/// Gives a response a request id, unless it has one.
pub fn identify(response: &mut HttpResponse, id: &str) {
    if let Ok(value) = HeaderValue::try_from(id)
        && !response.headers().contains_key(REQUEST_ID)
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

/// The headers of every response: the request id, `nosniff` (some types are stated by a provider), and while the
/// process stops, the end of the connection.
pub fn finish(response: &mut HttpResponse, gateway: Option<&Gateway>) {
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let Some(gateway) = gateway else { return };
    if !response.headers().contains_key(REQUEST_ID) {
        identify(response, &RequestId(gateway.ambient.uuid()).to_string());
    }
    if gateway.is_draining() {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
}
