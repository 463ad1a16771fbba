//! The operator's commands. They work on the database directly, also beside a running gateway, and each change
//! leaves a line in the audit log.

mod customers;
mod people;
mod platform_keys;

use super::{Place, with_schema};
use crate::{
    accounts::{
        AccountParts, AccountRules, Accounts, Authenticator, CheckClients, installation::Installation,
        passwords::Passwords,
    },
    app::{self, DatabaseRuntime},
    billing::credit::{self, NewEntry},
    books::{entry::EntryKind, periods::Zone},
    config::Config,
    credentials::rotate,
    domain::{ambient::Ambient, ids::OrgId, money::NanoUsd, secret::Secret},
    providers::guard::AllowedNets,
    store::{
        Db, DbLimits, StoreError,
        audit_log::{self, AuditEntry},
        mcp_grants, organizations,
        postings::{BALANCE_MAX, PostingOutcome},
    },
    vault::KeyRing,
};
use anyhow::{Context, bail};
use clap::Subcommand;
use std::{io::Read, sync::Arc};

#[derive(Subcommand)]
pub enum AdminAction {
    /// Operators of this installation.
    Operator {
        #[command(subcommand)]
        action: OperatorAction,
    },
    /// The platform's own provider keys.
    PlatformKey {
        #[command(subcommand)]
        action: PlatformKeyAction,
    },
    /// Credit of organizations.
    Credits {
        #[command(subcommand)]
        action: CreditsAction,
    },
    /// People who log in.
    User {
        #[command(subcommand)]
        action: UserAction,
    },
    /// Which organizations may use the operator's MCP servers.
    Mcp {
        #[command(subcommand)]
        action: McpAction,
    },
    /// One organization.
    Organization {
        #[command(subcommand)]
        action: OrganizationAction,
    },
    /// Lists the organizations with their balance and their usage of the last 30 days.
    Organizations,
}

#[derive(Subcommand)]
pub enum OperatorAction {
    /// Creates an operator; the password is read from standard input, or made and printed once.
    Create { email: String },
    /// Lists the operators.
    List,
    /// Removes an operator and ends its sessions; the last one stays.
    Remove { email: String },
}

