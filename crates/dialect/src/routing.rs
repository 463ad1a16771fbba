//! Options of a request for the choice of its host: OpenRouter's `provider` object and the plain fields beside it. They
//! are read from the members that readers set aside; the names in them are resolved by the caller, which knows the
//! providers.

use super::{
    json::{Kind, Member, Raw},
    request::Invalid,
};
use kairosroute_domain::money::NanoPerMillion;
use std::borrow::Cow;

/// Entries of one list.
const ENTRIES_MAX: usize = 32;

/// The order of hosts that `sort` requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sort {
    Price,
    Throughput,
    Latency,
}

/// The options, all absent by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoutingOptions<'a> {
    /// Providers to try first, in this order.
    pub order: Vec<Cow<'a, str>>,
    /// No other providers.
    pub only: Vec<Cow<'a, str>>,
    /// Never these.
    pub ignore: Vec<Cow<'a, str>>,
    pub sort: Option<Sort>,
    /// `allow_fallbacks: false`: only the first host.
    pub no_fallbacks: bool,
    /// Only hosts that are known to support every field of the request.
    pub require_parameters: bool,
    /// `data_collection: "deny"`: only providers that are known not to store prompts for their own use.
    pub deny_collection: bool,
    /// Only providers that are known to store nothing.
    pub zdr: bool,
    /// Only hosts that are known to serve one of these.
    pub quantizations: Vec<Cow<'a, str>>,
    /// Maximum price of a million tokens.
    pub max_prompt_price: Option<NanoPerMillion>,
    pub max_completion_price: Option<NanoPerMillion>,
    /// Slower hosts (P75) are ordered last.
    pub preferred_max_latency_ms: Option<u64>,
    /// Hosts with fewer tokens a second (P50) are ordered last.
    pub preferred_min_throughput: Option<u64>,
}

/// The fields that are read here.
pub(crate) const FIELDS: &[&str] = &[
    "provider",
    "data_collection",
    "zdr",
    "preferred_max_latency",
    "preferred_min_throughput",
    "quantizations",
    "max_price",
];

impl<'a> RoutingOptions<'a> {
    /// Takes one of [`FIELDS`].
    pub(crate) fn take(&mut self, name: &str, value: Raw<'a>) -> Result<(), Invalid> {
        if name != "provider" {
            return self.field(name, name, value);
        }
        // A name alone requests one provider.
        if let Some(provider) = value.text() {
            self.only = vec![provider];
            return Ok(());
        }
        if value.kind() != Kind::Object {
            return Err(Invalid::kind("provider", "an object".into(), value.kind()));
        }
        let members = value.members();
        for (index, Member { key, value, .. }) in members.iter().enumerate() {
            if members.iter().take(index).any(|earlier| earlier.key == *key) {
                return Err(Invalid::at("provider", "`provider` holds a member twice".into()));
            }
            if !value.is_null() {
                self.field(&format!("provider.{key}"), key, *value)?;
            }
        }
        Ok(())
    }

    fn field(&mut self, path: &str, name: &str, value: Raw<'a>) -> Result<(), Invalid> {
        match name {
            "order" => self.order = names(path, value)?,
            "only" => self.only = names(path, value)?,
            "ignore" => self.ignore = names(path, value)?,
            "quantizations" => self.quantizations = names(path, value)?,
            "sort" => self.sort = Some(sort(path, value)?),
            "allow_fallbacks" => self.no_fallbacks = !flag(path, value)?,
            "require_parameters" => self.require_parameters = flag(path, value)?,
            "zdr" => self.zdr |= flag(path, value)?,
            "data_collection" => match value.text().as_deref() {
                Some("allow") => {}
                Some("deny") => self.deny_collection = true,
                _ => return Err(Invalid::at(path, format!("`{path}` must be `allow` or `deny`"))),
            },
            "preferred_max_latency" => self.preferred_max_latency_ms = Some(latency(path, value)?),
            "preferred_min_throughput" => self.preferred_min_throughput = Some(count(path, value)?),
            "max_price" => self.max_price(path, value)?,
            _ => {
                let known = "`order`, `only`, `ignore`, `sort`, `allow_fallbacks`, `require_parameters`, \
                             `data_collection`, `zdr`, `quantizations`, `max_price`, `preferred_max_latency` and \
                             `preferred_min_throughput`";
                return Err(Invalid::at(path, format!("`provider` may hold {known}")));
            }
        }
        Ok(())
    }

