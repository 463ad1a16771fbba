//! Options in a request for the gateway itself: a request-scoped provider key, the models to try next, the number of
//! retries, the order. They are read from the members that readers set aside, so they cannot reach a provider. From
//! here on a key has a type without a text form, and no message repeats a value, because it may be a key.

use super::{
    json::{Kind, Member, Raw},
    request::{Invalid, Limits},
    routing::{self, RoutingOptions},
};
use kairosroute_domain::{policy::CACHE_TTL_SECONDS_MAX, secret::Secret};
use std::{borrow::Cow, collections::HashSet, fmt};

/// A provider key must fit into a header.
const KEY_BYTES_MAX: usize = 512;
/// Maximum retries of one model before the next is tried.
const RETRY_MAX: u64 = 5;

/// The fields that the gateway uses.
#[derive(Clone, Default)]
pub struct GatewayOptions<'a> {
    pub byok_api_key: Option<Secret>,
    /// `extra.byok`.
    pub extra_byok: Option<Secret>,
    /// `extra.provider`: a strategy or a provider.
    pub extra_provider: Option<Cow<'a, str>>,
    /// `extra.retry`.
    pub retry: Option<u32>,
    /// `extra.fallback_models`, tried after the request's own models.
    pub fallback_models: Vec<Cow<'a, str>>,
    /// `min_quality`: the minimum share of the reference model's quality, in permille.
    pub min_quality_permille: Option<u16>,
    /// Required and preferred properties of hosts.
    pub routing: RoutingOptions<'a>,
    pub cache: Option<CacheWish>,
}

/// `cache`: whether the answer may come from the response cache, and be stored there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheWish {
    Off,
    On {
        /// How long an answer may be used; `None`: the setting of the API key or the gateway.
        ttl_seconds: Option<u32>,
    },
}

