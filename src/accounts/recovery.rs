//! What happens by e-mail: a new password for a person who has lost it, the proof of an address, another address. Whether
//! an address has an account is shown to its owner alone: the answer and its time are the same for every address, and
//! everything that depends on it happens beside the request. A link works once.

use super::{
    AccountError, Accounts, audit, audit_changes, fields, password_rules,
    passwords::Lane,
    people::{has_token_form, new_token},
    second_factor::Proof,
    throttle::{Network, Subject},
};
use crate::{
    domain::{ambient::Ambient, ids::UserId, secret::Secret},
    mail::{Mail, Mailer},
    store::{
        Db, StoreError,
        account_tokens::{self, NewToken, TokenPurpose},
        sessions::{self, Person},
        users,
    },
};
use serde_json::json;

/// How tokens in messages begin.
const MAIL_PREFIX: &str = "krm_";
const PASSWORD_LIFE: time::Duration = time::Duration::hours(1);
const VERIFY_LIFE: time::Duration = time::Duration::days(7);
const EMAIL_LIFE: time::Duration = time::Duration::hours(1);

const NO_MAIL: &str = "This installation sends no e-mail. Ask its operator, who can set a new password with `kairosroute \
                       admin user reset`";

/// What becomes of a change of the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EmailChange {
    /// A message was sent to the new address; it counts once its link is opened.
    Sent,
    /// Changed at once, for this installation sends no e-mail.
    Done,
}

/// What is needed to send a link.
struct Sending {
    db: Db,
    ambient: Ambient,
    mailer: Mailer,
    /// Where the dashboard is.
    base: String,
    hash: [u8; 32],
    token: Secret,
}

impl Sending {
    /// Stores the token and sends its message.
    async fn send(&self, user: UserId, email: &str, purpose: TokenPurpose) -> Result<(), StoreError> {
        let created_at = self.ambient.now();
        let life = match purpose {
            TokenPurpose::Password => PASSWORD_LIFE,
            TokenPurpose::Verify => VERIFY_LIFE,
            TokenPurpose::Email => EMAIL_LIFE,
        };
        let expires_at = created_at + life;
        let token = NewToken { hash: self.hash, user, purpose, email, created_at, expires_at };
        let mut tx = self.db.begin().await?;
        account_tokens::replace(&mut tx, &token).await?;
        tx.commit().await?;
        let mail = message(purpose, email, &self.base, self.token.expose());
        if let Err(error) = self.mailer.queue(mail) {
            tracing::warn!(error.cause = %error, "a link could not be sent");
        }
        Ok(())
    }
}

/// The message with a link. The link's host is the configured one, never one that a request names.
fn message(purpose: TokenPurpose, email: &str, base: &str, token: &str) -> Mail {
    let (subject, text) = match purpose {
        TokenPurpose::Password => (
            "Set a new password",
            format!(
                "Somebody asked for a new password for your account at {base}.\n\n\
                 Open this link within one hour to set it:\n{base}/reset/{token}\n\n\
                 It works once and ends every session of yours. If it was not you, ignore this message; your \
                 password stays as it is.\n"
            ),
        ),
        TokenPurpose::Verify => (
            "Confirm your e-mail address",
            format!(
                "Open this link within seven days to confirm that this address is yours at {base}:\n\
                 {base}/verify/{token}\n\nIf you have no account there, ignore this message.\n"
            ),
        ),
        TokenPurpose::Email => (
            "Confirm your new e-mail address",
            format!(
                "Open this link within one hour to log in to {base} with this address from now on:\n\
                 {base}/verify/{token}\n\nIf it was not you, ignore this message.\n"
            ),
        ),
    };
    Mail { to: email.to_owned(), subject: subject.to_owned(), text, id: None }
}

impl Accounts {
    /// Whether links can be sent.
    pub fn sends_mail(&self) -> bool {
        self.mail.is_some()
    }

    fn sending(&self) -> Option<Sending> {
        let (mailer, base) = self.mail.clone()?;
        let token = new_token(&self.ambient, MAIL_PREFIX);
        let hash = self.installation.tokens.of(token.expose().as_bytes());
        Some(Sending { db: self.db.clone(), ambient: self.ambient.clone(), mailer, base, hash, token })
    }

