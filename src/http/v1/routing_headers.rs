//! The headers with a request-scoped provider key, a provider or a model. They are read as bytes and at every position,
//! because a value that is not text, or a second value, also counts. No message repeats a value: it may be a key in the
//! wrong header.

use crate::{
    dialect::brought_key,
    domain::provider::ProviderId,
    gateway::{answer_cache::Directives, request_options::RoutingHeaders},
    http::{error::ApiError, extract::Call},
};
use actix_web::http::header::{AsHeaderName, CACHE_CONTROL, HeaderName};

const PROVIDER: &str = "x-provider";
const KEY: &str = "x-provider-key";
const MODEL: &str = "x-provider-model";
const PLAN: &str = "x-kairosroute-plan";
const PROVIDER_HEADER: HeaderName = HeaderName::from_static(PROVIDER);
const KEY_HEADER: HeaderName = HeaderName::from_static(KEY);
const MODEL_HEADER: HeaderName = HeaderName::from_static(MODEL);
const PLAN_HEADER: HeaderName = HeaderName::from_static(PLAN);

/// Reads them; blank ones are absent.
pub fn routing_headers(call: &Call) -> Result<RoutingHeaders, ApiError> {
    let provider = match one(call, PROVIDER, PROVIDER_HEADER)? {
        Some(name) => Some(ProviderId::by_name(name).ok_or_else(|| ApiError::unknown_provider(PROVIDER))?),
        None => None,
    };
    let key = match one(call, KEY, KEY_HEADER)? {
        Some(text) => brought_key(KEY, text).map_err(|invalid| ApiError::invalid(KEY, invalid.message))?,
        None => None,
    };
    let model = one(call, MODEL, MODEL_HEADER)?.map(str::to_owned);
    let plan = one(call, PLAN, PLAN_HEADER)?.map(str::to_owned);
    Ok(RoutingHeaders { provider, key, model, plan, cache: directives(call) })
}

/// The directives of `Cache-Control`. Unknown and malformed ones are ignored.
fn directives(call: &Call) -> Directives {
    let mut directives = Directives::default();
    for value in header_values(call, CACHE_CONTROL) {
        for directive in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            match directive.to_ascii_lowercase().as_slice() {
                b"no-cache" => directives.no_cache = true,
                b"no-store" => directives.no_store = true,
                other => {
                    let seconds =
                        other.strip_prefix(b"max-age=").and_then(|text| std::str::from_utf8(text).ok());
                    let seconds = seconds.and_then(|text| text.trim_matches('"').parse().ok());
                    directives.max_age_s = seconds.or(directives.max_age_s);
                }
            }
        }
    }
    directives
}

/// The values of a header that are not blank.
pub fn header_values(call: &Call, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    let values = call.request.headers().get_all(name).map(|value| value.as_bytes().trim_ascii());
    values.filter(|value| !value.is_empty())
}

fn one<'a>(call: &'a Call, name: &'static str, header: HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = header_values(call, header);
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        let what = if name == KEY { "; a request may bring one provider key" } else { "" };
        return Err(ApiError::invalid(name, format!("The header `{name}` occurs twice{what}")));
    }
    let text = first.map(std::str::from_utf8).transpose();
    text.map_err(|_| ApiError::invalid(name, format!("The header `{name}` must be text")))
}
