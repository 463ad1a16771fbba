//! What statements are drawn up from, and the kept statements of closed months. A kept one is never changed.

use super::{OrgScope, StoreError, rollups::Parts};
use crate::{
    books::{
        cover::Cover,
        month::Month,
        statement::{ChargeLine, Movement, OwnKeyLine},
    },
    domain::{
        ids::{ApiKeyId, EntryId, OrgId},
        money::NanoUsd,
    },
};
use sqlx::PgConnection;
use time::{Date, OffsetDateTime};

/// A kept statement.
#[derive(Clone, Debug)]
pub struct KeptStatement {
    /// JSON.
    pub document: String,
    pub csv: String,
    pub sha256: String,
    pub opening: NanoUsd,
    pub charged: NanoUsd,
    pub closing: NanoUsd,
}

/// One line of the list of statements.
#[derive(Clone, Debug)]
pub struct KeptMonth {
    pub month: Month,
    pub sha256: String,
    pub opening: NanoUsd,
    pub charged: NanoUsd,
    pub closing: NanoUsd,
}

/// What a month changed.
#[derive(Clone, Copy, Debug)]
pub struct MonthSum {
    pub month: Month,
    pub charged: NanoUsd,
    /// All entries together, signed as they change the balance.
    pub change: NanoUsd,
}

/// The name of an organization, when it was made, and the database's time.
#[derive(Clone, Debug)]
pub struct Subject {
    pub name: String,
    pub created_at: OffsetDateTime,
    pub now: OffsetDateTime,
}

pub async fn get_subject(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<Option<Subject>, StoreError> {
    let row = sqlx::query!(
        r#"SELECT name, LEAST(created_at, (SELECT min(booked_at) FROM entry WHERE org_id = $1)) AS "created_at!",
                  clock_timestamp() AS "now!"
           FROM organization WHERE id = $1"#,
        scope.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Subject { name: row.name, created_at: row.created_at, now: row.now }))
}

/// The sum of all entries booked before a moment.
pub async fn balance_before(
    connection: &mut PgConnection,
    scope: OrgScope,
    before: OffsetDateTime,
) -> Result<NanoUsd, StoreError> {
    let sum = sqlx::query_scalar!(
        r#"SELECT COALESCE(sum(CASE WHEN credit_account = 'customer' THEN amount
                                    WHEN debit_account = 'customer' THEN -amount ELSE 0 END), 0)::bigint AS "sum!"
           FROM entry WHERE org_id = $1 AND booked_at < $2"#,
        scope.uuid(),
        before,
    )
    .fetch_one(connection)
    .await?;
    Ok(NanoUsd(sum))
}

/// Entries from one moment to another that are not charges, in the order of booking.
pub async fn list_movements(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (OffsetDateTime, OffsetDateTime),
    limit: i64,
) -> Result<Vec<Movement>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT id, booked_at, kind, CASE WHEN credit_account = 'customer' THEN amount ELSE -amount END AS "amount!",
                  note, actor
           FROM entry
           WHERE org_id = $1 AND booked_at >= $2 AND booked_at < $3 AND kind <> 'charge' AND corrects_hold_id IS NULL
           ORDER BY booked_at, id LIMIT $4"#,
        scope.uuid(),
        from,
        to,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let movements = rows.into_iter().map(|row| Movement {
        id: EntryId(row.id).to_string(),
        booked_at: row.booked_at,
        kind: row.kind,
        amount_usd: NanoUsd(row.amount),
        reason: row.note,
        actor: row.actor,
    });
    Ok(movements.collect())
}

/// What these entries come to by their kind: how many, and their sum.
pub async fn sum_movements(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (OffsetDateTime, OffsetDateTime),
) -> Result<Vec<(String, i64, NanoUsd)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT kind, count(*) AS "entries!",
                  sum(CASE WHEN credit_account = 'customer' THEN amount ELSE -amount END)::bigint AS "amount!"
           FROM entry
           WHERE org_id = $1 AND booked_at >= $2 AND booked_at < $3 AND kind <> 'charge' AND corrects_hold_id IS NULL
           GROUP BY kind ORDER BY kind"#,
        scope.uuid(),
        from,
        to,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.entries, NanoUsd(row.amount))).collect())
}

/// The lines of one section, and what all lines there are come to.
#[derive(Clone, Debug)]
pub struct Listed<L> {
    pub lines: Vec<L>,
    pub total: L,
}

