//! The options that come with a request beside its content: a request-scoped key in one of three forms, a fixed
//! provider, and how the model list is tried. They are resolved once, before planning: which key serves which provider.
//! A request-scoped key exists only here and in the targets made from it, and ends with the request.

use super::{answer_cache::Directives, failure::Failure, refusals::unknown_provider};
use crate::{
    dialect::{Head, Invalid, RoutingOptions, Sort},
    domain::{
        catalog::{Catalog, Resolved},
        kind::Kind,
        provider::ProviderId,
        secret::Secret,
    },
    providers::error::ErrorClass,
    routing::{filter::Preferences, strategy::Strategy},
};
use std::borrow::Cow;
use time::Date;

/// `X-Provider`, `X-Provider-Key` and `X-Provider-Model`.
#[derive(Clone, Default)]
pub struct RoutingHeaders {
    pub provider: Option<ProviderId>,
    pub key: Option<Secret>,
    pub model: Option<String>,
    /// `X-KairosRoute-Plan`
    pub plan: Option<String>,
    /// `Cache-Control`
    pub cache: Directives,
}

/// The form in which a request-scoped key was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeySource {
    /// `X-Provider-Key`
    Header,
    /// `byok_api_key`
    ByokApiKey,
    /// `extra.byok`
    Extra,
}

/// The request-scoped key. It serves its own provider only, at the operator's address of that provider.
pub struct RequestKey {
    pub provider: ProviderId,
    pub secret: Secret,
    pub form: KeySource,
}

/// The options of one request.
#[derive(Default)]
pub struct RequestRouting<'a> {
    /// Models in the order in which they are tried.
    pub names: Vec<Cow<'a, str>>,
    pub pin: Option<ProviderId>,
    pub key: Option<RequestKey>,
    pub strategy: Option<Strategy>,
    /// Required and preferred properties of hosts.
    pub preferences: Preferences,
    /// Retries of one model before the next is tried; `None`: the default of the gateway.
    pub retries: Option<u32>,
}

impl KeySource {
    /// Its name in messages.
    fn name(self) -> &'static str {
        match self {
            KeySource::Header => "x-provider-key",
            KeySource::ByokApiKey => "byok_api_key",
            KeySource::Extra => "extra.byok",
        }
    }
}

impl<'a> RequestRouting<'a> {
    /// Combines the headers and the body into the options.
    pub fn of(
        routing_headers: &RoutingHeaders,
        head: &Head<'a>,
        kind: Kind,
        catalog: &Catalog,
        today: Date,
    ) -> Result<Self, Failure> {
        let gateway_options = &head.gateway_options;
        let (strategy, named) = preferred(gateway_options.extra_provider.as_deref())?;
        let pin = one_provider(routing_headers.provider, named)?;
        let mut names = head.models.clone();
        if let (Some(model), Some(first)) = (&routing_headers.model, names.first_mut())
            && header_model_counts(catalog, pin, model, first, kind, today)
        {
            *first = Cow::Owned(model.clone());
        }
        let forms = [
            (KeySource::Header, &routing_headers.key),
            (KeySource::ByokApiKey, &gateway_options.byok_api_key),
            (KeySource::Extra, &gateway_options.extra_byok),
        ];
        let keys = forms.into_iter().filter_map(|(form, key)| Some((form, key.clone()?)));
        let key = match keys.collect::<Vec<_>>().as_slice() {
            [] => None,
            [(form, secret)] => {
                let first = names.first().map(Cow::as_ref).unwrap_or_default();
                let provider = owner((*form, secret), pin, first, catalog, today)?;
                Some(RequestKey { provider, secret: secret.clone(), form: *form })
            }
            [.., (form, _)] => return Err(two_keys(*form)),
        };
        if names.iter().any(|name| name.ends_with(":online")) {
            let message = "`:online` is not offered: the gateway adds no web search. Leave the suffix out, or use a \
                           model's own search tool on your provider key";
            return Err(invalid("model", message));
        }
        let preferences = preferences(&gateway_options.routing)?;
        let strategy = strategy.or(gateway_options.routing.sort.map(|sort| match sort {
            Sort::Price => Strategy::Cheap,
            Sort::Throughput => Strategy::Throughput,
            Sort::Latency => Strategy::Latency,
        }));
        Ok(Self { names, pin, key, strategy, preferences, retries: gateway_options.retry })
    }

    /// The key that serves this provider.
    pub fn key_for(&self, provider: ProviderId) -> Option<&RequestKey> {
        self.key.as_ref().filter(|key| key.provider == provider)
    }
}

/// Whether a provider with this error would reject the same key for every model.
pub fn rejects_key(class: ErrorClass) -> bool {
    matches!(class, ErrorClass::BadKey | ErrorClass::InsufficientFunds)
}

