//! The class of a provider's error: by status, by the words that name its kind, and by its message if nothing else
//! identifies it. The tables follow the providers' documents and recorded answers.

use super::{ErrorClass, OpenAiCode, body::ErrorBody};
use crate::domain::provider::ProviderId;

/// Words of an error that means missing money, not a rate limit.
const BILLING: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
    "exceeded_current_quota_error",
    "billing_error",
    "billing_hard_limit_reached",
    "insufficient_balance",
    "insufficient_credits",
    "payment_required",
];

/// Words of an error about a prompt that does not fit the model.
const TOO_LONG: &[&str] =
    &["context_length_exceeded", "string_above_max_length", "context_window_exceeded", "input_too_long"];

/// The same in messages, in lower case.
const TOO_LONG_MESSAGES: &[&str] = &[
    "context length",
    "context window",
    "context limit",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input is longer than",
    "too many tokens",
    "input token count",
    "maximum number of tokens allowed",
    "maximum prompt length",
    "maximum input length",
    "maximum sequence length",
    "model token limit",
    "input tokens exceed",
    "input length exceeds",
    "tokens in the prompt cannot exceed",
    "size limit exceeded by",
    "`inputs` tokens + `max_new_tokens` must be",
    "`inputs` must have less than",
    "input token length too long",
    "total length of all messages is too long",
    "reduce the length of the messages",
    "reduce the length of your prompt",
];

/// Words of an error about a model that the provider does not serve.
const UNKNOWN_MODEL: &[&str] = &[
    "model_not_found",
    "model_not_exist",
    "invalid_model",
    "unknown_model",
    "model_not_available",
    "model_decommissioned",
    "model_deprecated",
];

/// The same in messages, in lower case.
const UNKNOWN_MODEL_MESSAGES: &[&str] = &[
    "model not found",
    "model not exist",
    "not found the model",
    "unknown model",
    "invalid model",
    "no such model",
    "not a valid model",
    "supported api model names",
];

/// Text after the name of a model that is not served.
const UNKNOWN_MODEL_ENDS: &[&str] =
    &["does not exist", "has been decommissioned", "has been deprecated", "has been retired", "not found"];

/// Words of an error about output that the model failed to write correctly.
const MALFORMED_ANSWER: &[&str] = &[
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MALFORMED_RESPONSE",
    "MISSING_THOUGHT_SIGNATURE",
];

/// Words of an error about the provider's content rules.
const CONTENT_POLICY: &[&str] = &[
    "content_policy_violation",
    "content_filter",
    "content_filtered",
    "moderation_blocked",
    "responsibleaipolicyviolation",
];

const CONTENT_POLICY_MESSAGES: &[&str] =
    &["violates usage guidelines", "safety_check_type", "content policy", "considered high risk"];

/// The status that a word means, by its beginning, in lower case.
const STATUS_OF_WORD: &[(&str, u16)] = &[
    ("rate_limit", 429),
    ("rate_limited", 429),
    ("too_many_requests", 429),
    ("resource_exhausted", 429),
    ("slow_down", 429),
    ("request_quota_exceeded", 429),
    ("engine_overloaded", 503),
    ("overloaded", 503),
    ("capacity_exceeded", 503),
    ("unavailable", 503),
    ("service_unavailable", 503),
    ("timeout", 504),
    ("deadline_exceeded", 504),
    ("authentication", 401),
    ("unauthenticated", 401),
    ("unauthorized", 401),
    ("invalid_api_key", 401),
    ("invalid_authentication", 401),
    ("permission", 403),
    ("forbidden", 403),
    ("not_found", 404),
    ("resource_not_found", 404),
    ("request_too_large", 413),
    ("invalid_request", 400),
    ("invalid_argument", 400),
    ("invalid_prompt", 400),
    ("failed_precondition", 400),
    ("bad_request", 400),
    ("unsupported_", 400),
    ("tool_use_failed", 400),
    ("json_validate_failed", 400),
    ("unprocessable", 422),
    ("server_error", 500),
    ("internal", 500),
    ("api_error", 500),
];

/// The status of an error that came with a success status: the stated one, else the one it means. The kind of the error
/// has priority over a general word beside it (`invalid_request_error` with a code of money).
pub fn stated_status(read: &ErrorBody) -> Option<u16> {
    let message = read.message.as_deref().unwrap_or_default();
    let by_kind = || {
        let is = |words: &[&str]| is_any(&read.words, words);
        if is(BILLING) {
            return Some(429);
        }
        if is(TOO_LONG) || is(CONTENT_POLICY) {
            return Some(400);
        }
        is(UNKNOWN_MODEL).then_some(404)
    };
    let by_word = || {
        // A code is more precise than a type.
        let words = read.code.iter().chain(&read.words).map(|word| word.to_ascii_lowercase());
        words.into_iter().find_map(|word| {
            STATUS_OF_WORD.iter().find(|(begin, _)| word.starts_with(begin)).map(|(_, status)| *status)
        })
    };
    let by_message = || (says_any(message, TOO_LONG_MESSAGES) || names_unknown_model(message)).then_some(400);
    read.status.or_else(by_kind).or_else(by_word).or_else(by_message)
}

