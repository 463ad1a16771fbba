//! The only code that decides who may serve, with whose key and at which address. Failover, token counting, planning
//! and the list of models use it. It must never send a platform key to an address other than the operator's, nor a
//! request-scoped key to another provider than its own.

use super::{
    Gateway, owner,
    receipt::{CredentialKind, ServedBy},
    request::Inbound,
    request_options::{KeySource, RequestKey, RequestRouting},
};
use crate::{
    credentials,
    domain::{catalog::Model, policy::ByokFallback, provider::ProviderId, secret::Secret},
    providers::transport::{Destination, Url},
    routing::plan::Candidate,
    store::{api_keys::Principal, provider_keys::StoredProviderKey},
};

/// One candidate with one credential.
#[derive(Clone, Copy)]
pub struct ServingTarget<'a> {
    pub candidate: &'a Candidate,
    pub credential: Credential<'a>,
}

/// The provider key of a call.
#[derive(Clone, Copy)]
pub enum Credential<'a> {
    /// The request-scoped key.
    Request(&'a RequestKey),
    Stored(&'a StoredProviderKey),
    Platform,
}

/// The credentials that one caller may use.
pub struct Credentials<'a> {
    gateway: &'a Gateway,
    principal: &'a Principal,
    /// The request-scoped key.
    request_key: Option<&'a RequestKey>,
    /// Platform keys may also serve.
    platform_allowed: bool,
}

impl<'a> Credentials<'a> {
    /// The credentials of a request. Beside a request-scoped key, platform keys serve only if the request allows it.
    pub fn of_request(inbound: &'a Inbound<'_>, routing: &'a RequestRouting<'_>) -> Self {
        let request_key = routing.key.as_ref();
        Self {
            gateway: inbound.gateway,
            principal: &inbound.principal,
            request_key,
            platform_allowed: request_key.is_none() || inbound.fallback == Some(ByokFallback::Platform),
        }
    }

    /// The credentials of an API key, independent of a request.
    pub fn of_caller(gateway: &'a Gateway, principal: &'a Principal) -> Self {
        Self { gateway, principal, request_key: None, platform_allowed: true }
    }

    /// Every target of a candidate, in the order in which they are tried: the request-scoped key, or the stored keys
    /// and then the platform key.
    pub fn targets<'c>(
        &self,
        candidate: &'c Candidate,
    ) -> impl Iterator<Item = ServingTarget<'c>> + use<'c, 'a>
    where
        'a: 'c,
    {
        let request_key = self.request_key.filter(|key| key.provider == candidate.provider);
        let stored = self.principal.keys_of(candidate.provider).filter(move |key| {
            request_key.is_none() && key.fits(&candidate.id, &candidate.name, &candidate.upstream)
        });
        let is_platform = !candidate.byok_only && self.has_platform(candidate.provider);
        let credentials = request_key.map(Credential::Request).into_iter();
        let credentials = credentials.chain(stored.map(Credential::Stored));
        let credentials = credentials.chain(is_platform.then_some(Credential::Platform));
        credentials.map(move |credential| ServingTarget { candidate, credential })
    }

    /// Whether a key of the customer may serve the candidate.
    pub fn has_own(&self, candidate: &Candidate) -> bool {
        self.request_key.is_some_and(|key| key.provider == candidate.provider)
            || self.has_stored(candidate.provider, [&candidate.id, &candidate.name, &candidate.upstream])
    }

    /// The same for a model of the catalogue.
    pub fn has_own_for(&self, model: &Model) -> bool {
        self.has_stored(model.provider, [&model.id, &model.name, &model.upstream])
    }

    fn has_stored(&self, provider: ProviderId, [id, name, upstream]: [&str; 3]) -> bool {
        self.principal.keys_of(provider).any(|key| key.fits(id, name, upstream))
    }

    /// Whether the platform key may serve at this provider: never if there is a request-scoped key for it.
    pub fn has_platform(&self, provider: ProviderId) -> bool {
        let is_taken = self.request_key.is_some_and(|key| key.provider == provider);
        self.platform_allowed && !is_taken && self.gateway.platform_keys.get(provider).is_some()
    }
}

impl ServingTarget<'_> {
    pub fn kind(&self) -> CredentialKind {
        match self.credential {
            Credential::Request(_) | Credential::Stored(_) => CredentialKind::Byok,
            Credential::Platform => CredentialKind::Platform,
        }
    }

    pub fn served(&self) -> ServedBy {
        let candidate = self.candidate;
        ServedBy {
            provider: candidate.provider.row().name,
            model_id: candidate.id.clone(),
            model_name: candidate.name.clone(),
            credential: self.kind(),
            by_byok_api_key: self.is_byok_api_key(),
        }
    }

    /// The key was sent as `byok_api_key`.
    pub fn is_byok_api_key(&self) -> bool {
        matches!(self.credential, Credential::Request(key) if key.form == KeySource::ByokApiKey)
    }

    /// The customer's own address for the provider.
    pub fn custom_base_url(&self) -> Option<&str> {
        match self.credential {
            Credential::Stored(key) => key.base_url.as_deref(),
            // A request-scoped key is sent to the operator's address of its provider, and nowhere else.
            Credential::Request(_) | Credential::Platform => None,
        }
    }

    /// The address of `path`, which is below the base URL. `None` if the base URL is invalid.
    pub fn destination(&self, inbound: &Inbound<'_>, path: &str) -> Option<Destination> {
        let provider = self.candidate.provider;
        let settings = &inbound.gateway.settings;
        match self.custom_base_url() {
            Some(base) => Some(Destination::Customer(joined(base, path)?, owner(inbound.principal.scope))),
            None if path == provider.row().chat_path => {
                Some(Destination::Operator(settings.chat_url(provider)?.clone()))
            }
            None => Some(Destination::Operator(joined(settings.base_url(provider)?, path)?)),
        }
    }

    /// The key itself. `None` if the stored key cannot be opened or the platform key no longer exists.
    pub fn secret(&self, inbound: &Inbound<'_>) -> Option<Secret> {
        let gateway = inbound.gateway;
        match &self.credential {
            Credential::Platform => Some(gateway.platform_keys.get(self.candidate.provider)?.secret.clone()),
            Credential::Request(key) => Some(key.secret.clone()),
            Credential::Stored(key) => {
                let principal = &inbound.principal;
                let ring = &gateway.installation.ring;
                credentials::open_stored(ring, principal.scope, Some(principal.api_key_id), key).ok()
            }
        }
    }
}

fn joined(base: &str, path: &str) -> Option<Url> {
    Url::parse(&format!("{}{path}", base.trim_end_matches('/'))).ok()
}
