//! Which headers of a request to a server its caller may set. A server at a URL of the customer gets any header except
//! those of the connection and the protocol. The operator's servers may be behind a proxy that trusts internal
//! requests: they get the caller's credential, and no header that could name a user, a host or a route.

/// Headers that a caller may send to a server of the operator.
const CREDENTIALS: [&str; 2] = ["authorization", "x-api-key"];

/// Headers of the connection, the body and the protocol, and headers that state the route or origin of a request.
const NAMES: [&str; 20] = [
    "accept",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "last-event-id",
    "origin",
    "referer",
    "te",
    "trailer",
    "transfer-encoding",
    "true-client-ip",
    "upgrade",
    "via",
    "x-client-ip",
    "x-http-method-override",
    "x-real-ip",
];

/// Prefixes of whole header families.
const BEGINNINGS: [&str; 11] = [
    "accept-",
    "access-control-",
    "cf-",
    "content-",
    "mcp-",
    "proxy-",
    "sec-",
    "x-envoy-",
    "x-forwarded",
    "x-original-",
    "x-rewrite-",
];

/// The owner of the server that a header is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ServerOwner {
    /// A server of the operator, named by slug.
    Operator,
    /// A server named by URL in the request.
    Caller,
}

/// Whether a caller may set this header for a server.
pub(super) fn is_settable(name: &str, owner: ServerOwner) -> bool {
    match owner {
        ServerOwner::Operator => CREDENTIALS.iter().any(|allowed| name.eq_ignore_ascii_case(allowed)),
        ServerOwner::Caller => !is_reserved(name),
    }
}

/// Whether only the gateway or a proxy may set it. Some servers treat an underscore as a dash.
fn is_reserved(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase().replace('_', "-");
    NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_brings_its_credential_and_nothing_of_the_connection() {
        for theirs in
            ["authorization", "X-Api-Key", "x-goog-api-key", "User-Agent", "x-host-key", "mcp", "contents"]
        {
            assert!(is_settable(theirs, ServerOwner::Caller), "{theirs}");
        }
        for not in [
            "Host",
            "CONNECTION",
            "Content-Length",
            "content-type",
            "TE",
            "Transfer-Encoding",
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded",
            "X-Real-IP",
            "Mcp-Session-Id",
            "mcp-protocol-version",
            "Cookie",
            "Proxy-Authorization",
            "Upgrade",
            "Expect",
            "Accept",
            "Accept-Encoding",
            "Last-Event-ID",
            "X_Forwarded_For",
        ] {
            assert!(!is_settable(not, ServerOwner::Caller), "{not}");
        }
    }

    #[test]
    fn the_operators_servers_get_credentials_and_nothing_else() {
        for credential in ["authorization", "Authorization", "X-API-Key", "x-api-key"] {
            assert!(is_settable(credential, ServerOwner::Operator), "{credential}");
        }
        for other in [
            "X-Remote-User",
            "X-Auth-Request-Email",
            "Metadata",
            "Metadata-Flavor",
            "X-aws-ec2-metadata-token",
            "User-Agent",
            "x-goog-api-key",
            "x_api_key",
            " authorization",
            "authorization ",
            "x-amz-date",
            "",
        ] {
            assert!(!is_settable(other, ServerOwner::Operator), "{other:?}");
        }
    }
}