/// Charges from one moment to another, corrections included, by model, provider and API key; dearest first.
pub async fn list_charges(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (OffsetDateTime, OffsetDateTime),
    limit: i64,
) -> Result<Listed<ChargeLine>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT COALESCE(u.model, h.model, '') AS model, COALESCE(u.provider, h.provider, '') AS provider,
                  h.api_key_id AS "api_key_id?", COALESCE(k.name, '') AS api_key_name,
                  count(*) FILTER (WHERE e.hold_id IS NOT NULL AND h.turn = 0) AS "requests!",
                  COALESCE(sum(u.input_tokens + u.cache_read_tokens + u.cache_write_tokens + u.cache_write_1h_tokens
                               + u.audio_input_tokens + u.image_input_tokens)
                           FILTER (WHERE e.hold_id IS NOT NULL), 0)::bigint AS "input!",
                  COALESCE(sum(u.output_tokens + u.audio_output_tokens + u.image_output_tokens)
                           FILTER (WHERE e.hold_id IS NOT NULL), 0)::bigint AS "output!",
                  COALESCE(sum(CASE WHEN e.debit_account = 'customer' THEN e.cost ELSE -e.cost END), 0)::bigint
                      AS "cost!",
                  COALESCE(sum(CASE WHEN e.debit_account = 'customer' THEN e.amount ELSE -e.amount END), 0)::bigint
                      AS "charge!",
                  -- The row of all lines together comes first.
                  GROUPING(h.api_key_id) AS "is_total!"
           FROM entry e
           LEFT JOIN hold h ON h.org_id = e.org_id AND h.id = COALESCE(e.hold_id, e.corrects_hold_id)
           LEFT JOIN usage u ON u.org_id = e.org_id AND u.request_id = h.request_id AND u.turn = h.turn
           LEFT JOIN api_key k ON k.org_id = e.org_id AND k.id = h.api_key_id
           WHERE e.org_id = $1 AND e.booked_at >= $2 AND e.booked_at < $3
             AND (e.kind = 'charge' OR e.corrects_hold_id IS NOT NULL)
           GROUP BY GROUPING SETS ((1, 2, 3, 4), ()) ORDER BY 10 DESC, 9 DESC, 1, 2, 3 LIMIT $4::bigint + 1"#,
        scope.uuid(),
        from,
        to,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let lines = rows.into_iter().map(|row| ChargeLine {
        model: row.model.unwrap_or_default(),
        provider: row.provider.unwrap_or_default(),
        api_key_id: row.api_key_id.map_or_else(String::new, |id| ApiKeyId(id).to_string()),
        api_key_name: row.api_key_name.unwrap_or_default(),
        requests: row.requests,
        input_tokens: row.input,
        output_tokens: row.output,
        provider_cost_usd: NanoUsd(row.cost),
        margin_usd: NanoUsd(row.charge.saturating_sub(row.cost)),
        charged_usd: NanoUsd(row.charge),
    });
    Ok(Listed::of(lines))
}

/// Usage on own keys of requests that began from one moment to another, by model, provider and API key; dearest first.
pub async fn list_own_key_usage(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (OffsetDateTime, OffsetDateTime),
    limit: i64,
) -> Result<Listed<OwnKeyLine>, StoreError> {
    let parts = Parts::of(&Cover::new((from, to), &[], &[]));
    let rows = sqlx::query!(
        r#"SELECT s.model AS model, s.provider AS provider, s.api_key_id AS api_key_id,
                  COALESCE(k.name, '') AS api_key_name, COALESCE(sum(s.requests), 0)::bigint AS "requests!",
                  COALESCE(sum(s.input_tokens + s.cache_read_tokens + s.cache_write_tokens + s.cache_write_1h_tokens
                               + s.audio_input_tokens + s.image_input_tokens), 0)::bigint AS "input!",
                  COALESCE(sum(s.output_tokens + s.audio_output_tokens + s.image_output_tokens), 0)::bigint AS "output!",
                  COALESCE(sum(s.cost), 0)::bigint AS "cost!", COALESCE(sum(s.charge), 0)::bigint AS "charge!",
                  GROUPING(s.api_key_id) AS "is_total!"
           FROM usage_parts($1, $2, $3, $5, $6, $7, $8, $9) s
           LEFT JOIN api_key k ON k.org_id = $1 AND k.id = s.api_key_id
           WHERE s.byok
           GROUP BY GROUPING SETS ((1, 2, 3, 4), ()) ORDER BY 10 DESC, 8 DESC, 1, 2, 3 LIMIT $4::bigint + 1"#,
        scope.uuid(),
        from,
        to,
        limit,
        &parts.day_phases,
        &parts.day_firsts,
        &parts.day_pasts,
        &parts.step_firsts,
        &parts.step_pasts,
    )
    .fetch_all(connection)
    .await?;
    let lines = rows.into_iter().map(|row| OwnKeyLine {
        model: row.model.unwrap_or_default(),
        provider: row.provider.unwrap_or_default(),
        api_key_id: row.api_key_id.map_or_else(String::new, |id| ApiKeyId(id).to_string()),
        api_key_name: row.api_key_name.unwrap_or_default(),
        requests: row.requests,
        input_tokens: row.input,
        output_tokens: row.output,
        provider_cost_usd: NanoUsd(row.cost),
        charged_usd: NanoUsd(row.charge),
    });
    Ok(Listed::of(lines))
}

