//! Alerts and their deliveries. Statements over all organizations that receive alerts find the occasions; each occasion
//! becomes one alert, whichever process finds it.

use super::{OrgScope, StoreError, webhooks::Webhook};
use crate::domain::{
    ids::{AlertId, OrgId, WebhookId},
    money::NanoUsd,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// The advisory lock of the process that searches for occasions ("alerts" as a number).
const LEADER: i64 = 0x616c_6572_7473;

/// An alert to create: its kind, its occasion, and the members of its document.
#[derive(Clone, Debug)]
pub struct NewAlert {
    pub scope: OrgScope,
    pub id: AlertId,
    pub kind: &'static str,
    pub occasion: String,
    pub document: String,
}

/// The target of one alert.
#[derive(Clone, Debug)]
pub enum Target {
    Webhook(Webhook),
    Person {
        email: String,
    },
    /// It was removed after the alert was made.
    Gone,
}

/// One alert for one target.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub scope: OrgScope,
    pub organization: String,
    pub alert: AlertId,
    pub kind: String,
    pub document: String,
    pub created_at: OffsetDateTime,
    /// Earlier tries.
    pub attempts: i32,
    pub target: Target,
    key: (String, Uuid),
}

/// A budget that has reached a level.
#[derive(Clone, Debug)]
pub struct BudgetLevel {
    pub scope: OrgScope,
    pub subject: Uuid,
    /// Set if it is the budget of an API key.
    pub api_key_name: Option<String>,
    pub level: i32,
    pub amount: NanoUsd,
    pub spent: NanoUsd,
    pub period: String,
    pub resets_at: OffsetDateTime,
    pub occasion: String,
}

/// Credit below the threshold of its organization.
#[derive(Clone, Debug)]
pub struct LowBalance {
    pub scope: OrgScope,
    pub balance: NanoUsd,
    pub threshold: NanoUsd,
    pub occasion: String,
}

/// A provider key whose calls have begun to fail.
#[derive(Clone, Debug)]
pub struct FailingKey {
    pub scope: OrgScope,
    pub key: Uuid,
    pub provider: String,
    pub last4: String,
    pub error: String,
    pub occasion: String,
}

/// An hour with a multiple of the usual cost.
#[derive(Clone, Debug)]
pub struct SpendJump {
    pub scope: OrgScope,
    pub hour: NanoUsd,
    pub usual: NanoUsd,
    pub occasion: String,
}

fn scope(id: Uuid) -> OrgScope {
    OrgScope::of(OrgId(id))
}

/// Whether this transaction is the one that searches for occasions; it keeps this role until it ends.
pub async fn try_lead(connection: &mut PgConnection) -> Result<bool, StoreError> {
    let leads = sqlx::query_scalar!(r#"SELECT pg_try_advisory_xact_lock($1) AS "leads!""#, LEADER);
    Ok(leads.fetch_one(connection).await?)
}

/// Budgets that have reached 50, 80 or 100 % without an alert yet. `mails`: the installation sends e-mail.
pub async fn list_budget_levels(
    connection: &mut PgConnection,
    mails: bool,
    now: OffsetDateTime,
    rows_max: i64,
) -> Result<Vec<BudgetLevel>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT b.org_id, b.subject_id, k.name AS "api_key_name?", l.level AS "level!", b.amount, b.spent, b.period,
                  b.period_end,
                  format('budget:%s:%s:%s', b.subject_id, extract(epoch FROM b.period_start)::bigint, l.level) AS "occasion!"
           FROM budget b
           JOIN organization o ON o.id = b.org_id
           CROSS JOIN (VALUES (50), (80), (100)) AS l (level)
           LEFT JOIN api_key k ON k.org_id = b.org_id AND k.id = b.subject_id
           WHERE b.period_end > $1 AND b.spent > 0 AND b.spent::numeric * 100 >= b.amount::numeric * l.level
             AND (EXISTS (SELECT 1 FROM webhook w WHERE w.org_id = b.org_id)
                  OR ($3 AND (o.rules->>'alertEmails')::boolean))
             AND NOT EXISTS (
                 SELECT 1 FROM alert a WHERE a.org_id = b.org_id AND a.occasion =
                     format('budget:%s:%s:%s', b.subject_id, extract(epoch FROM b.period_start)::bigint, l.level))
           ORDER BY l.level LIMIT $2"#,
        now,
        rows_max,
        mails,
    );
    let level = rows.fetch_all(connection).await?.into_iter().map(|row| BudgetLevel {
        scope: scope(row.org_id),
        subject: row.subject_id,
        api_key_name: row.api_key_name,
        level: row.level,
        amount: NanoUsd(row.amount),
        spent: NanoUsd(row.spent),
        period: row.period,
        resets_at: row.period_end,
        occasion: row.occasion,
    });
    Ok(level.collect())
}

