//! People, organizations and their keys: signing up, logging in, who may do what, and the platform API keys
//! that applications present. Secrets leave this module only once, at their creation. Every change is one
//! transaction with its line in the audit log.

pub mod api_key;
pub mod authenticator;
mod fair_queue;
mod fields;
pub mod installation;
pub mod keys;
pub mod log_in;
pub mod members;
pub mod oidc;
pub mod operators;
pub mod organization;
pub mod organizations;
mod password_rules;
pub mod passwords;
pub mod patch;
pub mod people;
pub mod profile;
pub mod recovery;
pub mod refusals;
pub mod roles;
pub mod rotation;
pub mod second_factor;
pub mod sessions;
pub mod shared_keys;
pub mod throttle;
pub mod token;

pub use authenticator::{AuthError, Authenticator};

use crate::{
    billing::payments::Payments,
    config::AccountLimits,
    domain::{
        ambient::Ambient,
        ids::{OrgId, UserId},
        provider::ProviderId,
    },
    mail::Mailer,
    providers::{
        guard::{AllowedNets, UrlError},
        oidc::OidcProvider,
    },
    store::{
        Db, OrgScope, StoreError,
        audit_log::{self, AuditEntry},
        sessions::{SessionLookup, find_person},
    },
    vault::VaultError,
};
use installation::Installation;
use ipnet::IpNet;
use passwords::Passwords;
use refusals::Refusals;
use sqlx::PgConnection;
use std::{collections::HashMap, future::Future, sync::Arc};
use throttle::{Subject, Throttle};

/// How often a transaction that lost to another one is tried.
const TRIES_MAX: u32 = 4;

/// What the operator decided about accounts.
pub struct AccountRules {
    pub signup_open: bool,
    /// Private networks that customer-given URLs may reach.
    pub allowed_nets: AllowedNets,
    /// Whose `X-Forwarded-For` counts.
    pub trusted_proxies: Vec<IpNet>,
    pub limits: AccountLimits,
    /// Whether a pattern of `allowedModels` matches a model of the catalogue.
    pub matches_model: ModelMatch,
    /// Where the operator has a provider called, if not at its public address.
    pub provider_urls: HashMap<ProviderId, String>,
    /// Operators may do nothing but set up their own account before their second factor is on.
    pub operators_need_second_factor: bool,
    /// The public address of the dashboard, without a slash at its end; empty where none is configured.
    pub public_base: String,
    /// How credit is bought; `None`: it is not.
    pub payments: Option<Arc<Payments>>,
}

/// Whether a pattern matches a model of the catalogue as it is now.
pub type ModelMatch = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// HTTP clients for test calls. Neither follows redirects nor uses a proxy of the environment.
pub struct CheckClients {
    /// For the operator's addresses, which may be anywhere.
    pub operator: reqwest::Client,
    /// For customer-given addresses: its resolver refuses what is not public or opened.
    pub customer: reqwest::Client,
}

/// The account services of one process.
pub struct Accounts {
    db: Db,
    installation: Arc<Installation>,
    ambient: Ambient,
    authenticator: Arc<Authenticator>,
    passwords: Passwords,
    throttle: Throttle,
    pub refusals: Refusals,
    rules: AccountRules,
    check_clients: CheckClients,
    mail: Option<(Mailer, String)>,
    identity_providers: Vec<OidcProvider>,
}

/// What the services are made of.
pub struct AccountParts {
    pub db: Db,
    pub installation: Arc<Installation>,
    pub ambient: Ambient,
    /// Told of changes made here, so that they act at once in this process.
    pub authenticator: Arc<Authenticator>,
    pub passwords: Passwords,
    pub rules: AccountRules,
    pub check_clients: CheckClients,
    /// What sends links, and the address of the dashboard in them; `None`: none are sent.
    pub mail: Option<(Mailer, String)>,
    /// Services that people may sign in by.
    pub identity_providers: Vec<OidcProvider>,
}

