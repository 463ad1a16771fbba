//! The one table from error code to HTTP status, and the one place where an error becomes a response and a
//! log line. It must never show or log a body, a key or an e-mail address.

mod body;

use crate::{domain::provider::ProviderId, store::StoreError};
use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    error::PayloadError,
    http::{StatusCode, header},
};
use serde_json::Value;
use std::fmt;

/// Why a request was refused. Clients branch on the text form, which never changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    InvalidRequest,
    UnknownProvider,
    NoModelsAvailable,
    InvalidApiKey,
    InvalidSession,
    InvalidCredentials,
    InsufficientCredits,
    CostGuardrailExceeded,
    BudgetExceeded,
    PermissionDenied,
    /// The password was right; a code is missing.
    SecondFactorRequired,
    ModelNotFound,
    NotFound,
    MethodNotAllowed,
    EmailTaken,
    Conflict,
    IdempotencyConflict,
    RequestTooLarge,
    UnsupportedEncoding,
    RateLimitExceeded,
    ContextLengthExceeded,
    ContentPolicyViolation,
    ToolUseFailed,
    /// The customer's own account at a provider is out of money.
    InsufficientQuota,
    UpstreamError,
    UpstreamAuth,
    UpstreamUnavailable,
    UpstreamTimeout,
    ServiceUnavailable,
    InternalError,
}

impl Code {
    /// The text form, the status and OpenAI's `type`.
    fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        const REQUEST: &str = "invalid_request_error";
        const ACCESS: &str = "authentication_error";
        const QUOTA: &str = "insufficient_quota";
        const PERMISSION: &str = "permission_error";
        const RATE: &str = "rate_limit_error";
        const UPSTREAM: &str = "upstream_error";
        const SERVER: &str = "server_error";
        match self {
            Self::InvalidRequest => ("invalid_request", S::BAD_REQUEST, REQUEST),
            Self::UnknownProvider => ("unknown_provider", S::BAD_REQUEST, REQUEST),
            Self::NoModelsAvailable => ("no_models_available", S::BAD_REQUEST, REQUEST),
            Self::InvalidApiKey => ("invalid_api_key", S::UNAUTHORIZED, ACCESS),
            Self::InvalidSession => ("invalid_session", S::UNAUTHORIZED, ACCESS),
            Self::InvalidCredentials => ("invalid_credentials", S::UNAUTHORIZED, ACCESS),
            Self::InsufficientCredits => ("insufficient_credits", S::PAYMENT_REQUIRED, QUOTA),
            Self::CostGuardrailExceeded => ("cost_guardrail_exceeded", S::PAYMENT_REQUIRED, QUOTA),
            Self::BudgetExceeded => ("budget_exceeded", S::PAYMENT_REQUIRED, QUOTA),
            Self::PermissionDenied => ("permission_denied", S::FORBIDDEN, PERMISSION),
            Self::SecondFactorRequired => ("second_factor_required", S::FORBIDDEN, PERMISSION),
            Self::ModelNotFound => ("model_not_found", S::NOT_FOUND, REQUEST),
            Self::NotFound => ("not_found", S::NOT_FOUND, REQUEST),
            Self::MethodNotAllowed => ("method_not_allowed", S::METHOD_NOT_ALLOWED, REQUEST),
            Self::EmailTaken => ("email_taken", S::CONFLICT, REQUEST),
            Self::Conflict => ("conflict", S::CONFLICT, REQUEST),
            Self::IdempotencyConflict => ("idempotency_conflict", S::CONFLICT, REQUEST),
            Self::RequestTooLarge => ("request_too_large", S::PAYLOAD_TOO_LARGE, REQUEST),
            Self::UnsupportedEncoding => ("unsupported_encoding", S::UNSUPPORTED_MEDIA_TYPE, REQUEST),
            Self::RateLimitExceeded => ("rate_limit_exceeded", S::TOO_MANY_REQUESTS, RATE),
            Self::ContextLengthExceeded => ("context_length_exceeded", S::BAD_REQUEST, REQUEST),
            Self::ContentPolicyViolation => ("content_policy_violation", S::BAD_REQUEST, REQUEST),
            Self::ToolUseFailed => ("tool_use_failed", S::BAD_REQUEST, REQUEST),
            Self::InsufficientQuota => ("insufficient_quota", S::TOO_MANY_REQUESTS, QUOTA),
            Self::UpstreamError => ("upstream_error", S::BAD_GATEWAY, UPSTREAM),
            Self::UpstreamAuth => ("upstream_auth", S::BAD_GATEWAY, UPSTREAM),
            Self::UpstreamUnavailable => ("upstream_unavailable", S::SERVICE_UNAVAILABLE, UPSTREAM),
            Self::UpstreamTimeout => ("upstream_timeout", S::GATEWAY_TIMEOUT, UPSTREAM),
            Self::ServiceUnavailable => ("service_unavailable", S::SERVICE_UNAVAILABLE, SERVER),
            Self::InternalError => ("internal_error", S::INTERNAL_SERVER_ERROR, SERVER),
        }
    }

    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The status of this code unless a customer's own provider answered with another.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    fn openai_type(self) -> &'static str {
        self.row().2
    }
}