/// The options with provider names resolved.
fn preferences(gateway_options: &RoutingOptions<'_>) -> Result<Preferences, Failure> {
    let providers = |param: &'static str, names: &[Cow<'_, str>]| {
        let provider = |name: &Cow<'_, str>| {
            // OpenRouter writes a variant of a host after a slash.
            let name = name.split_once('/').map_or(&**name, |(name, _)| name);
            ProviderId::by_name(name).ok_or_else(|| Failure::UnknownProvider { param, hint: String::new() })
        };
        names.iter().map(provider).collect::<Result<Vec<_>, _>>()
    };
    let only = providers("provider.only", &gateway_options.only)?;
    Ok(Preferences {
        order: providers("provider.order", &gateway_options.order)?,
        only: (!only.is_empty()).then_some(only),
        ignore: providers("provider.ignore", &gateway_options.ignore)?,
        no_fallbacks: gateway_options.no_fallbacks,
        require_parameters: gateway_options.require_parameters,
        deny_collection: gateway_options.deny_collection,
        zdr: gateway_options.zdr,
        quantizations: gateway_options.quantizations.iter().map(|name| name.to_string()).collect(),
        max_prompt_price: gateway_options.max_prompt_price,
        max_completion_price: gateway_options.max_completion_price,
        max_latency_ms: gateway_options.preferred_max_latency_ms,
        min_tokens_per_second: gateway_options.preferred_min_throughput,
    })
}

/// `extra.provider`: a provider or a preference.
fn preferred(said: Option<&str>) -> Result<(Option<Strategy>, Option<ProviderId>), Failure> {
    let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) else { return Ok((None, None)) };
    match (Strategy::by_name(said), ProviderId::by_name(said)) {
        (None, None) => {
            Err(Failure::UnknownProvider { param: "extra.provider", hint: STRATEGIES_HINT.to_owned() })
        }
        (Some(strategy), _) => Ok((Some(strategy), None)),
        (None, provider) => Ok((None, provider)),
    }
}

fn one_provider(header: Option<ProviderId>, body: Option<ProviderId>) -> Result<Option<ProviderId>, Failure> {
    match (header, body) {
        (Some(header), Some(body)) if header != body => Err(invalid(
            "extra.provider",
            "`extra.provider` and the header `x-provider` name different providers: send only one of them",
        )),
        _ => Ok(header.or(body)),
    }
}

/// The provider that the key belongs to.
fn owner(
    (form, secret): (KeySource, &Secret),
    pin: Option<ProviderId>,
    model: &str,
    catalog: &Catalog,
    today: Date,
) -> Result<ProviderId, Failure> {
    if let Some(provider) = pin.or_else(|| catalog.provider_of(model, today)) {
        return Ok(provider);
    }
    if let Resolved::Unknown { prefix_known: false } = catalog.resolve(model, today) {
        let nearest: Vec<_> = catalog.nearest(model, today).iter().map(|model| model.id.clone()).collect();
        return Err(unknown_provider(model, &nearest));
    }
    let hosts = catalog.providers_of(model, today);
    if let Some(provider) = only_owner(secret, &hosts) {
        return Ok(provider);
    }
    let message = format!(
        "The key in `{}` is for one provider, and the name of the model does not say which: send the header `X-Provider`, or name \
         the model as `provider/model`",
        form.name()
    );
    Err(invalid("x-provider", &message))
}

/// Whether the model in the header replaces `first`, the model in the body. SDK clients keep an old header value beside
/// a new model, a new provider or another endpoint; such a value is ignored. For a value that the catalogue does not
/// list, the endpoint is unknown: outside conversations it is used only if the body's own model does not belong to the
/// endpoint.
fn header_model_counts(
    catalog: &Catalog,
    pin: Option<ProviderId>,
    model: &str,
    first: &str,
    kind: Kind,
    today: Date,
) -> bool {
    let fits = |resolved: Resolved| match resolved {
        Resolved::Listed(models) | Resolved::Retired { models } => {
            models.iter().any(|model| kind.is_served_by(model.mode))
        }
        Resolved::Unlisted { .. } | Resolved::Unknown { .. } => false,
    };
    let at = pin.or_else(|| catalog.provider_of(first, today));
    let resolve = |name: &str| match at {
        Some(provider) => catalog.resolve_pinned(provider, name, today),
        None => catalog.resolve(name, today),
    };
    let may_be_meant = || matches!(kind, Kind::Conversation(_)) || !fits(resolve(first));
    match (resolve(model), at) {
        (Resolved::Unlisted { .. }, None) => may_be_meant(),
        (Resolved::Unlisted { .. }, Some(provider)) => match catalog.resolve(model, today) {
            Resolved::Listed(_) | Resolved::Retired { .. } => false,
            Resolved::Unlisted { provider: named, .. } => named == provider && may_be_meant(),
            Resolved::Unknown { .. } => may_be_meant(),
        },
        (known, _) => fits(known),
    }
}

/// The provider that the key belongs to, among the hosts of the model: the only host, else the only one whose key
/// format matches.
fn only_owner(secret: &Secret, hosts: &[ProviderId]) -> Option<ProviderId> {
    if let [only] = hosts {
        return Some(*only);
    }
    let looks = |provider: &&ProviderId| {
        provider.row().key_prefixes.iter().any(|prefix| secret.expose().starts_with(prefix))
    };
    hosts.iter().find(looks).copied()
}

/// The values of `extra.provider` that are not providers.
const STRATEGIES_HINT: &str =
    "`extra.provider` also takes `cheap`, `fast`, `latency`, `throughput`, `reliable` and `balanced`";

fn two_keys(form: KeySource) -> Failure {
    let message = "A request may carry one provider key: send only one of `X-Provider-Key`, `byok_api_key` and `extra.byok`";
    invalid(form.name(), message)
}

fn invalid(param: &str, message: &str) -> Failure {
    Failure::Invalid(Invalid { param: Some(param.to_owned()), message: message.to_owned() })
}

#[cfg(test)]
mod tests;
