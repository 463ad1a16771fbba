//! Account calls under `/api`: thin over the services in `accounts`. JSON in camelCase.

pub mod audit;
pub mod auth;
pub mod billing;
pub mod export;
pub mod keys;
pub mod members;
pub mod operator;
pub mod organization;
pub mod organizations;
pub mod payments;
pub mod provider_keys;
pub mod recovery;
pub mod requests;
pub mod statements;
pub mod usage;
pub mod webhooks;

use super::error::{ApiError, Code};
use crate::accounts::AccountError;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

impl From<AccountError> for ApiError {
    fn from(error: AccountError) -> Self {
        let message = error.to_string();
        match error {
            AccountError::SignupClosed | AccountError::Denied(_) => {
                Self::new(Code::PermissionDenied, message)
            }
            AccountError::EmailTaken => Self::new(Code::EmailTaken, message).param("email"),
            AccountError::CodeRequired => Self::new(Code::SecondFactorRequired, message).param("code"),
            AccountError::InvalidCredentials => Self::new(Code::InvalidCredentials, message),
            AccountError::Throttled { retry_after_s } => {
                Self::new(Code::RateLimitExceeded, message).retry_after_s(retry_after_s)
            }
            AccountError::Limited(_) => Self::new(Code::RateLimitExceeded, message).retry_is_useless(),
            AccountError::Busy => Self::new(Code::ServiceUnavailable, message).retry_after_s(2),
            AccountError::Invalid { param, message } => Self::invalid(param, message),
            AccountError::UnknownProvider { param } => Self::unknown_provider(param),
            AccountError::NotFound(what) => Self::not_found(what),
            AccountError::Conflict(_) => Self::new(Code::Conflict, message),
            AccountError::Store(cause) => Self::from(cause),
            AccountError::Vault(cause) => Self::internal(cause),
            AccountError::Internal(cause) => Self::internal(cause),
        }
    }
}

/// A moment as RFC 3339 text, in UTC and to the microsecond, as the database keeps it.
fn time_text(at: OffsetDateTime) -> String {
    let at = at.to_offset(UtcOffset::UTC);
    let whole = at.microsecond().saturating_mul(1_000);
    at.replace_nanosecond(whole).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
