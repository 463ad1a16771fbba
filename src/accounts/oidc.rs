//! Signing in by an identity of another service (OpenID Connect, GitHub). The service proves who the browser's person is
//! there; whose account that is here follows strict rules, so that nobody gets into an account that is not theirs:
//!
//! 1. An identity that is connected logs its person in, with a code where the second factor is on.
//! 2. A person who is logged in and asked for it connects an identity to its own account.
//! 3. Else the service must have verified the address. An account with that address and a password is never connected by
//!    this: its person logs in first. An account without a password of its own, and a new one, are connected.

use super::{
    AccountError, Accounts,
    api_key::random_base62,
    audit, fields,
    installation::KeyedHash,
    log_in::LoggedIn,
    passwords::Lane,
    people::{Joined, enroll, new_token},
    sessions::Origin,
    throttle::Subject,
};
use crate::{
    domain::{ids::UserId, secret::Secret},
    providers::oidc::{Exchange, Identity, OidcError, OidcProvider},
    store::{
        StoreError,
        identities::{self, ConnectedIdentity},
        sessions::Person,
        users::{self, User},
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use time::Duration;

/// How long the visit at the other service may take.
const VISIT_LIFE: Duration = Duration::minutes(10);
const PURPOSE: &[u8] = b"oidc visit\0";

/// What the browser keeps while its person is at the other service, signed.
#[derive(Serialize, Deserialize)]
struct Visit {
    provider: String,
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    invitation: String,
    /// Who wants to connect the identity.
    connects: Option<String>,
    ends_at: i64,
}

/// Where to send the browser, and what to leave in it.
pub struct Departure {
    pub url: Url,
    pub cookie: Secret,
}

/// What the browser asked for when it left.
pub struct Wish<'a> {
    pub next: &'a str,
    pub invitation: &'a str,
    /// A person who is logged in and connects the identity.
    pub connects: Option<UserId>,
}

/// How a visit ended.
pub enum Arrival {
    LoggedIn { outcome: LoggedIn, next: String, invitation: String },
    Connected,
}

/// What came back with the browser.
pub struct Callback<'a> {
    pub provider: &'a str,
    pub code: &'a str,
    pub state: &'a str,
    pub cookie: &'a Secret,
    /// Who is logged in in the browser.
    pub who: Option<UserId>,
}

impl Accounts {
    /// The services that people may sign in by: their names in paths, and for people.
    pub fn identity_providers(&self) -> Vec<(String, String)> {
        let named = |one: &OidcProvider| (one.settings.name.clone(), one.settings.title.clone());
        self.identity_providers.iter().map(named).collect()
    }

    /// The same with the issuer of each.
    pub fn identity_services(&self) -> Vec<(String, String, String)> {
        let row = |one: &OidcProvider| {
            let settings = &one.settings;
            (settings.name.clone(), settings.title.clone(), settings.issuer.as_str().to_owned())
        };
        self.identity_providers.iter().map(row).collect()
    }

    fn identity_provider(&self, name: &str) -> Result<&OidcProvider, AccountError> {
        let found = self.identity_providers.iter().find(|one| one.settings.name == name);
        found.ok_or(AccountError::NotFound("sign-in service"))
    }

    /// Where the service sends the browser back to. Its host is the configured one, never one that a request names.
    fn redirect_uri(&self, name: &str) -> String {
        format!("{}/auth/oidc/{name}/callback", self.rules.public_base)
    }

    /// Begins a visit at a service.
    pub async fn depart(
        &self,
        name: &str,
        wish: Wish<'_>,
        origin: &Origin,
    ) -> Result<Departure, AccountError> {
        let now = self.ambient.now();
        self.throttle.check_rate(Subject::Network(origin.network()), now).await?;
        let provider = self.identity_provider(name)?;
        let [state, nonce, verifier] = [(); 3].map(|()| random_base62(&self.ambient));
        let redirect_uri = self.redirect_uri(name);
        let url = provider.authorization_url(&state, &nonce, &verifier, &redirect_uri, now).await?;
        let visit = Visit {
            provider: name.to_owned(),
            state,
            nonce,
            verifier,
            next: wish.next.to_owned(),
            invitation: wish.invitation.to_owned(),
            connects: wish.connects.map(|user| user.to_string()),
            ends_at: (now + VISIT_LIFE).unix_timestamp(),
        };
        Ok(Departure { url, cookie: seal(&self.installation.signing, &visit)? })
    }

