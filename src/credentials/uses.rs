//! When a stored key was last used and how that went, gathered in memory and written by a job. Only the latest
//! use of a key counts, so a note may be passed over when another thread is at it; nothing else rests on it.

use crate::{
    domain::ids::ProviderKeyId,
    store::{
        Db, OrgScope, StoreError,
        provider_keys::{self, KeyUse},
    },
};
use std::{collections::HashMap, mem, sync::Mutex};
use time::OffsetDateTime;

/// Keys noted between two writes; more are passed over.
const KEYS_MAX: usize = 10_000;

/// The uses since the last write.
#[derive(Default)]
pub struct KeyUses {
    latest: Mutex<HashMap<ProviderKeyId, KeyUse>>,
}

impl KeyUses {
    /// Notes a use. Never waits.
    pub fn note(&self, scope: OrgScope, id: ProviderKeyId, at: OffsetDateTime, error: Option<&'static str>) {
        let Ok(mut latest) = self.latest.try_lock() else { return };
        if latest.len() < KEYS_MAX || latest.contains_key(&id) {
            latest.insert(id, KeyUse { scope, id, at, error: error.map(str::to_owned) });
        }
    }

    /// Writes what has gathered.
    pub async fn flush(&self, db: &Db) -> Result<(), StoreError> {
        let gathered = match self.latest.lock() {
            Ok(mut latest) => mem::take(&mut *latest),
            Err(_) => return Ok(()),
        };
        if gathered.is_empty() {
            return Ok(());
        }
        let mut uses: Vec<KeyUse> = gathered.into_values().collect();
        // One order for all processes: two of them writing the same rows must not wait for each other in a ring.
        uses.sort_by_key(|noted| noted.id);
        let database = db.clone();
        db.run(async move {
            let mut transaction = database.begin().await?;
            provider_keys::record_uses(&mut transaction, &uses).await?;
            transaction.commit().await
        })
        .await
    }
}
