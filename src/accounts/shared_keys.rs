//! Provider keys of the organization: stored once, for all of its API keys or for listed ones. An API key's own list
//! has priority. Only roles that see every API key see them.

use super::{
    AccountError, Accounts, audit,
    keys::{Row, Warning, check_provider_keys, rearrange},
    patch::{Field, OrganizationKeysBody, ProviderLists},
};
use crate::{
    credentials::check::Checked,
    domain::{
        ids::{ApiKeyId, ProviderKeyId},
        provider::ProviderId,
    },
    store::{
        OrgScope, api_keys,
        provider_keys::{self, StoredProviderKey},
        sessions::Session,
    },
};
use sqlx::PgConnection;
use std::sync::Arc;

/// The organization's provider keys, and warnings about the change.
pub struct SharedKeys {
    pub keys: Vec<StoredProviderKey>,
    pub warnings: Vec<Warning>,
}

/// What happens to providers that a change does not name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unnamed {
    /// They keep their keys.
    Stay,
    Removed,
}

const NO_PROVIDER_KEY: AccountError = AccountError::NotFound("provider key");

impl Accounts {
    pub async fn list_shared_keys(&self, session: Session) -> Result<SharedKeys, AccountError> {
        let (scope, db) = (shared_scope(&session)?, self.db.clone());
        self.db
            .run(async move {
                let keys = provider_keys::list(&mut *db.acquire().await?, scope, None).await?;
                Ok(SharedKeys { keys, warnings: Vec::new() })
            })
            .await
    }

    /// Sets the lists of the named providers.
    pub async fn change_shared_keys(
        &self,
        session: Session,
        body: OrganizationKeysBody,
        unnamed: Unnamed,
    ) -> Result<SharedKeys, AccountError> {
        let scope = shared_scope(&session)?;
        let change = Arc::new(body.judge(&self.rules.allowed_nets)?);
        let (installation, limits) = (self.installation.clone(), self.rules.limits);
        let changed = self
            .transact(move |db, ambient| {
                let (mut change, installation) = ((*change).clone(), installation.clone());
                async move {
                    let mut tx = db.begin().await?;
                    api_keys::lock_organization(&mut tx, scope).await?;
                    check_named_keys(&mut tx, scope, &change).await?;
                    if unnamed == Unnamed::Removed {
                        let stored = provider_keys::list(&mut tx, scope, None).await?;
                        name_all(&mut change, &stored);
                    }
                    let row = Row { scope, api_key: None };
                    let warnings = rearrange(&mut tx, &installation, &ambient, row, &change).await?;
                    check_provider_keys(&mut tx, scope, &change, &limits).await?;
                    let done = ("provider_keys.change", &scope.org_id());
                    audit(&mut tx, &ambient, Some(scope), &session.user_id, done).await?;
                    let keys = provider_keys::list(&mut tx, scope, None).await?;
                    tx.commit().await?;
                    Ok(SharedKeys { keys, warnings })
                }
            })
            .await?;
        self.authenticator.forget_organization(scope.org_id());
        Ok(changed)
    }

    pub async fn delete_shared_key(&self, session: Session, id: ProviderKeyId) -> Result<(), AccountError> {
        let scope = shared_scope(&session)?;
        self.transact(move |db, ambient| async move {
            let mut tx = db.begin().await?;
            let stored = provider_keys::list(&mut tx, scope, None).await?;
            stored.iter().find(|key| key.id == id).ok_or(NO_PROVIDER_KEY)?;
            provider_keys::delete(&mut tx, scope, None, &[id]).await?;
            audit(&mut tx, &ambient, Some(scope), &session.user_id, ("provider_keys.delete", &id)).await?;
            Ok(tx.commit().await?)
        })
        .await?;
        self.authenticator.forget_organization(scope.org_id());
        Ok(())
    }

    /// Makes the free call at the provider with one of them: the one in `wanted`, else the first.
    pub async fn test_shared_key(
        &self,
        session: Session,
        provider: ProviderId,
        wanted: Option<ProviderKeyId>,
    ) -> Result<Checked, AccountError> {
        let scope = shared_scope(&session)?;
        let stored = self.list_shared_keys(session).await?.keys;
        let mut keys = stored.into_iter().filter(|key| key.provider == provider);
        let key = keys.find(|key| wanted.is_none_or(|wanted| wanted == key.id)).ok_or(NO_PROVIDER_KEY)?;
        self.test_stored(scope, None, key).await
    }
}

/// The organization of a session that sees all of its API keys.
fn shared_scope(session: &Session) -> Result<OrgScope, AccountError> {
    match session.role.has_all_keys() {
        true => Ok(session.scope),
        false => Err(AccountError::Denied(
            "Your role does not see the organization's provider keys; ask an owner or an admin",
        )),
    }
}

/// Every API key in a list must belong to the organization.
async fn check_named_keys(
    tx: &mut PgConnection,
    scope: OrgScope,
    change: &ProviderLists,
) -> Result<(), AccountError> {
    let Field::Set(lists) = change else { return Ok(()) };
    let mut named: Vec<ApiKeyId> = Vec::new();
    for entry in lists.iter().flat_map(|(_, entries)| entries) {
        if let Field::Set(ids) = &entry.api_keys {
            named.extend(ids);
        }
    }
    named.sort_unstable();
    named.dedup();
    match api_keys::count_of(tx, scope, &named).await? == named.len() {
        true => Ok(()),
        false => Err(AccountError::NotFound("API key")),
    }
}

/// Adds the providers that have keys and are not named, each with an empty list.
fn name_all(change: &mut ProviderLists, stored: &[StoredProviderKey]) {
    let Field::Set(lists) = change else {
        *change = Field::Clear;
        return;
    };
    for key in stored {
        if !lists.iter().any(|(provider, _)| *provider == key.provider) {
            lists.push((key.provider, Vec::new()));
        }
    }
}
