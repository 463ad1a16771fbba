//! Platform API keys and the provider keys in them: create, read, change, revoke, test. A change is applied completely
//! or not at all. A member without the right to all keys sees and changes only the keys that the member created.

use super::{
    AccountError, Accounts,
    api_key::PlainApiKey,
    audit, audit_changes,
    installation::Installation,
    organization::change_budget,
    patch::{DEFAULT_NAME, EntryChange, Field, KeyBody, KeyChange, ProviderLists, foreign_looking, lay_over},
    roles::Capability,
    throttle::Subject,
};
use crate::{
    config::AccountLimits,
    credentials::{
        self, StoredRow,
        check::{Checked, Target, Verdict, check},
    },
    domain::{
        ambient::Ambient,
        ids::{ApiKeyId, ProviderKeyId, UserId},
        policy::{BudgetRule, KeyPolicy, OrganizationRules},
        provider::ProviderId,
        secret::Secret,
    },
    providers::resolver::on_behalf,
    store::{
        OrgScope, StoreError,
        api_keys::{self, ApiKey, KeyScope},
        audit_log,
        budgets::{self, Budget},
        provider_keys::{self, KeyOwner, KeyStatus, StoredProviderKey},
        sessions::Session,
    },
};
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;

/// Provider keys of one API key.
const PROVIDER_KEYS_MAX: usize = 100;
/// Revoked API keys that are still kept, for each live one that an organization may have.
const REVOKED_PER_LIVE_MAX: i64 = 5;

/// An API key with its provider keys, for its organization.
pub struct KeyDetails {
    pub key: ApiKey,
    pub provider_keys: Vec<StoredProviderKey>,
    /// The spent amount of its budget.
    pub budget: Option<Budget>,
    pub organization: OrganizationRules,
    pub now: OffsetDateTime,
    /// Warnings about the change.
    pub warnings: Vec<Warning>,
}

/// A stored provider key that looks like another provider's.
#[derive(Clone, Debug)]
pub struct Warning {
    pub id: ProviderKeyId,
    pub provider: ProviderId,
    pub message: String,
}

/// A new key; the secret is shown only this once.
pub struct CreatedKey {
    pub secret: Secret,
    pub details: KeyDetails,
}

impl Accounts {
    /// Creates an API key with the rules and provider keys in the body.
    pub async fn create_key(&self, session: Session, body: KeyBody) -> Result<CreatedKey, AccountError> {
        self.create_key_of(session.scope, Some(session.user_id), body).await
    }

    /// As [`Accounts::create_key`], without a person: for the start of an installation's own organization (demo).
    pub async fn create_key_of(
        &self,
        scope: OrgScope,
        made_by: Option<UserId>,
        body: KeyBody,
    ) -> Result<CreatedKey, AccountError> {
        let created_at = self.ambient.now();
        let change = Arc::new(body.judge(&self.rules.allowed_nets, created_at)?);
        self.check_patterns(&change)?;
        let plain = PlainApiKey::generate(&self.ambient);
        let hash = plain.hash(&self.installation.pepper).0;
        let mut key = ApiKey {
            id: ApiKeyId(self.ambient.uuid()),
            name: DEFAULT_NAME.to_owned(),
            last4: plain.secret().last4(),
            created_by: made_by,
            policy: KeyPolicy::default(),
            created_at,
            revoked_at: None,
            previous: None,
        };
        change.apply(&mut key.name, &mut key.policy)?;
        let (installation, limits) = (self.installation.clone(), self.rules.limits);
        let actor = made_by.map_or_else(|| "cli".to_owned(), |user| user.to_string());
        let details = self
            .transact(move |db, ambient| {
                let (key, change, actor) = (key.clone(), change.clone(), actor.clone());
                let installation = installation.clone();
                async move {
                    let mut tx = db.begin().await?;
                    check_room(&mut tx, scope, &limits).await?;
                    api_keys::insert(&mut tx, scope, &key, &hash).await?;
                    change_budget_of(&mut tx, scope, None, &key, created_at).await?;
                    let row = Row { scope, api_key: Some(key.id) };
                    let warnings =
                        rearrange(&mut tx, &installation, &ambient, row, &change.provider_keys).await?;
                    check_provider_keys(&mut tx, scope, &change.provider_keys, &limits).await?;
                    audit(&mut tx, &ambient, Some(scope), &actor, ("api_key.create", &key.id)).await?;
                    let provider_keys = provider_keys::list(&mut tx, scope, Some(key.id)).await?;
                    let details = details(&mut tx, scope, key, provider_keys, created_at).await?;
                    tx.commit().await?;
                    Ok(KeyDetails { warnings, ..details })
                }
            })
            .await?;
        Ok(CreatedKey { secret: plain.secret().clone(), details })
    }