    fn max_price(&mut self, path: &str, value: Raw<'a>) -> Result<(), Invalid> {
        if value.kind() != Kind::Object {
            return Err(Invalid::kind(path, "an object".into(), value.kind()));
        }
        for Member { key, value, .. } in value.members().iter().filter(|member| !member.value.is_null()) {
            let path = format!("{path}.{key}");
            let text = value.text().unwrap_or_else(|| value.get().into());
            let price = NanoPerMillion::parse(&text).map_err(|_| {
                Invalid::at(&path, format!("`{path}` must be a price in USD per million tokens, such as 2.5"))
            })?;
            match key.as_ref() {
                "prompt" => self.max_prompt_price = Some(price),
                "completion" => self.max_completion_price = Some(price),
                _ => {
                    let message = "`max_price` may hold `prompt` and `completion`, in USD per million tokens";
                    return Err(Invalid::at(&path, message.into()));
                }
            }
        }
        Ok(())
    }

    /// Whether no option is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A list of names, or one name.
fn names<'a>(path: &str, value: Raw<'a>) -> Result<Vec<Cow<'a, str>>, Invalid> {
    if let Some(one) = value.text() {
        return Ok(vec![one]);
    }
    let elements = value.elements();
    if value.kind() != Kind::Array || elements.len() > ENTRIES_MAX {
        return Err(Invalid::at(path, format!("`{path}` must be an array of at most {ENTRIES_MAX} names")));
    }
    let name = |element: Raw<'a>| {
        let wrong = || Invalid::at(path, format!("`{path}` must be an array of names"));
        element.text().filter(|name| !name.trim().is_empty()).ok_or_else(wrong)
    };
    elements.into_iter().map(name).collect()
}

fn sort(path: &str, value: Raw<'_>) -> Result<Sort, Invalid> {
    let by = value.member("by").unwrap_or(value);
    match by.text().as_deref() {
        Some("price") => Ok(Sort::Price),
        Some("throughput") => Ok(Sort::Throughput),
        Some("latency") => Ok(Sort::Latency),
        _ => Err(Invalid::at(path, format!("`{path}` must be `price`, `throughput` or `latency`"))),
    }
}

fn flag(path: &str, value: Raw<'_>) -> Result<bool, Invalid> {
    match value.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Invalid::kind(path, "true or false".into(), value.kind())),
    }
}

fn count(path: &str, value: Raw<'_>) -> Result<u64, Invalid> {
    value.count().ok_or_else(|| Invalid::at(path, format!("`{path}` must be a whole number of at least 0")))
}

/// Milliseconds.
fn latency(path: &str, value: Raw<'_>) -> Result<u64, Invalid> {
    count(path, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn read(body: &str) -> Result<RoutingOptions<'_>, Invalid> {
        let mut gateway_options = RoutingOptions::default();
        for member in json::read_object(body.as_bytes(), 16, 64).unwrap() {
            gateway_options.take(&member.key, member.value)?;
        }
        Ok(gateway_options)
    }

    #[test]
    fn every_member_of_provider_is_read() {
        let gateway_options = read(
            r#"{"provider":{"order":["groq","Together AI"],"only":"groq","ignore":["xai"],"sort":{"by":"latency"},
                "allow_fallbacks":false,"require_parameters":true,"data_collection":"deny","zdr":true,
                "quantizations":["fp8"],"max_price":{"prompt":"0.5","completion":2}},
                "preferred_max_latency":900,"preferred_min_throughput":40}"#,
        )
        .unwrap();
        assert_eq!(gateway_options.order, ["groq", "Together AI"]);
        assert_eq!(
            (gateway_options.only.len(), gateway_options.ignore.len(), gateway_options.quantizations.len()),
            (1, 1, 1)
        );
        assert_eq!(gateway_options.sort, Some(Sort::Latency));
        assert!(
            gateway_options.no_fallbacks
                && gateway_options.require_parameters
                && gateway_options.deny_collection
                && gateway_options.zdr
        );
        assert_eq!(gateway_options.max_prompt_price, Some(NanoPerMillion(500_000_000)));
        assert_eq!(gateway_options.max_completion_price, Some(NanoPerMillion(2_000_000_000)));
        assert_eq!(
            (gateway_options.preferred_max_latency_ms, gateway_options.preferred_min_throughput),
            (Some(900), Some(40))
        );
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_path() {
        for (body, path) in [
            (r#"{"provider":[]}"#, "provider"),
            (r#"{"provider":{"order":[1]}}"#, "provider.order"),
            (r#"{"provider":{"sort":"cost"}}"#, "provider.sort"),
            (r#"{"provider":{"sorted":"price"}}"#, "provider.sorted"),
            (r#"{"provider":{"zdr":1}}"#, "provider.zdr"),
            (r#"{"data_collection":"never"}"#, "data_collection"),
            (r#"{"max_price":{"prompt":"cheap"}}"#, "max_price.prompt"),
            (r#"{"max_price":{"image":1}}"#, "max_price.image"),
            (r#"{"preferred_max_latency":-1}"#, "preferred_max_latency"),
        ] {
            assert_eq!(read(body).unwrap_err().param.as_deref(), Some(path), "{body}");
        }
    }
}
