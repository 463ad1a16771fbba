//! Fetches media that a request names by URL, for providers that do not fetch themselves. The URL is a customer's:
//! it is judged before it is dialed, again at every redirect, and its names resolve under guard. No credential and
//! no header of the request goes with it; memory and time are bounded.

use super::{guard, transport::Transport};
use reqwest::{
    Response, StatusCode, Url,
    header::{CONTENT_TYPE, LOCATION},
};
use std::time::Duration;

/// Hops from the URL given to the one that answers.
const REDIRECTS_MAX: usize = 3;

/// What was fetched.
pub struct Fetched {
    /// The type the host says it has, without parameters, in lower case.
    pub media_type: String,
    pub bytes: Vec<u8>,
}

/// Why there is nothing; the text is for the customer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the URL {0}")]
    Refused(String),
    #[error("the host could not be reached")]
    Unreachable,
    #[error("the host did not answer in time")]
    Late,
    #[error("the host answered {0}")]
    Status(u16),
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
}

/// Fetches what is at `url`: at most `bytes_max` bytes within `within`.
pub async fn fetch(
    transport: &Transport,
    url: &str,
    bytes_max: usize,
    within: Duration,
) -> Result<Fetched, FetchError> {
    tokio::time::timeout(within, follow(transport, url, bytes_max)).await.unwrap_or(Err(FetchError::Late))
}

async fn follow(transport: &Transport, url: &str, bytes_max: usize) -> Result<Fetched, FetchError> {
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let checked = guard::check_address(&url, transport.allowed())
            .map_err(|refused| FetchError::Refused(refused.to_string()))?;
        let response = transport.get(checked.clone()).await.map_err(|_| FetchError::Unreachable)?;
        match response.status() {
            StatusCode::OK => return read(response, bytes_max).await,
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

async fn read(mut response: Response, bytes_max: usize) -> Result<Fetched, FetchError> {
    let said = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|_| FetchError::Unreachable)? {
        if bytes.len().saturating_add(piece.len()) > bytes_max {
            return Err(FetchError::TooLarge(bytes_max));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(Fetched { media_type, bytes })
}
