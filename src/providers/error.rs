//! The class of a provider's error, which determines the next step. Error bodies have a dozen formats; the readable
//! parts are kept, and the credential that was sent is never among them.

mod body;
mod classify;
mod scrub;

use crate::domain::{provider::ProviderId, usage::Usage};
use body::ErrorBody;
pub use scrub::without_key;
use scrub::{clipped, without_account};
use std::time::Duration;

/// The class of a failed call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorClass {
    /// The credential is invalid, revoked or blocked.
    BadKey,
    /// The account behind the credential is out of money.
    InsufficientFunds,
    /// The account has no permission for this, or not from here.
    Permission,
    /// The provider does not know the model, or no longer serves it.
    UnknownModel,
    /// The request itself is refused; every provider with this wire format would refuse it.
    InvalidRequest,
    /// The prompt does not fit this host's context window; another host's may be larger.
    ContextLength,
    /// Too many requests at the moment.
    Rate,
    /// The provider is overloaded or fails, or its answer was broken.
    Overload,
    /// The provider works, but its model's output cannot be passed on, such as a broken tool call.
    MalformedAnswer,
    /// No answer in time.
    Timeout,
    /// The gateway itself did not send the request. This is not an answer of the provider, and no reason to use another
    /// account than the customer's own.
    NotSent,
}

impl ErrorClass {
    /// Another credential at the same provider may succeed.
    pub fn retry_with_other_key(self) -> bool {
        matches!(
            self,
            ErrorClass::BadKey
                | ErrorClass::InsufficientFunds
                | ErrorClass::Permission
                | ErrorClass::Rate
                | ErrorClass::Overload
                | ErrorClass::Timeout
        )
    }

    /// The same, if the other credential also belongs to the customer.
    pub fn another_own_key_may_help(self) -> bool {
        self.retry_with_other_key() || self == ErrorClass::NotSent
    }

    /// Another provider of the same model may succeed.
    pub fn another_provider_may_help(self) -> bool {
        !matches!(self, ErrorClass::InvalidRequest)
    }

    /// The same call may succeed after a pause.
    pub fn is_transient(self) -> bool {
        matches!(self, ErrorClass::Rate | ErrorClass::Overload | ErrorClass::Timeout)
    }

    /// As stated in `X-KairosRoute-Fallback-Reason` and in receipts.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorClass::BadKey => "bad_key",
            ErrorClass::InsufficientFunds => "no_money",
            ErrorClass::Permission => "permission",
            ErrorClass::UnknownModel => "unknown_model",
            ErrorClass::InvalidRequest => "invalid_request",
            ErrorClass::ContextLength => "context_length",
            ErrorClass::Rate => "rate_limit",
            ErrorClass::Overload => "overload",
            ErrorClass::MalformedAnswer => "malformed_answer",
            ErrorClass::Timeout => "timeout",
            ErrorClass::NotSent => "not_sent",
        }
    }
}

/// OpenAI's error codes that its clients check, for any provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenAiCode {
    ContextLengthExceeded,
    ContentPolicyViolation,
    RateLimitExceeded,
    InsufficientQuota,
    ModelNotFound,
    ToolUseFailed,
}

impl OpenAiCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::ContentPolicyViolation => "content_policy_violation",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::InsufficientQuota => "insufficient_quota",
            Self::ModelNotFound => "model_not_found",
            Self::ToolUseFailed => "tool_use_failed",
        }
    }
}

/// One failed call.
#[derive(Clone, Debug)]
pub struct UpstreamError {
    pub class: ErrorClass,
    /// The provider's status; `None` if there was no answer.
    pub status: Option<u16>,
    /// The provider's message, or the gateway's if it gave none. Not shortened until [`UpstreamError::without`] has
    /// processed it.
    pub message: String,
    pub kind: Option<String>,
    /// The provider's own error code, for `error.metadata.upstream_code`.
    pub code: Option<String>,
    pub param: Option<String>,
    /// OpenAI's code for the same error, if its clients check one.
    pub openai_code: Option<OpenAiCode>,
    /// The model's output when it failed to write a tool call (Groq).
    pub failed_generation: Option<String>,
    /// The pause that the provider requests.
    pub retry_after: Option<Duration>,
    /// The usage of the provider before it refused, which it bills.
    pub billed: Option<Box<Usage>>,
    /// The provider returned success, but its answer cannot be used. It may bill this answer and every other call made
    /// in its place.
    pub unusable_success: bool,
}

