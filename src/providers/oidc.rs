//! The calls to an identity provider: discovery, the exchange of a code, its keys. OpenID Connect (code with PKCE) for any
//! issuer, and GitHub's own form of it. What comes back is an identity that the provider vouches for, or a refusal; nothing
//! here decides whose account that is. Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636,
//! docs.github.com/apps/oauth-apps (web application flow).

mod id_token;

use crate::domain::secret::Secret;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use id_token::{Expected, verify};
use jsonwebtoken::jwk::JwkSet;
use reqwest::{Client, RequestBuilder, Url};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error},
};
use sha2::{Digest, Sha256};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use time::OffsetDateTime;

const CALL_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long the configuration and the keys of an issuer are used before they are read again.
const DISCOVERY_LIFE: time::Duration = time::Duration::hours(1);
/// Keys are read again for a token of an unknown key at most this often.
const KEYS_PAUSE: time::Duration = time::Duration::minutes(1);

/// The protocol of a provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OidcKind {
    /// OpenID Connect with discovery.
    Issuer,
    /// OAuth with GitHub's API.
    GitHub,
}

/// One provider as it is configured.
#[derive(Clone)]
pub struct OidcSettings {
    /// As it stands in paths.
    pub name: String,
    /// As people know it.
    pub title: String,
    pub kind: OidcKind,
    /// The issuer; of GitHub the address of the site.
    pub issuer: Url,
    /// Of GitHub.
    pub api: Url,
    pub client_id: String,
    pub client_secret: Secret,
}

/// The identity that a provider vouches for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The provider's own name for the person; never given to another one.
    pub subject: String,
    /// An address that the provider has verified.
    pub email: Option<String>,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("the identity provider could not be reached: {0}")]
    Unreachable(String),
    #[error("the identity provider refused: {0}")]
    Refused(String),
    #[error("the answer of the identity provider is not valid: {0}")]
    Invalid(&'static str),
}

/// What a log-in keeps between the two visits of the browser.
pub struct Exchange<'a> {
    pub code: &'a str,
    pub verifier: &'a str,
    pub nonce: &'a str,
    pub redirect_uri: &'a str,
}

#[derive(Clone, Deserialize)]
struct Discovery {
    issuer: String,
    #[serde(deserialize_with = "read_url")]
    authorization_endpoint: Url,
    #[serde(deserialize_with = "read_url")]
    token_endpoint: Url,
    #[serde(deserialize_with = "read_url")]
    jwks_uri: Url,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

fn read_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    Url::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct GitHubUser {
    id: u64,
}

#[derive(Deserialize)]
struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

struct Known {
    discovery: Discovery,
    keys: JwkSet,
    read_at: OffsetDateTime,
    keys_read_at: OffsetDateTime,
}

/// One identity provider.
pub struct OidcProvider {
    pub settings: OidcSettings,
    client: Client,
    known: Mutex<Option<Arc<Known>>>,
}

/// The challenge of a verifier (RFC 7636, S256).
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
}

impl OidcProvider {
    pub fn new(settings: OidcSettings) -> Result<Self, reqwest::Error> {
        let client =
            Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(CALL_MAX).build()?;
        Ok(Self { settings, client, known: Mutex::new(None) })
    }

    /// Where the browser goes to be identified.
    pub async fn authorization_url(
        &self,
        state: &str,
        nonce: &str,
        verifier: &str,
        redirect_uri: &str,
        now: OffsetDateTime,
    ) -> Result<Url, OidcError> {
        let (mut url, scope) = match self.settings.kind {
            OidcKind::Issuer => {
                (self.known(now).await?.discovery.authorization_endpoint.clone(), "openid email")
            }
            OidcKind::GitHub => {
                (joined(&self.settings.issuer, "login/oauth/authorize"), "read:user user:email")
            }
        };
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", scope)
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", &challenge(verifier))
            .append_pair("code_challenge_method", "S256");
        Ok(url)
    }

