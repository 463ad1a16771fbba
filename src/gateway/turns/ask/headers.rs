//! Which headers of a request to a server are not its caller's to set. The server may be the operator's own and stand
//! behind a proxy that trusts what comes from inside: a caller brings its credential, and neither says whose request
//! this is nor how it travels.

/// Of the connection, the body and the protocol, and what says where a request goes or comes from.
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

/// What whole families begin with.
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

/// Whether only the gateway, or what stands between, may say it. Some servers take an underscore for a dash.
pub(super) fn is_not_the_callers(name: &str) -> bool {
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
            assert!(!is_not_the_callers(theirs), "{theirs}");
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
            assert!(is_not_the_callers(not), "{not}");
        }
    }
}
