//! The body that creates or changes an API key: parsing and checking it, without a database. Merge by field: an absent
//! field stays unchanged, `null` clears. A guardrail that is not enforced is refused and never stored.

pub mod rules;

use super::{AccountError, fields};
use crate::{
    domain::{
        ids::{ApiKeyId, ProviderKeyId},
        policy::{ByokFallback, CACHE_TTL_SECONDS_MAX, CachePolicy, KeyPolicy, RoutingMode},
        provider::ProviderId,
        secret::Secret,
    },
    limits::PeriodKind,
    providers::guard::{AllowedNets, check_url},
};
use rules::{Amount, BudgetChange, DataCollection, END_USER_RATES, RATES, RatesChange, RulesChange};
use serde::{
    Deserialize, Deserializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use std::{fmt, marker::PhantomData};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// The name of a key without a name.
pub const DEFAULT_NAME: &str = "API key";
const KEYS_PER_PROVIDER_MAX: usize = 20;

/// A field of a merge patch: absent, cleared, or set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Field<T> {
    #[default]
    Keep,
    Clear,
    Set(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(d)?.map_or(Field::Clear, Field::Set))
    }
}

impl<T> Field<T> {
    fn try_map<U, E>(self, to: impl FnOnce(T) -> Result<U, E>) -> Result<Field<U>, E> {
        Ok(match self {
            Field::Keep => Field::Keep,
            Field::Clear => Field::Clear,
            Field::Set(value) => Field::Set(to(value)?),
        })
    }
}

/// The body as received.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct KeyBody {
    name: Field<String>,
    provider_keys: Field<ProviderMap>,
    byok_fallback: Field<ByokFallback>,
    expires_at: Field<String>,
    allowed_providers: Field<Vec<String>>,
    excluded_providers: Field<Vec<String>>,
    allowed_models: Field<Vec<String>>,
    min_quality_threshold: Field<f64>,
    routing_mode: Field<RoutingMode>,
    cache: Field<CachePolicy>,
    max_cost_per_request_usd: Field<Amount>,
    budget_usd: Field<Amount>,
    budget_period: Field<PeriodKind>,
    budget_includes_byok: Field<bool>,
    requests_per_minute: Field<u32>,
    tokens_per_minute: Field<u32>,
    concurrent_requests: Field<u32>,
    end_user_requests_per_minute: Field<u32>,
    end_user_tokens_per_minute: Field<u32>,
    end_user_concurrent_requests: Field<u32>,
    allowed_ips: Field<Vec<String>>,
    zdr: Field<bool>,
    data_collection: Field<DataCollection>,
}

/// The body after the checks.
#[derive(Default)]
pub struct KeyChange {
    pub name: Field<String>,
    pub byok_fallback: Field<ByokFallback>,
    pub expires_at: Field<OffsetDateTime>,
    pub allowed_providers: Field<Vec<ProviderId>>,
    pub excluded_providers: Field<Vec<ProviderId>>,
    pub allowed_models: Field<Vec<String>>,
    pub min_quality_permille: Field<u16>,
    pub routing_mode: Field<RoutingMode>,
    pub cache: Field<CachePolicy>,
    pub rules: RulesChange,
    pub budget: BudgetChange,
    pub provider_keys: ProviderLists,
}

/// New lists by provider; an empty one removes the provider's keys. `Clear` removes all.
pub type ProviderLists = Field<Vec<(ProviderId, Vec<EntryChange>)>>;

/// One element of a provider's list. At least one of `id` and `key` is present.
#[derive(Clone)]
pub struct EntryChange {
    /// A stored key that stays, moves or gets a new secret.
    pub id: Option<ProviderKeyId>,
    pub key: Option<Secret>,
    pub label: Field<String>,
    pub models: Field<Vec<String>>,
    pub enabled: Field<bool>,
    /// Normalised.
    pub base_url: Field<String>,
    /// The API keys that share it; cleared: all. Of the organization's own keys only.
    pub api_keys: Field<Vec<ApiKeyId>>,
}

