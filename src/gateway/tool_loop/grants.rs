//! Whether the caller's organization may use the operator's MCP servers that a request names. Such a server may be
//! private, and the model (which the caller can control) decides which of its tools are called with which arguments.

use super::mcp_options::McpOptions;
use crate::{
    config::McpAccess,
    dialect::Invalid,
    gateway::{failure::Failure, request::Inbound},
    store::{StoreError, mcp_grants},
};

/// Refuses a request that names a server which its organization may not use.
pub(super) async fn check(inbound: &Inbound<'_>, mcp_options: &McpOptions) -> Result<(), Failure> {
    let access = inbound.gateway.settings.mcp_access;
    if mcp_options.slugs.is_empty() || access == McpAccess::Everyone {
        return Ok(());
    }
    let (db, scope) = (inbound.gateway.db.clone(), inbound.principal.scope);
    let urls: Vec<(usize, Vec<String>)> = mcp_options
        .servers
        .iter()
        .enumerate()
        .filter(|(_, server)| server.trusted)
        .map(|(index, server)| (index, slugs_of(inbound, &server.url)))
        .collect();
    let refused = inbound
        .gateway
        .db
        .run(async move {
            let connection = &mut *db.acquire().await?;
            if access == McpAccess::Credited && mcp_grants::is_credited(connection, scope).await? {
                return Ok::<_, StoreError>(None);
            }
            for (index, slugs) in urls {
                if !mcp_grants::has_any(connection, scope, &slugs).await? {
                    return Ok(Some(index));
                }
            }
            Ok(None)
        })
        .await
        .map_err(|error| Failure::Unavailable(error.to_string()))?;
    match refused {
        None => Ok(()),
        Some(index) => Err(Failure::Invalid(Invalid {
            param: Some(format!("mcp_servers[{index}]")),
            message: format!(
                "`mcp_servers[{index}]` is a server of the operator that your organization may not use; ask the \
                 operator to grant it, or give the URL of a server of your own"
            ),
        })),
    }
}

/// Every slug of a server: it may have several.
fn slugs_of(inbound: &Inbound<'_>, url: &str) -> Vec<String> {
    let servers = &inbound.gateway.settings.mcp_servers;
    servers.iter().filter(|(_, known)| known.as_str() == url).map(|(slug, _)| slug.clone()).collect()
}
