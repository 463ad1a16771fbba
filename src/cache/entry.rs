//! One stored answer: its content in the canonical form, its provider, and what it saves. Pure.

use crate::{
    dialect::{Dialect, canonical::Answer},
    domain::{ids::RequestId, money::NanoUsd, provider::ProviderId, usage::Usage},
};
use serde::{Deserialize, Serialize};

/// Changes when the format of an entry changes.
pub(super) const FORM: u32 = 1;

/// A whole answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The request that a provider answered.
    pub request_id: RequestId,
    pub created_at_ms: i64,
    pub expires_at_ms: i64,
    pub provider: ProviderId,
    pub model_id: String,
    pub model_name: String,
    pub upstream_model: String,
    pub usage: Usage,
    /// The charge of the answer, or its cost on the customer's own key.
    pub worth: NanoUsd,
    /// Fields of the request that were not sent to the provider.
    pub dropped: Vec<String>,
    pub answer: Answer,
    pub verbatim: Option<Verbatim>,
}

/// A whole answer as the provider wrote it, including what the canonical form cannot represent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verbatim {
    pub dialect: Dialect,
    /// JSON.
    pub body: String,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    form: u32,
    request_id: String,
    created_at_ms: i64,
    expires_at_ms: i64,
    provider: String,
    model_id: String,
    model_name: String,
    upstream_model: String,
    usage: Usage,
    worth: i64,
    dropped: Vec<String>,
    answer: Answer,
    verbatim: Option<(String, String)>,
}

/// The dialects in which the provider's bytes of an answer are kept. An answer of Responses repeats its request, so it
/// is written again each time.
const VERBATIM: [(Dialect, &str); 3] =
    [(Dialect::Chat, "chat"), (Dialect::Completions, "completions"), (Dialect::Messages, "messages")];

impl Verbatim {
    /// `None` in a dialect whose answers are written again, or for a body that is not JSON text.
    pub fn new(dialect: Dialect, body: &[u8]) -> Option<Self> {
        let is_kept = VERBATIM.iter().any(|(kept, _)| *kept == dialect);
        let body = std::str::from_utf8(body).ok().filter(|_| is_kept)?;
        Some(Self { dialect, body: body.to_owned() })
    }
}

impl Entry {
    /// JSON; empty if it cannot be written.
    pub fn to_bytes(&self) -> Vec<u8> {
        let verbatim = self.verbatim.as_ref().and_then(|verbatim| {
            let (_, name) = VERBATIM.iter().find(|(dialect, _)| *dialect == verbatim.dialect)?;
            Some(((*name).to_owned(), verbatim.body.clone()))
        });
        let stored = Stored {
            form: FORM,
            request_id: self.request_id.to_string(),
            created_at_ms: self.created_at_ms,
            expires_at_ms: self.expires_at_ms,
            provider: self.provider.as_str().to_owned(),
            model_id: self.model_id.clone(),
            model_name: self.model_name.clone(),
            upstream_model: self.upstream_model.clone(),
            usage: self.usage,
            worth: self.worth.0,
            dropped: self.dropped.clone(),
            answer: self.answer.clone(),
            verbatim,
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// `None` for bytes in any other format.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let stored: Stored =
            serde_json::from_slice(bytes).ok().filter(|stored: &Stored| stored.form == FORM)?;
        let verbatim = stored.verbatim.and_then(|(name, body)| {
            let (dialect, _) = VERBATIM.iter().find(|(_, kept)| *kept == name)?;
            Some(Verbatim { dialect: *dialect, body })
        });
        Some(Self {
            request_id: stored.request_id.parse().ok()?,
            created_at_ms: stored.created_at_ms,
            expires_at_ms: stored.expires_at_ms,
            provider: ProviderId::by_id(&stored.provider)?,
            model_id: stored.model_id,
            model_name: stored.model_name,
            upstream_model: stored.upstream_model,
            usage: stored.usage,
            worth: NanoUsd(stored.worth),
            dropped: stored.dropped,
            answer: stored.answer,
            verbatim,
        })
    }

    /// Whole seconds since the answer was given.
    pub fn age_s(&self, now_ms: i64) -> u64 {
        u64::try_from(now_ms.saturating_sub(self.created_at_ms) / 1_000).unwrap_or(0)
    }
}
