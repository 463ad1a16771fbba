//! Turns the variables of the environment into typed settings.

use super::{Config, ConnectionLimits, Limits, McpLimits, ProviderSettings, ShareLimits, VARIABLES};
use crate::{
    domain::{money::Bps, provider::PROVIDERS, secret::Secret},
    providers::{resolver::NameLimits, transport::Deadlines},
    store::DbLimits,
};
use ipnet::IpNet;
use reqwest::Url;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

const CONNECTIONS: &str = "KAIROSROUTE_DATABASE_CONNECTIONS_MAX";
const REPORT_CONNECTIONS: &str = "KAIROSROUTE_DATABASE_REPORT_CONNECTIONS_MAX";

/// Reads typed values out of the environment and gathers every problem on the way.
pub(super) struct Reader<'a> {
    pub(super) given: &'a BTreeMap<String, String>,
    pub(super) errors: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn config(&mut self) -> Config {
        Config {
            listen: self.parsed("KAIROSROUTE_LISTEN"),
            database_url: self.text("DATABASE_URL").map(Secret::new),
            data_dir: self.parsed("KAIROSROUTE_DATA_DIR"),
            master_keys: self.text("KAIROSROUTE_MASTER_KEYS").map(Secret::new),
            public_url: self.public_url("KAIROSROUTE_PUBLIC_URL"),
            margin: self.basis_points("KAIROSROUTE_MARGIN_BPS"),
            byok_margin: self.basis_points("KAIROSROUTE_BYOK_MARGIN_BPS"),
            catalog: self.text("KAIROSROUTE_CATALOG").map(PathBuf::from),
            reference_model: self.text("KAIROSROUTE_REFERENCE_MODEL"),
            signup_open: self.one_of("KAIROSROUTE_SIGNUP", ["open", "closed"]),
            operators_need_second_factor: self
                .one_of("KAIROSROUTE_OPERATOR_SECOND_FACTOR", ["required", "optional"]),
            migrate: self.one_of("KAIROSROUTE_MIGRATE", ["on", "off"]),
            allow_private_nets: self.nets("KAIROSROUTE_ALLOW_PRIVATE_NETS"),
            trusted_proxies: self.nets("KAIROSROUTE_TRUSTED_PROXIES"),
            metrics_listen: match self.text("KAIROSROUTE_METRICS_LISTEN").as_deref() {
                Some("off") => None,
                _ => Some(self.parsed("KAIROSROUTE_METRICS_LISTEN")),
            },
            metrics_required: self.given.contains_key("KAIROSROUTE_METRICS_LISTEN"),
            unsafe_database: self.text("KAIROSROUTE_UNSAFE_DATABASE").as_deref() == Some("1"),
            log: self.text("KAIROSROUTE_LOG").unwrap_or_default(),
            otlp_endpoint: self.otlp_endpoint("KAIROSROUTE_OTLP_ENDPOINT"),
            otlp_headers: self.header_list("KAIROSROUTE_OTLP_HEADERS"),
            trace_percent: self.between("KAIROSROUTE_TRACE_PERCENT", 0, 100),
            cors_origins: self.origins("KAIROSROUTE_CORS_ORIGINS"),
            log_json: self.one_of("KAIROSROUTE_LOG_FORMAT", ["json", "text"]),
            workers: match self.text("KAIROSROUTE_WORKERS") {
                Some(_) => self.between("KAIROSROUTE_WORKERS", 1, 1024),
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            database_connections_max: self.database_connections(),
            database_report_connections_max: self.between(REPORT_CONNECTIONS, 1, 100),
            report_time: self.millis("KAIROSROUTE_REPORT_TIMEOUT_MS"),
            transaction_pooler: self.one_of("KAIROSROUTE_DATABASE_POOLER", ["transaction", "none"]),
            limits: self.limits(),
            accounts: self.account_limits(),
            cache: self.cache(),
            connections: ConnectionLimits {
                connections_max: self.optional("KAIROSROUTE_CONNECTIONS_MAX", 16, 1_000_000),
                per_address_max: self.optional("KAIROSROUTE_CONNECTIONS_PER_ADDRESS_MAX", 1, 1_000_000),
            },
            deadlines: Deadlines {
                connect: self.millis("KAIROSROUTE_CONNECT_TIMEOUT_MS"),
                first_byte: self.millis("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS"),
                failover_first_byte: self.millis("KAIROSROUTE_FAILOVER_FIRST_BYTE_TIMEOUT_MS"),
                idle: self.millis("KAIROSROUTE_IDLE_TIMEOUT_MS"),
                total: self.millis("KAIROSROUTE_TOTAL_TIMEOUT_MS"),
            },
            mcp_access: self.mcp_access("KAIROSROUTE_MCP_ACCESS"),
            mcp_servers: self.mcp_servers("KAIROSROUTE_MCP_SERVERS"),
            mcp_credentials_key: self.text("KAIROSROUTE_MCP_CREDENTIALS_KEY").map(Secret::new),
            oidc: self.oidc(),
            stripe: self.stripe(),
            smtp: self.smtp(),
            providers: PROVIDERS.iter().filter_map(|row| self.provider(row.env, row.base_url)).collect(),
        }
    }

    /// As many connections as the purposes need that have some of their own.
    fn database_connections(&mut self) -> u32 {
        let connections = self.between(CONNECTIONS, 1, 1_000);
        let reports = self.text(REPORT_CONNECTIONS).and_then(|text| text.parse().ok()).unwrap_or(0);
        let needed = DbLimits::connections_needed(reports);
        if connections < needed {
            self.errors.push(format!(
                "{CONNECTIONS}: {needed} or more are needed: {} for the lease, the ledger, the records, expired holds and \
                 API keys, {reports} for reports ({REPORT_CONNECTIONS}) and {} for accounts",
                needed - reports - DbLimits::ACCOUNT_CONNECTIONS_MIN,
                DbLimits::ACCOUNT_CONNECTIONS_MIN,
            ));
        }
        connections
    }

    fn limits(&mut self) -> Limits {
        Limits {
            shares: self.shares(),
            body_bytes_max: self.between("KAIROSROUTE_BODY_BYTES_MAX", 1_024, 1 << 30),
            body_depth_max: self.between("KAIROSROUTE_BODY_DEPTH_MAX", 8, 1_024),
            media_bytes_max: self.between("KAIROSROUTE_MEDIA_BYTES_MAX", 1_024, 1 << 30),
            media_time: self.millis("KAIROSROUTE_MEDIA_TIMEOUT_MS"),
            held_bytes_max: self.between("KAIROSROUTE_STREAM_HELD_BYTES_MAX", 1_024, 1 << 28),
            mcp: McpLimits {
                servers_max: self.between("KAIROSROUTE_MCP_SERVERS_MAX", 1, 64),
                turns_max: self.between("KAIROSROUTE_MCP_TURNS_MAX", 1, 1_000),
                tools_max: self.between("KAIROSROUTE_MCP_TOOLS_MAX", 1, 512),
                result_bytes_max: self.between("KAIROSROUTE_MCP_RESULT_BYTES_MAX", 256, 1 << 22),
                tools_bytes_max: self.between("KAIROSROUTE_MCP_TOOLS_BYTES_MAX", 1_024, 1 << 26),
                message_bytes_max: self.between("KAIROSROUTE_MCP_MESSAGE_BYTES_MAX", 1_024, 1 << 26),
                session_bytes_max: self.between("KAIROSROUTE_MCP_SESSION_BYTES_MAX", 1_024, 1 << 30),
                connect: self.millis("KAIROSROUTE_MCP_CONNECT_TIMEOUT_MS"),
                call: self.millis("KAIROSROUTE_MCP_CALL_TIMEOUT_MS"),
                total: self.millis("KAIROSROUTE_MCP_TOTAL_TIMEOUT_MS"),
                memory_bytes_max: self.between("KAIROSROUTE_MCP_MEMORY_BYTES_MAX", 0, 1 << 40),
                memory: self.millis("KAIROSROUTE_MCP_MEMORY_MS"),
            },
            reply_bytes_max: self.between("KAIROSROUTE_REPLY_BYTES_MAX", 1_024, 1 << 30),
            frame_bytes_max: self.between("KAIROSROUTE_FRAME_BYTES_MAX", 1_024, 1 << 28),
            attempts_max: self.between("KAIROSROUTE_ATTEMPTS_MAX", 1, 10),
            heartbeat: self.millis("KAIROSROUTE_HEARTBEAT_MS"),
            drain: self.millis("KAIROSROUTE_DRAIN_TIMEOUT_MS"),
            shutdown: self.millis("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS"),
            shutdown_notice: self.millis("KAIROSROUTE_SHUTDOWN_NOTICE_MS"),
        }
    }

    /// A share that is not set follows from the whole; one that is larger than the whole is the whole.
    fn shares(&mut self) -> ShareLimits {
        let requests_max: usize = self.between("KAIROSROUTE_REQUESTS_IN_FLIGHT_MAX", 1, 1_000_000);
        let requests = u64::try_from(requests_max).unwrap_or(u64::MAX);
        let organization = self
            .optional("KAIROSROUTE_REQUESTS_PER_ORGANIZATION_MAX", 1, 1_000_000)
            .unwrap_or((requests / 10).max(16));
        let without_credit = self
            .optional("KAIROSROUTE_REQUESTS_WITHOUT_CREDIT_MAX", 1, 1_000_000)
            .unwrap_or((organization / 4).max(16));
        let memory: u64 = self.between("KAIROSROUTE_MEMORY_BYTES_MAX", 1 << 20, 1 << 50);
        let memory_share = self
            .optional("KAIROSROUTE_MEMORY_BYTES_PER_ORGANIZATION_MAX", 1 << 16, 1 << 50)
            .unwrap_or(memory / 8);
        ShareLimits {
            requests_max,
            requests_per_organization_max: organization,
            requests_per_key_max: self
                .optional("KAIROSROUTE_REQUESTS_PER_KEY_MAX", 1, 1_000_000)
                .unwrap_or(organization),
            requests_without_credit_max: without_credit.min(organization),
            memory_bytes_max: memory,
            memory_bytes_per_organization_max: memory_share,
            bodies_read_max: self.between("KAIROSROUTE_BODIES_READ_MAX", 16, 1_000_000),
            body_bytes_per_second_min: self.between("KAIROSROUTE_BODY_BYTES_PER_SECOND_MIN", 1, 1 << 30),
            body_time: self.millis("KAIROSROUTE_BODY_TIMEOUT_MS"),
            large_body_bytes: self.between("KAIROSROUTE_LARGE_BODY_BYTES", 1_024, 1 << 30),
            large_request_threads: self.between("KAIROSROUTE_LARGE_REQUEST_THREADS", 1, 64),
            names: NameLimits {
                lookups_max: self.between("KAIROSROUTE_NAME_LOOKUPS_MAX", 1, 4_096),
                lookups_per_organization_max: self.between(
                    "KAIROSROUTE_NAME_LOOKUPS_PER_ORGANIZATION_MAX",
                    1,
                    4_096,
                ),
                time: self.millis("KAIROSROUTE_NAME_LOOKUP_TIMEOUT_MS"),
            },
        }
    }

    /// `None` only together with an error, so that a finished configuration has every provider.
    fn provider(&mut self, env: &str, public: &str) -> Option<ProviderSettings> {
        let name = format!("{env}_BASE_URL");
        let text = self.given.get(&name).map_or(public, |url| url.trim());
        let base_url = Url::parse(text.trim_end_matches('/')).ok().filter(is_plain_base);
        if base_url.is_none() {
            self.errors.push(format!("{name}: expected an http(s) URL without query or user"));
        }
        Some(ProviderSettings {
            api_key: self.text(&format!("{env}_API_KEY")).map(Secret::new),
            base_url: base_url?,
        })
    }

    fn public_url(&mut self, name: &str) -> Option<Url> {
        let text = self.text(name)?;
        let url =
            Url::parse(text.trim_end_matches('/')).ok().filter(|url| is_plain_base(url) && url.path() == "/");
        if url.is_none() {
            self.errors.push(format!("{name}: expected an http(s) URL without path, query or user"));
        }
        url
    }

    /// The value, else the default; `None` when both are empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let default = VARIABLES.iter().find(|row| row.name == name).map_or("", |row| row.default);
        let text = self.given.get(name).map_or(default, |value| value.trim());
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn parsed<T: FromStr + Fallback>(&mut self, name: &str) -> T {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or_else(|| {
            self.errors.push(format!("{name}: expected {}", T::EXPECTED));
            T::fallback()
        })
    }

    pub(super) fn between<T>(&mut self, name: &str, min: T, max: T) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        let value = self.text(name).and_then(|text| text.parse::<T>().ok());
        value.filter(|value| (min..=max).contains(value)).unwrap_or_else(|| {
            self.errors.push(format!("{name}: expected a whole number from {min} to {max}"));
            min
        })
    }

    /// `None` where nothing is set.
    pub(super) fn optional<T>(&mut self, name: &str, min: T, max: T) -> Option<T>
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        self.text(name).is_some().then(|| self.between(name, min, max))
    }

    pub(super) fn millis(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.between(name, 1, 86_400_000))
    }

    fn basis_points(&mut self, name: &str) -> Bps {
        Bps(self.between(name, 0, 100_000))
    }

    /// True for the first of two words.
    pub(super) fn one_of(&mut self, name: &str, [yes, no]: [&str; 2]) -> bool {
        match self.text(name) {
            Some(word) if word == yes => true,
            Some(word) if word == no => false,
            _ => {
                self.errors.push(format!("{name}: expected {yes} or {no}"));
                false
            }
        }
    }

    fn nets(&mut self, name: &str) -> Vec<IpNet> {
        let Some(list) = self.text(name) else { return Vec::new() };
        let nets: Result<_, _> = list.split(',').map(|net| net.trim().parse()).collect();
        nets.unwrap_or_else(|_| {
            self.errors.push(format!("{name}: expected networks like 10.0.0.0/8, comma-separated"));
            Vec::new()
        })
    }

    fn otlp_endpoint(&mut self, name: &str) -> Option<Url> {
        let text = self.text(name)?;
        let url = Url::parse(&text).ok().filter(is_plain_base);
        if url.is_none() {
            self.errors.push(format!("{name}: expected an http(s) URL without query or user"));
        }
        url
    }

    fn header_list(&mut self, name: &str) -> Vec<(String, Secret)> {
        let Some(list) = self.text(name) else { return Vec::new() };
        let header = |pair: &str| {
            let (name, value) = pair.split_once('=')?;
            let (name, value) = (name.trim().to_lowercase(), value.trim());
            let is_name = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
            let is_value = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
            (is_name && is_value).then(|| (name, Secret::new(value.to_owned())))
        };
        let headers: Option<Vec<_>> = list.split(',').map(header).collect();
        headers.unwrap_or_else(|| {
            self.errors.push(format!("{name}: expected name=value, comma-separated"));
            Vec::new()
        })
    }

    fn origins(&mut self, name: &str) -> Vec<String> {
        let Some(list) = self.text(name) else { return Vec::new() };
        let origin = |text: &str| {
            let is_origin = |url: Url| url.origin().is_tuple() && url.origin().ascii_serialization() == text;
            (text == "*" || Url::parse(text).is_ok_and(is_origin)).then(|| text.to_owned())
        };
        let origins: Option<Vec<_>> = list.split(',').map(|text| origin(text.trim())).collect();
        origins.unwrap_or_else(|| {
            self.errors.push(format!(
                "{name}: expected origins like https://app.example.com, comma-separated, or *"
            ));
            Vec::new()
        })
    }

    fn mcp_servers(&mut self, name: &str) -> Vec<(String, Url)> {
        let Some(list) = self.text(name) else { return Vec::new() };
        let server = |pair: &str| {
            let (slug, url) = pair.split_once('=')?;
            let url = Url::parse(url.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
            let slug = slug.trim();
            (!slug.is_empty() && !slug.contains("://")).then(|| (slug.to_owned(), url))
        };
        let servers: Option<Vec<_>> = list.split(',').map(server).collect();
        let one_each = |servers: &Vec<(String, Url)>| {
            let slugs: BTreeSet<&str> = servers.iter().map(|(slug, _)| slug.as_str()).collect();
            slugs.len() == servers.len()
        };
        servers.filter(one_each).unwrap_or_else(|| {
            self.errors.push(format!("{name}: expected slug=url, comma-separated, each slug once"));
            Vec::new()
        })
    }

    pub(super) fn refuse_unknown(&mut self) {
        let unknown = |name: &&String| {
            name.starts_with("KAIROSROUTE_")
                && !name.starts_with("KAIROSROUTE_TEST_")
                && !VARIABLES.iter().any(|row| row.name == **name)
        };
        let lines = self.given.keys().filter(unknown).map(|name| format!("{name}: no such setting"));
        self.errors.extend(lines);
    }
}

/// What is wanted, and what stands in while the errors are gathered.
trait Fallback {
    const EXPECTED: &str;
    fn fallback() -> Self;
}

impl Fallback for SocketAddr {
    const EXPECTED: &str = "an address like 127.0.0.1:8080";
    fn fallback() -> Self {
        Self::from(([127, 0, 0, 1], 0))
    }
}

impl Fallback for PathBuf {
    const EXPECTED: &str = "a path";
    fn fallback() -> Self {
        Self::new()
    }
}

fn is_plain_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}