impl<'a> GatewayOptions<'a> {
    /// Reads the members of a JSON body that were set aside; unknown members are left to other readers.
    pub(crate) fn of(members: &[Member<'a>], limits: &Limits) -> Result<Self, Invalid> {
        let mut gateway_options = Self::default();
        for Member { key, value, .. } in members {
            match key.as_ref() {
                "byok_api_key" => gateway_options.byok_api_key = key_of("byok_api_key", *value)?,
                "extra" => gateway_options.extra(*value, limits)?,
                "cache" => gateway_options.cache = Some(cache(*value)?),
                "min_quality" => gateway_options.min_quality_permille = Some(share("min_quality", *value)?),
                name if routing::FIELDS.contains(&name) => gateway_options.routing.take(name, *value)?,
                _ => {}
            }
        }
        Ok(gateway_options)
    }

    /// Takes a plain field of a form. `false`: it is not one of these.
    pub(crate) fn field(&mut self, name: &str, text: &'a str, limits: &Limits) -> Result<bool, Invalid> {
        match name {
            "byok_api_key" => once(&self.byok_api_key, name)
                .and_then(|()| brought_key(name, text).map(|key| self.byok_api_key = key))?,
            "extra[byok]" => once(&self.extra_byok, name)
                .and_then(|()| brought_key(name, text).map(|key| self.extra_byok = key))?,
            "extra[provider]" => once(&self.extra_provider, name).map(|()| {
                self.extra_provider = Some(text.trim()).filter(|text| !text.is_empty()).map(Into::into)
            })?,
            "extra[retry]" => once(&self.retry, name)
                .and_then(|()| retries(text.trim()).map(|count| self.retry = Some(count)))?,
            "extra[fallback_models]" | "extra[fallback_models][]" => {
                self.fallback_models.push(text.trim().into());
            }
            "extra" => {
                let mut cursor = super::json::Cursor::new(text.as_bytes(), limits.depth_max)?;
                let value = cursor.value()?;
                cursor.end()?;
                self.extra(value, limits)?;
            }
            _ if name.starts_with("extra[") => return Err(unknown_extra()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn extra(&mut self, extra: Raw<'a>, limits: &Limits) -> Result<(), Invalid> {
        if extra.kind() != Kind::Object {
            return Err(Invalid::kind("extra", "an object".into(), extra.kind()));
        }
        let members = extra.members();
        if members.len() > limits.members_max {
            let most = limits.members_max;
            return Err(Invalid::at("extra", format!("`extra` may have at most {most} members")));
        }
        let mut seen = HashSet::with_capacity(members.len());
        for Member { key, value, .. } in &members {
            if !seen.insert(key.as_ref()) {
                return Err(Invalid::at("extra", "`extra` holds a member twice".into()));
            }
            match key.as_ref() {
                _ if value.is_null() => {}
                // A form may have the same value in another field.
                "byok" => {
                    once(&self.extra_byok, "extra.byok")?;
                    self.extra_byok = key_of("extra.byok", *value)?;
                }
                "provider" => {
                    once(&self.extra_provider, "extra.provider")?;
                    let text = string("extra.provider", *value)?;
                    self.extra_provider = Some(text).filter(|text| !text.trim().is_empty());
                }
                "retry" => {
                    once(&self.retry, "extra.retry")?;
                    self.retry = Some(retries(value.get())?);
                }
                "fallback_models" => self.fallback_models(*value, limits)?,
                _ => return Err(unknown_extra()),
            }
        }
        Ok(())
    }

    fn fallback_models(&mut self, list: Raw<'a>, limits: &Limits) -> Result<(), Invalid> {
        const NAME: &str = "extra.fallback_models";
        if list.kind() != Kind::Array {
            return Err(Invalid::kind(NAME, "an array of model names".into(), list.kind()));
        }
        let elements = list.elements();
        if elements.len() > limits.models_max {
            let most = limits.models_max;
            return Err(Invalid::at(NAME, format!("`{NAME}` may name at most {most} models")));
        }
        for (index, element) in elements.into_iter().enumerate() {
            let path = format!("{NAME}[{index}]");
            let model = string(&path, element)?;
            if model.trim().is_empty() {
                return Err(Invalid::at(&path, format!("`{path}` must not be empty")));
            }
            self.fallback_models.push(model);
        }
        Ok(())
    }
}

/// A provider key in a request; a blank one counts as absent. The error states `name` if it cannot be a key.
pub fn brought_key(name: &str, text: &str) -> Result<Option<Secret>, Invalid> {
    let text = text.trim();
    if text.len() > KEY_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            format!("`{name}` must be a provider key: at most {KEY_BYTES_MAX} visible ASCII characters");
        return Err(Invalid::at(name, message));
    }
    Ok((!text.is_empty()).then(|| Secret::new(text.to_owned())))
}

fn key_of(name: &str, value: Raw<'_>) -> Result<Option<Secret>, Invalid> {
    brought_key(name, &string(name, value)?)
}

/// A share from 0 to 1, in permille.
fn share(name: &str, value: Raw<'_>) -> Result<u16, Invalid> {
    let share = value.get().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    let share = share.ok_or_else(|| Invalid::at(name, format!("`{name}` must be a number from 0 to 1")))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
    Ok((share * 1_000.0).round() as u16)
}

fn cache(value: Raw<'_>) -> Result<CacheWish, Invalid> {
    let wrong = || {
        let message = format!(
            "`cache` must be true, false or an object with `ttl_seconds`, a whole number from 1 to {CACHE_TTL_SECONDS_MAX}"
        );
        Invalid::at("cache", message)
    };
    match value.kind() {
        Kind::Bool if value.get() == "true" => Ok(CacheWish::On { ttl_seconds: None }),
        Kind::Bool => Ok(CacheWish::Off),
        Kind::Object => {
            let mut ttl_seconds = None;
            for member in value.members().iter().filter(|member| !member.value.is_null()) {
                let seconds = member.value.count().and_then(|count| u32::try_from(count).ok());
                let in_range = seconds.filter(|seconds| (1..=CACHE_TTL_SECONDS_MAX).contains(seconds));
                match (member.key.as_ref(), in_range, ttl_seconds) {
                    ("ttl_seconds", Some(seconds), None) => ttl_seconds = Some(seconds),
                    _ => return Err(wrong()),
                }
            }
            Ok(CacheWish::On { ttl_seconds })
        }
        _ => Err(wrong()),
    }
}

fn string<'a>(name: &str, value: Raw<'a>) -> Result<Cow<'a, str>, Invalid> {
    value.text().ok_or_else(|| Invalid::kind(name, "a string".into(), value.kind()))
}

/// The name is not repeated in the message: it may be a key in the wrong place.
fn unknown_extra() -> Invalid {
    let message = "`extra` may hold `byok`, `fallback_models`, `provider` and `retry`";
    Invalid::at("extra", message.into())
}

fn retries(text: &str) -> Result<u32, Invalid> {
    let count = text.parse::<u64>().ok().filter(|count| *count <= RETRY_MAX);
    let count = count.and_then(|count| u32::try_from(count).ok());
    let message = || format!("`extra.retry` must be a whole number from 0 to {RETRY_MAX}");
    count.ok_or_else(|| Invalid::at("extra.retry", message()))
}

fn once<T>(known: &Option<T>, name: &str) -> Result<(), Invalid> {
    match known {
        None => Ok(()),
        Some(_) => Err(Invalid::at(name, format!("`{name}` occurs twice"))),
    }
}

/// Shows which fields are set, and never their values.
impl fmt::Debug for GatewayOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = usize::from(self.byok_api_key.is_some()) + usize::from(self.extra_byok.is_some());
        write!(f, "Wishes with {keys} keys and {} fallback models", self.fallback_models.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn gateway_options(body: &str) -> Result<GatewayOptions<'_>, Invalid> {
        let members = json::read_object(body.as_bytes(), 32, 32).unwrap();
        GatewayOptions::of(&members, &Limits::default())
    }

