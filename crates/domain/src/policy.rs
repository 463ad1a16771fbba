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

/// What the gateway's own choice of models may do for an API key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutingMode {
    /// `auto` is refused.
    Off,
    /// As `On`; besides, requests that name a model have a note in their receipt of what would have been chosen.
    Shadow,
    /// As `Shadow`; besides, the answer names that model in a header.
    Advise,
    /// `auto` is served.
    #[default]
    On,
}

impl RoutingMode {
    pub const ALL: [RoutingMode; 4] = [Self::Off, Self::Shadow, Self::Advise, Self::On];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Shadow => "shadow",
            Self::Advise => "advise",
            Self::On => "on",
        }
    }

    pub fn by_name(name: &str) -> Option<RoutingMode> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == name)
    }

    /// Whether requests that name a model are compared with what would have been chosen.
    pub fn compares(self) -> bool {
        matches!(self, Self::Shadow | Self::Advise)
    }
}

/// Who may find an answer of the response cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// Every API key of the organization that uses the cache.
    #[default]
    Organization,
    /// The API key that asked for it.
    Key,
}

impl CacheScope {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Key => "key",
        }
    }
}

/// How an API key uses the response cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CachePolicy {
    /// How long an answer may be used.
    pub ttl_seconds: u32,
    #[serde(default)]
    pub scope: CacheScope,
}

/// The longest time that an answer is kept: 30 days.
pub const CACHE_TTL_SECONDS_MAX: u32 = 2_592_000;

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
    /// The least quality of a model that the gateway chooses, in permille of the reference model's.
    pub min_quality_permille: Option<u16>,
    pub routing_mode: RoutingMode,
    /// `None`: the cache is not used unless a request asks for it.
    pub cache: Option<CachePolicy>,
    /// From this moment on the key is refused.
    pub expires_at: Option<OffsetDateTime>,
}