/// Organizations whose credit is below their threshold; one alert a day (UTC).
pub async fn list_low_balances(
    connection: &mut PgConnection,
    mails: bool,
    now: OffsetDateTime,
    rows_max: i64,
) -> Result<Vec<LowBalance>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT o.id, a.posted AS balance, (o.rules->>'lowBalanceNano')::bigint AS "threshold!",
                  format('balance:%s:%s', o.rules->>'lowBalanceNano', $1::date) AS "occasion!"
           FROM organization o JOIN credit_account a ON a.org_id = o.id
           WHERE a.posted < (o.rules->>'lowBalanceNano')::bigint
             AND (EXISTS (SELECT 1 FROM webhook w WHERE w.org_id = o.id)
                  OR ($3 AND (o.rules->>'alertEmails')::boolean))
             AND NOT EXISTS (SELECT 1 FROM alert x WHERE x.org_id = o.id
                             AND x.occasion = format('balance:%s:%s', o.rules->>'lowBalanceNano', $1::date))
           LIMIT $2"#,
        now.date(),
        rows_max,
        mails,
    );
    let low = rows.fetch_all(connection).await?.into_iter().map(|row| LowBalance {
        scope: scope(row.id),
        balance: NanoUsd(row.balance),
        threshold: NanoUsd(row.threshold),
        occasion: row.occasion,
    });
    Ok(low.collect())
}

/// Provider keys whose last use since `since` failed because of the key; one alert a day for each.
pub async fn list_failing_keys(
    connection: &mut PgConnection,
    mails: bool,
    since: OffsetDateTime,
    rows_max: i64,
) -> Result<Vec<FailingKey>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT k.org_id, k.id, k.provider, k.last4, k.last_error AS "error!",
                  format('key:%s:%s', k.id, $1::timestamptz::date) AS "occasion!"
           FROM organization o JOIN provider_key k ON k.org_id = o.id
           WHERE (EXISTS (SELECT 1 FROM webhook w WHERE w.org_id = o.id)
                  OR ($3 AND (o.rules->>'alertEmails')::boolean))
             AND k.enabled AND k.last_error IN ('bad_key', 'no_money', 'permission') AND k.last_used_at >= $1
             AND NOT EXISTS (SELECT 1 FROM alert x WHERE x.org_id = k.org_id
                             AND x.occasion = format('key:%s:%s', k.id, $1::timestamptz::date))
           LIMIT $2"#,
        since,
        rows_max,
        mails,
    );
    let failing = rows.fetch_all(connection).await?.into_iter().map(|row| FailingKey {
        scope: scope(row.org_id),
        key: row.id,
        provider: row.provider,
        last4: row.last4,
        error: row.error,
        occasion: row.occasion,
    });
    Ok(failing.collect())
}

