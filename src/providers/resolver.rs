//! Name resolution for addresses that customers give: whatever a name resolves to, only what may be dialed is
//! handed to the connector. The check is made on the very addresses that are dialed, so a name that changes
//! its mind between two look-ups gains nothing. Literal addresses never get here; `guard::check_url` has them.

use super::guard::AllowedNets;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{io, sync::Arc};

/// Resolves through the system and drops what is neither public nor opened by the operator.
pub struct GuardedResolver {
    allowed: Arc<AllowedNets>,
}

impl GuardedResolver {
    pub fn new(allowed: Arc<AllowedNets>) -> Self {
        Self { allowed }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = self.allowed.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<_> = found.filter(|address| allowed.permits(address.ip())).collect();
            if permitted.is_empty() {
                let refused =
                    io::Error::new(io::ErrorKind::PermissionDenied, "no address that may be dialed");
                return Err(refused.into());
            }
            let addresses: Addrs = Box::new(permitted.into_iter());
            Ok(addresses)
        })
    }
}
