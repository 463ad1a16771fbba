//! The free call at a provider that shows whether a key works. The caller's HTTP client must follow no redirects and
//! use no proxy of the environment; for a customer's base URL its resolver must be guarded.

use crate::{
    domain::{
        provider::{Auth, CheckMethod, ProviderId},
        secret::Secret,
    },
    providers::{
        error::without_key,
        guard::{AllowedNets, check_url},
    },
};
use reqwest::{Client, Response, Url, header::HeaderValue};
use serde_json::Value;
use std::time::Duration;

const TIME_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const MESSAGE_CHARS_MAX: usize = 300;

/// What the provider's answer shows about the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Valid,
    Invalid,
    /// The provider was not reached, or its answer shows nothing about the key.
    Unknown,
}

/// The outcome of a free call.
#[derive(Clone, Debug)]
pub struct Checked {
    pub verdict: Verdict,
    /// The provider's HTTP status, if it answered.
    pub status: Option<u16>,
    /// For the customer; the key is removed from it.
    pub message: String,
}

/// Where to call.
pub enum Target<'a> {
    /// The operator's address of the provider.
    Operator(&'a str),
    /// The customer's own address, checked again before the connection.
    Customer(&'a str, &'a AllowedNets),
}

/// Makes the free call of `provider` with `secret`.
pub async fn check(client: &Client, provider: ProviderId, target: Target<'_>, secret: &Secret) -> Checked {
    let url = match check_address(provider, target) {
        Ok(url) => url,
        Err(message) => return unknown(None, message),
    };
    let row = provider.row();
    let mut request = match row.key_check.method {
        CheckMethod::Get => client.get(url),
        CheckMethod::PostValid => client.post(url),
    };
    let (name, value) = match row.auth {
        Auth::Bearer => ("authorization", format!("Bearer {}", secret.expose())),
        Auth::Header(name) => (name, secret.expose().to_owned()),
    };
    let value = zeroize::Zeroizing::new(value);
    let Ok(mut value) = HeaderValue::from_str(&value) else {
        return Checked { verdict: Verdict::Invalid, status: None, message: "The key cannot be sent".into() };
    };
    value.set_sensitive(true);
    request = request.header(name, value).timeout(TIME_MAX);
    for (name, value) in row.headers {
        request = request.header(*name, *value);
    }
    match request.send().await {
        Ok(response) => judge(provider, response, secret).await,
        Err(error) if error.is_timeout() => unknown(None, "The provider did not answer in time"),
        Err(_) => unknown(None, "The provider could not be reached"),
    }
}

fn check_address(provider: ProviderId, target: Target<'_>) -> Result<Url, &'static str> {
    let base = match target {
        Target::Operator(base) => Url::parse(base).map_err(|_| "The base URL is not valid")?,
        Target::Customer(base, nets) => {
            check_url(base, nets).map_err(|_| "The base URL may not be called from here")?
        }
    };
    let key_check = provider.row().key_check;
    let prefix = if key_check.from_origin { "" } else { base.path().trim_end_matches('/') };
    let path = format!("{prefix}{}", key_check.path);
    let mut url = base;
    url.set_path(&path);
    Ok(url)
}

async fn judge(provider: ProviderId, response: Response, secret: &Secret) -> Checked {
    let status = response.status().as_u16();
    let body = read_bounded(response).await;
    let json: Option<Value> = serde_json::from_slice(&body).ok();
    let told = json.as_ref().and_then(message_of).map(|text| presentable(text, secret));
    let post_valid = provider.row().key_check.method == CheckMethod::PostValid;
    let verdict = verdict_of(status, post_valid, json.as_ref());
    let message = match (verdict, told) {
        (Verdict::Valid, _) => "The provider accepts the key".to_owned(),
        (Verdict::Invalid, Some(told)) => told,
        (Verdict::Invalid, None) => "The provider does not accept the key".to_owned(),
        (Verdict::Unknown, told) => {
            let told = told.map(|text| format!(": {text}")).unwrap_or_default();
            format!("The provider's answer (status {status}) tells nothing about the key{told}")
        }
    };
    Checked { verdict, status: Some(status), message }
}

/// An invalid key is 400 at Google and xAI and 498 at Cohere; everywhere else 401 or 403.
fn verdict_of(status: u16, post_valid: bool, json: Option<&Value>) -> Verdict {
    match status {
        200..=299 if post_valid => match json.and_then(|body| body.get("valid")).and_then(Value::as_bool) {
            Some(true) => Verdict::Valid,
            Some(false) => Verdict::Invalid,
            None => Verdict::Unknown,
        },
        200..=299 => Verdict::Valid,
        400 | 401 | 403 | 498 => Verdict::Invalid,
        _ => Verdict::Unknown,
    }
}

/// The message in the error envelopes in use: `{error: {message}}`, `{error: "…"}`, `{message}`, `{detail}`, and
/// Google's list of one.
fn message_of(body: &Value) -> Option<&str> {
    let body = body.get(0).unwrap_or(body);
    let error = body.get("error");
    error
        .and_then(|error| error.get("message"))
        .or(error)
        .or_else(|| body.get("message"))
        .or_else(|| body.get("detail"))
        .and_then(Value::as_str)
}

/// One short line of a provider's text without the key in it.
fn presentable(text: &str, secret: &Secret) -> String {
    without_key(text, secret.expose(), MESSAGE_CHARS_MAX * 4)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MESSAGE_CHARS_MAX)
        .collect()
}

async fn read_bounded(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len().saturating_add(chunk.len()) > ANSWER_BYTES_MAX {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}

fn unknown(status: Option<u16>, message: &str) -> Checked {
    Checked { verdict: Verdict::Unknown, status, message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_call_goes_below_the_base_url_of_each_provider() {
        let address = |id: &str, base: &str| {
            check_address(ProviderId::by_id(id).unwrap(), Target::Operator(base)).unwrap().to_string()
        };
        assert_eq!(address("openai", "https://api.openai.com/v1"), "https://api.openai.com/v1/models");
        assert_eq!(address("anthropic", "https://api.anthropic.com"), "https://api.anthropic.com/v1/models");
        assert_eq!(address("cohere", "http://127.0.0.1:9/x/"), "http://127.0.0.1:9/x/v1/check-api-key");
        let nets = AllowedNets::default();
        let customer = Target::Customer("http://127.0.0.1:9", &nets);
        assert!(check_address(ProviderId::by_id("openai").unwrap(), customer).is_err());
    }

    #[test]
    fn answers_are_judged_by_what_they_say_of_the_key() {
        assert_eq!(verdict_of(200, false, None), Verdict::Valid);
        assert_eq!(verdict_of(200, true, Some(&json!({"valid": false}))), Verdict::Invalid);
        assert_eq!(verdict_of(200, true, Some(&json!({}))), Verdict::Unknown);
        for bad_key in [400, 401, 403, 498] {
            assert_eq!(verdict_of(bad_key, false, None), Verdict::Invalid);
        }
        for says_nothing in [302, 404, 429, 500, 503] {
            assert_eq!(verdict_of(says_nothing, false, None), Verdict::Unknown);
        }
    }

    #[test]
    fn a_message_is_found_in_every_envelope_and_loses_the_key() {
        for body in [
            json!({"error": {"message": "bad sk-canary\nkey"}}),
            json!([{"error": {"message": "bad sk-canary\nkey"}}]),
            json!({"error": "bad sk-canary\nkey"}),
            json!({"message": "bad sk-canary\nkey"}),
        ] {
            let told = presentable(message_of(&body).unwrap(), &Secret::new("sk-canary".into()));
            assert_eq!(told, "bad [key] key");
        }
    }
}
