//! The webhooks of an organization: their URLs, and the generation of the secret that signs.

use super::{OrgScope, StoreError};
use crate::domain::ids::WebhookId;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// A target of an organization's alerts.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub id: WebhookId,
    pub url: String,
    /// Kinds of alerts; empty: all.
    pub events: Vec<String>,
    pub generation: i32,
    /// Until when the previous secret also signs.
    pub previous_until: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub last_sent_at: Option<OffsetDateTime>,
}

/// The webhooks of an organization, oldest first.
pub async fn list(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<Webhook>, StoreError> {
    let rows = sqlx::query!(
        "SELECT id, url, events, generation, previous_until, created_at, last_status, last_error, last_sent_at
         FROM webhook WHERE org_id = $1 ORDER BY id",
        scope.uuid(),
    );
    let webhooks = rows.fetch_all(connection).await?.into_iter().map(|row| Webhook {
        id: WebhookId(row.id),
        url: row.url,
        events: row.events,
        generation: row.generation,
        previous_until: row.previous_until,
        created_at: row.created_at,
        last_status: row.last_status,
        last_error: row.last_error,
        last_sent_at: row.last_sent_at,
    });
    Ok(webhooks.collect())
}

pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: WebhookId,
) -> Result<Option<Webhook>, StoreError> {
    Ok(list(connection, scope).await?.into_iter().find(|webhook| webhook.id == id))
}

pub async fn insert(
    connection: &mut PgConnection,
    scope: OrgScope,
    webhook: &Webhook,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO webhook (org_id, id, url, events, created_at) VALUES ($1, $2, $3, $4, $5)",
        scope.uuid(),
        webhook.id.0,
        webhook.url,
        &webhook.events,
        webhook.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Begins the next generation of the secret; the previous one also signs until `previous_until`.
pub async fn rotate(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: WebhookId,
    previous_until: OffsetDateTime,
) -> Result<Option<i32>, StoreError> {
    let generation = sqlx::query_scalar!(
        "UPDATE webhook SET generation = generation + 1, previous_until = $3
         WHERE org_id = $1 AND id = $2 RETURNING generation",
        scope.uuid(),
        id.0,
        previous_until,
    );
    Ok(generation.fetch_optional(connection).await?)
}

/// Removes a webhook and its open deliveries. Returns whether there was one.
pub async fn delete(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: WebhookId,
) -> Result<bool, StoreError> {
    sqlx::query!(
        "DELETE FROM alert_delivery WHERE org_id = $1 AND channel = 'webhook' AND target_id = $2",
        scope.uuid(),
        id.0
    )
    .execute(&mut *connection)
    .await?;
    let outcome = sqlx::query!("DELETE FROM webhook WHERE org_id = $1 AND id = $2", scope.uuid(), id.0);
    Ok(outcome.execute(connection).await?.rows_affected() > 0)
}

/// Records the last answer of a webhook.
pub async fn note_answer(
    connection: &mut PgConnection,
    scope: OrgScope,
    id: WebhookId,
    (status, error): (Option<u16>, Option<&str>),
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "UPDATE webhook SET last_status = $3, last_error = $4, last_sent_at = $5 WHERE org_id = $1 AND id = $2",
        scope.uuid(),
        id.0,
        status.map(i32::from),
        error,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}