/// What to do about an error.
pub fn class(provider: ProviderId, status: u16, read: &ErrorBody, message: &str) -> ErrorClass {
    let is = |word: &str| read.words.iter().any(|known| known.eq_ignore_ascii_case(word));
    let says = |word: &str| message.to_ascii_lowercase().contains(word);
    let too_long = || is_any(&read.words, TOO_LONG) || says_any(message, TOO_LONG_MESSAGES);
    let unknown_model = || is_any(&read.words, UNKNOWN_MODEL) || names_unknown_model(message);
    match (provider.as_str(), status) {
        (_, 401) => ErrorClass::BadKey,
        ("google", 400) if says("api key") || is("API_KEY_INVALID") => ErrorClass::BadKey,
        // The account's billing or region (Google), or its empty balance: not a fault of the request.
        ("google", 400) if is("FAILED_PRECONDITION") => ErrorClass::Permission,
        (_, 400) if says("credit balance is too low") => ErrorClass::InsufficientFunds,
        ("xai", 400) if says("api key") => ErrorClass::BadKey,
        ("cohere", 498) => ErrorClass::BadKey,
        (_, 402) | ("fireworks_ai", 412) => ErrorClass::InsufficientFunds,
        (_, 400 | 403 | 429) if is_any(&read.words, BILLING) => ErrorClass::InsufficientFunds,
        (_, 400 | 403 | 413 | 422) if is_any(&read.words, CONTENT_POLICY) => ErrorClass::InvalidRequest,
        (_, 403) if says_any(message, CONTENT_POLICY_MESSAGES) => ErrorClass::InvalidRequest,
        (_, 400 | 403 | 413 | 422) if too_long() => ErrorClass::ContextLength,
        (_, 403) => ErrorClass::Permission,
        (_, 404) => ErrorClass::UnknownModel,
        (_, 400 | 422) if unknown_model() => ErrorClass::UnknownModel,
        // Larger than what the account may send within a minute.
        (_, 413) if is("rate_limit_exceeded") => ErrorClass::Rate,
        (_, 429) => ErrorClass::Rate,
        (_, 408) => ErrorClass::Timeout,
        (_, 502) if is_any(&read.words, MALFORMED_ANSWER) => ErrorClass::MalformedAnswer,
        (_, 409 | 498) | (_, 500..) | (_, 200..=299) => ErrorClass::Overload,
        _ => ErrorClass::InvalidRequest,
    }
}

/// OpenAI's code for an error of this class and kind.
pub fn openai_code(class: ErrorClass, words: &[String], message: &str) -> Option<OpenAiCode> {
    match class {
        ErrorClass::ContextLength => Some(OpenAiCode::ContextLengthExceeded),
        ErrorClass::Rate => Some(OpenAiCode::RateLimitExceeded),
        ErrorClass::InsufficientFunds => Some(OpenAiCode::InsufficientQuota),
        ErrorClass::UnknownModel => Some(OpenAiCode::ModelNotFound),
        ErrorClass::InvalidRequest if is_any(words, &["tool_use_failed"]) => Some(OpenAiCode::ToolUseFailed),
        ErrorClass::InvalidRequest
            if is_any(words, CONTENT_POLICY) || says_any(message, CONTENT_POLICY_MESSAGES) =>
        {
            Some(OpenAiCode::ContentPolicyViolation)
        }
        _ => None,
    }
}

fn is_any(words: &[String], known: &[&str]) -> bool {
    words.iter().any(|word| known.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

fn says_any(message: &str, phrases: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    phrases.iter().any(|phrase| message.contains(phrase))
}

/// "The model `x` does not exist", and similar. Only the model's name is between the two parts.
fn names_unknown_model(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    if UNKNOWN_MODEL_MESSAGES.iter().any(|phrase| message.contains(phrase)) {
        return true;
    }
    let Some((_, rest)) = message.split_once("model") else { return false };
    UNKNOWN_MODEL_ENDS.iter().any(|end| {
        rest.split_once(end)
            .is_some_and(|(between, _)| between.len() <= 300 && between.split_whitespace().count() <= 2)
    })
}