/// Organizations whose last hour cost `spendJumpFactor` times the average hour with usage in the last seven days; one
/// alert an hour. It reads the sums of usage, which are a minute or two behind.
pub async fn list_spend_jumps(
    connection: &mut PgConnection,
    mails: bool,
    now: OffsetDateTime,
    rows_max: i64,
) -> Result<Vec<SpendJump>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT o.id, s.hour AS "hour!", s.usual AS "usual!",
                  format('spend:%s', floor(extract(epoch FROM $1::timestamptz) / 3600)) AS "occasion!"
           FROM organization o
           CROSS JOIN LATERAL (
               SELECT (SELECT COALESCE(sum(r.charge), 0) FROM usage_rollup r
                       WHERE r.org_id = o.id AND r.bucket > $1::timestamptz - interval '1 hour')::bigint AS hour,
                      (SELECT COALESCE(sum(d.charge) / NULLIF(24 * count(DISTINCT d.bucket), 0), 0) FROM usage_day d
                       WHERE d.org_id = o.id AND d.bucket < day_of($1::timestamptz)
                         AND d.bucket >= day_of($1::timestamptz) - interval '7 days')::bigint AS usual
               OFFSET 0) s
           WHERE (o.rules->>'spendJumpFactor') IS NOT NULL AND s.usual > 0
             AND s.hour::numeric >= s.usual::numeric * (o.rules->>'spendJumpFactor')::bigint
             AND (EXISTS (SELECT 1 FROM webhook w WHERE w.org_id = o.id)
                  OR ($3 AND (o.rules->>'alertEmails')::boolean))
             AND NOT EXISTS (SELECT 1 FROM alert x WHERE x.org_id = o.id AND x.occasion =
                             format('spend:%s', floor(extract(epoch FROM $1::timestamptz) / 3600)))
           LIMIT $2"#,
        now,
        rows_max,
        mails,
    );
    let jumps = rows.fetch_all(connection).await?.into_iter().map(|row| SpendJump {
        scope: scope(row.id),
        hour: NanoUsd(row.hour),
        usual: NanoUsd(row.usual),
        occasion: row.occasion,
    });
    Ok(jumps.collect())
}

/// Creates an alert and its deliveries; an occasion that has an alert already changes nothing.
pub async fn insert(
    connection: &mut PgConnection,
    alert: &NewAlert,
    mails: bool,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "WITH made AS (
             INSERT INTO alert (org_id, id, kind, occasion, document, created_at)
             VALUES ($1, $2, $3, $4, $5::text::json, $6)
             ON CONFLICT (org_id, occasion) DO NOTHING RETURNING org_id, id, kind
         )
         INSERT INTO alert_delivery (org_id, alert_id, channel, target_id, next_at)
         SELECT m.org_id, m.id, 'webhook', w.id, $6 FROM made m JOIN webhook w ON w.org_id = m.org_id
         WHERE w.events = '{}' OR m.kind = ANY (w.events)
         UNION ALL
         SELECT m.org_id, m.id, 'email', s.user_id, $6
         FROM made m
         JOIN organization o ON o.id = m.org_id
         JOIN membership s ON s.org_id = m.org_id AND s.role IN ('owner', 'billing')
         WHERE $7::boolean AND (o.rules->>'alertEmails')::boolean",
        alert.scope.uuid(),
        alert.id.0,
        alert.kind,
        alert.occasion,
        alert.document,
        now,
        mails,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes deliveries that are due, so that no other process takes them before `taken_until`: the oldest, with a limit