    #[test]
    fn every_field_is_read_and_null_and_blank_are_absent() {
        let read = gateway_options(
            r#"{"byok_api_key":" sk-\u0061 ","extra":{"byok":"k","provider":"cheap","retry":3,"fallback_models":["a","b"]}}"#,
        )
        .unwrap();
        assert_eq!(read.byok_api_key.unwrap().expose(), "sk-a");
        assert_eq!(read.extra_byok.unwrap().expose(), "k");
        assert_eq!((read.extra_provider.as_deref(), read.retry), (Some("cheap"), Some(3)));
        assert_eq!(read.fallback_models, ["a", "b"]);
        let idle =
            gateway_options(r#"{"byok_api_key":"\t","extra":{"byok":" ","provider":"","retry":null}}"#)
                .unwrap();
        assert!(idle.byok_api_key.is_none() && idle.extra_byok.is_none());
        assert!(idle.extra_provider.is_none() && idle.retry.is_none() && idle.fallback_models.is_empty());
    }

    #[test]
    fn a_request_says_how_it_uses_the_cache() {
        let read = |text: &str| {
            gateway_options(&format!("{{\"cache\":{text}}}")).map(|gateway_options| gateway_options.cache)
        };
        assert_eq!(read("true").unwrap(), Some(CacheWish::On { ttl_seconds: None }));
        assert_eq!(read("false").unwrap(), Some(CacheWish::Off));
        assert_eq!(read("{}").unwrap(), Some(CacheWish::On { ttl_seconds: None }));
        assert_eq!(read(r#"{"ttl_seconds":60}"#).unwrap(), Some(CacheWish::On { ttl_seconds: Some(60) }));
        assert_eq!(read(r#"{"ttl_seconds":null}"#).unwrap(), Some(CacheWish::On { ttl_seconds: None }));
        for wrong in [
            "1",
            "\"on\"",
            "[]",
            r#"{"ttl_seconds":0}"#,
            r#"{"ttl_seconds":1.5}"#,
            r#"{"ttl_seconds":2592001}"#,
            r#"{"ttl_seconds":1,"ttl_seconds":2}"#,
            r#"{"scope":"key"}"#,
        ] {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("cache"), "{wrong}");
        }
        assert_eq!(gateway_options("{}").unwrap().cache, None);
    }

    #[test]
    fn what_is_wrong_is_named_and_never_repeated() {
        for (body, param) in [
            (r#"{"byok_api_key":["sk-canary"]}"#, "byok_api_key"),
            (r#"{"byok_api_key":"sk-canary two"}"#, "byok_api_key"),
            (r#"{"byok_api_key":"sk-canary\u0000"}"#, "byok_api_key"),
            (r#"{"extra":"sk-canary"}"#, "extra"),
            (r#"{"extra":{"sk-canary":1}}"#, "extra"),
            (r#"{"extra":{"byok":"a","byok":"sk-canary"}}"#, "extra"),
            (r#"{"extra":{"byok":7}}"#, "extra.byok"),
            (r#"{"extra":{"provider":{"sk-canary":1}}}"#, "extra.provider"),
            (r#"{"extra":{"retry":6}}"#, "extra.retry"),
            (r#"{"extra":{"retry":"sk-canary"}}"#, "extra.retry"),
            (r#"{"extra":{"retry":1.5}}"#, "extra.retry"),
            (r#"{"extra":{"fallback_models":"sk-canary"}}"#, "extra.fallback_models"),
            (r#"{"extra":{"fallback_models":["a",""]}}"#, "extra.fallback_models[1]"),
        ] {
            let invalid = gateway_options(body).err().unwrap_or_else(|| panic!("{body}"));
            assert_eq!(invalid.param.as_deref(), Some(param), "{body}");
            assert!(!invalid.message.contains("canary"), "{}", invalid.message);
        }
        let long = format!(r#"{{"byok_api_key":"{}"}}"#, "k".repeat(KEY_BYTES_MAX + 1));
        assert!(gateway_options(&long).is_err());
    }

    #[test]
    fn more_members_than_may_be_are_refused() {
        let members: Vec<String> = (0..129).map(|number| format!("\"k{number}\":null")).collect();
        let body = format!(r#"{{"extra":{{{}}}}}"#, members.join(","));
        let refused = gateway_options(&body).err().unwrap();
        assert_eq!(refused.param.as_deref(), Some("extra"));
        assert!(refused.message.contains("128"), "{refused}");
    }

    #[test]
    fn a_form_says_the_same_in_fields_of_its_own() {
        let limits = Limits::default();
        let mut read = GatewayOptions::default();
        for (name, text) in [
            ("byok_api_key", "k"),
            ("extra[byok]", "e"),
            ("extra[provider]", "groq"),
            ("extra[retry]", "2"),
            ("extra[fallback_models][]", "a"),
            ("extra[fallback_models][]", "b"),
        ] {
            assert!(read.field(name, text, &limits).unwrap(), "{name}");
        }
        assert_eq!((read.extra_provider.as_deref(), read.retry), (Some("groq"), Some(2)));
        assert_eq!(read.fallback_models, ["a", "b"]);
        assert!(!read.field("prompt", "x", &limits).unwrap());
        assert!(read.field("byok_api_key", "other", &limits).is_err());
        let mut whole = GatewayOptions::default();
        assert!(whole.field("extra", r#" {"byok":"k"} "#, &limits).unwrap());
        assert_eq!(whole.extra_byok.unwrap().expose(), "k");
        assert!(GatewayOptions::default().field("extra", "nonsense", &limits).is_err());
        assert!(GatewayOptions::default().field("extra[sk-canary]", "x", &limits).is_err());
        // If the value is given twice, in the same form or in two, it is unclear which one is meant.
        for (name, text) in [
            ("extra[byok]", "other"),
            ("extra[provider]", "mistral"),
            ("extra[retry]", "1"),
            ("extra", r#"{"byok":"other"}"#),
            ("extra", r#"{"provider":"mistral"}"#),
            ("extra", r#"{"retry":1}"#),
        ] {
            assert!(read.field(name, text, &limits).is_err(), "{name} {text}");
        }
        let mut whole = GatewayOptions::default();
        assert!(whole.field("extra", r#"{"byok":"a"}"#, &limits).unwrap());
        assert!(whole.field("extra", r#"{"byok":"b"}"#, &limits).is_err());
        assert!(whole.field("extra[byok]", "c", &limits).is_err());
        assert_eq!(format!("{read:?}"), "Wishes with 2 keys and 2 fallback models");
    }
}
