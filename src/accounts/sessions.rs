//! A person's own sessions and password: the list, ending one or all, changing the password, and its reset by the
//! operator. A new password ends every session that the old one began.

use super::{
    AccountError, Accounts, audit, fields, password_rules,
    passwords::Lane,
    throttle::{Network, Subject},
};
use crate::{
    domain::{ids::SessionId, ids::UserId, secret::Secret},
    store::{
        second_factors,
        sessions::{self, ListedSession, Person},
        users::{self, User},
    },
};
use std::net::IpAddr;

/// Live sessions of one person; beginning another one ends the oldest.
pub(super) const SESSIONS_MAX: i64 = 100;
const USER_AGENT_CHARS_MAX: usize = 200;

/// Where a log-in or a sign-up comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    pub address: Option<IpAddr>,
    pub user_agent: Option<String>,
}

impl Origin {
    /// Cuts the user agent to what is kept of it.
    pub fn new(address: Option<IpAddr>, user_agent: Option<&str>) -> Self {
        let clean =
            |text: &str| text.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX).collect();
        Self { address, user_agent: user_agent.map(clean).filter(|text: &String| !text.is_empty()) }
    }

    pub fn network(&self) -> Network {
        Network::of(self.address)
    }
}

impl Accounts {
    /// The person's live sessions in all organizations, the newest first.
    pub async fn list_sessions(&self, who: Person) -> Result<Vec<ListedSession>, AccountError> {
        let (db, now) = (self.db.clone(), self.ambient.now());
        self.db
            .run(async move { Ok(sessions::list_of_user(&mut *db.acquire().await?, who.user_id(), now).await?) })
            .await
    }

    /// Ends one of the person's own sessions, on every replica.
    pub async fn end_session(&self, who: Person, id: SessionId) -> Result<(), AccountError> {
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            if !sessions::revoke_own(&mut tx, who.user_id(), id, ambient.now()).await? {
                return Err(AccountError::NotFound("session"));
            }
            audit(&mut tx, &ambient, who.scope(), &who.user_id(), ("session.end", &id)).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Ends all sessions of the person, the presented one among them unless `keep_current`.
    pub async fn end_sessions(&self, who: Person, keep_current: bool) -> Result<(), AccountError> {
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            let kept = keep_current.then(|| who.session_id());
            sessions::revoke_of_user(&mut tx, who.user_id(), kept, ambient.now()).await?;
            audit(&mut tx, &ambient, who.scope(), &who.user_id(), ("session.end_all", &who.user_id()))
                .await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Changes the person's own password and ends its other sessions.
    pub async fn change_password(
        &self,
        who: Person,
        current: &Secret,
        new: &Secret,
        network: Network,
    ) -> Result<(), AccountError> {
        let user_id = who.user_id();
        let user = self.get_user(user_id).await?;
        password_rules::check("newPassword", new, &user.email)?;
        self.check_password_of(&user, "currentPassword", current, network).await?;
        let hash = self.passwords.hash(Lane::Person(user_id), new).await?;
        self.store_password(user_id, hash, Some(who)).await
    }

    pub(super) async fn get_user(&self, id: UserId) -> Result<User, AccountError> {
        let db = self.db.clone();
        let find = async move { users::get(&mut *db.acquire().await?, id).await };
        self.db.run(find).await?.ok_or(AccountError::NotFound("user"))
    }

    /// Asks a logged-in person for the password again, before something that a borrowed session must not do.
    pub(super) async fn check_own_password(
        &self,
        id: UserId,
        param: &'static str,
        password: &Secret,
        network: Network,
    ) -> Result<User, AccountError> {
        let user = self.get_user(id).await?;
        self.check_password_of(&user, param, password, network).await?;
        Ok(user)
    }

    async fn check_password_of(
        &self,
        user: &User,
        param: &'static str,
        password: &Secret,
        network: Network,
    ) -> Result<(), AccountError> {
        let guess = Subject::Guess(user.email.clone(), network);
        self.throttle.check_rate(guess.clone(), self.ambient.now()).await?;
        if !password_rules::fits_length(password)
            || !self.passwords.verify(Lane::Person(user.id), password, Some(&user.password_hash)).await?
        {
            return Err(AccountError::invalid(param, format!("`{param}` is not your password")));
        }
        self.throttle.refund(&guess).await;
        Ok(())
    }

    /// Gives a person a new password and ends all its sessions. For the command line.
    pub async fn reset_password(
        &self,
        email: &str,
        new: &Secret,
        removes_second_factor: bool,
    ) -> Result<UserId, AccountError> {
        let email = fields::email(email)?;
        password_rules::check("password", new, &email)?;
        let db = self.db.clone();
        let find = async move { users::find_by_email(&mut *db.acquire().await?, &email).await };
        let user = self.db.run(find).await?.ok_or(AccountError::NotFound("user"))?;
        let hash = self.passwords.hash(Lane::Command, new).await?;
        self.store_password(user.id, hash, None).await?;
        if removes_second_factor {
            self.transact(move |db, ambient| async move {
                let mut tx = db.begin().await?;
                if second_factors::delete(&mut tx, user.id).await? {
                    audit(&mut tx, &ambient, None, &"cli", ("second_factor.disable", &user.id)).await?;
                }
                tx.commit().await?;
                Ok(())
            })
            .await?;
        }
        Ok(user.id)
    }

    /// `by`: the person itself, whose presented session goes on; else the command line.
    async fn store_password(
        &self,
        user: UserId,
        hash: String,
        by: Option<Person>,
    ) -> Result<(), AccountError> {
        self.transact(move |db, ambient| {
            let hash = hash.clone();
            async move {
                let mut tx = db.begin().await?;
                users::set_password(&mut tx, user, &hash).await?;
                let kept = by.as_ref().map(Person::session_id);
                sessions::revoke_of_user(&mut tx, user, kept, ambient.now()).await?;
                let (actor, action) = match by {
                    Some(_) => (user.to_string(), "password.change"),
                    None => ("cli".to_owned(), "password.reset"),
                };
                let scope = by.and_then(|person| person.scope());
                audit(&mut tx, &ambient, scope, &actor, (action, &user)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await
    }

    /// Whether the person of an address has logged in from a network before.
    pub(super) async fn is_known_network(&self, email: &str, network: Network) -> Result<bool, AccountError> {
        let (db, email) = (self.db.clone(), email.to_owned());
        let seen = async move {
            sessions::has_network(&mut *db.acquire().await?, &email, &network.to_string()).await
        };
        Ok(network.is_known() && self.db.run(seen).await?)
    }
}