#[derive(Subcommand)]
pub enum OrganizationAction {
    /// Creates an organization and prints the invitation of its owner; works while sign-up is closed.
    Create {
        name: String,
        /// E-mail address of the owner.
        #[arg(long)]
        owner: String,
    },
    /// Suspends an organization: its requests are refused and its members can only read.
    Suspend {
        organization_id: OrgIdArgument,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Ends a suspension.
    Resume { organization_id: OrgIdArgument },
    /// Shows an organization: balance, usage of the last 30 days, members, API keys.
    Show { organization_id: OrgIdArgument },
}

#[derive(Subcommand)]
pub enum UserAction {
    /// Gives a person a new password and ends all its sessions; the password is read from standard input, or made and
    /// printed once.
    Reset {
        email: String,
        /// Also switches two-factor sign-in off, for a person who has lost the authenticator app and the recovery codes.
        #[arg(long)]
        second_factor: bool,
    },
}

#[derive(Subcommand)]
pub enum McpAction {
    /// Lets an organization name a server of KAIROSROUTE_MCP_SERVERS.
    Grant { organization_id: OrgIdArgument, slug: String },
    /// Takes that back.
    Revoke { organization_id: OrgIdArgument, slug: String },
}

#[derive(Subcommand)]
pub enum PlatformKeyAction {
    /// Stores a provider's key, sealed; it is read from standard input.
    Set { provider: String },
    /// Lists the providers: where the key comes from, its last characters, whether it is used.
    List,
    /// Switches a provider's key off, wherever it comes from.
    Disable { provider: String },
    /// Switches a provider's key on again.
    Enable { provider: String },
    /// Removes a stored key; one of the environment serves again.
    Remove { provider: String },
    /// Makes a free call at the provider with its key.
    Test { provider: String },
}

#[derive(Subcommand)]
pub enum CreditsAction {
    /// Adds credit; with a date, promotional credit that is used before any other and expires at the end of that day.
    Grant {
        organization_id: OrgIdArgument,
        usd: String,
        /// Why.
        #[arg(long, default_value = "granted by the operator")]
        note: String,
        /// Last day (UTC) of promotional credit, such as 2026-12-31.
        #[arg(long)]
        expires: Option<String>,
    },
    /// Puts a balance right: adds credit, or takes it where the amount is below zero.
    Adjust {
        organization_id: OrgIdArgument,
        #[arg(allow_hyphen_values = true)]
        usd: String,
        /// Why.
        #[arg(long)]
        note: String,
    },
    /// Gives back a charge, wholly or in part.
    Refund {
        organization_id: OrgIdArgument,
        usd: String,
        /// Why.
        #[arg(long)]
        note: String,
    },
}

impl CreditsAction {
    fn entry(self) -> anyhow::Result<(OrgId, OwnedEntry)> {
        let ambient = Ambient::system();
        let (id, kind, usd, note, expires) = match self {
            Self::Grant { organization_id, usd, note, expires: None } => {
                (organization_id, EntryKind::Grant, usd, note, None)
            }
            Self::Grant { organization_id, usd, note, expires: Some(day) } => {
                let at = Zone::utc().midnight(&day, 1).filter(|at| *at > ambient.now());
                let at = at.context("--expires must be a day (YYYY-MM-DD) that is not over")?;
                (organization_id, EntryKind::Promotion, usd, note, Some(at))
            }
            Self::Adjust { organization_id, usd, note } => {
                (organization_id, EntryKind::Adjustment, usd, note, None)
            }
            Self::Refund { organization_id, usd, note } => {
                (organization_id, EntryKind::Refund, usd, note, None)
            }
        };
        let amount = NanoUsd::parse(&usd)?;
        if kind.sides(amount > NanoUsd::ZERO).is_none() || amount == NanoUsd::ZERO {
            bail!("the amount must be above zero");
        }
        Ok((id.0, OwnedEntry { kind, amount, note, expires_at: expires }))
    }
}

/// An entry that a command posts.
struct OwnedEntry {
    kind: EntryKind,
    amount: NanoUsd,
    note: String,
    expires_at: Option<time::OffsetDateTime>,
}

#[derive(Subcommand)]
pub enum VaultAction {
    /// Re-wraps every data key under the first of KAIROSROUTE_MASTER_KEYS.
    Rotate,
}

/// An organization's id on the command line.
#[derive(Clone, Copy)]
pub struct OrgIdArgument(pub OrgId);

impl std::str::FromStr for OrgIdArgument {
    type Err = crate::domain::ids::IdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

pub async fn run(config: &Config, action: AdminAction) -> anyhow::Result<()> {
    match action {
        AdminAction::Operator { action } => people::operator(config, action).await,
        AdminAction::User { action: UserAction::Reset { email, second_factor } } => {
            with_vault(config, |db, ring| people::reset_user(db, ring, config, email, second_factor)).await
        }
        AdminAction::PlatformKey { action } => platform_keys::run(config, action).await,
        AdminAction::Organization { action } => customers::run(config, action).await,
        AdminAction::Credits { action } => {
            let (id, entry) = action.entry()?;
            with_schema(config, |db| post(db, id, entry)).await
        }
        AdminAction::Mcp { action } => with_schema(config, |db| change_mcp_grant(db, action)).await,
        AdminAction::Organizations => with_schema(config, customers::list).await,
    }
}

pub async fn vault(config: &Config, action: VaultAction) -> anyhow::Result<()> {
    let VaultAction::Rotate = action;
    with_vault(config, |db, ring| async move {
        let rotated = rotate::rewrap_all(&db, &ring, &Ambient::system()).await?;
        println!("{} records re-wrapped under `{}`", rotated.rewrapped, ring.newest_id());
        if rotated.unopenable > 0 {
            bail!("{} records do not open with the given master keys", rotated.unopenable);
        }
        Ok(())
    })
    .await
}

/// Like [`with_schema`], for commands that seal or open.
async fn with_vault<T, F>(config: &Config, work: impl FnOnce(Db, KeyRing) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let place = Place::of(config, false).await?;
    let ring = place.key_ring(config)?;
    let runtime = DatabaseRuntime::start()?;
    let db = runtime.open(place.options.clone(), DbLimits::of_command(app::pooler(config)))?;
    let prepared = if config.migrate { app::migrate(&db).await } else { Ok(()) };
    let outcome = async {
        prepared?;
        db.schema().await?.check()?;
        work(db.clone(), ring).await
    };
    let outcome = outcome.await;
    db.close().await;
    drop(runtime);
    place.leave().await?;
    outcome
}

/// The account services of a command.
async fn account_services(db: Db, ring: KeyRing, config: &Config) -> anyhow::Result<Accounts> {
    let ambient = Ambient::system();
    let installation = Arc::new(Installation::load(&db, ring, ambient.clone()).await?);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    Ok(Accounts::new(AccountParts {
        authenticator: Arc::new(Authenticator::new(db.clone(), installation.clone(), ambient.clone())),
        db,
        installation,
        passwords: Passwords::start(1, ambient.clone())?,
        ambient,
        rules: AccountRules {
            signup_open: false,
            allowed_nets: AllowedNets::default(),
            trusted_proxies: Vec::new(),
            limits: config.accounts,
            provider_urls: app::people::provider_urls(config),
            operators_need_second_factor: false,
            public_base: String::new(),
            // Commands set no rules of API keys.
            matches_model: Box::new(|_| true),
            payments: None,
        },
        mail: None,
        identity_providers: Vec::new(),
        check_clients: CheckClients { operator: client.clone(), customer: client },
    }))
}

async fn post(db: Db, id: OrgId, entry: OwnedEntry) -> anyhow::Result<()> {
    let (kind, amount) = (entry.kind, entry.amount);
    let posting = db.clone();
    let outcome = db
        .run(async move {
            let mut tx = posting.begin().await?;
            let Some(scope) = organizations::find_scope(&mut tx, id).await? else { return Ok(None) };
            let entry = NewEntry {
                kind: entry.kind,
                amount: entry.amount,
                external_id: None,
                reason: &entry.note,
                actor: "cli",
                expires_at: entry.expires_at,
            };
            let (entry_id, outcome) = credit::post(&mut tx, &Ambient::system(), scope, &entry).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(Some((entry_id, outcome)))
        })
        .await?;
    match outcome {
        Some((entry_id, PostingOutcome::Posted)) => {
            println!("{} of {amount} USD posted to {id}: {entry_id}", kind.as_str());
        }
        Some((_, PostingOutcome::TooMuch)) => {
            bail!("nothing was posted: a balance can be at most {BALANCE_MAX} USD")
        }
        Some((_, other)) => bail!("nothing was posted: {other:?}"),
        None => bail!("no organization {id}"),
    }
    Ok(())
}

async fn change_mcp_grant(db: Db, action: McpAction) -> anyhow::Result<()> {
    let changing = db.clone();
    let (id, slug, grants) = match action {
        McpAction::Grant { organization_id, slug } => (organization_id.0, slug, true),
        McpAction::Revoke { organization_id, slug } => (organization_id.0, slug, false),
    };
    let changed = db
        .run(async move {
            let ambient = Ambient::system();
            let mut tx = changing.begin().await?;
            let Some(scope) = organizations::find_scope(&mut tx, id).await? else { return Ok(false) };
            let action = match grants {
                true => {
                    mcp_grants::insert(&mut tx, scope, &slug, ambient.now()).await?;
                    "mcp.grant"
                }
                false if mcp_grants::delete(&mut tx, scope, &slug).await? => "mcp.revoke",
                false => return Ok(false),
            };
            let entry = AuditEntry { org: Some(id), actor: "cli", action, subject: &slug };
            audit_log::insert(&mut tx, &ambient, &entry).await?;
            tx.commit().await?;
            Ok::<_, StoreError>(true)
        })
        .await?;
    match (changed, grants) {
        (true, true) => println!("granted to {id}"),
        (true, false) => println!("revoked from {id}"),
        (false, true) => bail!("no organization {id}"),
        (false, false) => bail!("{id} has no such grant"),
    }
    Ok(())
}

/// What is piped in, without its line end; `None` when standard input is a terminal or empty.
fn read_input() -> anyhow::Result<Option<Secret>> {
    use std::io::IsTerminal;
    let mut input = std::io::stdin();
    if input.is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    input.read_to_string(&mut text)?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    Ok((!text.is_empty()).then(|| Secret::new(text)))
}