    /// Exchanges a code for the identity of its person.
    pub async fn identify(
        &self,
        exchange: &Exchange<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, OidcError> {
        match self.settings.kind {
            OidcKind::Issuer => self.identify_by_token(exchange, now).await,
            OidcKind::GitHub => self.identify_at_github(exchange).await,
        }
    }

    async fn identify_by_token(
        &self,
        exchange: &Exchange<'_>,
        now: OffsetDateTime,
    ) -> Result<Identity, OidcError> {
        let known = self.known(now).await?;
        let tokens =
            self.exchange(known.discovery.token_endpoint.clone(), exchange, &known.discovery).await?;
        let token = tokens.id_token.ok_or(OidcError::Invalid("there is no id_token"))?;
        let expected = Expected {
            issuer: &known.discovery.issuer,
            client_id: &self.settings.client_id,
            nonce: exchange.nonce,
            now,
        };
        match verify(&token, &known.keys, &expected) {
            Err(OidcError::Invalid(id_token::UNKNOWN_KEY)) => {
                let keys = self.newer_keys(&known, now).await?;
                verify(&token, &keys.keys, &expected)
            }
            outcome => outcome,
        }
    }

    async fn identify_at_github(&self, exchange: &Exchange<'_>) -> Result<Identity, OidcError> {
        let url = joined(&self.settings.issuer, "login/oauth/access_token");
        let request = self.client.post(url).header("accept", "application/json");
        let request = with_form(request, &self.form(exchange, true));
        let tokens: Tokens = read(request).await?;
        let token = tokens.access_token.ok_or_else(|| refused(tokens.error))?;
        let get = |path: &str| {
            let request = self.client.get(joined(&self.settings.api, path)).bearer_auth(&token);
            request.header("user-agent", "KairosRoute").header("accept", "application/vnd.github+json")
        };
        let user: GitHubUser = read(get("user")).await?;
        let emails: Vec<GitHubEmail> = read(get("user/emails")).await?;
        let email = emails.into_iter().find(|one| one.primary && one.verified).map(|one| one.email);
        Ok(Identity { subject: user.id.to_string(), email })
    }

    async fn exchange(
        &self,
        endpoint: Url,
        exchange: &Exchange<'_>,
        discovery: &Discovery,
    ) -> Result<Tokens, OidcError> {
        let methods = &discovery.token_endpoint_auth_methods_supported;
        // Basic is the one that is meant when an issuer names none.
        let in_body = methods.iter().any(|method| method == "client_secret_post")
            && !methods.iter().any(|method| method == "client_secret_basic");
        let request = with_form(self.client.post(endpoint), &self.form(exchange, in_body));
        let request = match in_body {
            true => request,
            false => {
                let secret = encode(self.settings.client_secret.expose());
                request.basic_auth(encode(&self.settings.client_id), Some(secret))
            }
        };
        let tokens: Tokens = read(request).await?;
        if tokens.error.is_some() { Err(refused(tokens.error)) } else { Ok(tokens) }
    }

    fn form<'a>(&'a self, exchange: &Exchange<'a>, has_secret: bool) -> Vec<(&'static str, &'a str)> {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", exchange.code),
            ("redirect_uri", exchange.redirect_uri),
            ("code_verifier", exchange.verifier),
        ];
        if has_secret {
            form.push(("client_id", &self.settings.client_id));
            form.push(("client_secret", self.settings.client_secret.expose()));
        }
        form
    }

    /// The configuration of the issuer, read again once it is old.
    async fn known(&self, now: OffsetDateTime) -> Result<Arc<Known>, OidcError> {
        let current = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = current.filter(|known| now - known.read_at < DISCOVERY_LIFE) {
            return Ok(known);
        }
        let url = joined(&self.settings.issuer, ".well-known/openid-configuration");
        let discovery: Discovery = read(self.client.get(url)).await?;
        let configured = self.settings.issuer.as_str().trim_end_matches('/');
        if discovery.issuer.trim_end_matches('/') != configured {
            return Err(OidcError::Invalid("its issuer is another one"));
        }
        let scheme = self.settings.issuer.scheme();
        let endpoints = [&discovery.authorization_endpoint, &discovery.token_endpoint, &discovery.jwks_uri];
        if endpoints.iter().any(|endpoint| endpoint.scheme() != scheme) {
            return Err(OidcError::Invalid("an endpoint is not https"));
        }
        let keys = read(self.client.get(discovery.jwks_uri.clone())).await?;
        Ok(self.keep(Known { discovery, keys, read_at: now, keys_read_at: now }))
    }

    /// The issuer's keys of this moment, for a token of a key that is not known.
    async fn newer_keys(&self, known: &Known, now: OffsetDateTime) -> Result<Arc<Known>, OidcError> {
        if now - known.keys_read_at < KEYS_PAUSE {
            return Err(OidcError::Invalid(id_token::UNKNOWN_KEY));
        }
        let keys = read(self.client.get(known.discovery.jwks_uri.clone())).await?;
        let discovery = known.discovery.clone();
        Ok(self.keep(Known { discovery, keys, read_at: known.read_at, keys_read_at: now }))
    }

    fn keep(&self, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known.clone());
        known
    }
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn with_form(request: RequestBuilder, form: &[(&'static str, &str)]) -> RequestBuilder {
    let pairs: Vec<String> =
        form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    request.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
}

fn joined(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let whole = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&whole);
    url
}

/// The provider's own word for what is wrong; never a description, which may repeat a secret.
fn refused(error: Option<String>) -> OidcError {
    let word: String = error.unwrap_or_default().chars().filter(char::is_ascii_graphic).take(60).collect();
    OidcError::Refused(if word.is_empty() { "it gave no token".to_owned() } else { word })
}

/// Sends a request and reads its bounded answer as JSON. Errors hold no body and no address with a secret.
async fn read<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, OidcError> {
    let unreachable = |error: reqwest::Error| OidcError::Unreachable(error.without_url().to_string());
    let mut response = request.send().await.map_err(unreachable)?;
    let (status, mut body) = (response.status(), Vec::new());
    while let Some(part) = response.chunk().await.map_err(unreachable)? {
        body.extend_from_slice(&part);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(OidcError::Invalid("it is too large"));
        }
    }
    // A refusal of a token endpoint is 400 with a word of its own.
    if !status.is_success() && status.as_u16() != 400 {
        return Err(OidcError::Unreachable(format!("status {}", status.as_u16())));
    }
    serde_json::from_slice(&body).map_err(|_| OidcError::Invalid("it is not the expected JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(challenge(verifier), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }
}
