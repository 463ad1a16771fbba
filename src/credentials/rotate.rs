//! Rotation of master keys: every stored record gets its data key wrapped by the newest one, online and
//! resumable. The caller first makes sure that no live process still encrypts with an older key.

use crate::{
    domain::ambient::Ambient,
    store::{
        Db, StoreError,
        audit_log::{self, AuditEntry},
        sealed::{self, Place, SealedTable},
    },
    vault::{self, KeyRing},
};

/// What a rotation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rotated {
    pub rewrapped: u64,
    /// Records under a key that is not in the ring, or damaged: left as they are, and logged.
    pub unopenable: u64,
}

/// Re-wraps everything that is not under the newest key of `ring`. The older keys may leave the ring when this
/// reports nothing unopenable.
pub async fn rewrap_all(db: &Db, ring: &KeyRing, ambient: &Ambient) -> Result<Rotated, StoreError> {
    let (db_in, ring, ambient) = (db.clone(), ring.clone(), ambient.clone());
    db.run(async move {
        let mut total = Rotated::default();
        loop {
            let mut pass = Rotated::default();
            for table in SealedTable::ALL {
                rewrap_table(&db_in, &ring, &ambient, table, &mut pass).await?;
            }
            total.rewrapped = total.rewrapped.saturating_add(pass.rewrapped);
            total.unopenable = pass.unopenable;
            // Another pass catches what was written under an older key while this one ran.
            if pass.rewrapped == 0 {
                break;
            }
        }
        let entry = AuditEntry { org: None, actor: "cli", action: "vault.rotate", subject: ring.newest_id() };
        audit_log::insert(&mut *db_in.acquire().await?, &ambient, &entry).await?;
        Ok(total)
    })
    .await
}

async fn rewrap_table(
    db: &Db,
    ring: &KeyRing,
    ambient: &Ambient,
    table: SealedTable,
    pass: &mut Rotated,
) -> Result<(), StoreError> {
    let (mut after, header) = (Place::default(), ring.newest_header());
    loop {
        let mut connection = db.acquire().await?;
        let page = sealed::list_without(&mut connection, table, &after, &header).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.clone();
        for (place, old) in &page {
            match vault::rewrap(ring, ambient, old) {
                Ok(new) => {
                    let replaced = sealed::replace(&mut connection, table, place, old, &new).await?;
                    pass.rewrapped = pass.rewrapped.saturating_add(u64::from(replaced));
                }
                Err(cause) => {
                    pass.unopenable = pass.unopenable.saturating_add(1);
                    tracing::error!(record.table = ?table, record.id = %place, error.cause = %cause,
                        "a sealed record cannot be re-wrapped");
                }
            }
        }
    }
}