/// Why an account call was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("Sign-up is closed on this installation")]
    SignupClosed,
    #[error("This e-mail address has an account already; log in instead")]
    EmailTaken,
    #[error("Unknown e-mail address or wrong password")]
    InvalidCredentials,
    #[error("Two-factor sign-in is on: send a code of your authenticator app, or a recovery code, as `code`")]
    CodeRequired,
    #[error("Too many attempts; try again later")]
    Throttled { retry_after_s: u32 },
    /// A limit that no short wait lifts.
    #[error("{0}")]
    Limited(&'static str),
    /// The hashing queue is full.
    #[error("Too many log-ins at once; try again")]
    Busy,
    #[error("{message}")]
    Invalid { param: String, message: String },
    #[error("unknown provider in {param}")]
    UnknownProvider { param: String },
    #[error("No such {0}")]
    NotFound(&'static str),
    #[error("{0}")]
    Denied(&'static str),
    #[error("{0}")]
    Conflict(&'static str),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{0}")]
    Internal(String),
}

impl AccountError {
    /// 400 that names the field at fault.
    fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), message: message.into() }
    }

    fn url(param: &str, error: &UrlError) -> Self {
        Self::invalid(param, format!("`{param}` {error}"))
    }
}

impl Accounts {
    pub fn new(parts: AccountParts) -> Self {
        let AccountParts {
            db,
            installation,
            ambient,
            authenticator,
            passwords,
            rules,
            check_clients,
            mail,
            identity_providers,
        } = parts;
        let (throttle, refusals) =
            (Throttle::shared(&db, &installation.tokens), Refusals::new(&rules.limits));
        Self {
            db,
            installation,
            ambient,
            authenticator,
            passwords,
            throttle,
            refusals,
            rules,
            check_clients,
            mail,
            identity_providers,
        }
    }

    pub fn rules(&self) -> &AccountRules {
        &self.rules
    }

    /// The person behind a session token, in the requested organization or else in the one that the session was begun
    /// in. Asked of the database every time, so that logging out acts on every replica at once.
    pub async fn find_person(
        &self,
        token: &str,
        requested: Option<OrgId>,
    ) -> Result<SessionLookup, StoreError> {
        if !people::has_token_form(token, people::SESSION_PREFIX) {
            return Ok(SessionLookup::Unknown);
        }
        let hash = self.installation.tokens.of(token.as_bytes());
        let (db, now) = (self.db.clone(), self.ambient.now());
        self.db
            .run(async move {
                // It may note that the session was used.
                let mut transaction = db.begin().await?;
                let person = find_person(&mut transaction, &hash, requested, now).await?;
                transaction.commit().await?;
                Ok(person)
            })
            .await
    }

    /// Counts a change by a logged-in person, before it is made.
    pub async fn admit_change(&self, user: UserId) -> Result<(), AccountError> {
        Ok(self.throttle.check_rate(Subject::Changes(user), self.ambient.now()).await?)
    }

    /// Runs a transaction on the database's runtime, again when it lost to another one.
    async fn transact<T, F>(&self, attempt: impl Fn(Db, Ambient) -> F) -> Result<T, AccountError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AccountError>> + Send + 'static,
    {
        for _ in 1..TRIES_MAX {
            match self.db.run(attempt(self.db.clone(), self.ambient.clone())).await {
                Err(AccountError::Store(StoreError::Contention)) => {}
                outcome => return outcome,
            }
        }
        self.db.run(attempt(self.db.clone(), self.ambient.clone())).await
    }
}

/// Writes the audit line of a change by a person to something in an organization.
async fn audit(
    connection: &mut PgConnection,
    ambient: &Ambient,
    scope: Option<OrgScope>,
    actor: &impl ToString,
    change: (&str, &impl ToString),
) -> Result<(), StoreError> {
    audit_changes(connection, ambient, scope, actor, change, None).await
}

/// The same with the fields that changed.
async fn audit_changes(
    connection: &mut PgConnection,
    ambient: &Ambient,
    scope: Option<OrgScope>,
    actor: &impl ToString,
    (action, subject): (&str, &impl ToString),
    changes: Option<serde_json::Value>,
) -> Result<(), StoreError> {
    let (actor, subject) = (actor.to_string(), subject.to_string());
    let entry = AuditEntry { org: scope.map(OrgScope::org_id), actor: &actor, action, subject: &subject };
    audit_log::insert_with(connection, ambient, &entry, changes.as_ref()).await
}
