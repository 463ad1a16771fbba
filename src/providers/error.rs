//! What a provider's refusal means, by what to do next. Bodies come in a dozen shapes; whatever can be read
//! of them is kept, and the credential that was sent is never among it.

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
    /// The credential is wrong, revoked or blocked.
    BadKey,
    /// The account behind the credential is out of money.
    InsufficientFunds,
    /// The account may not do this, or not from here.
    Permission,
    /// The provider does not know the model, or no longer.
    UnknownModel,
    /// The request itself is refused; every provider of this wire would say the same.
    InvalidRequest,
    /// The prompt does not fit this host's window; another host's may.
    ContextLength,
    /// Too many requests for now.
    Rate,
    /// The provider is overloaded or broken, or its answer was.
    Overload,
    /// The provider is well, and what its model wrote is nothing that can be passed on, such as a broken tool call.
    MalformedAnswer,
    /// No answer in time.
    Timeout,
    /// The gateway itself did not send the request. It is no answer of the provider, and no reason to use another
    /// account than the customer's own.
    NotSent,
}

impl ErrorClass {
    /// Another credential at the same provider could mend it.
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

    /// The same, where the other credential is the customer's own too.
    pub fn another_own_key_may_help(self) -> bool {
        self.retry_with_other_key() || self == ErrorClass::NotSent
    }

    /// Another provider of the same model could mend it.
    pub fn another_provider_may_help(self) -> bool {
        !matches!(self, ErrorClass::InvalidRequest)
    }

    /// The same call may work in a moment.
    pub fn is_transient(self) -> bool {
        matches!(self, ErrorClass::Rate | ErrorClass::Overload | ErrorClass::Timeout)
    }

    /// As told in `X-KairosRoute-Fallback-Reason` and in receipts.
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

/// Codes of OpenAI's that its clients branch on, whichever provider refused.
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
    /// The provider's status; `None` when there was no answer.
    pub status: Option<u16>,
    /// The provider's message, or ours when it gave none. Long until [`UpstreamError::without`] has been through it.
    pub message: String,
    pub kind: Option<String>,
    /// The provider's own error code, for `error.metadata.upstream_code`.
    pub code: Option<String>,
    pub param: Option<String>,
    /// OpenAI's code for the same error, where its clients branch on one.
    pub openai_code: Option<OpenAiCode>,
    /// What the model wrote where it failed to write a tool call (Groq).
    pub failed_generation: Option<String>,
    /// How long the provider asks us to wait.
    pub retry_after: Option<Duration>,
    /// What the provider made before it declined, and bills.
    pub billed: Option<Box<Usage>>,
    /// The provider said that all is well, and its answer cannot be used. It may bill that one, and every other that
    /// is asked of it in its place.
    pub unusable_success: bool,
}

/// The longest provider message passed on, in bytes.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// What is kept of one until the key is out of it: enough for a key that begins at the end of what is passed on.
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

    /// Refused by the gateway before anything was sent.
    pub fn not_sent(message: impl Into<String>) -> Self {
        Self::without_answer(ErrorClass::NotSent, message)
    }

    /// As [`UpstreamError::not_sent`], for want of room that another moment may have.
    pub fn busy(message: impl Into<String>) -> Self {
        Self { retry_after: Some(Duration::from_secs(1)), ..Self::not_sent(message) }
    }

    /// An answer that nothing can be made of.
    pub fn unusable(message: impl Into<String>) -> Self {
        Self { unusable_success: true, ..Self::without_answer(ErrorClass::Overload, message) }
    }

    /// Reads an error answer. `retry_after` is the header's value.
    pub fn read(provider: ProviderId, status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let read = ErrorBody::read(body);
        let wait = retry_after.and_then(body::seconds);
        Self::of(provider, status, wait, read, body)
    }

    /// Reads an error that came with the status of a success, in a whole answer or in a stream. It counts as the same
    /// refusal with the status that it states or stands for. One that states none keeps its 200: the host is failing.
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

    /// Removes a credential that a provider echoes, and then what is too long.
    pub fn without(mut self, secret: &str) -> Self {
        let optional = [&mut self.kind, &mut self.code, &mut self.param, &mut self.failed_generation];
        let optional = optional.into_iter().filter_map(Option::as_mut);
        for text in std::iter::once(&mut self.message).chain(optional) {
            *text = without_key(text, secret, MESSAGE_BYTES_MAX);
        }
        self
    }

    /// Removes what names the operator's account, for an answer to a customer.
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
