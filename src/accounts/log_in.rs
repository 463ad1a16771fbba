//! Logging in: the password, then a code where the second factor is on, then a session.

use super::{
    AccountError, Accounts, fields,
    passwords::Lane,
    people::{SESSION_PREFIX, accept, begin_session, choose, new_token},
    second_factor::{challenged_user, is_challenge},
    sessions::Origin,
    throttle::{Network, Subject},
};
use crate::{
    domain::{ids::OrgId, secret::Secret},
    store::users::{self, User},
};

/// A log-in attempt.
pub struct Login {
    pub email: String,
    pub password: Secret,
    /// Of the second factor, where it is on.
    pub code: Option<Secret>,
    /// For a person of several organizations; otherwise the one joined first.
    pub organization: Option<OrgId>,
    /// Joins another organization on the way.
    pub invitation: Option<Secret>,
}

/// The outcome of a right password.
pub enum LoggedIn {
    /// The session's token.
    Session(Secret),
    /// A code is missing. The challenge takes the place of the password in the second step.
    CodeRequired { challenge: Secret },
}

/// What a session is for.
struct Purpose {
    code: Option<Secret>,
    organization: Option<OrgId>,
    /// The hash of an invitation's token.
    invitation: Option<[u8; 32]>,
}

impl Accounts {
    /// Checks a password and begins a session. An unknown user and a wrong password get the same answer.
    pub async fn log_in(&self, login: Login, origin: Origin) -> Result<LoggedIn, AccountError> {
        let email = fields::email(&login.email)?;
        let network = origin.network();
        self.throttle.check_rate(Subject::Network(network), self.ambient.now()).await?;
        let attempt = self.admit_guess(&email, network).await?;
        let invitation = login.invitation.as_ref().map(|token| self.invitation_hash(token)).transpose()?;
        let db = self.db.clone();
        let user =
            self.db.run(async move { users::find_by_email(&mut *db.acquire().await?, &email).await }).await?;
        let stored = user.as_ref().map(|user| user.password_hash.as_str());
        let fits = self.passwords.verify(Lane::LogIn(network), &login.password, stored).await?;
        let user = user.filter(|_| fits).ok_or(AccountError::InvalidCredentials)?;
        for subject in &attempt {
            self.throttle.refund(subject).await;
        }
        let purpose = Purpose { code: login.code, organization: login.organization, invitation };
        match self.finish_log_in(&user, purpose, origin).await {
            Ok(token) => Ok(LoggedIn::Session(token)),
            Err(AccountError::CodeRequired) => {
                Ok(LoggedIn::CodeRequired { challenge: self.challenge(&user) })
            }
            Err(error) => Err(error),
        }
    }

    /// The second step of a log-in in a browser: the challenge of the first one, and a code.
    pub async fn log_in_with_code(
        &self,
        challenge: &Secret,
        code: Secret,
        invitation: Option<Secret>,
        origin: Origin,
    ) -> Result<Secret, AccountError> {
        self.throttle.check_rate(Subject::Network(origin.network()), self.ambient.now()).await?;
        let invitation = invitation.as_ref().map(|token| self.invitation_hash(token)).transpose()?;
        let id = challenged_user(challenge).ok_or(AccountError::InvalidCredentials)?;
        let db = self.db.clone();
        let find = async move { users::get(&mut *db.acquire().await?, id).await };
        let user = self.db.run(find).await?.ok_or(AccountError::InvalidCredentials)?;
        if !is_challenge(&self.installation.signing, challenge, &user, self.ambient.now()) {
            return Err(AccountError::Denied("The log-in took too long; begin again"));
        }
        let purpose = Purpose { code: Some(code), organization: None, invitation };
        self.finish_log_in(&user, purpose, origin).await
    }

    /// Begins a session of a person whom another service has identified.
    pub(super) async fn log_in_known(
        &self,
        user: &User,
        invitation: Option<&Secret>,
        origin: Origin,
    ) -> Result<LoggedIn, AccountError> {
        let invitation = invitation.map(|token| self.invitation_hash(token)).transpose()?;
        let purpose = Purpose { code: None, organization: None, invitation };
        match self.finish_log_in(user, purpose, origin).await {
            Ok(token) => Ok(LoggedIn::Session(token)),
            Err(AccountError::CodeRequired) => Ok(LoggedIn::CodeRequired { challenge: self.challenge(user) }),
            Err(error) => Err(error),
        }
    }

    /// Begins a session of a person who has shown its password, once a code is right where one is needed.
    async fn finish_log_in(
        &self,
        user: &User,
        purpose: Purpose,
        origin: Origin,
    ) -> Result<Secret, AccountError> {
        self.check_code(user.id, purpose.code.as_ref()).await?;
        let token = new_token(&self.ambient, SESSION_PREFIX);
        let token_hash = self.installation.tokens.of(token.expose().as_bytes());
        let (limits, user) = (self.rules.limits, user.clone());
        let Purpose { organization, invitation, .. } = purpose;
        self.transact(move |db, ambient| {
            let (user, origin) = (user.clone(), origin.clone());
            async move {
                let mut tx = db.begin().await?;
                let joined = match invitation {
                    Some(hash) => Some(accept(&mut tx, &ambient, &limits, &user, &hash).await?.org_id()),
                    None => None,
                };
                let scope = choose(&mut tx, &user, joined.or(organization)).await?;
                begin_session(&mut tx, &ambient, (user.id, scope), token_hash, &origin).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        Ok(token)
    }

    /// Counts an attempt to log in to an account, and returns what is to be given back when it was a right one.
    async fn admit_guess(&self, email: &str, network: Network) -> Result<[Subject; 2], AccountError> {
        let now = self.ambient.now();
        let guess = Subject::Guess(email.to_owned(), network);
        let account = Subject::Account(email.to_owned());
        self.throttle.check_rate(guess.clone(), now).await?;
        if let Err(too_many) = self.throttle.check_rate(account.clone(), now).await
            && !self.is_known_network(email, network).await?
        {
            return Err(too_many.into());
        }
        Ok([guess, account])
    }
}
