//! Requests with an idempotency key: which process runs one, and the sealed answer of a finished one. A row belongs to
//! one holder (an API key, a member, an operator), and only that holder can find it. The plain answer is never stored.

use super::{OrgScope, StoreError, api_keys::Principal, sessions};
use crate::domain::ids::{InstanceId, OrgId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The owner of idempotency keys. Created only from a proof of identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Holder {
    scope: Option<OrgScope>,
    id: Uuid,
}

impl Holder {
    pub fn of_api_key(principal: &Principal) -> Self {
        Self { scope: Some(principal.scope), id: principal.api_key_id.0 }
    }

    pub fn of_member(session: &sessions::Session) -> Self {
        Self { scope: Some(session.scope), id: session.user_id.0 }
    }

    pub fn of_operator(operator: &sessions::Operator) -> Self {
        Self { scope: None, id: operator.user_id.0 }
    }

    /// `None` for an operator.
    pub fn org_id(self) -> Option<OrgId> {
        self.scope.map(OrgScope::org_id)
    }

    fn org(self) -> Uuid {
        self.scope.map_or(Uuid::nil(), OrgScope::uuid)
    }
}

/// A request that wants to run under an idempotency key.
#[derive(Clone, Copy, Debug)]
pub struct NewClaim {
    pub holder: Holder,
    pub id: Uuid,
    pub key_hash: [u8; 32],
    pub request_hash: [u8; 32],
    pub instance: InstanceId,
    pub now: OffsetDateTime,
    /// The latest time at which the key is free again if the request leaves no result.
    pub expires_at: OffsetDateTime,
}

/// The result of a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// The caller must run the request.
    Held,
    /// The same request was answered before.
    Answered { id: Uuid, sealed: Vec<u8> },
    /// The same request is running.
    Running,
    /// The key belongs to another request.
    OtherRequest,
}

/// Takes the key for a request if it is free: never used, expired, or held by a process whose lease has lapsed.
pub async fn claim(connection: &mut PgConnection, new: &NewClaim) -> Result<Claimed, StoreError> {
    let held = sqlx::query_scalar!(
        "INSERT INTO idempotency AS i (org_id, id, holder_id, key_hash, request_hash, instance_id, created_at,
                                       expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT ON CONSTRAINT idempotency_key_uq DO UPDATE
         SET id = excluded.id, request_hash = excluded.request_hash, instance_id = excluded.instance_id,
             sealed = NULL, sealed_bytes = 0, created_at = excluded.created_at, expires_at = excluded.expires_at
         WHERE i.expires_at <= $7
            OR (i.sealed IS NULL AND NOT EXISTS (
                SELECT 1 FROM instance n WHERE n.id = i.instance_id AND n.lease_until > now()))
         RETURNING i.id",
        new.holder.org(),
        new.id,
        new.holder.id,
        new.key_hash.as_slice(),
        new.request_hash.as_slice(),
        new.instance.0,
        new.now,
        new.expires_at,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if held.is_some() {
        return Ok(Claimed::Held);
    }
    // A separate statement: the one above cannot see what was committed while it waited.
    let row = sqlx::query!(
        "SELECT id, request_hash, sealed FROM idempotency WHERE org_id = $1 AND holder_id = $2 AND key_hash = $3",
        new.holder.org(),
        new.holder.id,
        new.key_hash.as_slice(),
    )
    .fetch_optional(connection)
    .await?;
    // Released between the two statements: the caller must try again.
    let row = row.ok_or(StoreError::Contention)?;
    Ok(match row.sealed {
        _ if row.request_hash != new.request_hash => Claimed::OtherRequest,
        Some(sealed) => Claimed::Answered { id: row.id, sealed },
        None => Claimed::Running,
    })
}

/// Stores the answer of a running request until `expires_at`. False when the key has passed to another request.
pub async fn keep(
    connection: &mut PgConnection,
    holder: Holder,
    id: Uuid,
    sealed: &[u8],
    expires_at: OffsetDateTime,
) -> Result<bool, StoreError> {
    let outcome = sqlx::query!(
        "UPDATE idempotency SET sealed = $3, sealed_bytes = $4, expires_at = $5
         WHERE org_id = $1 AND id = $2 AND sealed IS NULL",
        holder.org(),
        id,
        sealed,
        i32::try_from(sealed.len()).unwrap_or(i32::MAX),
        expires_at,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected() > 0)
}

/// Frees the key of a running request. A key with a stored answer, or that has passed to another request, stays.
pub async fn release(connection: &mut PgConnection, holder: Holder, id: Uuid) -> Result<(), StoreError> {
    sqlx::query!(
        "DELETE FROM idempotency WHERE org_id = $1 AND id = $2 AND sealed IS NULL",
        holder.org(),
        id
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Bytes that the holder's organization has stored; each row counts as `row_bytes` more than its answer.
pub async fn stored_bytes(
    connection: &mut PgConnection,
    holder: Holder,
    row_bytes: i64,
) -> Result<i64, StoreError> {
    let bytes = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(sealed_bytes + $2::bigint), 0)::bigint AS "bytes!" FROM idempotency WHERE org_id = $1"#,
        holder.org(),
        row_bytes,
    );
    Ok(bytes.fetch_one(connection).await?)
}

/// Removes what has expired at `now`, at most `rows_max`; returns how many.
pub async fn prune(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM idempotency WHERE (org_id, id) IN (
             SELECT org_id, id FROM idempotency WHERE expires_at <= $1 LIMIT $2) AND expires_at <= $1",
        now,
        rows_max,
    )
    .execute(connection)
    .await?;
    Ok(outcome.rows_affected())
}
