//! Why a request has no answer, and which part of the reason the customer may read: everything that a provider returned
//! for the customer's own key; for a platform key everything except data about the operator's account.

use super::{quota::RateLimited, receipt::CredentialKind};
use crate::{
    billing::ledger::{BudgetOwner, FullBudget},
    dialect::Invalid,
    domain::{money::NanoUsd, provider::ProviderId},
    providers::error::{ErrorClass, UpstreamError},
};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    Invalid(Invalid),
    /// `auto` was refused, or no candidate is left after the filters.
    NoModels {
        /// The wrong field, if there is one.
        param: Option<&'static str>,
        message: String,
    },
    UnknownModel {
        message: String,
    },
    /// The provider does not exist. `hint` is a sentence with a suggestion, or empty.
    UnknownProvider {
        param: &'static str,
        hint: String,
    },
    /// The prompt exceeds the context window of every candidate, by the gateway's own check before a call.
    ContextLength {
        /// The largest window among the candidates, in tokens.
        context_tokens: u64,
        /// The minimum number of tokens of the prompt.
        prompt_tokens_min: u64,
    },
    InsufficientCredits {
        available: NanoUsd,
    },
    /// A budget of the API key or of the organization has no room for the request.
    OverBudget(Box<FullBudget>),
    /// A rate limit of the API key, the organization or the end user is used up.
    RateLimited(RateLimited),
    /// Every candidate may cost more than the API key allows for one request.
    CostGuardrail {
        estimate: NanoUsd,
        limit: NanoUsd,
    },
    /// The API key was revoked or has expired during the request.
    KeyRevoked,
    /// The error of the last provider.
    Upstream {
        /// Redacted: see [`redact_for_customer`].
        rejection: Box<UpstreamError>,
        provider: ProviderId,
        credential: CredentialKind,
        tried: usize,
    },
    /// The provider answered, but the charge was not durable in time. The charge is taken back.
    NotDurable,
    /// The database is unreachable, or the process is stopping.
    Unavailable(String),
    /// The organization has its share of a shared resource.
    Busy(String),
}

impl Failure {
    /// For a call that was not an inference request.
    pub fn not_sent(rejection: UpstreamError) -> Self {
        match rejection.retry_after {
            Some(_) => Self::Busy(rejection.message),
            None => Self::Invalid(Invalid { param: None, message: rejection.message }),
        }
    }

    /// The process is stopping.
    pub fn stopping() -> Self {
        Self::Unavailable("the gateway is shutting down".into())
    }

    /// The request has already ended.
    pub fn ended() -> Self {
        Self::Unavailable("the request has ended".into())
    }

    /// The value in the receipt.
    pub fn text(&self) -> String {
        match self {
            Failure::Invalid(invalid) => invalid.message.clone(),
            Failure::NoModels { message, .. } | Failure::UnknownModel { message } => message.clone(),
            Failure::UnknownProvider { param, .. } => format!("`{param}` names no known provider"),
            Failure::ContextLength { context_tokens, prompt_tokens_min } => format!(
                "This model's maximum context length is {context_tokens} tokens. However, your messages resulted in at \
                 least {prompt_tokens_min} tokens. Please reduce the length of the messages."
            ),
            Failure::InsufficientCredits { .. } => "insufficient credits".to_owned(),
            Failure::OverBudget(budget) => over_budget(budget),
            Failure::RateLimited(limited) => limited.text(),
            Failure::CostGuardrail { estimate, limit } => format!(
                "This request may cost {estimate} USD, more than the {limit} USD that this API key allows for one request: \
                 shorten it, lower its output limit, choose a cheaper model, or raise `maxCostPerRequestUsd`"
            ),
            Failure::KeyRevoked => "The API key was revoked or has expired meanwhile".to_owned(),
            Failure::Upstream { rejection, .. } => rejection.message.clone(),
            Failure::NotDurable => "the bill could not be made durable in time".to_owned(),
            Failure::Unavailable(cause) | Failure::Busy(cause) => cause.clone(),
        }
    }
}

/// Why a budget refuses a request, and what the customer can do.
fn over_budget(budget: &FullBudget) -> String {
    let FullBudget { owner, amount, spent, held, resets_at } = budget;
    let owner = match owner {
        BudgetOwner::ApiKey => "this API key",
        BudgetOwner::Organization => "your organization",
    };
    let held = match *held > NanoUsd::ZERO {
        true => format!(" and {held} USD set aside for requests that are running"),
        false => String::new(),
    };
    format!(
        "The budget of {owner} is {amount} USD, of which {spent} USD are spent{held}: too little is left for this \
         request. The budget starts anew at {}; raise it, or wait until then",
        rfc3339(*resets_at)
    )
}

/// A time in UTC, as shown in error bodies and messages.
pub fn rfc3339(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}

/// A provider's error as the customer may read it. Errors about the operator's key or money get a message of the
/// gateway, and identifiers of the operator's account are removed from all other messages.
pub fn redact_for_customer(
    rejection: &UpstreamError,
    provider: ProviderId,
    credential: CredentialKind,
) -> UpstreamError {
    if credential == CredentialKind::Byok {
        return rejection.clone();
    }
    if !is_about_the_account(rejection.class) {
        return rejection.clone().without_account();
    }
    let name = provider.row().name;
    let message = format!(
        "{name} refused the platform's own key. This is not caused by your request: name a model of another provider, \
         or store your own {name} key"
    );
    UpstreamError {
        message,
        kind: None,
        code: None,
        param: None,
        failed_generation: None,
        ..rejection.clone()
    }
}

/// Whether the key or its account is the cause, and not the request or the host.
pub fn is_about_the_account(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::BadKey | ErrorClass::InsufficientFunds | ErrorClass::Permission)
}

/// The `code` of the error event that ends a stream.
pub fn stream_code(rejection: &UpstreamError, credential: CredentialKind) -> &'static str {
    if credential == CredentialKind::Platform && is_about_the_account(rejection.class) {
        return "upstream_auth";
    }
    match (rejection.openai_code, rejection.class) {
        (Some(code), _) => code.as_str(),
        (None, ErrorClass::Timeout) => "upstream_timeout",
        (None, ErrorClass::NotSent) => "rate_limit_exceeded",
        (None, _) => "upstream_error",
    }
}