    /// A pattern without a match would block every model. A complete name may be of a model that the catalogue does not
    /// list.
    fn check_patterns(&self, change: &KeyChange) -> Result<(), AccountError> {
        let Field::Set(models) = &change.allowed_models else { return Ok(()) };
        let matches_nothing =
            |pattern: &&String| pattern.contains('*') && !(self.rules.matches_model)(pattern);
        match models.iter().find(matches_nothing) {
            Some(pattern) => {
                let message = format!(
                    "`allowedModels`: the pattern `{pattern}` matches no model; GET /v1/models lists them"
                );
                Err(AccountError::invalid("allowedModels", message))
            }
            None => Ok(()),
        }
    }

    pub async fn get_key(&self, session: Session, id: ApiKeyId) -> Result<KeyDetails, AccountError> {
        let scope = required_scope(&session)?;
        let (db, now) = (self.db.clone(), self.ambient.now());
        self.db
            .run(async move {
                let mut connection = db.acquire().await?;
                let key = api_keys::get(&mut connection, scope, id).await?.ok_or(NO_KEY)?;
                let provider_keys = provider_keys::list(&mut connection, scope.org, Some(id)).await?;
                Ok(details(&mut connection, scope.org, key, provider_keys, now).await?)
            })
            .await
    }

    /// Applies a merge patch.
    pub async fn change_key(
        &self,
        session: Session,
        id: ApiKeyId,
        body: KeyBody,
    ) -> Result<KeyDetails, AccountError> {
        let scope = required_scope(&session)?;
        let change = Arc::new(body.judge(&self.rules.allowed_nets, self.ambient.now())?);
        self.check_patterns(&change)?;
        let (installation, limits) = (self.installation.clone(), self.rules.limits);
        let details = self
            .transact(move |db, ambient| {
                let (change, installation) = (change.clone(), installation.clone());
                async move {
                    let mut tx = db.begin().await?;
                    let mut key = api_keys::lock_live(&mut tx, scope, id).await?.ok_or(NO_KEY)?;
                    let before = audit_log::key_fields(&mut tx, scope.org, id).await?;
                    let budget = key.policy.budget;
                    change.apply(&mut key.name, &mut key.policy)?;
                    api_keys::update(&mut tx, scope.org, &key).await?;
                    change_budget_of(&mut tx, scope.org, budget, &key, ambient.now()).await?;
                    let row = Row { scope: scope.org, api_key: Some(id) };
                    let warnings =
                        rearrange(&mut tx, &installation, &ambient, row, &change.provider_keys).await?;
                    check_provider_keys(&mut tx, scope.org, &change.provider_keys, &limits).await?;
                    let after = audit_log::key_fields(&mut tx, scope.org, id).await?;
                    let (done, changes) = (("api_key.change", &id), audit_log::changes(&before, &after));
                    audit_changes(&mut tx, &ambient, Some(scope.org), &session.user_id, done, Some(changes))
                        .await?;
                    let provider_keys = provider_keys::list(&mut tx, scope.org, Some(id)).await?;
                    let details = details(&mut tx, scope.org, key, provider_keys, ambient.now()).await?;
                    tx.commit().await?;
                    Ok(KeyDetails { warnings, ..details })
                }
            })
            .await?;
        self.authenticator.forget(id);
        Ok(details)
    }