impl<L: Default> Listed<L> {
    /// The total is the first row, which a grouping over nothing has too.
    fn of(mut rows: impl Iterator<Item = L>) -> Listed<L> {
        let total = rows.next().unwrap_or_default();
        Listed { lines: rows.collect(), total }
    }
}

/// What each month from a moment on changed, oldest first.
pub async fn sum_months(
    connection: &mut PgConnection,
    scope: OrgScope,
    from: OffsetDateTime,
) -> Result<Vec<MonthSum>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT date_trunc('month', booked_at AT TIME ZONE 'UTC')::date AS "month!",
                  COALESCE(sum(CASE WHEN debit_account = 'customer' THEN amount ELSE -amount END)
                      FILTER (WHERE kind = 'charge' OR corrects_hold_id IS NOT NULL), 0)::bigint AS "charged!",
                  sum(CASE WHEN credit_account = 'customer' THEN amount ELSE -amount END)::bigint AS "change!"
           FROM entry WHERE org_id = $1 AND booked_at >= $2 GROUP BY 1 ORDER BY 1"#,
        scope.uuid(),
        from,
    )
    .fetch_all(connection)
    .await?;
    let sums = rows.into_iter().map(|row| MonthSum {
        month: Month::from_first_day(row.month),
        charged: NanoUsd(row.charged),
        change: NanoUsd(row.change),
    });
    Ok(sums.collect())
}

/// The kept statement of a month.
pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    month: Month,
) -> Result<Option<KeptStatement>, StoreError> {
    let row = sqlx::query!(
        "SELECT document, csv, sha256, opening, charged, closing FROM statement WHERE org_id = $1 AND month = $2",
        scope.uuid(),
        month.first_day(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| KeptStatement {
        document: row.document,
        csv: row.csv,
        sha256: row.sha256,
        opening: NanoUsd(row.opening),
        charged: NanoUsd(row.charged),
        closing: NanoUsd(row.closing),
    }))
}

/// Keeps a statement, unless the month has one: the first stays.
pub async fn insert(
    connection: &mut PgConnection,
    scope: OrgScope,
    month: Month,
    kept: &KeptStatement,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO statement (org_id, month, document, csv, sha256, opening, charged, closing, closed_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        scope.uuid(),
        month.first_day(),
        kept.document,
        kept.csv,
        kept.sha256,
        kept.opening.0,
        kept.charged.0,
        kept.closing.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The months whose statements are kept, oldest first.
pub async fn list(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<KeptMonth>, StoreError> {
    let rows = sqlx::query!(
        "SELECT month, sha256, opening, charged, closing FROM statement WHERE org_id = $1 ORDER BY month",
        scope.uuid()
    )
    .fetch_all(connection)
    .await?;
    let months = rows.into_iter().map(|row| KeptMonth {
        month: Month::from_first_day(row.month),
        sha256: row.sha256,
        opening: NanoUsd(row.opening),
        charged: NanoUsd(row.charged),
        closing: NanoUsd(row.closing),
    });
    Ok(months.collect())
}

/// For the job that closes months: organizations after `after` that were there in that month and have no statement of
/// it, at most `limit`.
pub async fn list_unclosed(
    connection: &mut PgConnection,
    month: Date,
    month_end: OffsetDateTime,
    after: Option<OrgId>,
    limit: i64,
) -> Result<Vec<OrgScope>, StoreError> {
    let ids = sqlx::query_scalar!(
        "SELECT o.id FROM organization o
         WHERE ($1::uuid IS NULL OR o.id > $1) AND o.created_at < $3
           AND NOT EXISTS (SELECT 1 FROM statement s WHERE s.org_id = o.id AND s.month = $2)
           AND EXISTS (SELECT 1 FROM entry e WHERE e.org_id = o.id AND e.booked_at < $3
                       UNION ALL
                       SELECT 1 FROM usage_rollup r WHERE r.org_id = o.id AND r.bucket < $3)
         ORDER BY o.id LIMIT $4",
        after.map(|id| id.0),
        month,
        month_end,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(|id| OrgScope::of(OrgId(id))).collect())
}

/// Waits until the account is not locked: what its lock's holder books is booked before.
pub async fn settle_account(connection: &mut PgConnection, scope: OrgScope) -> Result<(), StoreError> {
    sqlx::query_scalar!("SELECT org_id FROM credit_account WHERE org_id = $1 FOR UPDATE", scope.uuid())
        .fetch_optional(connection)
        .await?;
    Ok(())
}
