//! Cross-origin calls of browser applications, if the operator allows their origin: only for the inference API (`/v1`,
//! `/api/v1`). Accounts and pages are never open to another origin, and credentials of the browser (cookies) are never
//! allowed.

use crate::gateway::Gateway;
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue,
        ORIGIN, VARY,
    },
    web,
};

/// The headers of an answer that a script may read.
const EXPOSED: &str = "x-request-id, x-client-request-id, retry-after, etag, x-should-retry, x-kairosroute-provider, \
                       x-kairosroute-model, x-kairosroute-byok, x-kairosroute-receipt, x-kairosroute-attempts, \
                       x-kairosroute-cost, x-kairosroute-savings, x-kairosroute-cache, x-kairosroute-dropped, \
                       x-kairosroute-fallback-reason, x-kairosroute-advice, x-ratelimit-limit-requests, \
                       x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, \
                       x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens";
/// How long a browser may cache the answer to a preflight.
const MAX_AGE_S: &str = "600";
const REQUESTED_BYTES_MAX: usize = 1_024;

/// The origin of a call, if the operator allows it.
pub fn allowed(request: &HttpRequest) -> Option<HeaderValue> {
    let gateway = request.app_data::<web::Data<Gateway>>()?;
    origin(request, &gateway.settings.cors_origins)
}

/// The same by the setting's origins.
fn origin(request: &HttpRequest, allowed: &[String]) -> Option<HeaderValue> {
    // Most installations allow none; then nothing else is checked.
    if allowed.is_empty() || !is_open(request.path()) {
        return None;
    }
    let origin = request.headers().get(ORIGIN)?;
    let text = origin.to_str().ok()?;
    allowed.iter().any(|one| one == "*" || one == text).then(|| origin.clone())
}

fn is_open(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/api/v1/")
}

/// Allows scripts of the origin to read the answer.
pub fn allow(response: &mut HttpResponse, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    headers.append(VARY, HeaderValue::from_static("Origin"));
}

/// Answers the preflight request of a browser.
pub fn preflight(
    response: &mut HttpResponse,
    request: &HttpRequest,
    origin: Option<HeaderValue>,
    methods: &str,
) {
    let Some(origin) = origin else { return };
    allow(response, Some(origin));
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(methods) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    // Requests are authenticated by headers, and SDKs send many of their own.
    let requested = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
    if let Some(requested) = requested.filter(|value| value.len() <= REQUESTED_BYTES_MAX) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, requested.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE_S));
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn is_allowed(path: &str, from: &str, setting: &[&str]) -> bool {
        let setting: Vec<String> = setting.iter().map(|one| (*one).to_owned()).collect();
        let request = TestRequest::with_uri(path).insert_header((ORIGIN, from)).to_http_request();
        origin(&request, &setting).is_some()
    }

    #[test]
    fn only_named_origins_are_allowed_and_only_on_the_api_for_applications() {
        let app = "https://app.example.com";
        assert!(is_allowed("/v1/chat/completions", app, &[app]));
        assert!(is_allowed("/api/v1/models", app, &["*"]));
        assert!(!is_allowed("/v1/models", app, &[]));
        assert!(!is_allowed("/v1/models", "https://app.example.com.evil.test", &[app]));
        assert!(!is_allowed("/v1/models", "null", &[app]));
        for closed in ["/api/auth", "/api/billing/balance", "/login", "/o/org_1", "/v1x"] {
            assert!(!is_allowed(closed, app, &["*"]), "{closed}");
        }
    }

    #[test]
    fn a_preflight_names_methods_and_the_headers_that_were_asked_for() {
        let request = TestRequest::with_uri("/v1/models")
            .insert_header((ORIGIN, "https://a.example"))
            .insert_header((ACCESS_CONTROL_REQUEST_HEADERS, "authorization, x-stainless-os"))
            .to_http_request();
        let mut response = HttpResponse::NoContent().finish();
        let from = origin(&request, &["*".to_owned()]);
        preflight(&mut response, &request, from, "GET, HEAD, OPTIONS");
        let header = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert_eq!(header("access-control-allow-origin"), "https://a.example");
        assert_eq!(header("access-control-allow-methods"), "GET, HEAD, OPTIONS");
        assert_eq!(header("access-control-allow-headers"), "authorization, x-stainless-os");
        assert!(response.headers().get("access-control-allow-credentials").is_none());
    }
}
