//! Decides which addresses a customer-given URL may reach. Pure: the caller applies it when a URL is saved, to every
//! resolved address of a connection, and to the target of a redirect. It must never be used for the operator's own
//! URLs, which may be anywhere.

use ipnet::IpNet;
use reqwest::Url;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const URL_BYTES_MAX: usize = 2_048;

/// Private networks the operator has opened to customer-given URLs.
#[derive(Clone, Debug, Default)]
pub struct AllowedNets(pub Vec<IpNet>);

impl AllowedNets {
    /// Explicitly opened by the operator.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// Connections are allowed: public, or opened by the operator.
    pub fn permits(&self, ip: IpAddr) -> bool {
        is_public(ip) || self.contains(ip)
    }
}

/// Why a URL is refused; the text is for the customer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UrlError {
    #[error("is not a valid URL")]
    Malformed,
    #[error("must begin with https://")]
    Scheme,
    #[error("must not hold a user name or password")]
    UserInfo,
    #[error("must not hold a query or fragment")]
    Tail,
    #[error("points to an address that is not public")]
    Private,
}

/// True for addresses of the public internet, by the special-purpose registries of IANA (RFC 6890 and later).
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// A base URL that a customer may give: https, or http into an opened network.
pub fn check_url(text: &str, allowed: &AllowedNets) -> Result<Url, UrlError> {
    let url = check_address(text, allowed)?;
    if url.query().is_some() || url.fragment().is_some() { Err(UrlError::Tail) } else { Ok(url) }
}

/// The address of media that are fetched for a customer: like a base URL, but a query is allowed.
pub fn check_address(text: &str, allowed: &AllowedNets) -> Result<Url, UrlError> {
    let clean =
        text.len() <= URL_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    // The parser turns decimal, octal and hexadecimal forms of IPv4 into the usual one.
    let url = if clean {
        Url::parse(text).map_err(|_| UrlError::Malformed)?
    } else {
        return Err(UrlError::Malformed);
    };
    if !matches!(url.scheme(), "https" | "http") {
        return Err(UrlError::Scheme);
    }
    // An empty user name is not visible in the parsed form, only the at sign is.
    let authority = text.split_once("//").map(|(_, rest)| rest.split('/').next().unwrap_or(rest));
    if !url.username().is_empty()
        || url.password().is_some()
        || authority.is_some_and(|part| part.contains('@'))
    {
        return Err(UrlError::UserInfo);
    }
    check_target(&url, allowed)?;
    Ok(url)
}

/// The rule at connection time: the destination address. How a URL must be written is checked when it is saved; the URL
/// of a call also has a path, a model's name and a query of the gateway.
pub fn check_target(url: &Url, allowed: &AllowedNets) -> Result<(), UrlError> {
    let opened = match literal(url).ok_or(UrlError::Malformed)? {
        Literal::Addresses(ips) => {
            if !ips.iter().all(|ip| allowed.permits(*ip)) {
                return Err(UrlError::Private);
            }
            ips.iter().all(|ip| allowed.contains(*ip))
        }
        Literal::Name => false,
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if opened => Ok(()),
        _ => Err(UrlError::Scheme),
    }
}

enum Literal {
    /// The kind of a host, without a look-up.
    Addresses(Vec<IpAddr>),
    /// A name, whose addresses are checked when the gateway connects.
    Name,
}

fn literal(url: &Url) -> Option<Literal> {
    let host = url.host_str()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Literal::Addresses(vec![ip]));
    }
    let name = bare.trim_end_matches('.');
    // RFC 6761: these names mean the machine itself, whatever a resolver returns.
    if name == "localhost" || name.ends_with(".localhost") {
        return Some(Literal::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]));
    }
    (!name.is_empty()).then_some(Literal::Name)
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = match (a, b, c) {
        (0 | 10 | 127, _, _) => true,
        (100, 64..=127, _) => true,
        (169, 254, _) => true,
        (172, 16..=31, _) => true,
        (192, 168, _) => true,
        // IETF protocol assignments, documentation, 6to4 relays, AS112.
        (192, 0, 0 | 2) | (192, 88, 99) | (192, 31, 196) | (192, 52, 193) | (192, 175, 48) => true,
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        // Multicast, reserved, broadcast.
        (224..=255, _, _) => true,
        _ => false,
    };
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let segments = ip.segments();
    let [a, b, ..] = segments;
    // Only 2000::/3 is global unicast; an address that embeds an IPv4 address is as public as that one.
    match (a, b) {
        // NAT64 (RFC 6052).
        (0x64, 0xff9b) => {
            segments.iter().skip(2).take(4).all(|part| *part == 0) && is_public_v4(embedded(segments))
        }
        // 6to4 (RFC 3056): the address follows the prefix.
        (0x2002, _) => false,
        // Teredo, benchmarking, ORCHID and the rest of the protocol assignments.
        (0x2001, 0x0000..=0x01ff) => false,
        // Documentation.
        (0x2001, 0x0db8) | (0x3fff, 0x0000..=0x0fff) => false,
        (0x2000..=0x3fff, _) => true,
        _ => false,
    }
}

