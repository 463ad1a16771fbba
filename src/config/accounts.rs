//! Settings that bound accounts: how many rows one customer may own, how fast refused requests may come, and how long
//! ended things are kept.

use super::reader::Reader;
use std::time::Duration;

/// Bounds of accounts and of what they leave behind.
#[derive(Clone, Copy, Debug)]
pub struct AccountLimits {
    /// Live API keys of one organization.
    pub api_keys_max: i64,
    /// Members and open invitations of one organization.
    pub members_max: i64,
    /// Stored provider keys of one organization, over all its API keys.
    pub provider_keys_max: i64,
    /// Webhooks of one organization.
    pub webhooks_max: usize,
    /// Receipts of uncharged requests of one organization that are kept for one day (UTC).
    pub free_receipts_per_day_max: u64,
    /// Answers of idempotent requests that one organization may have stored.
    pub idempotency_bytes_max: i64,
    /// Organizations that one person may belong to.
    pub organizations_per_person_max: i64,
    /// Organizations that one address may sign up on one day (UTC).
    pub signups_per_day_max: i32,
    /// Organizations that may be signed up on one day (UTC), from all addresses.
    pub signups_of_all_per_day_max: i32,
    /// Refused requests of one API key per minute, before it is answered 429.
    pub refusals_per_key_minute_max: u32,
    /// Refused requests without a valid credential from one address per minute, before it is answered 429.
    pub refusals_per_address_minute_max: u32,
    pub retention: Retention,
}

/// Which organizations may name the operator's MCP servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum McpAccess {
    /// Those that the operator granted it to.
    Granted,
    /// Those too that the operator has given or sold credit to.
    Credited,
    Everyone,
}

/// How long things are kept after their end.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Receipts of requests that were refused before any provider was called.
    pub refusals: Duration,
    /// Ended sessions, used or expired invitations, revoked API keys.
    pub ended: Duration,
    /// Lines of the audit log.
    pub audit_log: Duration,
    /// Receipts, and with them the list of requests; `None`: for ever. Dropped by whole months.
    pub receipts: Option<Duration>,
    /// Usage rows; sums of them stay. `None`: for ever. Dropped by whole months.
    pub usage: Option<Duration>,
}

impl Reader<'_> {
    pub(super) fn account_limits(&mut self) -> AccountLimits {
        AccountLimits {
            api_keys_max: self.between("KAIROSROUTE_API_KEYS_MAX", 1, 1_000_000),
            members_max: self.between("KAIROSROUTE_MEMBERS_MAX", 1, 1_000_000),
            provider_keys_max: self.between("KAIROSROUTE_PROVIDER_KEYS_MAX", 1, 1_000_000),
            webhooks_max: self.between("KAIROSROUTE_WEBHOOKS_MAX", 1, 1_000),
            free_receipts_per_day_max: self.between("KAIROSROUTE_FREE_RECEIPTS_PER_DAY_MAX", 0, u64::MAX),
            idempotency_bytes_max: self.between(
                "KAIROSROUTE_IDEMPOTENCY_BYTES_PER_ORGANIZATION_MAX",
                0,
                1 << 40,
            ),
            organizations_per_person_max: self.between("KAIROSROUTE_ORGANIZATIONS_PER_PERSON_MAX", 1, 1_000),
            signups_per_day_max: self.between("KAIROSROUTE_SIGNUPS_PER_ADDRESS_DAY_MAX", 1, 1_000_000),
            signups_of_all_per_day_max: self.between("KAIROSROUTE_SIGNUPS_PER_DAY_MAX", 1, i32::MAX),
            refusals_per_key_minute_max: self.between(
                "KAIROSROUTE_REFUSALS_PER_KEY_MINUTE_MAX",
                1,
                1_000_000,
            ),
            refusals_per_address_minute_max: self.between(
                "KAIROSROUTE_REFUSALS_PER_ADDRESS_MINUTE_MAX",
                1,
                1_000_000,
            ),
            retention: Retention {
                refusals: self.hours("KAIROSROUTE_REFUSAL_RETENTION_HOURS"),
                ended: self.hours("KAIROSROUTE_ENDED_RETENTION_HOURS"),
                audit_log: self.hours("KAIROSROUTE_AUDIT_RETENTION_HOURS"),
                receipts: self.days("KAIROSROUTE_RECEIPT_RETENTION_DAYS"),
                usage: self.days("KAIROSROUTE_USAGE_RETENTION_DAYS"),
            },
        }
    }

    pub(super) fn mcp_access(&mut self, name: &str) -> McpAccess {
        match self.text(name).as_deref() {
            Some("granted") => McpAccess::Granted,
            Some("credited") => McpAccess::Credited,
            Some("everyone") => McpAccess::Everyone,
            _ => {
                self.errors.push(format!("{name}: expected granted, credited or everyone"));
                McpAccess::Granted
            }
        }
    }

    /// A statement is drawn up from what it is about, so that two months must stay.
    fn days(&mut self, name: &str) -> Option<Duration> {
        self.optional(name, 62, 36_500).map(|days| Duration::from_secs(days * 86_400))
    }

    fn hours(&mut self, name: &str) -> Duration {
        Duration::from_secs(self.between::<u64>(name, 1, 876_000) * 3_600)
    }
}