/// The longest provider message that is passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// Bytes of a message that are kept until the key is removed: enough for a key that begins at the end of the passed-on
/// part.
const MESSAGE_READ_BYTES_MAX: usize = 64 * 1024;

impl UpstreamError {
    /// A failure without an answer.
    pub fn without_answer(class: ErrorClass, message: impl Into<String>) -> Self {
        Self {
            class,
            status: None,
            message: message.into(),
            kind: None,
            code: None,
            param: None,
            openai_code: classify::openai_code(class, &[], ""),
            failed_generation: None,
            retry_after: None,
            billed: None,
            unusable_success: false,
        }
    }

    /// Refused by the gateway before it was sent.
    pub fn not_sent(message: impl Into<String>) -> Self {
        Self::without_answer(ErrorClass::NotSent, message)
    }

    /// As [`UpstreamError::not_sent`], because of a full resource that may be free a moment later.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::not_sent(message) }
    }

    /// An answer that cannot be used.
    pub fn unusable(message: impl Into<String>) -> Self {
        Self { unusable_success: true, ..Self::without_answer(ErrorClass::Overload, message) }
    }

    /// Reads an error answer. `retry_after` is the value of the header.
    pub fn read(provider: ProviderId, status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let read = ErrorBody::read(body);
        let wait = retry_after.and_then(body::seconds);
        Self::of(provider, status, wait, read, body)
    }

    /// Reads an error that came with a success status, in a whole answer or in a stream. It counts as the error with
    /// the status that it states or means. An error without a status keeps 200: the host is failing.
    pub fn read_in_success(provider: ProviderId, body: &[u8]) -> Self {
        let read = ErrorBody::read(body);
        let status = classify::stated_status(&read).unwrap_or(200);
        Self::of(provider, status, None, read, body)
    }

    fn of(provider: ProviderId, status: u16, wait: Option<Duration>, read: ErrorBody, body: &[u8]) -> Self {
        let message = read.message.clone().unwrap_or_else(|| body::plain_text(body, status));
        let class = classify::class(provider, status, &read, &message);
        let openai_code = classify::openai_code(class, &read.words, &message);
        let kept = |text: Option<String>| text.map(|text| clipped(text, MESSAGE_READ_BYTES_MAX));
        Self {
            class,
            status: Some(status),
            message: clipped(message, MESSAGE_READ_BYTES_MAX),
            kind: kept(read.kind),
            code: kept(read.code),
            param: kept(read.param),
            openai_code,
            failed_generation: kept(read.failed_generation),
            retry_after: wait.or(read.retry_after),
            billed: None,
            unusable_success: false,
        }
    }

    /// Removes a credential that a provider repeats, and then shortens the message.
    pub fn without(mut self, secret: &str) -> Self {
        let optional = [&mut self.kind, &mut self.code, &mut self.param, &mut self.failed_generation];
        let optional = optional.into_iter().filter_map(Option::as_mut);
        for text in std::iter::once(&mut self.message).chain(optional) {
            *text = without_key(text, secret, MESSAGE_BYTES_MAX);
        }
        self
    }

    /// Removes data that identifies the operator's account, for an answer to a customer.
    pub fn without_account(mut self) -> Self {
        let optional = [&mut self.kind, &mut self.code, &mut self.param, &mut self.failed_generation];
        let optional = optional.into_iter().filter_map(Option::as_mut);
        for text in std::iter::once(&mut self.message).chain(optional) {
            *text = without_account(text);
        }
        self
    }
}

#[cfg(test)]
mod tests;