impl KeyBody {
    /// Checks every field; the error names the first invalid one.
    pub fn judge(self, nets: &AllowedNets, now: OffsetDateTime) -> Result<KeyChange, AccountError> {
        let rates = [self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests];
        let end_user = [
            self.end_user_requests_per_minute,
            self.end_user_tokens_per_minute,
            self.end_user_concurrent_requests,
        ];
        let max_cost = self.max_cost_per_request_usd;
        Ok(KeyChange {
            name: self.name.try_map(|text| fields::name("name", &text))?,
            byok_fallback: self.byok_fallback,
            expires_at: self.expires_at.try_map(|text| parse_expiry(&text, now))?,
            allowed_providers: self.allowed_providers.try_map(|names| {
                let providers = parse_providers("allowedProviders", &names)?;
                refuse_empty("allowedProviders", providers)
            })?,
            excluded_providers: self
                .excluded_providers
                .try_map(|names| parse_providers("excludedProviders", &names))?,
            allowed_models: self.allowed_models.try_map(|names| {
                let models = fields::models("allowedModels", &names)?;
                refuse_empty("allowedModels", models)
            })?,
            min_quality_permille: self.min_quality_threshold.try_map(parse_quality)?,
            routing_mode: self.routing_mode,
            cache: self.cache.try_map(check_cache)?,
            rules: RulesChange {
                rates: RatesChange::judge(rates, RATES)?,
                end_user: RatesChange::judge(end_user, END_USER_RATES)?,
                max_cost_per_request: max_cost
                    .try_map(|text| rules::parse_amount("maxCostPerRequestUsd", &text))?,
                allowed_ips: self.allowed_ips.try_map(|nets| rules::parse_nets("allowedIps", &nets))?,
                zdr: self.zdr,
                data_collection: self.data_collection,
            },
            budget: BudgetChange::judge(self.budget_usd, self.budget_period, self.budget_includes_byok)?,
            provider_keys: self.provider_keys.try_map(|map| refuse_sharing(map.judge(nets)?))?,
        })
    }
}

impl KeyChange {
    /// Applies the changed rules to those of a key.
    pub fn apply(&self, name: &mut String, policy: &mut KeyPolicy) -> Result<(), AccountError> {
        match &self.name {
            Field::Keep => {}
            Field::Clear => *name = DEFAULT_NAME.to_owned(),
            Field::Set(new) => *name = new.clone(),
        }
        lay_over(&mut policy.byok_fallback, &self.byok_fallback);
        lay_over(&mut policy.excluded_providers, &self.excluded_providers);
        lay_over_option(&mut policy.expires_at, &self.expires_at);
        lay_over_option(&mut policy.allowed_providers, &self.allowed_providers);
        lay_over_option(&mut policy.allowed_models, &self.allowed_models);
        lay_over_option(&mut policy.min_quality_permille, &self.min_quality_permille);
        lay_over(&mut policy.routing_mode, &self.routing_mode);
        lay_over_option(&mut policy.cache, &self.cache);
        self.rules.apply(&mut policy.rules);
        policy.budget = self.budget.apply(policy.budget)?;
        Ok(())
    }
}

/// Applies a field to a value whose cleared state is its default.
pub fn lay_over<T: Clone + Default>(value: &mut T, field: &Field<T>) {
    match field {
        Field::Keep => {}
        Field::Clear => *value = T::default(),
        Field::Set(new) => *value = new.clone(),
    }
}

/// Applies a field to a value whose cleared state is absence.
pub fn lay_over_option<T: Clone>(value: &mut Option<T>, field: &Field<T>) {
    match field {
        Field::Keep => {}
        Field::Clear => *value = None,
        Field::Set(new) => *value = Some(new.clone()),
    }
}

/// A warning if a key looks like one of another provider. Formats change, so it is only a warning.
pub fn foreign_looking(provider: ProviderId, secret: &Secret) -> Option<String> {
    let fits = |other: &ProviderId| {
        let prefixes = other.row().key_prefixes;
        prefixes
            .iter()
            .filter(|prefix| secret.expose().starts_with(**prefix))
            .map(|prefix| prefix.len())
            .max()
    };
    let (best, _) =
        ProviderId::all().filter_map(|other| Some((other, fits(&other)?))).max_by_key(|(_, n)| *n)?;
    (best != provider).then(|| {
        let (own, other) = (provider.row().name, best.row().name);
        format!("This looks like a key of {other}, not {own}; the test call tells whether it works")
    })
}

