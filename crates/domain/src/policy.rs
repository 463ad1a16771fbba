//! The policy of an API key: fallback from the customer's own keys, and filters on providers and models.

use super::{money::NanoUsd, provider::ProviderId};
use ipnet::IpNet;
use kairosroute_limits::{Period, PeriodKind, TimeZone};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use time::OffsetDateTime;

/// What happens when a stored provider key fails and another credential could succeed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ByokFallback {
    /// Use the platform key, charged as a platform call.
    #[default]
    Platform,
    /// Return the provider's own answer.
    Never,
}

/// What the gateway's model choice may do for an API key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoutingMode {
    /// `auto` is refused.
    Off,
    /// As `On`; in addition, if a request names a model, its receipt states the model that `auto` would have chosen.
    Shadow,
    /// As `Shadow`; in addition, a response header states that model.
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

    /// Whether requests that name a model are compared with the choice of `auto`.
    pub fn compares(self) -> bool {
        matches!(self, Self::Shadow | Self::Advise)
    }
}

/// Which API keys may use an answer of the response cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// Every API key of the organization that uses the cache.
    #[default]
    Organization,
    /// Only the API key that requested it.
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

/// The longest time for which an answer is stored: 30 days.
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
    /// The minimum quality of a model that the gateway chooses, in permille of the reference model's.
    pub min_quality_permille: Option<u16>,
    pub routing_mode: RoutingMode,
    /// `None`: the cache is used only if a request turns it on.
    pub cache: Option<CachePolicy>,
    /// From this moment on the key is refused.
    pub expires_at: Option<OffsetDateTime>,
    pub rules: KeyRules,
    pub budget: Option<BudgetRule>,
}

/// Rate limits. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RateRules {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
    /// Requests that are served at the same time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_requests: Option<u32>,
}

impl RateRules {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rules of an API key that are stored as one document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct KeyRules {
    #[serde(flatten)]
    pub rates: RateRules,
    /// The same for each end user that requests name in `user` or `safety_identifier`.
    #[serde(skip_serializing_if = "RateRules::is_empty")]
    pub end_user: RateRules,
    /// The maximum cost of one request, margin included, in nano-USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_per_request_nano: Option<i64>,
    /// Networks that the key may be used from; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_ips: Vec<IpNet>,
    /// Only providers that store nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub zdr: bool,
    /// Only providers that do not use prompts for their own purposes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deny_collection: bool,
}

impl KeyRules {
    pub fn max_cost_per_request(&self) -> Option<NanoUsd> {
        self.max_cost_per_request_nano.map(NanoUsd)
    }

    /// Whether a request may come from this address. An unknown address is in no network.
    pub fn allows(&self, address: Option<IpAddr>) -> bool {
        let address = address.map(|address| address.to_canonical());
        self.allowed_ips.is_empty()
            || self.allowed_ips.iter().any(|net| address.is_some_and(|address| net.contains(&address)))
    }
}

/// Rules of an organization that are stored as one document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OrganizationRules {
    #[serde(flatten)]
    pub rates: RateRules,
    /// Name of the IANA database; `None`: UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// An alert is sent when the balance is below it, in nano-USD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_balance_nano: Option<i64>,
    /// An alert is sent when an hour costs this many times the usual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend_jump_factor: Option<u32>,
    /// Owners and billing contacts receive alerts by e-mail.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub alert_emails: bool,
}

impl OrganizationRules {
    pub fn zone(&self) -> TimeZone {
        self.time_zone.as_deref().and_then(TimeZone::by_name).unwrap_or_default()
    }
}

/// The spending limit for each calendar period in the organization's time zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetRule {
    pub amount: NanoUsd,
    pub period: PeriodKind,
    /// The provider's cost of requests on the customer's own keys counts too.
    pub includes_own: bool,
}

impl BudgetRule {
    /// The current period.
    pub fn current(&self, zone: &TimeZone, now: OffsetDateTime) -> Period {
        Period::containing(self.period, zone, now)
    }
}

/// Whether a name matches a pattern in which `*` stands for any text, also the empty one.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else { return false };
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_with_any_text_for_a_star() {
        for (pattern, name, matches) in [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-4o*", "gpt-4o-mini", true),
            ("*", "anything/at-all", true),
            ("openai/*", "openai/gpt-4o", true),
            ("openai/*", "azure/openai/gpt-4o", false),
            ("*-mini", "openai/gpt-4o-mini", true),
            ("*gpt*mini*", "openai/gpt-5.4-mini-2026", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*b", "ab", false),
            ("**", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn addresses_are_compared_in_one_form() {
        let rules = KeyRules { allowed_ips: vec!["10.0.0.0/8".parse().unwrap()], ..KeyRules::default() };
        let allows = |ip: &str| rules.allows(Some(ip.parse().unwrap()));
        assert!(allows("10.1.2.3") && allows("::ffff:10.1.2.3"));
        assert!(!allows("11.0.0.1") && !allows("2001:db8::1") && !rules.allows(None));
        assert!(KeyRules::default().allows(None));
    }

    #[test]
    fn stored_rules_read_back_and_an_empty_object_is_no_rule() {
        assert_eq!(serde_json::from_str::<KeyRules>("{}").unwrap(), KeyRules::default());
        let rules = KeyRules {
            rates: RateRules { requests_per_minute: Some(60), ..RateRules::default() },
            end_user: RateRules { tokens_per_minute: Some(9), ..RateRules::default() },
            max_cost_per_request_nano: Some(5),
            allowed_ips: vec!["2001:db8::/32".parse().unwrap()],
            zdr: true,
            deny_collection: false,
        };
        let text = serde_json::to_string(&rules).unwrap();
        assert!(!text.contains("denyCollection"), "{text}");
        assert_eq!(serde_json::from_str::<KeyRules>(&text).unwrap(), rules);
    }
}
