//! Why a request has no answer, and what of it may be told to whom: a customer sees everything its own provider
//! said, and of the operator's account only what the request itself is to blame for.

use super::receipt::CredentialKind;
use crate::{
    dialect::Invalid,
    domain::{money::NanoUsd, provider::ProviderId},
    providers::error::{Class, Rejection},
};

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    Invalid(Invalid),
    /// `auto`, or nothing left after the filters.
    NoModels {
        message: String,
    },
    UnknownModel {
        message: String,
    },
    /// A provider key or a wish for a provider that does not exist.
    UnknownProvider {
        param: &'static str,
    },
    InsufficientCredits {
        available: NanoUsd,
    },
    /// The API key was revoked or has expired while the request was being served.
    KeyOver,
    /// The last provider's refusal.
    Upstream {
        /// As it may be told: see [`told_of`].
        rejection: Box<Rejection>,
        provider: ProviderId,
        credential: CredentialKind,
        tried: usize,
    },
    /// The provider answered, but the bill could not be made durable in time. It is taken back.
    NotDurable,
    /// The database is away, or the process is stopping.
    Unavailable(String),
    /// The organization has its share of something that everybody uses.
    Busy(String),
}

impl Failure {
    /// For a call that the gateway itself did not make.
    pub fn not_sent(rejection: Rejection) -> Self {
        match rejection.retry_after {
            Some(_) => Self::Busy(rejection.message),
            None => Self::Invalid(Invalid { param: None, message: rejection.message }),
        }
    }

    /// For the receipt.
    pub fn text(&self) -> String {
        match self {
            Failure::Invalid(invalid) => invalid.message.clone(),
            Failure::NoModels { message } | Failure::UnknownModel { message } => message.clone(),
            Failure::UnknownProvider { param } => format!("unknown provider in {param}"),
            Failure::InsufficientCredits { .. } => "insufficient credits".to_owned(),
            Failure::KeyOver => "The API key was revoked or has expired meanwhile".to_owned(),
            Failure::Upstream { rejection, .. } => rejection.message.clone(),
            Failure::NotDurable => "the bill could not be made durable in time".to_owned(),
            Failure::Unavailable(cause) | Failure::Busy(cause) => cause.clone(),
        }
    }
}

/// What a provider said, as far as the customer may read it. On the operator's account a provider names its key
/// or organization in refusals that are none of the customer's business; those are told in our words.
pub fn told_of(rejection: &Rejection, provider: ProviderId, credential: CredentialKind) -> Rejection {
    let about_the_request =
        matches!(rejection.class, Class::OurRequest | Class::UnknownModel | Class::ContextLength);
    if credential == CredentialKind::Byok || rejection.status.is_none() {
        return rejection.clone();
    }
    if about_the_request {
        return rejection.clone().without_account();
    }
    let name = provider.row().name;
    let message = match rejection.class {
        Class::Rate => format!("{name} is receiving too many requests from the platform; try again"),
        Class::Overload | Class::Timeout => format!("{name} is overloaded or failing; try again"),
        _ => format!("{name} refused the platform's credential"),
    };
    Rejection { message, kind: None, param: None, ..rejection.clone() }
}