    /// Ends a visit: the identity that the service vouches for logs its person in, or is connected.
    pub async fn arrive(&self, callback: &Callback<'_>, origin: Origin) -> Result<Arrival, AccountError> {
        let now = self.ambient.now();
        self.throttle.check_rate(Subject::Network(origin.network()), now).await?;
        let provider = self.identity_provider(callback.provider)?;
        let visit = open(&self.installation.signing, callback.cookie).filter(|visit| {
            visit.provider == callback.provider
                && now.unix_timestamp() < visit.ends_at
                && bool::from(visit.state.as_bytes().ct_eq(callback.state.as_bytes()))
        });
        let visit = visit
            .ok_or(AccountError::Denied("The sign-in took too long or was begun elsewhere; begin again"))?;
        let redirect_uri = self.redirect_uri(callback.provider);
        let exchange = Exchange {
            code: callback.code,
            verifier: &visit.verifier,
            nonce: &visit.nonce,
            redirect_uri: &redirect_uri,
        };
        let identity = provider.identify(&exchange, now).await?;
        let issuer = provider.settings.issuer.as_str().to_owned();
        if let Some(connects) = &visit.connects {
            // Still the person that asked for it.
            let who = callback.who.filter(|who| who.to_string() == *connects);
            let who =
                who.ok_or(AccountError::Denied("You are no longer logged in; log in and begin again"))?;
            self.connect(who, &issuer, &identity).await?;
            return Ok(Arrival::Connected);
        }
        let (user, is_new) = self.person_of(&issuer, &identity, &visit.invitation, &origin).await?;
        // A new person has used its invitation.
        let invitation = if is_new { String::new() } else { visit.invitation };
        let token = Some(Secret::new(invitation.clone())).filter(|_| !invitation.is_empty());
        let outcome = self.log_in_known(&user, token.as_ref(), origin).await?;
        Ok(Arrival::LoggedIn { outcome, next: visit.next, invitation })
    }

    /// The person that an identity logs in, by the rules at the head of this file; and whether it is new.
    async fn person_of(
        &self,
        issuer: &str,
        identity: &Identity,
        invitation: &str,
        origin: &Origin,
    ) -> Result<(User, bool), AccountError> {
        let (db, of, subject) = (self.db.clone(), issuer.to_owned(), identity.subject.clone());
        let email = identity.email.as_deref().map(fields::email).transpose()?;
        let wanted = email.clone();
        let (connected, same_address) = self
            .db
            .run::<_, StoreError, _>(async move {
                let mut connection = db.acquire().await?;
                if let Some(id) = identities::find_user(&mut connection, &of, &subject).await? {
                    return Ok((users::get(&mut connection, id).await?, None));
                }
                let Some(email) = wanted else { return Ok((None, None)) };
                let Some(user) = users::find_by_email(&mut connection, &email).await? else {
                    return Ok((None, None));
                };
                let has_password = identities::has_password(&mut connection, user.id).await?;
                Ok((None, Some((user, has_password))))
            })
            .await?;
        if let Some(user) = connected {
            return Ok((user, false));
        }
        let email = email.ok_or(AccountError::Denied(
            "The service did not confirm an e-mail address of yours; confirm one there, or sign up with a password",
        ))?;
        match same_address {
            Some((_, true)) => Err(AccountError::Denied(
                "An account with your address exists. Log in with its password and connect this service under Your account",
            )),
            Some((user, false)) => {
                self.connect(user.id, issuer, identity).await?;
                Ok((user, false))
            }
            None => {
                let user = self.sign_up_by_identity(issuer, identity, email, invitation, origin).await?;
                Ok((user, true))
            }
        }
    }

