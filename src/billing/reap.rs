//! Ends what a dead process left open: holds of instances 15 s past their lease, charged at their last
//! checkpoint. One bounded step; a job repeats it. A settle that comes later moves nothing.

use crate::{
    domain::ambient::Ambient,
    store::{
        StoreError,
        instances::{self, Reaped},
    },
};
use sqlx::PgConnection;
use uuid::Uuid;

/// Expires up to `limit` holds in one statement and returns them; fewer than `limit` means that none is left.
pub async fn reap_once(
    connection: &mut PgConnection,
    ambient: &Ambient,
    limit: usize,
) -> Result<Vec<Reaped>, StoreError> {
    let entry_ids: Vec<Uuid> = (0..limit).map(|_| ambient.uuid()).collect();
    let reaped = instances::expire(connection, &entry_ids, ambient.now()).await?;
    for hold in &reaped {
        tracing::warn!(
            org.id = %hold.org_id, hold.id = %hold.hold, hold.charge = %hold.charge,
            "a hold of a gone process expired"
        );
    }
    Ok(reaped)
}