    /// Sends the person of an address a link for a new password, if there is one. The caller cannot tell.
    pub async fn request_password_reset(&self, email: &str, network: Network) -> Result<(), AccountError> {
        let email = fields::email(email)?;
        let sending = self.sending().ok_or(AccountError::Denied(NO_MAIL))?;
        let now = self.ambient.now();
        self.throttle.check_rate(Subject::Mails(network), now).await?;
        if self.throttle.check_rate(Subject::MailsTo(email.clone()), now).await.is_err() {
            // The answer does not show whether an address has had its messages, either.
            return Ok(());
        }
        self.db.runtime().spawn(async move {
            let work = async {
                let user = users::find_by_email(&mut *sending.db.acquire().await?, &email).await?;
                match user {
                    Some(user) => sending.send(user.id, &email, TokenPurpose::Password).await,
                    None => Ok(()),
                }
            };
            if let Err(error) = work.await {
                tracing::warn!(error.cause = %error, "a link for a new password could not be made");
            }
        });
        Ok(())
    }

    /// Gives the person of a link a new password and ends all its sessions. The link works once.
    pub async fn reset_by_link(
        &self,
        token: &Secret,
        new: &Secret,
        network: Network,
    ) -> Result<(), AccountError> {
        self.throttle.check_rate(Subject::Network(network), self.ambient.now()).await?;
        let hash = self.mail_hash(token)?;
        let (db, now) = (self.db.clone(), self.ambient.now());
        let find = async move {
            account_tokens::find(&mut *db.acquire().await?, &hash, TokenPurpose::Password, now).await
        };
        let found = self.db.run(find).await?.ok_or_else(no_link)?;
        password_rules::check("newPassword", new, &found.email)?;
        let stored = self.passwords.hash(Lane::LogIn(network), new).await?;
        self.transact(move |db, ambient| {
            let stored = stored.clone();
            async move {
                let (mut tx, now) = (db.begin().await?, ambient.now());
                let taken = account_tokens::take(&mut tx, &hash, TokenPurpose::Password, now).await?;
                let user = taken.ok_or_else(no_link)?.user;
                users::set_password(&mut tx, user, &stored).await?;
                users::note_verified(&mut tx, user, now).await?;
                sessions::revoke_of_user(&mut tx, user, None, now).await?;
                audit(&mut tx, &ambient, None, &user, ("password.reset", &user)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await
    }

    /// Whether the person has shown that its address is its own.
    pub async fn is_verified(&self, who: Person) -> Result<bool, AccountError> {
        let db = self.db.clone();
        let reading = async move { users::get_verified_at(&mut *db.acquire().await?, who.user_id()).await };
        Ok(self.db.run(reading).await?.is_some())
    }

    /// Sends the person a link that proves its address.
    pub async fn request_verification(&self, who: Person) -> Result<(), AccountError> {
        let sending = self.sending().ok_or(AccountError::Denied(NO_MAIL))?;
        let user = self.get_user(who.user_id()).await?;
        self.throttle.check_rate(Subject::MailsTo(user.email.clone()), self.ambient.now()).await?;
        self.db.run(async move { sending.send(user.id, &user.email, TokenPurpose::Verify).await }).await?;
        Ok(())
    }

    /// The same beside a sign-up, which it must not hold up.
    pub(super) fn verify_beside(&self, user: UserId, email: &str) {
        let Some(sending) = self.sending() else { return };
        let email = email.to_owned();
        self.db.runtime().spawn(async move {
            if let Err(error) = sending.send(user, &email, TokenPurpose::Verify).await {
                tracing::warn!(error.cause = %error, "a link for a new address could not be made");
            }
        });
    }

    /// Begins the change of the person's address. Whether another account has the new one is
    /// not shown to the caller, where messages are sent.
    pub async fn change_email(
        &self,
        who: Person,
        email: &str,
        proof: &Proof,
    ) -> Result<EmailChange, AccountError> {
        let email = fields::email(email)?;
        let user = self.check_proof(who.user_id(), proof).await?;
        if email == user.email {
            return Err(AccountError::invalid("email", "`email` is your address already"));
        }
        let Some(sending) = self.sending() else {
            self.store_email(user.id, email, user.email, None).await?;
            return Ok(EmailChange::Done);
        };
        self.throttle.check_rate(Subject::MailsTo(email.clone()), self.ambient.now()).await?;
        self.db
            .run::<_, StoreError, _>(async move {
                match users::find_by_email(&mut *sending.db.acquire().await?, &email).await? {
                    Some(_) => Ok(()),
                    None => sending.send(user.id, &email, TokenPurpose::Email).await,
                }
            })
            .await?;
        Ok(EmailChange::Sent)
    }

    /// Opens the link of a message that proves an address: it is noted, or takes the place of the person's.
    pub async fn confirm_email(&self, token: &Secret, network: Network) -> Result<(), AccountError> {
        self.throttle.check_rate(Subject::Network(network), self.ambient.now()).await?;
        let hash = self.mail_hash(token)?;
        let (db, now) = (self.db.clone(), self.ambient.now());
        let find = async move {
            let mut connection = db.acquire().await?;
            account_tokens::find(&mut connection, &hash, TokenPurpose::Email, now).await
        };
        if let Some(found) = self.db.run(find).await? {
            let user = self.get_user(found.user).await?;
            return self.store_email(user.id, found.email, user.email, Some(hash)).await;
        }
        self.transact(move |db, ambient| async move {
            let (mut tx, now) = (db.begin().await?, ambient.now());
            let found = account_tokens::take(&mut tx, &hash, TokenPurpose::Verify, now).await?;
            let found = found.ok_or_else(no_link)?;
            // The address may have been changed since the message.
            if users::get_email(&mut tx, found.user).await?.as_deref() != Some(found.email.as_str()) {
                return Err(no_link());
            }
            users::note_verified(&mut tx, found.user, now).await?;
            audit(&mut tx, &ambient, None, &found.user, ("email.verify", &found.user)).await?;
            tx.commit().await?;
            Ok(())
        })
        .await
    }

    /// Stores another address; with the hash of the link that proves it, if it is proved. The earlier one gets a message.
    async fn store_email(
        &self,
        user: UserId,
        email: String,
        earlier: String,
        proof: Option<[u8; 32]>,
    ) -> Result<(), AccountError> {
        let (stored, before) = (email.clone(), earlier.clone());
        self.transact(move |db, ambient| {
            let (email, earlier) = (stored.clone(), before.clone());
            async move {
                let (mut tx, now) = (db.begin().await?, ambient.now());
                if let Some(hash) = proof {
                    let taken = account_tokens::take(&mut tx, &hash, TokenPurpose::Email, now).await?;
                    taken.ok_or_else(no_link)?;
                }
                match users::set_email(&mut tx, user, &email, proof.map(|_| now)).await {
                    Err(StoreError::Constraint(name)) if name == users::EMAIL_UNIQUE => {
                        return Err(AccountError::EmailTaken);
                    }
                    outcome => outcome?,
                }
                // Links that were sent to the earlier address open nothing any more.
                for purpose in [TokenPurpose::Password, TokenPurpose::Verify] {
                    account_tokens::delete_of_user(&mut tx, user, purpose).await?;
                }
                let changes = json!({ "email": [earlier, email] });
                audit_changes(&mut tx, &ambient, None, &user, ("email.change", &user), Some(changes)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        if let Some((mailer, base)) = &self.mail {
            let text = format!(
                "The e-mail address of your account at {base} was changed to {email}.\n\n\
                 If it was not you, ask the operator of the installation at once.\n"
            );
            let subject = "Your e-mail address was changed".to_owned();
            if let Err(error) = mailer.queue(Mail { to: earlier, subject, text, id: None }) {
                tracing::warn!(error.cause = %error, "a change of an address could not be reported");
            }
        }
        Ok(())
    }

    /// The stored form of a token from a message.
    fn mail_hash(&self, token: &Secret) -> Result<[u8; 32], AccountError> {
        if !has_token_form(token.expose(), MAIL_PREFIX) {
            return Err(no_link());
        }
        Ok(self.installation.tokens.of(token.expose().as_bytes()))
    }
}

fn no_link() -> AccountError {
    AccountError::invalid("token", "The link is unknown, used or expired; ask for a new one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_its_link_once_and_says_how_long_it_works() {
        for (purpose, path, time) in [
            (TokenPurpose::Password, "/reset/krm_x", "one hour"),
            (TokenPurpose::Verify, "/verify/krm_x", "seven days"),
            (TokenPurpose::Email, "/verify/krm_x", "one hour"),
        ] {
            let mail = message(purpose, "a@example.test", "https://gateway.example", "krm_x");
            assert_eq!(
                mail.text.matches(&format!("https://gateway.example{path}\n")).count(),
                1,
                "{}",
                mail.text
            );
            assert!(mail.text.contains(time) && !mail.subject.contains("krm_"));
        }
    }
}