    /// Creates a person without a password, in a new organization or in the one it was invited to.
    async fn sign_up_by_identity(
        &self,
        issuer: &str,
        identity: &Identity,
        email: String,
        invitation: &str,
        origin: &Origin,
    ) -> Result<User, AccountError> {
        let network = origin.network();
        self.throttle.check_rate(Subject::SignUps(network), self.ambient.now()).await?;
        let joining = match invitation {
            "" if !self.rules.signup_open => return Err(AccountError::SignupClosed),
            "" => Joined::New(
                fields::name("organization", email.split('@').next().unwrap_or_default())?,
                network,
            ),
            token => Joined::Invited(self.invitation_hash(&Secret::new(token.to_owned()))?),
        };
        // Nobody knows it; checking a password takes as long as for everybody else.
        let unknown = new_token(&self.ambient, "");
        let password_hash = self.passwords.hash(Lane::SignUp(network), &unknown).await?;
        let user = User { id: UserId(self.ambient.uuid()), email, password_hash, is_operator: false };
        let limits = self.rules.limits;
        let (stored, issuer, identity) = (user.clone(), issuer.to_owned(), identity.clone());
        self.transact(move |db, ambient| {
            let (user, joining) = (stored.clone(), joining.clone());
            let (issuer, identity) = (issuer.clone(), identity.clone());
            async move {
                let (mut tx, now) = (db.begin().await?, ambient.now());
                enroll(&mut tx, &ambient, &limits, &user, &joining).await?;
                identities::note_no_password(&mut tx, user.id).await?;
                users::note_verified(&mut tx, user.id, now).await?;
                let key = (issuer.as_str(), identity.subject.as_str());
                if !identities::insert(&mut tx, key, user.id, identity.email.as_deref(), now).await? {
                    return Err(AccountError::Conflict("This identity was connected just now; log in again"));
                }
                audit(&mut tx, &ambient, None, &user.id, ("identity.connect", &issuer)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await?;
        Ok(user)
    }

    async fn connect(&self, user: UserId, issuer: &str, identity: &Identity) -> Result<(), AccountError> {
        let (issuer, identity) = (issuer.to_owned(), identity.clone());
        self.transact(move |db, ambient| {
            let (issuer, identity) = (issuer.clone(), identity.clone());
            async move {
                let mut tx = db.begin().await?;
                let key = (issuer.as_str(), identity.subject.as_str());
                if !identities::insert(&mut tx, key, user, identity.email.as_deref(), ambient.now()).await? {
                    return Err(AccountError::Conflict("This identity is connected with an account already"));
                }
                audit(&mut tx, &ambient, None, &user, ("identity.connect", &issuer)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await
    }

    /// The identities that log a person in.
    pub async fn list_identities(&self, who: Person) -> Result<Vec<ConnectedIdentity>, AccountError> {
        let db = self.db.clone();
        let reading = async move { identities::list(&mut *db.acquire().await?, who.user_id()).await };
        Ok(self.db.run(reading).await?)
    }

    /// Disconnects an issuer. The last way in stays.
    pub async fn disconnect(&self, who: Person, issuer: &str) -> Result<(), AccountError> {
        let issuer = issuer.to_owned();
        self.transact(move |db, ambient| {
            let issuer = issuer.clone();
            async move {
                let (mut tx, user) = (db.begin().await?, who.user_id());
                if !identities::delete(&mut tx, user, &issuer).await? {
                    return Err(AccountError::NotFound("connected identity"));
                }
                let others = identities::list(&mut tx, user).await?;
                if others.is_empty() && !identities::has_password(&mut tx, user).await? {
                    return Err(AccountError::Conflict(
                        "Set a password first: this is your only way to log in",
                    ));
                }
                audit(&mut tx, &ambient, who.scope(), &user, ("identity.disconnect", &issuer)).await?;
                tx.commit().await?;
                Ok(())
            }
        })
        .await
    }
}

impl From<OidcError> for AccountError {
    fn from(error: OidcError) -> Self {
        tracing::warn!(error.cause = %error, "a sign-in by another service failed");
        match error {
            OidcError::Unreachable(_) => Self::Denied("The service cannot be reached now; try again later"),
            OidcError::Refused(_) | OidcError::Invalid(_) => {
                Self::Denied("The service did not confirm who you are; begin again")
            }
        }
    }
}

fn seal(signing: &KeyedHash, visit: &Visit) -> Result<Secret, AccountError> {
    let mut bytes = serde_json::to_vec(visit).map_err(|error| AccountError::Internal(error.to_string()))?;
    let mac = signing.of(&[PURPOSE, &bytes].concat());
    bytes.extend_from_slice(&mac);
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

fn open(signing: &KeyedHash, cookie: &Secret) -> Option<Visit> {
    let bytes = URL_SAFE_NO_PAD.decode(cookie.expose()).ok()?;
    let (visit, mac) = bytes.split_last_chunk::<32>()?;
    let is_genuine: bool = signing.of(&[PURPOSE, visit].concat()).ct_eq(mac).into();
    is_genuine.then(|| serde_json::from_slice(visit).ok())?
}