/// for each organization.
pub async fn take_due(
    connection: &mut PgConnection,
    (now, taken_until): (OffsetDateTime, OffsetDateTime),
    (rows_max, per_organization_max): (i64, i64),
) -> Result<Vec<Delivery>, StoreError> {
    let rows = sqlx::query!(
        r#"WITH due AS MATERIALIZED (
               SELECT d.org_id, d.alert_id, d.channel, d.target_id
               FROM alert_delivery d
               JOIN (SELECT org_id, alert_id, channel, target_id,
                            row_number() OVER (PARTITION BY org_id ORDER BY next_at) AS place
                     FROM alert_delivery WHERE next_at <= $1) p
                   ON (p.org_id, p.alert_id, p.channel, p.target_id) = (d.org_id, d.alert_id, d.channel, d.target_id)
               WHERE p.place <= $4 AND d.next_at <= $1
               ORDER BY d.next_at LIMIT $3 FOR UPDATE OF d SKIP LOCKED
           ), taken AS (
               UPDATE alert_delivery d SET next_at = $2, attempts = d.attempts + 1
               FROM due
               WHERE (d.org_id, d.alert_id, d.channel, d.target_id)
                     = (due.org_id, due.alert_id, due.channel, due.target_id)
               RETURNING d.org_id, d.alert_id, d.channel, d.target_id, d.attempts - 1 AS attempts
           )
           SELECT t.org_id AS "org_id!", t.alert_id AS "alert_id!", t.channel AS "channel!", t.target_id AS "target_id!",
                  t.attempts AS "attempts!", o.name AS organization, a.kind, a.document::text AS "document!", a.created_at,
                  u.email AS "email?", w.id AS "id?", w.url AS "url?", w.events AS "events?", w.generation AS "generation?",
                  w.previous_until, w.created_at AS "webhook_created_at?", w.last_status, w.last_error, w.last_sent_at
           FROM taken t
           JOIN organization o ON o.id = t.org_id
           JOIN alert a ON a.org_id = t.org_id AND a.id = t.alert_id
           LEFT JOIN webhook w ON t.channel = 'webhook' AND w.org_id = t.org_id AND w.id = t.target_id
           LEFT JOIN membership s ON t.channel = 'email' AND s.org_id = t.org_id AND s.user_id = t.target_id
           LEFT JOIN app_user u ON u.id = s.user_id"#,
        now,
        taken_until,
        rows_max,
        per_organization_max,
    );
    let deliveries = rows.fetch_all(connection).await?.into_iter().map(|row| {
        let webhook = match (row.id, row.url, row.events, row.generation, row.webhook_created_at) {
            (Some(id), Some(url), Some(events), Some(generation), Some(created_at)) => Some(Webhook {
                id: WebhookId(id),
                url,
                events,
                generation,
                previous_until: row.previous_until,
                created_at,
                last_status: row.last_status,
                last_error: row.last_error,
                last_sent_at: row.last_sent_at,
            }),
            _ => None,
        };
        let person = row.email.map(|email| Target::Person { email });
        Delivery {
            scope: scope(row.org_id),
            organization: row.organization,
            alert: AlertId(row.alert_id),
            kind: row.kind,
            document: row.document,
            created_at: row.created_at,
            attempts: row.attempts,
            target: webhook.map(Target::Webhook).or(person).unwrap_or(Target::Gone),
            key: (row.channel, row.target_id),
        }
    });
    Ok(deliveries.collect())
}

/// Records the result of a delivery: `next_at` is `None` if it was delivered or given up. A delivery that another
/// process has taken since is left to it.
pub async fn finish_delivery(
    connection: &mut PgConnection,
    delivery: &Delivery,
    next_at: Option<OffsetDateTime>,
) -> Result<(), StoreError> {
    let (channel, target) = &delivery.key;
    sqlx::query!(
        "UPDATE alert_delivery SET next_at = $5
         WHERE org_id = $1 AND alert_id = $2 AND channel = $3 AND target_id = $4 AND attempts = $6",
        delivery.scope.uuid(),
        delivery.alert.0,
        channel,
        target,
        next_at,
        delivery.attempts + 1,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes alerts that were made before `before`, and their deliveries.
pub async fn prune(
    connection: &mut PgConnection,
    before: OffsetDateTime,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let outcome = sqlx::query!(
        "DELETE FROM alert WHERE (org_id, id) IN (SELECT org_id, id FROM alert WHERE created_at < $1 LIMIT $2)",
        before,
        rows_max,
    );
    Ok(outcome.execute(connection).await?.rows_affected())
}
