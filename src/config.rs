//! The process's settings, read once from the environment and checked all together before anything starts.
//! Every variable is a row of [`VARIABLES`]; `.env.example` holds the same rows (a test compares them).

mod accounts;
pub mod build;
mod cache;
mod oidc;
mod reader;
mod smtp;
mod stripe;
mod variables;

use crate::{
    domain::{
        money::Bps,
        provider::{PROVIDERS, ProviderId},
        secret::Secret,
    },
    mail::MailSettings,
    providers::{oidc::OidcSettings, resolver::NameLimits, transport::Deadlines},
};
pub use accounts::{AccountLimits, McpAccess, Retention};
pub use cache::{CacheLimits, CacheSettings};
use ipnet::IpNet;
use reader::Reader;
use reqwest::Url;
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};
pub use stripe::StripeSettings;
pub use variables::{VARIABLES, Variable};

/// A provider's settings from the environment.
pub struct ProviderSettings {
    pub api_key: Option<Secret>,
    pub base_url: Url,
}

/// Bounds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub shares: ShareLimits,
    pub body_bytes_max: usize,
    pub body_depth_max: u32,
    pub reply_bytes_max: usize,
    pub frame_bytes_max: usize,
    pub attempts_max: u32,
    /// Of what a request names by URL and we have to fetch.
    pub media_bytes_max: usize,
    pub media_time: Duration,
    /// Of a stream: frames kept back until its bill is known.
    pub held_bytes_max: usize,
    pub mcp: McpLimits,
    pub heartbeat: Duration,
    pub drain: Duration,
    pub shutdown: Duration,
    /// How long new requests are still taken after the process has begun to say that it is not ready.
    pub shutdown_notice: Duration,
}

/// What all organizations share, and how much of it one may have.
#[derive(Clone, Copy, Debug)]
pub struct ShareLimits {
    pub requests_max: usize,
    pub requests_per_organization_max: u64,
    pub requests_per_key_max: u64,
    pub requests_without_credit_max: u64,
    /// Of bodies, answers and whatever else a request keeps beyond what every request needs.
    pub memory_bytes_max: u64,
    pub memory_bytes_per_organization_max: u64,
    pub bodies_read_max: usize,
    /// The least pace of a body that is being sent, and the longest it may take.
    pub body_bytes_per_second_min: usize,
    pub body_time: Duration,
    /// A request with a larger body is read on a thread for such, of which there are so many.
    pub large_body_bytes: usize,
    pub large_request_threads: usize,
    pub names: NameLimits,
}

/// Connections of clients; unset ones follow from the process's limit of open files.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub connections_max: Option<usize>,
    pub per_address_max: Option<usize>,
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
    /// Where people reach the dashboard; decides its cookies and links.
    pub public_url: Option<Url>,
    pub margin: Bps,
    pub byok_margin: Bps,
    pub catalog: Option<PathBuf>,
    /// The model that `auto` measures quality and savings by.
    pub reference_model: Option<String>,
    pub signup_open: bool,
    /// Operators need two-factor sign-in.
    pub operators_need_second_factor: bool,
    pub migrate: bool,
    pub allow_private_nets: Vec<IpNet>,
    pub trusted_proxies: Vec<IpNet>,
    pub metrics_listen: Option<SocketAddr>,
    /// The address was asked for by name: not getting it is an error. A second process on a machine that takes
    /// the default goes without.
    pub metrics_required: bool,
    pub unsafe_database: bool,
    pub log: String,
    /// Where traces go (OTLP over HTTP); `None`: none are made.
    pub otlp_endpoint: Option<Url>,
    pub otlp_headers: Vec<(String, Secret)>,
    /// Of requests whose caller has not decided.
    pub trace_percent: u8,
    /// Origins whose scripts may call the API, or `*`.
    pub cors_origins: Vec<String>,
    /// JSON instead of text.
    pub log_json: bool,
    pub workers: usize,
    pub database_connections_max: u32,
    pub database_report_connections_max: u32,
    pub report_time: Duration,
    /// A pooler between us and the server may use another server connection for each transaction.
    pub transaction_pooler: bool,
    pub limits: Limits,
    pub accounts: AccountLimits,
    pub cache: CacheSettings,
    pub connections: ConnectionLimits,
    pub deadlines: Deadlines,
    /// Who may use the servers below.
    pub mcp_access: McpAccess,
    /// By slug.
    pub mcp_servers: Vec<(String, Url)>,
    pub mcp_credentials_key: Option<Secret>,
    /// Services that people may sign in by.
    pub oidc: Vec<OidcSettings>,
    /// `None`: credit is not sold here.
    pub stripe: Option<StripeSettings>,
    /// `None`: no e-mail is sent.
    pub smtp: Option<MailSettings>,
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
        // Of a variable that is given twice the last value counts, also an empty one.
        let mut given: BTreeMap<String, String> = variables.into_iter().collect();
        given.retain(|_, value| !value.trim().is_empty());
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