    /// Revokes a key and deletes the provider keys in it. A second call changes nothing.
    pub async fn revoke_key(&self, session: Session, id: ApiKeyId) -> Result<OffsetDateTime, AccountError> {
        let scope = required_scope(&session)?;
        let revoked_at = self
            .transact(move |db, ambient| async move {
                let mut tx = db.begin().await?;
                let revoked_at = api_keys::revoke(&mut tx, scope, id, ambient.now()).await?.ok_or(NO_KEY)?;
                provider_keys::delete_all(&mut tx, scope.org, Some(id)).await?;
                let done = ("api_key.revoke", &id);
                audit(&mut tx, &ambient, Some(scope.org), &session.user_id, done).await?;
                tx.commit().await?;
                Ok(revoked_at)
            })
            .await?;
        self.authenticator.forget(id);
        Ok(revoked_at)
    }

    /// Makes the free call at the provider with a stored key: the one in `wanted`, else the first.
    pub async fn test_provider_key(
        &self,
        session: Session,
        id: ApiKeyId,
        provider: ProviderId,
        wanted: Option<ProviderKeyId>,
    ) -> Result<Checked, AccountError> {
        let key = self
            .get_key(session, id)
            .await?
            .provider_keys
            .into_iter()
            .find(|key| key.provider == provider && wanted.is_none_or(|wanted| wanted == key.id))
            .ok_or(AccountError::NotFound("provider key"))?;
        self.test_stored(session.scope, Some(id), key).await
    }

    /// Makes the free call with a stored key of an API key, or of the organization.
    pub(super) async fn test_stored(
        &self,
        scope: OrgScope,
        api_key: Option<ApiKeyId>,
        key: StoredProviderKey,
    ) -> Result<Checked, AccountError> {
        let provider = key.provider;
        self.throttle.check_rate(Subject::Checks(scope.org_id()), self.ambient.now()).await?;
        let secret = credentials::open_stored(&self.installation.ring, scope, api_key, &key)?;
        let checked = match key.base_url.as_deref() {
            Some(url) => {
                let target = Target::Customer(url, &self.rules.allowed_nets);
                let owner = scope.org_id().0.as_u128();
                on_behalf(owner, check(&self.check_clients.customer, provider, target, &secret)).await
            }
            None => {
                let url =
                    self.rules.provider_urls.get(&provider).map_or(provider.row().base_url, String::as_str);
                check(&self.check_clients.operator, provider, Target::Operator(url), &secret).await
            }
        };
        let status = match checked.verdict {
            Verdict::Valid => Some(KeyStatus::Valid),
            Verdict::Invalid => Some(KeyStatus::Invalid),
            Verdict::Unknown => None,
        };
        let error = (checked.verdict != Verdict::Valid).then(|| checked.message.clone());
        let db = self.db.clone();
        self.db
            .run(async move {
                let mut transaction = db.begin().await?;
                provider_keys::set_status(&mut transaction, scope, &key, status, error.as_deref()).await?;
                transaction.commit().await
            })
            .await?;
        Ok(checked)
    }
}

/// A key with the data that its organization sees.
pub(super) async fn details(
    connection: &mut PgConnection,
    scope: OrgScope,
    key: ApiKey,
    provider_keys: Vec<StoredProviderKey>,
    now: OffsetDateTime,
) -> Result<KeyDetails, StoreError> {
    let organization = budgets::get_organization_rules(connection, scope).await?;
    let budget = budgets::list(connection, scope, Some(key.id.0)).await?.into_iter().next();
    Ok(KeyDetails { key, provider_keys, budget, organization, now, warnings: Vec::new() })
}

