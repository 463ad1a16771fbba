//! Which requests may be answered with the stored answer of the same earlier request: requests for whole answers, on
//! keys that the gateway stores. A request with a request-scoped key stores nothing.

use super::{
    Gateway,
    request::{ParsedRequest, request_limits},
};
use crate::{
    dialect::{self, Head},
    domain::{kind::Kind, shares::Owner},
};
use bytes::Bytes;

/// Reads the request to decide whether it may be repeated. A request that cannot be read may not, because it will be
/// refused. Large requests are read on separate threads.
pub async fn is_repeatable(
    gateway: &std::sync::Arc<Gateway>,
    owner: Owner,
    kind: Kind,
    content_type: String,
    body: Bytes,
) -> bool {
    if body.len() <= gateway.settings.limits.shares.large_body_bytes {
        return read(gateway, kind, &content_type, &body);
    }
    let reading = gateway.clone();
    let work = move |_| async move { read(&reading, kind, &content_type, &body) };
    gateway.compute.run(owner, work).await.unwrap_or(false)
}

fn read(gateway: &Gateway, kind: Kind, content_type: &str, body: &[u8]) -> bool {
    let limits = request_limits(gateway);
    let Ok(unfolded) = dialect::normalize(kind, body, &limits) else { return false };
    let body = unfolded.as_deref().unwrap_or(body);
    ParsedRequest::read(kind, content_type, body, &limits).is_ok_and(|asked| is_plain(asked.head()))
}

fn is_plain(head: &Head<'_>) -> bool {
    !head.stream && head.gateway_options.byok_api_key.is_none() && head.gateway_options.extra_byok.is_none()
}
