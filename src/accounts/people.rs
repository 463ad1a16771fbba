//! Signing up, logging out, and what a person sees of itself.

use super::{
    AccountError, Accounts,
    api_key::random_base62,
    audit, fields,
    keys::key_scope,
    password_rules,
    passwords::Lane,
    sessions::{Origin, SESSIONS_MAX},
    throttle::{Network, Subject, TooMany},
};
use crate::{
    config::AccountLimits,
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, OrgId, SessionId, UserId},
        secret::Secret,
    },
    store::{
        OrgScope, StoreError,
        api_keys::{self, ApiKey},
        members::{self, Role},
        organizations,
        sessions::{self, NewSession, Person},
        users::{self, User},
    },
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// How session tokens begin.
pub(super) const SESSION_PREFIX: &str = "krs_";
/// How invitation tokens begin.
pub(super) const INVITATION_PREFIX: &str = "kri_";
const SESSION_LIFE: time::Duration = time::Duration::days(30);

/// What a new person joins.
pub enum Joining {
    /// A new organization of this name, as its owner.
    Organization(String),
    /// An existing one, by the token of an invitation.
    Invitation(Secret),
}

/// A finished sign-up. The token is shown this once.
pub struct SignedUp {
    pub session_token: Secret,
    pub user_id: UserId,
    pub email: String,
    pub organization_id: OrgId,
    pub organization_name: String,
}

/// Under this name, which no network has, the sign-ups of all networks are counted.
const EVERYWHERE: &str = "all";
/// API keys of one page of an overview.
const PAGE_DEFAULT: i64 = 100;
const PAGE_MAX: i64 = 1_000;

/// Which API keys of an overview are meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyPage {
    /// The last one of the page before.
    pub after: Option<ApiKeyId>,
    pub keys_max: Option<i64>,
}

/// What a logged-in person sees.
pub struct Overview {
    pub user_id: UserId,
    pub email: String,
    /// The person has shown that the address is its own.
    pub is_verified: bool,
    /// `None` for the operator.
    pub membership: Option<(OrgId, String, Role)>,
    /// One page of those its role may see.
    pub api_keys: Vec<ApiKey>,
    /// What the next page comes after, if there is one.
    pub next: Option<ApiKeyId>,
}

impl Accounts {
    /// Creates a person with its first session.
    pub async fn sign_up(
        &self,
        email: &str,
        password: &Secret,
        joining: Joining,
        origin: Origin,
    ) -> Result<SignedUp, AccountError> {
        let network = origin.network();
        self.throttle.check_rate(Subject::SignUps(network), self.ambient.now()).await?;
        let email = fields::email(email)?;
        password_rules::check("password", password, &email)?;
        let joining = match joining {
            Joining::Organization(_) if !self.rules.signup_open => return Err(AccountError::SignupClosed),
            Joining::Organization(name) => Joined::New(fields::name("organization", &name)?, network),
            Joining::Invitation(token) => Joined::Invited(self.invitation_hash(&token)?),
        };
        let password_hash = self.passwords.hash(Lane::SignUp(network), password).await?;
        let id = UserId(self.ambient.uuid());
        let limits = self.rules.limits;
        let user = User { id, email, password_hash, is_operator: false };
        let token = new_token(&self.ambient, SESSION_PREFIX);
        let token_hash = self.installation.tokens.of(token.expose().as_bytes());
        let (user_id, email) = (user.id, user.email.clone());
        let (organization_id, organization_name) = self
            .transact(move |db, ambient| {
                let (user, joining, origin) = (user.clone(), joining.clone(), origin.clone());
                async move {
                    let mut tx = db.begin().await?;
                    let scope = enroll(&mut tx, &ambient, &limits, &user, &joining).await?;
                    begin_session(&mut tx, &ambient, (user.id, Some(scope)), token_hash, &origin).await?;
                    let name = organizations::get_name(&mut tx, scope).await?.unwrap_or_default();
                    tx.commit().await?;
                    Ok((scope.org_id(), name))
                }
            })
            .await?;
        self.verify_beside(user_id, &email);
        Ok(SignedUp { session_token: token, user_id, email, organization_id, organization_name })
    }

    /// Ends the session on every replica.
    pub async fn log_out(&self, who: Person) -> Result<(), AccountError> {
        self.transact(move |db, ambient| async move {
            let mut transaction = db.begin().await?;
            sessions::revoke(&mut transaction, who.session_id(), ambient.now()).await?;
            transaction.commit().await.map_err(AccountError::from)
        })
        .await
    }