async fn change_budget_of(
    tx: &mut PgConnection,
    scope: OrgScope,
    before: Option<BudgetRule>,
    key: &ApiKey,
    now: OffsetDateTime,
) -> Result<(), AccountError> {
    if before == key.policy.budget {
        return Ok(());
    }
    let rules = budgets::get_organization_rules(tx, scope).await?;
    change_budget(tx, scope, key.id.0, (before, key.policy.budget), &rules, now).await
}

/// Whether the organization may have one more API key. Revoked ones also count until they are removed, so creating and
/// revoking keys in turn cannot fill the disk.
async fn check_room(
    tx: &mut PgConnection,
    scope: OrgScope,
    limits: &AccountLimits,
) -> Result<(), AccountError> {
    let keys = api_keys::count(tx, scope).await?;
    if keys.live >= limits.api_keys_max {
        return Err(AccountError::Conflict("The organization has as many API keys as it may; revoke one"));
    }
    if keys.revoked >= limits.api_keys_max.saturating_mul(REVOKED_PER_LIVE_MAX) {
        return Err(AccountError::Conflict(
            "The organization has revoked too many API keys lately; change or rotate keys instead of making new ones",
        ));
    }
    Ok(())
}

/// Checks the organization's provider keys after a change that set some.
pub(super) async fn check_provider_keys(
    tx: &mut PgConnection,
    scope: OrgScope,
    change: &ProviderLists,
    limits: &AccountLimits,
) -> Result<(), AccountError> {
    if matches!(change, Field::Set(_)) && provider_keys::count(tx, scope).await? > limits.provider_keys_max {
        let message = "The organization has as many provider keys as it may; remove some";
        return Err(AccountError::invalid("providerKeys", message));
    }
    Ok(())
}

/// The API keys that a session may access; `None` if its role may see none.
pub(super) fn key_scope(session: &Session) -> Option<KeyScope> {
    session.role.can(Capability::ReadKeys).then(|| KeyScope {
        org: session.scope,
        made_by: (!session.role.has_all_keys()).then_some(session.user_id),
    })
}

pub(super) const NO_KEY: AccountError = AccountError::NotFound("API key");

pub(super) fn required_scope(session: &Session) -> Result<KeyScope, AccountError> {
    key_scope(session).ok_or(AccountError::Denied("Your role does not see API keys"))
}

/// The owner of the provider keys: an API key, or the organization.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub scope: OrgScope,
    pub api_key: Option<ApiKeyId>,
}

/// Changes the stored provider keys to the order and state of the change.
pub(super) async fn rearrange(
    tx: &mut PgConnection,
    installation: &Installation,
    ambient: &Ambient,
    row: Row,
    change: &ProviderLists,
) -> Result<Vec<Warning>, AccountError> {
    let lists = match change {
        Field::Keep => return Ok(Vec::new()),
        Field::Clear => {
            provider_keys::delete_all(tx, row.scope, row.api_key).await?;
            return Ok(Vec::new());
        }
        Field::Set(lists) => lists,
    };
    let stored = provider_keys::list(tx, row.scope, row.api_key).await?;
    let untouched = stored.iter().filter(|key| !lists.iter().any(|(provider, _)| *provider == key.provider));
    let wanted: usize = lists.iter().map(|(_, entries)| entries.len()).sum();
    if untouched.count().saturating_add(wanted) > PROVIDER_KEYS_MAX {
        let message =
            format!("An API key, and an organization, may hold up to {PROVIDER_KEYS_MAX} provider keys");
        return Err(AccountError::invalid("providerKeys", message));
    }
    let mut warnings = Vec::new();
    for (provider, entries) in lists {
        let kept: Vec<ProviderKeyId> = entries.iter().filter_map(|entry| entry.id).collect();
        let dropped: Vec<ProviderKeyId> = stored
            .iter()
            .filter(|key| key.provider == *provider && !kept.contains(&key.id))
            .map(|key| key.id)
            .collect();
        provider_keys::delete(tx, row.scope, row.api_key, &dropped).await?;
        for (position, entry) in (0i32..).zip(entries) {
            let known = entry.id.map(|id| find_stored(&stored, *provider, id)).transpose()?;
            let key = placed(installation, ambient, row, *provider, (known, entry))?;
            if let Some(message) = entry.key.as_ref().and_then(|secret| foreign_looking(*provider, secret)) {
                warnings.push(Warning { id: key.id, provider: *provider, message });
            }
            provider_keys::set(tx, row.scope, row.api_key, position, &key).await?;
        }
    }
    Ok(warnings)
}

