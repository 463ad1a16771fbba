//! The process's settings, read once from the environment and checked all together before anything starts.
//! Every variable is a row of [`VARIABLES`]; `.env.example` holds the same rows (a test compares them).

use crate::{
    domain::{
        money::Bps,
        provider::{PROVIDERS, ProviderId},
        secret::Secret,
    },
    providers::transport::Deadlines,
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

/// One environment variable: its name, its default (empty: unset) and what it means.
pub struct Variable {
    pub name: &'static str,
    pub default: &'static str,
    pub meaning: &'static str,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable but the providers' (`<PROVIDER>_API_KEY`, `<PROVIDER>_BASE_URL`).
pub static VARIABLES: &[Variable] = &[
    variable("KAIROSROUTE_LISTEN", "127.0.0.1:8080", "address of the API"),
    variable("DATABASE_URL", "", "PostgreSQL; unset: a private local cluster under the data directory"),
    variable("KAIROSROUTE_DATA_DIR", "./.kairosroute", "state of the local mode"),
    variable(
        "KAIROSROUTE_MASTER_KEYS",
        "",
        "id:base64(32 bytes), comma-separated; the first encrypts, all decrypt. Required with DATABASE_URL",
    ),
    variable("KAIROSROUTE_MARGIN_BPS", "500", "margin on calls with a platform key, in basis points"),
    variable(
        "KAIROSROUTE_BYOK_MARGIN_BPS",
        "0",
        "margin on calls with the customer's own key: only 0 is accepted",
    ),
    variable(
        "KAIROSROUTE_CATALOG",
        "",
        "file in the built-in catalogue's format, laid over it and re-read on change",
    ),
    variable("KAIROSROUTE_SIGNUP", "open", "open | closed"),
    variable("KAIROSROUTE_MIGRATE", "on", "on: serve applies pending migrations first | off"),
    variable("KAIROSROUTE_ALLOW_PRIVATE_NETS", "", "CIDR list that customer-given URLs may reach"),
    variable("KAIROSROUTE_TRUSTED_PROXIES", "", "CIDR list of proxies whose X-Forwarded-For counts"),
    variable("KAIROSROUTE_METRICS_LISTEN", "127.0.0.1:9464", "address of /metrics (Prometheus); off: none"),
    variable(
        "KAIROSROUTE_UNSAFE_DATABASE",
        "",
        "1: accept a database with fsync or synchronous_commit off (tests only)",
    ),
    variable(
        "KAIROSROUTE_LOG",
        "warn,kairosroute=info",
        "error | warn | info | debug | trace, or target=level pairs",
    ),
    variable("KAIROSROUTE_WORKERS", "", "HTTP worker threads; unset: one per core"),
    variable("KAIROSROUTE_DATABASE_CONNECTIONS_MAX", "12", "pooled database connections"),
    variable(
        "KAIROSROUTE_REQUESTS_IN_FLIGHT_MAX",
        "4096",
        "requests served at a time; more are refused with 503",
    ),
    variable("KAIROSROUTE_BODY_BYTES_MAX", "33554432", "largest request body"),
    variable("KAIROSROUTE_BODY_DEPTH_MAX", "128", "deepest nesting of a request body"),
    variable(
        "KAIROSROUTE_REPLY_BYTES_MAX",
        "67108864",
        "largest unary answer of a provider, and largest turn of an answer with MCP servers",
    ),
    variable("KAIROSROUTE_FRAME_BYTES_MAX", "8388608", "largest frame of a streamed answer"),
    variable(
        "KAIROSROUTE_ATTEMPTS_MAX",
        "3",
        "provider calls per request that end in overload, rate or time-out",
    ),
    variable(
        "KAIROSROUTE_MEDIA_BYTES_MAX",
        "20971520",
        "largest total of images and documents fetched by URL for one request",
    ),
    variable("KAIROSROUTE_MEDIA_TIMEOUT_MS", "10000", "time to fetch them"),
    variable(
        "KAIROSROUTE_MCP_SERVERS",
        "",
        "slug=url, comma-separated: MCP servers that requests may name by slug; these may be private addresses",
    ),
    variable(
        "KAIROSROUTE_MCP_CREDENTIALS_KEY",
        "",
        "RSA private key that opens credentials which clients seal for MCP servers; made by `kairosroute mcp-key`",
    ),
    variable("KAIROSROUTE_MCP_SERVERS_MAX", "8", "MCP servers of one request"),
    variable(
        "KAIROSROUTE_MCP_TURNS_MAX",
        "32",
        "largest max_turns; 10, or this if less, when it is not said",
    ),
    variable(
        "KAIROSROUTE_MCP_TOOLS_MAX",
        "128",
        "tools of one request with MCP servers, the caller's own included",
    ),
    variable(
        "KAIROSROUTE_MCP_RESULT_BYTES_MAX",
        "65536",
        "bytes of one MCP tool's result that the model gets; the rest is cut off and the model told",
    ),
    variable(
        "KAIROSROUTE_MCP_TOOLS_BYTES_MAX",
        "1048576",
        "bytes of names, descriptions and schemas of MCP tools in one request, of all servers together",
    ),
    variable("KAIROSROUTE_MCP_MESSAGE_BYTES_MAX", "4194304", "largest message of an MCP server"),
    variable(
        "KAIROSROUTE_MCP_SESSION_BYTES_MAX",
        "67108864",
        "bytes that one MCP server may send in one request, all messages together",
    ),
    variable("KAIROSROUTE_MCP_CONNECT_TIMEOUT_MS", "15000", "time to reach an MCP server and list its tools"),
    variable("KAIROSROUTE_MCP_CALL_TIMEOUT_MS", "60000", "time for one call of an MCP tool"),
    variable(
        "KAIROSROUTE_MCP_TOTAL_TIMEOUT_MS",
        "600000",
        "time after which a request with MCP servers begins no further turn and no further call",
    ),
    variable(
        "KAIROSROUTE_MCP_MEMORY_BYTES_MAX",
        "67108864",
        "what MCP servers said, kept in memory while callers run their own tools; 0: nothing is kept",
    ),
    variable("KAIROSROUTE_MCP_MEMORY_MS", "600000", "how long that is kept after it was last asked for"),
    variable("KAIROSROUTE_CONNECT_TIMEOUT_MS", "5000", "time to connect to a provider"),
    variable("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS", "300000", "time to the first content of an answer"),
    variable("KAIROSROUTE_IDLE_TIMEOUT_MS", "120000", "longest silence inside a stream"),
    variable("KAIROSROUTE_TOTAL_TIMEOUT_MS", "900000", "longest request, every attempt included"),
    variable("KAIROSROUTE_HEARTBEAT_MS", "15000", "silence after which a stream's client is sent a comment"),
    variable(
        "KAIROSROUTE_DRAIN_TIMEOUT_MS",
        "60000",
        "how long an abandoned answer is read on for its usage",
    ),
    variable("KAIROSROUTE_SHUTDOWN_TIMEOUT_MS", "30000", "how long running requests may take after SIGTERM"),
    variable(
        "KAIROSROUTE_SHUTDOWN_NOTICE_MS",
        "1000",
        "how long new requests are still taken after SIGTERM while /readyz says no, for load balancers to see it",
    ),
];

/// A provider's settings from the environment.
pub struct ProviderSettings {
    pub api_key: Option<Secret>,
    pub base_url: Url,
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub requests_in_flight_max: usize,
    pub body_bytes_max: usize,
    pub body_depth_max: u32,
    pub reply_bytes_max: usize,
    pub frame_bytes_max: usize,
    pub attempts_max: u32,
    /// Of what a request names by URL and we have to fetch.
    pub media_bytes_max: usize,
    pub media_time: Duration,
    pub mcp: McpLimits,
    pub heartbeat: Duration,
    pub drain: Duration,
    pub shutdown: Duration,
    /// How long new requests are still taken after the process has begun to say that it is not ready.
    pub shutdown_notice: Duration,
}

/// Bounds of a request with MCP servers.
#[derive(Clone, Copy, Debug)]
pub struct McpLimits {
    pub servers_max: usize,
    pub turns_max: u32,
    pub tools_max: usize,
    pub result_bytes_max: usize,
    pub tools_bytes_max: usize,
    pub message_bytes_max: usize,
    pub session_bytes_max: usize,
    pub connect: Duration,
    pub call: Duration,
    pub total: Duration,
    /// What servers said, kept while callers run their own tools.
    pub memory_bytes_max: usize,
    pub memory: Duration,
}

/// Everything the process is told from outside.
pub struct Config {
    pub listen: SocketAddr,
    pub database_url: Option<Secret>,
    pub data_dir: PathBuf,
    pub master_keys: Option<Secret>,
    pub margin: Bps,
    pub byok_margin: Bps,
    pub catalog: Option<PathBuf>,
    pub signup_open: bool,
    pub migrate: bool,
    pub allow_private_nets: Vec<IpNet>,
    pub trusted_proxies: Vec<IpNet>,
    pub metrics_listen: Option<SocketAddr>,
    /// The address was asked for by name: not getting it is an error. A second process on a machine that takes
    /// the default goes without.
    pub metrics_required: bool,
    pub unsafe_database: bool,
    pub log: String,
    pub workers: usize,
    pub database_connections_max: u32,
    pub limits: Limits,
    pub deadlines: Deadlines,
    /// By slug.
    pub mcp_servers: Vec<(String, Url)>,
    pub mcp_credentials_key: Option<Secret>,
    /// In the order of the provider table.
    pub providers: Vec<ProviderSettings>,
}

/// Everything that is wrong with the environment, one line each.
#[derive(Debug)]
pub struct ConfigErrors(pub Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the environment is not valid:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for ConfigErrors {}

impl Config {
    /// Reads the variables; blank ones count as unset. Reports every problem at once and never a value,
    /// for a value may be a secret in the wrong place.
    pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigErrors> {
        let given: BTreeMap<String, String> =
            variables.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
        let mut reader = Reader { given: &given, errors: Vec::new() };
        reader.refuse_unknown();
        let config = reader.config();
        if config.database_url.is_some() && config.master_keys.is_none() {
            reader.errors.push("KAIROSROUTE_MASTER_KEYS is required with DATABASE_URL".to_owned());
        }
        if config.byok_margin.0 != 0 {
            // A margin on customers' own keys would have to be held and settled; until it is, it is refused.
            reader.errors.push("KAIROSROUTE_BYOK_MARGIN_BPS other than 0 is not supported yet".to_owned());
        }
        if reader.errors.is_empty() { Ok(config) } else { Err(ConfigErrors(reader.errors)) }
    }

    pub fn provider(&self, provider: ProviderId) -> Option<&ProviderSettings> {
        self.providers.get(provider.index())
    }
}

struct Reader<'a> {
    given: &'a BTreeMap<String, String>,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn config(&mut self) -> Config {
        Config {
            listen: self.parsed("KAIROSROUTE_LISTEN"),
            database_url: self.text("DATABASE_URL").map(Secret::new),
            data_dir: self.parsed("KAIROSROUTE_DATA_DIR"),
            master_keys: self.text("KAIROSROUTE_MASTER_KEYS").map(Secret::new),
            margin: self.basis_points("KAIROSROUTE_MARGIN_BPS"),
            byok_margin: self.basis_points("KAIROSROUTE_BYOK_MARGIN_BPS"),
            catalog: self.text("KAIROSROUTE_CATALOG").map(PathBuf::from),
            signup_open: self.one_of("KAIROSROUTE_SIGNUP", ["open", "closed"]),
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
            workers: match self.text("KAIROSROUTE_WORKERS") {
                Some(_) => self.between("KAIROSROUTE_WORKERS", 1, 1024),
                None => std::thread::available_parallelism().map_or(1, usize::from),
            },
            database_connections_max: self.between("KAIROSROUTE_DATABASE_CONNECTIONS_MAX", 4, 1_000),
            limits: self.limits(),
            deadlines: Deadlines {
                connect: self.millis("KAIROSROUTE_CONNECT_TIMEOUT_MS"),
                first_byte: self.millis("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS"),
                idle: self.millis("KAIROSROUTE_IDLE_TIMEOUT_MS"),
                total: self.millis("KAIROSROUTE_TOTAL_TIMEOUT_MS"),
            },
            mcp_servers: self.mcp_servers("KAIROSROUTE_MCP_SERVERS"),
            mcp_credentials_key: self.text("KAIROSROUTE_MCP_CREDENTIALS_KEY").map(Secret::new),
            providers: PROVIDERS.iter().filter_map(|row| self.provider(row.env, row.base_url)).collect(),
        }
    }

    fn limits(&mut self) -> Limits {
        Limits {
            requests_in_flight_max: self.between("KAIROSROUTE_REQUESTS_IN_FLIGHT_MAX", 1, 1_000_000),
            body_bytes_max: self.between("KAIROSROUTE_BODY_BYTES_MAX", 1_024, 1 << 30),
            body_depth_max: self.between("KAIROSROUTE_BODY_DEPTH_MAX", 8, 1_024),
            media_bytes_max: self.between("KAIROSROUTE_MEDIA_BYTES_MAX", 1_024, 1 << 30),
            media_time: self.millis("KAIROSROUTE_MEDIA_TIMEOUT_MS"),
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

    /// The value, else the default; `None` when both are empty.
    fn text(&self, name: &str) -> Option<String> {
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

    fn between<T>(&mut self, name: &str, min: T, max: T) -> T
    where
        T: FromStr + PartialOrd + Copy + fmt::Display,
    {
        let value = self.text(name).and_then(|text| text.parse::<T>().ok());
        value.filter(|value| (min..=max).contains(value)).unwrap_or_else(|| {
            self.errors.push(format!("{name}: expected a whole number from {min} to {max}"));
            min
        })
    }

    fn millis(&mut self, name: &str) -> Duration {
        Duration::from_millis(self.between(name, 1, 86_400_000))
    }

    fn basis_points(&mut self, name: &str) -> Bps {
        Bps(self.between(name, 0, 100_000))
    }

    /// True for the first of two words.
    fn one_of(&mut self, name: &str, [yes, no]: [&str; 2]) -> bool {
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

    fn refuse_unknown(&mut self) {
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

/// The lines of `.env.example`.
pub fn example() -> String {
    let mut text = String::from(
        "# KairosRoute's settings. Copy to .env and fill in; a value left as it stands here is the default.\n",
    );
    for row in VARIABLES {
        text.push_str(&format!("\n# {}\n{}={}\n", row.meaning, row.name, row.default));
    }
    text.push_str("\n# Platform keys and base URLs of the providers; a key stored by the operator beats the one here.\n");
    for row in PROVIDERS {
        text.push_str(&format!("{0}_API_KEY=\n{0}_BASE_URL={1}\n", row.env, row.base_url));
    }
    text
}

#[cfg(test)]
mod tests;
