//! Settings of signing in by another service. Off unless a client id is given, which needs its secret and the public
//! address.

use super::reader::Reader;
use crate::{
    domain::secret::Secret,
    providers::oidc::{OidcKind, OidcSettings},
};
use reqwest::Url;

impl Reader<'_> {
    /// The configured services.
    pub(super) fn oidc(&mut self) -> Vec<OidcSettings> {
        let title = self.text("KAIROSROUTE_OIDC_TITLE").unwrap_or_default();
        let github_api = self.text("KAIROSROUTE_OIDC_GITHUB_API_URL");
        let rows = [
            (
                "google",
                "Google".to_owned(),
                OidcKind::Issuer,
                "KAIROSROUTE_OIDC_GOOGLE",
                Some("https://accounts.google.com".to_owned()),
            ),
            (
                "github",
                "GitHub".to_owned(),
                OidcKind::GitHub,
                "KAIROSROUTE_OIDC_GITHUB",
                self.text("KAIROSROUTE_OIDC_GITHUB_URL"),
            ),
            ("sso", title, OidcKind::Issuer, "KAIROSROUTE_OIDC", self.text("KAIROSROUTE_OIDC_ISSUER")),
        ];
        let mut found = Vec::new();
        for (name, title, kind, prefix, issuer) in rows {
            let id = self.text(&format!("{prefix}_CLIENT_ID"));
            let secret = self.text(&format!("{prefix}_CLIENT_SECRET"));
            if id.is_some() != secret.is_some() {
                self.errors
                    .push(format!("{prefix}_CLIENT_ID and {prefix}_CLIENT_SECRET are needed together"));
            }
            let (Some(client_id), Some(secret)) = (id, secret) else { continue };
            if self.text("KAIROSROUTE_PUBLIC_URL").is_none() {
                self.errors.push(format!("{prefix}_CLIENT_ID needs KAIROSROUTE_PUBLIC_URL"));
            }
            let url = |text: Option<String>| text.and_then(|text| Url::parse(&text).ok()).filter(is_safe);
            let (Some(issuer), Some(api)) = (url(issuer), url(github_api.clone())) else {
                self.errors.push(format!(
                    "{prefix}: expected an https address of the issuer (http on loopback only)"
                ));
                continue;
            };
            let client_secret = Secret::new(secret);
            found.push(OidcSettings {
                name: name.to_owned(),
                title,
                kind,
                issuer,
                api,
                client_id,
                client_secret,
            });
        }
        found
    }
}

/// Tokens travel to it.
fn is_safe(url: &Url) -> bool {
    let is_loopback = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}
