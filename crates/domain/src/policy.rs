//! What an API key's owner allows: fallback from own keys, and the filters on providers and models.

use super::provider::ProviderId;
use time::OffsetDateTime;

/// What happens when a stored provider key fails in a way another credential could mend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByokFallback {
    /// Try the platform's key, billed as platform.
    #[default]
    Platform,
    /// Give the provider's own answer back.
    Never,
}

/// The policy of one API key. Every field present is enforced on every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPolicy {
    pub byok_fallback: ByokFallback,
    /// Only these providers; `None` allows all.
    pub allowed_providers: Option<Vec<ProviderId>>,
    /// Never these providers.
    pub excluded_providers: Vec<ProviderId>,
    /// Only these models (canonical id or bare name); `None` allows all.
    pub allowed_models: Option<Vec<String>>,
    /// From this moment on the key is refused.
    pub expires_at: Option<OffsetDateTime>,
}