    /// What a logged-in person sees of itself and its organization.
    pub async fn overview(&self, who: Person, page: KeyPage) -> Result<Overview, AccountError> {
        let keys_max = page.keys_max.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&keys_max) {
            return Err(AccountError::invalid("limit", format!("`limit` must be 1 to {PAGE_MAX}")));
        }
        let db = self.db.clone();
        self.db
            .run(async move {
                let mut connection = db.acquire().await?;
                let user_id = who.user_id();
                let email = users::get_email(&mut connection, user_id).await?.unwrap_or_default();
                let is_verified = users::get_verified_at(&mut connection, user_id).await?.is_some();
                let Person::Member(session) = who else {
                    return Ok(Overview {
                        user_id,
                        email,
                        is_verified,
                        membership: None,
                        api_keys: Vec::new(),
                        next: None,
                    });
                };
                let name = organizations::get_name(&mut connection, session.scope).await?.unwrap_or_default();
                let mut api_keys = match key_scope(&session) {
                    Some(scope) => api_keys::list(&mut connection, scope, page.after, keys_max + 1).await?,
                    None => Vec::new(),
                };
                let page_length = usize::try_from(keys_max).unwrap_or(usize::MAX);
                let has_more = api_keys.len() > page_length;
                api_keys.truncate(page_length);
                let next = api_keys.last().filter(|_| has_more).map(|key| key.id);
                let membership = Some((session.scope.org_id(), name, session.role));
                Ok(Overview { user_id, email, is_verified, membership, api_keys, next })
            })
            .await
    }

    /// Creates the operator of the installation, who belongs to no organization. For the command line.
    pub async fn create_operator(&self, email: &str, password: &Secret) -> Result<UserId, AccountError> {
        let email = fields::email(email)?;
        password_rules::check("password", password, &email)?;
        let password_hash = self.passwords.hash(Lane::Command, password).await?;
        let user = User { id: UserId(self.ambient.uuid()), email, password_hash, is_operator: true };
        let id = user.id;
        self.transact(move |db, ambient| {
            let user = user.clone();
            async move {
                let mut tx = db.begin().await?;
                insert_user(&mut tx, &ambient, &user).await?;
                audit(&mut tx, &ambient, None, &"cli", ("operator.create", &user.id)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        Ok(id)
    }

    /// Makes sure that a person owns an organization and logs in with this password. For the demo's start.
    pub async fn ensure_owner(
        &self,
        scope: OrgScope,
        email: &str,
        password: &Secret,
    ) -> Result<(), AccountError> {
        let email = fields::email(email)?;
        let password_hash = self.passwords.hash(Lane::Command, password).await?;
        let user = User { id: UserId(self.ambient.uuid()), email, password_hash, is_operator: false };
        self.transact(move |db, ambient| {
            let user = user.clone();
            async move {
                let mut tx = db.begin().await?;
                let id = match users::find_by_email(&mut tx, &user.email).await? {
                    Some(known) => {
                        users::set_password(&mut tx, known.id, &user.password_hash).await?;
                        known.id
                    }
                    None => {
                        insert_user(&mut tx, &ambient, &user).await?;
                        user.id
                    }
                };
                if members::get(&mut tx, scope, id).await?.is_none() {
                    members::insert(&mut tx, scope, id, Role::Owner, ambient.now()).await?;
                }
                tx.commit().await?;
                Ok(())
            }
        })
        .await
    }

    /// The stored form of a presented invitation token.
    pub(super) fn invitation_hash(&self, token: &Secret) -> Result<[u8; 32], AccountError> {
        if !has_token_form(token.expose(), INVITATION_PREFIX) {
            return Err(no_invitation());
        }
        Ok(self.installation.tokens.of(token.expose().as_bytes()))
    }
}

impl From<TooMany> for AccountError {
    fn from(error: TooMany) -> Self {
        Self::Throttled { retry_after_s: error.retry_after_s }
    }
}

/// A new random token of 256 bits.
pub(super) fn new_token(ambient: &Ambient, prefix: &str) -> Secret {
    Secret::new(format!("{prefix}{}", random_base62(ambient)))
}

/// Text that could be a token of this kind. What could not never reaches the database.
pub(super) fn has_token_form(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix)
        .is_some_and(|rest| rest.len() == 43 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[derive(Clone)]
pub(super) enum Joined {
    /// A new organization of this name, signed up from this network.
    New(String, Network),
    /// The hash of an invitation's token.
    Invited([u8; 32]),
}

pub(super) async fn enroll(
    tx: &mut PgConnection,
    ambient: &Ambient,
    limits: &AccountLimits,
    user: &User,
    joining: &Joined,
) -> Result<OrgScope, AccountError> {
    insert_user(tx, ambient, user).await?;
    match joining {
        Joined::Invited(hash) => accept(tx, ambient, limits, user, hash).await,
        Joined::New(name, network) => {
            let (id, now) = (OrgId(ambient.uuid()), ambient.now());
            count_new_organization(tx, limits, *network, now).await?;
            let scope = organizations::insert(tx, id, name, now).await?;
            members::insert(tx, scope, user.id, Role::Owner, now).await?;
            audit(tx, ambient, Some(scope), &user.id, ("organization.create", &id)).await?;
            Ok(scope)
        }
    }
}

/// Counts a new organization of a network and of the day, within the limits.
pub(super) async fn count_new_organization(
    tx: &mut PgConnection,
    limits: &AccountLimits,
    network: Network,
    now: OffsetDateTime,
) -> Result<(), AccountError> {
    let (day, network) = (now.date(), network.to_string());
    if !organizations::count_signup(tx, day, &network, limits.signups_per_day_max).await? {
        return Err(AccountError::Limited(
            "Too many organizations were signed up from this address today; try again tomorrow",
        ));
    }
    // The row that all sign-ups share is locked last, and shortly.
    if !organizations::count_signup(tx, day, EVERYWHERE, limits.signups_of_all_per_day_max).await? {
        return Err(AccountError::Limited(
            "Too many organizations were signed up on this installation today; try again tomorrow",
        ));
    }
    Ok(())
}

async fn insert_user(tx: &mut PgConnection, ambient: &Ambient, user: &User) -> Result<(), AccountError> {
    match users::insert(tx, user, ambient.now()).await {
        Err(StoreError::Constraint(name)) if name == users::EMAIL_UNIQUE => Err(AccountError::EmailTaken),
        outcome => Ok(outcome?),
    }
}

/// Turns an invitation into a membership. It must be for this person's own address.
pub(super) async fn accept(
    tx: &mut PgConnection,
    ambient: &Ambient,
    limits: &AccountLimits,
    user: &User,
    hash: &[u8; 32],
) -> Result<OrgScope, AccountError> {
    let now = ambient.now();
    let invitation = members::lock_invitation(tx, hash, now)
        .await?
        .filter(|invitation| invitation.email == user.email && !user.is_operator)
        .ok_or_else(no_invitation)?;
    let scope = invitation.scope;
    if let Some(maker) = invitation.invited_by {
        // Nobody comes in by the right of somebody who has lost it.
        let rank = members::lock_role(tx, scope, maker).await?;
        if !rank.is_some_and(|rank| rank.may_assign(invitation.role)) {
            return Err(no_invitation());
        }
    }
    members::accept_invitation(tx, &invitation, now).await?;
    if members::get(tx, scope, user.id).await?.is_none() {
        if members::count_of_user(tx, user.id).await? >= limits.organizations_per_person_max {
            return Err(AccountError::Conflict(
                "You belong to as many organizations as a person may; leave one",
            ));
        }
        members::insert(tx, scope, user.id, invitation.role, now).await?;
    }
    audit(tx, ambient, Some(scope), &user.id, ("invitation.accept", &invitation.id)).await?;
    Ok(scope)
}

/// The organization a session is for: the wanted one, else the one joined first; none for the operator.
pub(super) async fn choose(
    tx: &mut PgConnection,
    user: &User,
    wanted: Option<OrgId>,
) -> Result<Option<OrgScope>, AccountError> {
    if user.is_operator {
        return Ok(None);
    }
    let memberships = members::list_of_user(tx, user.id).await?;
    if memberships.is_empty() {
        return Err(AccountError::Denied(
            "You belong to no organization any more; accept an invitation, or ask the operator",
        ));
    }
    memberships
        .into_iter()
        .map(|membership| membership.scope)
        .find(|scope| wanted.is_none_or(|wanted| wanted == scope.org_id()))
        .map(Some)
        .ok_or(AccountError::Denied("You are no member of this organization"))
}

pub(super) async fn begin_session(
    tx: &mut PgConnection,
    ambient: &Ambient,
    (user_id, scope): (UserId, Option<OrgScope>),
    token_hash: [u8; 32],
    origin: &Origin,
) -> Result<(), AccountError> {
    let (id, created_at) = (SessionId(ambient.uuid()), ambient.now());
    let session = NewSession {
        id,
        token_hash,
        user_id,
        scope,
        created_at,
        expires_at: created_at + SESSION_LIFE,
        address: origin.address.map(|ip| ip.to_canonical().to_string()),
        network: origin.network().to_string(),
        user_agent: origin.user_agent.clone(),
    };
    sessions::insert(tx, &session).await?;
    sessions::revoke_oldest(tx, user_id, SESSIONS_MAX, created_at).await?;
    Ok(audit(tx, ambient, scope, &user_id, ("session.begin", &id)).await?)
}

fn no_invitation() -> AccountError {
    AccountError::invalid("invitation", "The invitation is unknown, used, expired or for another address")
}