fn find_stored(
    stored: &[StoredProviderKey],
    provider: ProviderId,
    id: ProviderKeyId,
) -> Result<&StoredProviderKey, AccountError> {
    stored
        .iter()
        .find(|key| key.id == id && key.provider == provider)
        .ok_or(AccountError::NotFound("provider key"))
}

/// The row of a list element. To change the target of a secret, the caller must send the secret again.
fn placed(
    installation: &Installation,
    ambient: &Ambient,
    row: Row,
    provider: ProviderId,
    (known, entry): (Option<&StoredProviderKey>, &EntryChange),
) -> Result<StoredProviderKey, AccountError> {
    let mut key = known.cloned().unwrap_or_else(|| StoredProviderKey {
        id: ProviderKeyId(ambient.uuid()),
        owner: row.api_key.map_or(KeyOwner::Organization(None), |_| KeyOwner::ApiKey),
        provider,
        label: String::new(),
        models: Vec::new(),
        enabled: true,
        base_url: None,
        sealed: Vec::new(),
        last4: String::new(),
        fingerprint: String::new(),
        status: KeyStatus::Untested,
        created_at: ambient.now(),
        last_used_at: None,
        last_error: None,
    });
    lay_over(&mut key.label, &entry.label);
    lay_over(&mut key.models, &entry.models);
    // A cleared value means enabled, like a value that was never set.
    key.enabled = match entry.enabled {
        Field::Keep => key.enabled,
        Field::Clear => true,
        Field::Set(enabled) => enabled,
    };
    let base_url = match &entry.base_url {
        Field::Keep => key.base_url.clone(),
        Field::Clear => None,
        Field::Set(url) => Some(url.clone()),
    };
    let owner = match &entry.api_keys {
        Field::Keep => key.owner.clone(),
        Field::Clear => KeyOwner::Organization(None),
        Field::Set(api_keys) => KeyOwner::Organization(Some(api_keys.clone())),
    };
    let (ring, Row { scope, api_key }) = (&installation.ring, row);
    let Some(secret) = &entry.key else {
        if base_url != key.base_url {
            let message = "A changed `baseUrl` needs the `key` again";
            return Err(AccountError::invalid("baseUrl", message));
        }
        if owner != key.owner {
            // Its seal includes the keys that share it.
            let secret = credentials::open_stored(ring, scope, api_key, &key)?;
            key.owner = owner;
            key.sealed = credentials::seal_stored(ring, ambient, &place_of(row, &key), &secret)?;
        }
        return Ok(key);
    };
    (key.base_url, key.owner) = (base_url, owner);
    key.sealed = credentials::seal_stored(ring, ambient, &place_of(row, &key), secret)?;
    key.last4 = secret.last4();
    key.fingerprint = installation.fingerprints.fingerprint(secret.expose().as_bytes());
    key.status = KeyStatus::Untested;
    key.last_error = None;
    Ok(key)
}

fn place_of(row: Row, key: &StoredProviderKey) -> StoredRow<'_> {
    StoredRow {
        scope: row.scope,
        api_key: row.api_key,
        owner: &key.owner,
        provider: key.provider,
        base_url: key.base_url.as_deref(),
        id: key.id,
    }
}
