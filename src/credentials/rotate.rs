//! Rotation of master keys: every stored record gets its data key wrapped by the newest one, online and resumable. It
//! is refused while a live process does not have that key, because this process could no longer open anything.

use crate::{
    domain::{ambient::Ambient, ids::InstanceId},
    store::{
        Db, StoreError,
        audit_log::{self, AuditEntry},
        instances,
        sealed::{self, Place, SealedTable},
    },
    vault::{self, KeyRing},
};

/// The result of a rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rotated {
    pub rewrapped: u64,
    /// Records under a key that is not in the ring, or damaged: unchanged, and logged.
    pub unopenable: u64,
}

/// Why nothing was rotated.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error(
        "{} running process(es) do not hold the master key `{key}`: put it into KAIROSROUTE_MASTER_KEYS of every \
         process, restart them, and rotate then. A process that was killed counts for 15 s. Processes: {}",
        .processes.len(), list(.processes)
    )]
    KeyMissing { key: String, processes: Vec<InstanceId> },
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list(processes: &[InstanceId]) -> String {
    processes.iter().map(InstanceId::to_string).collect::<Vec<_>>().join(", ")
}

/// Re-wraps everything that is not under the newest key of `ring`. The older keys may be removed from the ring when
/// this reports nothing that cannot be opened.
pub async fn rewrap_all(db: &Db, ring: &KeyRing, ambient: &Ambient) -> Result<Rotated, RotationError> {
    let (db_in, ring, ambient) = (db.clone(), ring.clone(), ambient.clone());
    db.run(async move {
        let mut total = Rotated::default();
        loop {
            check_processes(&db_in, &ring).await?;
            let mut pass = Rotated::default();
            for table in SealedTable::ALL {
                rewrap_table(&db_in, &ring, &ambient, table, &mut pass).await?;
            }
            total.rewrapped = total.rewrapped.saturating_add(pass.rewrapped);
            total.unopenable = pass.unopenable;
            // Another pass finds records that were written under an older key during this one.
            if pass.rewrapped == 0 {
                break;
            }
        }
        let entry = AuditEntry { org: None, actor: "cli", action: "vault.rotate", subject: ring.newest_id() };
        let mut transaction = db_in.begin().await?;
        audit_log::insert(&mut transaction, &ambient, &entry).await?;
        transaction.commit().await?;
        Ok(total)
    })
    .await
}

async fn check_processes(db: &Db, ring: &KeyRing) -> Result<(), RotationError> {
    let key = ring.newest_id();
    let processes = instances::list_without_key(&mut *db.acquire().await?, key).await?;
    if processes.is_empty() {
        return Ok(());
    }
    Err(RotationError::KeyMissing { key: key.to_owned(), processes })
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
        let mut transaction = db.begin().await?;
        let page = sealed::list_without(&mut transaction, table, &after, &header).await?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = last.clone();
        for (place, old) in &page {
            match vault::rewrap(ring, ambient, old) {
                Ok(new) => {
                    let replaced = sealed::replace(&mut transaction, table, place, old, &new).await?;
                    pass.rewrapped = pass.rewrapped.saturating_add(u64::from(replaced));
                }
                Err(cause) => {
                    pass.unopenable = pass.unopenable.saturating_add(1);
                    tracing::error!(record.table = ?table, record.id = %place, error.cause = %cause,
                        "a sealed record cannot be re-wrapped");
                }
            }
        }
        transaction.commit().await?;
    }
}