fn parse_expiry(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, AccountError> {
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(at) if at > now => Ok(at),
        Ok(_) => Err(AccountError::invalid("expiresAt", "`expiresAt` must lie in the future")),
        Err(_) => {
            Err(AccountError::invalid("expiresAt", "`expiresAt` must be a time like 2027-01-31T00:00:00Z"))
        }
    }
}

/// A share from 0 to 1, in permille.
fn parse_quality(share: f64) -> Result<u16, AccountError> {
    if !(0.0..=1.0).contains(&share) {
        let message = "`minQualityThreshold` must be a number from 0 to 1";
        return Err(AccountError::invalid("minQualityThreshold", message));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    Ok((share * 1_000.0).round() as u16)
}

fn check_cache(cache: CachePolicy) -> Result<CachePolicy, AccountError> {
    if (1..=CACHE_TTL_SECONDS_MAX).contains(&cache.ttl_seconds) {
        return Ok(cache);
    }
    let message = format!("`cache.ttlSeconds` must be a whole number from 1 to {CACHE_TTL_SECONDS_MAX}");
    Err(AccountError::invalid("cache.ttlSeconds", message))
}

fn parse_providers(param: &str, names: &[String]) -> Result<Vec<ProviderId>, AccountError> {
    let mut providers = Vec::new();
    for name in names {
        let provider = ProviderId::by_name(name)
            .ok_or_else(|| AccountError::UnknownProvider { param: param.to_owned() })?;
        if !providers.contains(&provider) {
            providers.push(provider);
        }
    }
    Ok(providers)
}

fn refuse_empty<T>(param: &str, list: Vec<T>) -> Result<Vec<T>, AccountError> {
    if list.is_empty() {
        let message = format!("`{param}` must not be empty; null allows all");
        return Err(AccountError::invalid(param, message));
    }
    Ok(list)
}

/// `providerKeys` as received: names in their order, with repetitions so that they can be refused.
struct ProviderMap(Vec<(String, Entries)>);

/// The value at one provider. `null` and `[]` are an empty list, a string is a list of one.
struct Entries(Vec<EntryBody>);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct EntryBody {
    id: Option<String>,
    key: Option<Secret>,
    label: Field<String>,
    models: Field<Vec<String>>,
    enabled: Field<bool>,
    base_url: Field<String>,
    api_keys: Field<Vec<String>>,
}

impl ProviderMap {
    fn judge(self, nets: &AllowedNets) -> Result<Vec<(ProviderId, Vec<EntryChange>)>, AccountError> {
        let mut lists: Vec<(ProviderId, Vec<EntryChange>)> = Vec::new();
        for (name, Entries(entries)) in self.0 {
            let provider = ProviderId::by_name(&name)
                .ok_or_else(|| AccountError::UnknownProvider { param: "providerKeys".into() })?;
            if lists.iter().any(|(known, _)| *known == provider) {
                let message = format!("`providerKeys` names {} twice", provider.row().name);
                return Err(AccountError::invalid("providerKeys", message));
            }
            if entries.len() > KEYS_PER_PROVIDER_MAX {
                let message = format!("A provider may have up to {KEYS_PER_PROVIDER_MAX} keys");
                return Err(AccountError::invalid("providerKeys", message));
            }
            let entries =
                entries.into_iter().map(|entry| entry.judge(nets)).collect::<Result<Vec<_>, _>>()?;
            refuse_repeated_ids(&entries)?;
            lists.push((provider, entries));
        }
        Ok(lists)
    }
}

impl EntryBody {
    fn judge(self, nets: &AllowedNets) -> Result<EntryChange, AccountError> {
        // An id of the wrong form cannot exist: the answer is the same as for a missing id.
        let id = match self.id.as_deref().map(str::parse::<ProviderKeyId>) {
            None => None,
            Some(Ok(id)) => Some(id),
            Some(Err(_)) => return Err(AccountError::NotFound("provider key")),
        };
        let key = self.key.map(|key| fields::provider_key("providerKeys", &key)).transpose()?;
        if id.is_none() && key.is_none() {
            let message = "Each element of a list in `providerKeys` needs `id` or `key`";
            return Err(AccountError::invalid("providerKeys", message));
        }
        Ok(EntryChange {
            id,
            key,
            label: self.label.try_map(|text| fields::label("label", &text))?,
            models: self.models.try_map(|list| fields::models("models", &list))?,
            enabled: self.enabled,
            api_keys: self.api_keys.try_map(parse_api_keys)?,
            base_url: self.base_url.try_map(|text| {
                let url =
                    check_url(text.trim(), nets).map_err(|error| AccountError::url("baseUrl", &error))?;
                Ok::<_, AccountError>(url.as_str().trim_end_matches('/').to_owned())
            })?,
        })
    }
}

/// The body that changes the organization's provider keys.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct OrganizationKeysBody {
    provider_keys: Field<ProviderMap>,
}

