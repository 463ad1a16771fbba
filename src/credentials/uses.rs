//! The last use of each stored key and its result, collected in memory and written by a job. Only the latest use of a
//! key counts, so a use may be skipped while another thread holds the lock; nothing else depends on it.

use crate::{
    domain::ids::ProviderKeyId,
    store::{
        Db, OrgScope, StoreError,
        provider_keys::{self, KeyUse},
    },
};
use std::{collections::HashMap, mem, sync::Mutex};
use time::OffsetDateTime;

/// Keys recorded between two writes; more are skipped.
const KEYS_MAX: usize = 10_000;

/// The uses since the last write.
#[derive(Default)]
pub struct KeyUses {
    latest: Mutex<HashMap<ProviderKeyId, KeyUse>>,
}

impl KeyUses {
    /// Records a use. Never waits.
    pub fn note(&self, scope: OrgScope, id: ProviderKeyId, at: OffsetDateTime, error: Option<&'static str>) {
        let Ok(mut latest) = self.latest.try_lock() else { return };
        if latest.len() < KEYS_MAX || latest.contains_key(&id) {
            latest.insert(id, KeyUse { scope, id, at, error: error.map(str::to_owned) });
        }
    }

    /// Writes the collected uses.
    pub async fn flush(&self, db: &Db) -> Result<(), StoreError> {
        let gathered = match self.latest.lock() {
            Ok(mut latest) => mem::take(&mut *latest),
            Err(_) => return Ok(()),
        };
        if gathered.is_empty() {
            return Ok(());
        }
        let mut uses: Vec<KeyUse> = gathered.into_values().collect();
        // One order for all processes: two of them that write the same rows must not deadlock.
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