fn embedded(segments: [u16; 8]) -> Ipv4Addr {
    let [.., high, low] = segments;
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_forms_of_every_kind_are_refused_at_save() {
        for url in [
            "https://127.0.0.1/v1",
            "https://127.1/v1",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://0/",
            "https://10.1.2.3/",
            "https://172.16.0.1/",
            "https://172.31.255.255/",
            "https://192.168.1.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.100.100.200/",
            "https://198.18.0.1/",
            "https://224.0.0.1/",
            "https://255.255.255.255/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::127.0.0.1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:7f00:1::]/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://[ff02::1]/",
            "https://[2001:db8::1]/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://foo.localhost/",
            "https://127。0。0。1/",
        ] {
            assert!(check_url(url, &AllowedNets::default()).is_err(), "{url}");
        }
    }

    #[test]
    fn steering_forms_are_refused() {
        let check = |url: &str| check_url(url, &AllowedNets::default()).err();
        assert_eq!(check("http://example.com/"), Some(UrlError::Scheme));
        assert_eq!(check("ftp://example.com/"), Some(UrlError::Scheme));
        assert_eq!(check("file:///etc/passwd"), Some(UrlError::Scheme));
        assert_eq!(check("https://user:pw@example.com/"), Some(UrlError::UserInfo));
        assert_eq!(check("https://@example.com/"), Some(UrlError::UserInfo));
        assert_eq!(check("https://example.com\\@127.0.0.1/"), Some(UrlError::Malformed));
        assert_eq!(check("https://example.com/?x=1"), Some(UrlError::Tail));
        assert_eq!(check("https://example.com/#x"), Some(UrlError::Tail));
        assert_eq!(check("https://"), Some(UrlError::Malformed));
        assert_eq!(check("example.com"), Some(UrlError::Malformed));
        assert_eq!(check("https://exa\nmple.com/"), Some(UrlError::Malformed));
    }

    #[test]
    fn what_we_add_to_a_saved_url_does_not_make_it_one_that_may_not_be_dialed() {
        let allowed = AllowedNets::default();
        let long = format!("/{}", "x".repeat(URL_BYTES_MAX));
        for tail in ["/v1beta/models/m:streamGenerateContent?alt=sse", "/a?b=c#d", "/%E2%82%AC", &long] {
            let dialed = |base: &str| Url::parse(&format!("{base}{tail}")).unwrap();
            assert_eq!(check_target(&dialed("https://api.example.com"), &allowed), Ok(()), "{tail}");
            assert_eq!(
                check_target(&dialed("https://127.0.0.1"), &allowed),
                Err(UrlError::Private),
                "{tail}"
            );
            assert_eq!(check_target(&dialed("https://[::1]"), &allowed), Err(UrlError::Private), "{tail}");
            assert_eq!(check_target(&dialed("http://api.example.com"), &allowed), Err(UrlError::Scheme));
            assert_eq!(check_target(&dialed("ftp://api.example.com"), &allowed), Err(UrlError::Scheme));
        }
    }

    #[test]
    fn public_addresses_and_names_pass() {
        for url in ["https://api.example.com/v1", "https://8.8.8.8:8443/v1", "https://[2606:4700::1111]/v1"] {
            assert!(check_url(url, &AllowedNets::default()).is_ok(), "{url}");
        }
    }

    #[test]
    fn opened_networks_are_reachable_also_over_http_and_nothing_else_is() {
        let allowed = AllowedNets(vec!["127.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()]);
        for url in [
            "http://127.0.0.1:9000/v1",
            "http://localhost:9000",
            "https://10.1.2.3/",
            "http://[::ffff:127.0.0.1]/",
        ] {
            assert!(check_url(url, &allowed).is_ok(), "{url}");
        }
        for url in ["http://10.2.0.1/", "https://10.2.0.1/", "http://8.8.8.8/", "http://example.com/"] {
            assert!(check_url(url, &allowed).is_err(), "{url}");
        }
    }
}