/// What the provider said, for `error.metadata`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Upstream {
    /// Display name.
    pub provider: String,
    pub upstream_status: Option<u16>,
    pub upstream_message: Option<String>,
    /// The provider's own error code.
    pub upstream_code: Option<String>,
}

/// In whose words an error is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Envelope {
    #[default]
    OpenAi,
    /// `{"type": "error", "error": {type, message}}`, on Messages paths.
    Anthropic,
    /// OpenAI's, and beside it what indoxhub's client reads: `detail`, `success`, `message`.
    Indox,
}

/// A refusal or failure on its way to the client. Boxed, for results carry it everywhere.
pub struct ApiError(Box<Parts>);

struct Parts {
    code: Code,
    message: String,
    param: Option<String>,
    /// The customer's own provider's status and `type`, where they stand in for ours.
    status: Option<StatusCode>,
    error_type: Option<String>,
    upstream: Option<Upstream>,
    /// Further members of the error, for clients to act on.
    details: Vec<(&'static str, Value)>,
    supported_providers: bool,
    /// What the model wrote where it failed to write a tool call.
    failed_generation: Option<String>,
    /// The message in Anthropic's words, where its clients look for them.
    anthropic_message: Option<String>,
    retry_after_s: Option<u32>,
    retry_is_useless: bool,
    headers: Vec<(header::HeaderName, header::HeaderValue)>,
    envelope: Envelope,
    /// For the log only.
    cause: Option<String>,
}

impl ApiError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            param: None,
            status: None,
            error_type: None,
            upstream: None,
            details: Vec::new(),
            supported_providers: false,
            failed_generation: None,
            anthropic_message: None,
            retry_after_s: None,
            retry_is_useless: false,
            headers: Vec::new(),
            envelope: Envelope::default(),
            cause: None,
        }))
    }

    /// 400 that names the field at fault.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message).param(param)
    }

    /// 400 `unknown_provider` with the list of those there are.
    pub fn unknown_provider(param: impl Into<String>) -> Self {
        let message = format!(
            "This provider is not known. Use one of the supported providers: {}",
            ProviderId::ids().join(", ")
        );
        let mut error = Self::new(Code::UnknownProvider, message).param(param);
        error.0.supported_providers = true;
        error
    }

    /// 404 for what is not there or not the caller's; the two are told apart nowhere.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("No such {what}"))
    }

    /// 500 without detail for the client; `cause` goes to the log.
    pub fn internal(cause: impl fmt::Display) -> Self {
        Self::new(Code::InternalError, "Internal error").cause(cause)
    }

    /// What a report or page that could not be read is answered with.
    pub fn of_report(error: StoreError) -> Self {
        match error {
            StoreError::TimeLimit => Self::new(
                Code::InvalidRequest,
                "The report covers too much to be read in time; ask for a shorter range with `from` and `to`",
            ),
            other => other.into(),
        }
    }

    /// 503 with `Retry-After`; `cause` goes to the log.
    pub fn unavailable(cause: impl fmt::Display) -> Self {
        Self::new(Code::ServiceUnavailable, "Temporarily unavailable, try again")
            .retry_after_s(1)
            .cause(cause)
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// The status of the customer's own provider, in place of the table's.
    pub fn status_of_provider(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// The provider's own error `type`, in place of the table's.
    pub fn error_type(mut self, error_type: impl Into<String>) -> Self {
        self.0.error_type = Some(error_type.into());
        self
    }

    /// One more sentence in the message.
    pub fn hint(mut self, hint: &str) -> Self {
        if !hint.is_empty() {
            self.0.message.push_str(". ");
            self.0.message.push_str(hint);
        }
        self
    }

    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.0.upstream = Some(upstream);
        self
    }

    /// A further member of the error, for clients to act on.
    pub fn detail(mut self, name: &'static str, value: Value) -> Self {
        self.0.details.push((name, value));
        self
    }

    pub fn failed_generation(mut self, text: Option<String>) -> Self {
        self.0.failed_generation = text;
        self
    }

    /// The message for Anthropic's envelope, in place of the other.
    pub fn anthropic_message(mut self, message: impl Into<String>) -> Self {
        self.0.anthropic_message = Some(message.into());
        self
    }

    /// Whole seconds, clamped to 1-30: some SDKs sleep whatever they are told.
    pub fn retry_after_s(mut self, seconds: u32) -> Self {
        self.0.retry_after_s = Some(seconds.clamp(1, 30));
        self
    }

    /// The gateway has retried already: tells SDKs not to.
    pub fn retry_is_useless(mut self) -> Self {
        self.0.retry_is_useless = true;
        self
    }

    /// One more response header; dropped if the value is not a legal one.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        if let (Ok(name), Ok(value)) = (name.parse(), header::HeaderValue::from_str(value)) {
            self.0.headers.push((name, value));
        }
        self
    }

    /// One more response header.
    pub fn header_value(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.0.envelope = envelope;
        self
    }

    /// Detail for the log, never shown. It must hold no secret.
    pub fn cause(mut self, cause: impl fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Refused by the gateway itself, for a reason that lies with the caller.
    pub fn is_refusal(&self) -> bool {
        self.0.upstream.is_none() && self.status().is_client_error() && self.0.code != Code::RateLimitExceeded
    }

    /// The field at fault, if it is one.
    pub fn field(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn status(&self) -> StatusCode {
        self.0.status.unwrap_or(self.0.code.status())
    }

    /// Gives the error an id to ask about, unless the request has one already.
    pub fn with_request_id(self, id: &str) -> Self {
        if self.request_id().is_some() { self } else { self.header("x-request-id", id) }
    }

    /// Of a request that came as far as having one.
    fn request_id(&self) -> Option<&str> {
        let header = self.0.headers.iter().find(|(name, _)| name.as_str() == "x-request-id");
        header.and_then(|(_, value)| value.to_str().ok())
    }

    /// The one log line of this error.
    pub fn log(&self) {
        let (code, status) = (self.0.code.as_str(), self.status().as_u16());
        match (status >= 500, self.0.cause.as_deref()) {
            // A refusal for now, such as while the process stops, has no cause to look for.
            (true, None) if self.0.code == Code::ServiceUnavailable => {
                tracing::debug!(error.code = code, http.status = status, "request refused");
            }
            (true, cause) => {
                let cause = cause.unwrap_or(&self.0.message);
                tracing::error!(
                    error.code = code,
                    http.status = status,
                    error.cause = cause,
                    "request failed"
                );
            }
            (false, cause) => {
                let cause = cause.unwrap_or_default();
                tracing::debug!(
                    error.code = code,
                    http.status = status,
                    error.cause = cause,
                    "request refused"
                );
            }
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.as_str())
    }
}

impl fmt::Debug for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiError({}, cause {:?})", self.0.code.as_str(), self.0.cause)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let mut response = HttpResponseBuilder::new(self.status());
        if let Some(seconds) = self.0.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.0.retry_is_useless {
            response.insert_header(("x-should-retry", "false"));
        }
        for (name, value) in &self.0.headers {
            response.append_header((name.clone(), value.clone()));
        }
        response.json(self.body())
    }
}

impl From<&StoreError> for ApiError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Contention | StoreError::TimeLimit => {
                Self::unavailable(error)
            }
            StoreError::Constraint(_) | StoreError::Corrupt { .. } | StoreError::Refused(_) => {
                Self::internal(error)
            }
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::from(&error)
    }
}

impl From<PayloadError> for ApiError {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Overflow => Self::new(Code::RequestTooLarge, "The request body is too large"),
            other => Self::new(Code::InvalidRequest, "The request body could not be read").cause(other),
        }
    }
}

#[cfg(test)]
mod tests;
