//! Receipts as they were written: one JSON document per request. Writing them is `store::usage`'s, which
//! puts a request's receipt and its usage row down together.

use super::{OrgScope, StoreError};
use crate::domain::ids::{ApiKeyId, ReceiptId, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// The document of one receipt. With `api_key`, only one of that key's requests.
pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    id: ReceiptId,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT document::text AS "document!" FROM receipt
           WHERE org_id = $1 AND id = $2 AND ($3::uuid IS NULL OR api_key_id = $3)"#,
        scope.uuid(),
        id.0,
        api_key.map(|key| key.0),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.document))
}

/// Removes receipts of refused requests from before `before`, at most `rows_max`; returns how many.
pub async fn prune_refused(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM receipt WHERE (org_id, id) IN (
             SELECT org_id, id FROM receipt WHERE refused AND created_at < $1 LIMIT $2)",
        before,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}

/// The document of one receipt, of a request of an API key that this person made.
pub async fn get_by_maker(
    connection: &mut PgConnection,
    scope: OrgScope,
    maker: UserId,
    id: ReceiptId,
) -> Result<Option<String>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT receipt.document::text AS "document!" FROM receipt
           JOIN api_key ON api_key.org_id = receipt.org_id AND api_key.id = receipt.api_key_id
           WHERE receipt.org_id = $1 AND receipt.id = $2 AND api_key.created_by = $3"#,
        scope.uuid(),
        id.0,
        maker.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| row.document))
}
