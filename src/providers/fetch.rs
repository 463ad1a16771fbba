//! Fetches media that a request names by URL, for providers that do not fetch them. The URL is a customer's: it is
//! checked before the connection, again at every redirect, and its names are resolved by the guarded resolver. No
//! credential and no header of the request is sent; memory and time are bounded.

use super::{
    guard,
    resolver::{LookupError, on_behalf},
    transport::{CROWDED, Transport, lookup_error},
};
use crate::domain::shares::{Charge, Owner};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use std::time::Duration;

/// Maximum redirects from the given URL to the one that answers.
const REDIRECTS_MAX: usize = 3;

/// The fetched content.
pub struct Fetched {
    /// The type that the host states, without parameters, in lower case.
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// Why nothing was fetched; the text is for the customer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the URL {0}")]
    Refused(String),
    #[error("the host name {0}")]
    Name(LookupError),
    #[error("your organization's requests take as much memory as they may; try again when some have ended")]
    NoMemory,
    #[error("{CROWDED}")]
    Crowded,
    #[error("the host could not be reached")]
    Unreachable,
    #[error("the host did not answer in time")]
    Late,
    #[error("the host answered {0}")]
    Status(u16),
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
}

/// Limits of one fetch.
pub struct Bounds<'m> {
    pub bytes_max: usize,
    pub within: Duration,
    /// The organization whose look-ups they are.
    pub owner: Owner,
    /// Bytes that were fetched before and are kept in parallel.
    pub kept_bytes: usize,
    pub memory: &'m mut Charge,
}

/// Fetches what is at `url`.
pub async fn fetch(transport: &Transport, url: &str, bounds: Bounds<'_>) -> Result<Fetched, FetchError> {
    let within = bounds.within;
    let fetching = on_behalf(bounds.owner, follow(transport, url, bounds));
    tokio::time::timeout(within, fetching).await.unwrap_or(Err(FetchError::Late))
}

async fn follow(transport: &Transport, url: &str, bounds: Bounds<'_>) -> Result<Fetched, FetchError> {
    let _counted = transport.count(bounds.owner).map_err(|_| FetchError::Crowded)?;
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let checked = guard::check_address(&url, transport.allowed())
            .map_err(|refused| FetchError::Refused(refused.to_string()))?;
        let response = transport.get(checked.clone()).await.map_err(|error| match lookup_error(&error) {
            Some(failed) => FetchError::Name(failed),
            None => FetchError::Unreachable,
        })?;
        match response.status() {
            StatusCode::OK => return read(response, bounds).await,
            status if status.is_redirection() => {
                url = target(&checked, &response).ok_or(FetchError::Status(status.as_u16()))?;
            }
            status => return Err(FetchError::Status(status.as_u16())),
        }
    }
    Err(FetchError::Refused("redirects too often".to_owned()))
}

fn target(from: &Url, response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    from.join(location).ok().map(String::from)
}

async fn read(mut response: Response, bounds: Bounds<'_>) -> Result<Fetched, FetchError> {
    let said = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|_| FetchError::Unreachable)? {
        let length = bytes.len().saturating_add(piece.len());
        if length > bounds.bytes_max {
            return Err(FetchError::TooLarge(bounds.bytes_max));
        }
        // It is kept as base64, which needs a third more.
        let kept = bounds.kept_bytes.saturating_add(length);
        bounds.memory.cover(kept.saturating_add(kept / 3)).map_err(|_| FetchError::NoMemory)?;
        bytes.extend_from_slice(&piece);
    }
    Ok(Fetched { media_type, bytes })
}
