//! Rotation of an API key: a new secret under the same id, with the same rules and provider keys. The old secret is
//! valid until its grace period ends.

use super::{
    AccountError, Accounts,
    api_key::PlainApiKey,
    audit,
    keys::{CreatedKey, NO_KEY, details, required_scope},
};
use crate::{
    domain::ids::ApiKeyId,
    store::{api_keys, provider_keys, sessions::Session},
};
use serde::Deserialize;
use std::time::Duration;

/// The longest grace period: 30 days.
const GRACE_SECONDS_MAX: u64 = 2_592_000;

/// The body of a rotation.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RotateBody {
    /// How long the old secret is still valid; 0 or absent: not at all.
    grace_seconds: Option<u64>,
}

impl Accounts {
    /// Gives a key a new secret. An earlier secret that is still in its grace period ends now.
    pub async fn rotate_key(
        &self,
        session: Session,
        id: ApiKeyId,
        body: RotateBody,
    ) -> Result<CreatedKey, AccountError> {
        let scope = required_scope(&session)?;
        let grace_seconds = body.grace_seconds.unwrap_or(0);
        if grace_seconds > GRACE_SECONDS_MAX {
            let message = format!("`graceSeconds` must be a whole number from 0 to {GRACE_SECONDS_MAX}");
            return Err(AccountError::invalid("graceSeconds", message));
        }
        let plain = PlainApiKey::generate(&self.ambient);
        let (hash, last4) = (plain.hash(&self.installation.pepper).0, plain.secret().last4());
        let works_until = self.ambient.now() + Duration::from_secs(grace_seconds);
        let details = self
            .transact(move |db, ambient| {
                let last4 = last4.clone();
                async move {
                    let mut tx = db.begin().await?;
                    api_keys::lock_live(&mut tx, scope, id).await?.ok_or(NO_KEY)?;
                    api_keys::rotate(&mut tx, scope.org, id, &hash, &last4, works_until).await?;
                    let key = api_keys::get(&mut tx, scope, id).await?.ok_or(NO_KEY)?;
                    let done = ("api_key.rotate", &id);
                    audit(&mut tx, &ambient, Some(scope.org), &session.user_id, done).await?;
                    let provider_keys = provider_keys::list(&mut tx, scope.org, Some(id)).await?;
                    let details = details(&mut tx, scope.org, key, provider_keys, ambient.now()).await?;
                    tx.commit().await?;
                    Ok(details)
                }
            })
            .await?;
        self.authenticator.forget(id);
        Ok(CreatedKey { secret: plain.secret().clone(), details })
    }
}
