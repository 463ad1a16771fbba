//! A provider's error as an error of the gateway. On a customer's own key: the provider's status and message. On a
//! platform key the same, except data about the operator's account: a client would discard its own key.

use crate::{
    domain::provider::{Dialect, ProviderId},
    gateway::{failure::is_about_the_account, receipt::CredentialKind},
    http::error::{ApiError, Code, Upstream},
    providers::error::{ErrorClass, OpenAiCode, UpstreamError},
};
use actix_web::http::StatusCode;

/// The error of a request with this last error, after `tried` calls. The text must already be redacted for the
/// customer: see `gateway::failure::redact_for_customer`.
pub fn error(
    rejection: UpstreamError,
    provider: ProviderId,
    credential: CredentialKind,
    tried: usize,
) -> ApiError {
    let own = credential == CredentialKind::Byok;
    let code = code(&rejection, own);
    let status = status(&rejection, code, own);
    let message = openai_message(&rejection);
    let mut error = ApiError::new(code, message).upstream(Upstream {
        provider: provider.row().name.to_owned(),
        upstream_status: rejection.status,
        upstream_message: Some(rejection.message.clone()),
        upstream_code: rejection.code,
    });
    error = error.failed_generation(rejection.failed_generation).cause(format_args!(
        "{provider} answered {}: {}",
        rejection.status.map_or_else(|| "nothing".to_owned(), |status| status.to_string()),
        rejection.class.as_str()
    ));
    if rejection.class == ErrorClass::ContextLength && !says(&rejection.message, "prompt is too long") {
        error = error.anthropic_message(format!("prompt is too long: {}", rejection.message));
    }
    if let Some(status) = status {
        error = error.status_of_provider(status);
    }
    if let Some(status) = status {
        error = error.error_type(error_type(rejection.kind, provider, status));
    }
    if let Some(param) = rejection.param.filter(|_| status.is_some()) {
        error = error.param(param);
    }
    if matches!(error.status().as_u16(), 429 | 503) {
        let asked = rejection.retry_after.map_or(1, |wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
        error = error.retry_after_s(asked);
    }
    if tried > 1 { error.retry_is_useless() } else { error }
}

/// OpenAI's `type` of an error with the provider's status: the provider's own if it uses OpenAI's dialects.
fn error_type(own: Option<String>, provider: ProviderId, status: StatusCode) -> String {
    let speaks_openai = matches!(provider.row().dialect, Dialect::Chat | Dialect::Responses);
    own.filter(|_| speaks_openai).unwrap_or_else(|| {
        let by_status = match status.as_u16() {
            401 => "authentication_error",
            402 => "insufficient_quota",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "upstream_error",
            _ => "invalid_request_error",
        };
        by_status.to_owned()
    })
}

fn code(rejection: &UpstreamError, own: bool) -> Code {
    if !own && is_about_the_account(rejection.class) {
        return Code::UpstreamAuth;
    }
    match (rejection.openai_code, rejection.class) {
        (Some(OpenAiCode::ContextLengthExceeded), _) => Code::ContextLengthExceeded,
        (Some(OpenAiCode::ContentPolicyViolation), _) => Code::ContentPolicyViolation,
        (Some(OpenAiCode::RateLimitExceeded), _) => Code::RateLimitExceeded,
        (Some(OpenAiCode::InsufficientQuota), _) => Code::InsufficientQuota,
        (Some(OpenAiCode::ModelNotFound), _) => Code::ModelNotFound,
        (Some(OpenAiCode::ToolUseFailed), _) => Code::ToolUseFailed,
        (None, ErrorClass::Timeout) => Code::UpstreamTimeout,
        (None, ErrorClass::Overload) if matches!(rejection.status, Some(503 | 529 | 498)) => {
            Code::UpstreamUnavailable
        }
        (None, ErrorClass::Overload) if rejection.status == Some(504) => Code::UpstreamTimeout,
        (None, _) => Code::UpstreamError,
    }
}

/// The provider's status, if it replaces the status of the code.
fn status(rejection: &UpstreamError, code: Code, own: bool) -> Option<StatusCode> {
    let status = rejection.status.and_then(|status| StatusCode::from_u16(status).ok())?;
    let keeps = match (own, code) {
        (true, _) => status.is_client_error() || status.is_server_error(),
        (false, Code::UpstreamAuth) => false,
        // Together refuses a long prompt as forbidden, Groq answers 498 if its capacity is full.
        (false, _) => status.is_client_error() && !matches!(status.as_u16(), 403 | 498),
    };
    keeps.then_some(status)
}

/// The provider's message; for a prompt that is too long, with the words that OpenAI's clients search.
fn openai_message(rejection: &UpstreamError) -> String {
    let known = ["context length", "context window"].iter().any(|words| says(&rejection.message, words));
    match rejection.class == ErrorClass::ContextLength && !known {
        true => format!("The request exceeds this model's maximum context length: {}", rejection.message),
        false => rejection.message.clone(),
    }
}

fn says(message: &str, words: &str) -> bool {
    message.to_ascii_lowercase().contains(words)
}