impl OrganizationKeysBody {
    pub fn judge(self, nets: &AllowedNets) -> Result<ProviderLists, AccountError> {
        match self.provider_keys {
            Field::Keep => Err(AccountError::invalid("providerKeys", "`providerKeys` is missing")),
            given => given.try_map(|map| map.judge(nets)),
        }
    }
}

type Lists = Vec<(ProviderId, Vec<EntryChange>)>;

fn refuse_sharing(lists: Lists) -> Result<Lists, AccountError> {
    let mut entries = lists.iter().flat_map(|(_, entries)| entries);
    match entries.all(|entry| matches!(entry.api_keys, Field::Keep)) {
        true => Ok(lists),
        false => {
            let message = "A provider key of an API key is not shared; share one by PATCH /api/provider-keys";
            Err(AccountError::invalid("apiKeys", message))
        }
    }
}

/// An id of the wrong form cannot exist.
fn parse_api_keys(ids: Vec<String>) -> Result<Vec<ApiKeyId>, AccountError> {
    if ids.is_empty() {
        return Err(AccountError::invalid("apiKeys", "`apiKeys` must not be empty; null shares with all"));
    }
    let mut parsed = Vec::with_capacity(ids.len());
    for id in ids {
        parsed.push(id.parse::<ApiKeyId>().map_err(|_| AccountError::NotFound("API key"))?);
    }
    parsed.sort_unstable();
    parsed.dedup();
    Ok(parsed)
}

fn refuse_repeated_ids(entries: &[EntryChange]) -> Result<(), AccountError> {
    let ids: Vec<ProviderKeyId> = entries.iter().filter_map(|entry| entry.id).collect();
    let repeated = ids.iter().enumerate().any(|(at, id)| ids.iter().skip(at + 1).any(|other| other == id));
    if repeated {
        return Err(AccountError::invalid(
            "providerKeys",
            "An `id` occurs twice in a list of `providerKeys`",
        ));
    }
    Ok(())
}

impl<'de> Deserialize<'de> for ProviderMap {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = ProviderMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of provider names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ProviderMap, A::Error> {
                let mut names = Vec::new();
                while let Some(entry) = map.next_entry::<String, Entries>()? {
                    names.push(entry);
                }
                Ok(ProviderMap(names))
            }
        }
        d.deserialize_map(Names)
    }
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key, a list of objects, or null")
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Entries, E> {
                Ok(Entries(Vec::new()))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Entries, E> {
                self.visit_string(text.to_owned())
            }

            fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Entries, E> {
                Ok(Entries(vec![EntryBody { key: Some(Secret::new(text)), ..EntryBody::default() }]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Entries, A::Error> {
                let entries: Vec<Object<EntryBody>> = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(Entries(entries.into_iter().map(|Object(entry)| entry).collect()))
            }
        }
        d.deserialize_any(OneOrMany)
    }
}

/// A struct that is given as an object: serde alone would also accept an array of its fields.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        d.deserialize_map(Fields(PhantomData))
    }
}

#[cfg(test)]
mod tests;
