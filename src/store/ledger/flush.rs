//! The flush: one statement that ends holds and admits new ones. A flush of one kind alone runs a statement of that kind,
//! because what a statement does not contain need not be set up either, and most flushes of a quiet process are of one.
//! Budgets are part of each statement: a hold is admitted only if credit, the budget of its API key and the budget of its
//! organization all have room for it. An organization without budgets has no row to look for.

use super::columns::{Flush, FlushRead, FullBudget, HoldRow};
use crate::{domain::ids::InstanceId, store::StoreError};
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;

/// Writes a flush: ends holds, then admits new ones out of what is free after that. One statement, so it
/// happens whole or not at all, in one round trip, without a transaction that could be left open.
///
/// Per account the smaller holds come first, so a refused one never stands in the way of one that fits; what the
/// budget of an API key refuses takes nothing from the other keys of the organization.
/// Only what this statement itself inserted or ended is summed into the account: a row that an earlier try
/// wrote is never counted twice. `IS NOT DISTINCT FROM 'open'` keeps the planner off the index of open holds,
/// which it would read whole; the primary key finds the few rows.
///
/// A budget's row is locked after its account and begins a new period when the first hold of that period comes. A hold
/// counts in the period that its `budgeted_at` lies in, which is never before the beginning of a period that another
/// process has begun already.
///
/// The budget of an organization that was set while the statement waited for the account's lock is not in its snapshot, but
/// the lock reads the newest account: where the two disagree on how often a budget was set, nothing is done for that
/// account, and it is asked again.
pub async fn flush(
    connection: &mut PgConnection,
    flush: &Flush,
    instance: InstanceId,
    now: OffsetDateTime,
) -> Result<FlushRead, StoreError> {
    match (flush.settle_id.is_empty(), flush.id.is_empty()) {
        (true, true) => Ok(FlushRead::of(flush)),
        (false, true) => flush_settles(connection, flush, now).await,
        (true, false) => flush_holds(connection, flush, instance, now).await,
        (false, false) => flush_both(connection, flush, instance, now).await,
    }
}

/// Settles alone; as in [`flush_both`].
async fn flush_settles(
    connection: &mut PgConnection,
    flush: &Flush,
    now: OffsetDateTime,
) -> Result<FlushRead, StoreError> {
    let mut read = FlushRead::of(flush);
    let rows = sqlx::query!(
        r#"
        WITH settle AS MATERIALIZED (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::boolean[],
                                 $8::bigint[])
                WITH ORDINALITY AS s (org_id, id, cost, charge, entry_id, voided, spent, ord)
        ), locked AS MATERIALIZED (
            SELECT a.org_id, a.budgets_set FROM credit_account a WHERE a.org_id = ANY($1::uuid[])
            ORDER BY a.org_id FOR UPDATE
        ), account AS MATERIALIZED (
            SELECT l.* FROM locked l
            WHERE l.budgets_set = 0
               OR l.budgets_set = (SELECT a.budgets_set FROM credit_account a WHERE a.org_id = l.org_id)
        ), done AS (
            UPDATE hold h
            SET state = CASE WHEN s.voided THEN 'voided' ELSE 'settled' END,
                cost = s.cost, charge = s.charge, spent = s.spent, resolved_at = $7
            FROM settle s JOIN account a ON a.org_id = s.org_id
            WHERE h.org_id = s.org_id AND h.id = s.id AND h.state IS NOT DISTINCT FROM 'open'
            RETURNING s.ord, s.entry_id, h.org_id, h.id, h.request_id, h.amount, h.cost, h.charge, h.api_key_id,
                      h.counted, COALESCE(h.reserved, h.amount) AS reserved, COALESCE(h.spent, h.charge) AS spent,
                      COALESCE(h.budgeted_at, h.created_at) AS budgeted_at
        ), subject AS MATERIALIZED (
            SELECT DISTINCT s.org_id, s.id
            FROM (SELECT org_id, api_key_id AS id FROM done UNION ALL SELECT org_id, org_id FROM done) s
            JOIN account a ON a.org_id = s.org_id AND a.budgets_set > 0
        ), line AS MATERIALIZED (
            SELECT b.org_id, b.subject_id, b.period_start, b.spent, b.held
            FROM subject s JOIN budget b ON b.org_id = s.org_id AND b.subject_id = s.id
            ORDER BY b.org_id, b.subject_id FOR UPDATE OF b
        ), counting AS MATERIALIZED (
            SELECT l.org_id, l.subject_id, (l.spent + COALESCE(d.spent, 0))::bigint AS spent,
                   (l.held - COALESCE(d.reserved, 0))::bigint AS held
            FROM line l
            LEFT JOIN LATERAL (
                SELECT sum(d.spent) AS spent, sum(d.reserved) AS reserved FROM done d
                WHERE d.org_id = l.org_id AND d.budgeted_at >= l.period_start
                  AND CASE WHEN l.subject_id = l.org_id THEN d.counted & 2 = 2
                           ELSE d.api_key_id = l.subject_id AND d.counted & 1 = 1 END) d ON true
        ), budgeting AS (
            UPDATE budget b SET spent = c.spent, held = c.held
            FROM counting c WHERE b.org_id = c.org_id AND b.subject_id = c.subject_id
        ), summed AS (
            UPDATE credit_account c SET held = c.held - m.held, posted = c.posted - m.posted
            FROM (SELECT org_id, sum(amount)::bigint AS held, sum(charge)::bigint AS posted
                  FROM done GROUP BY org_id) m
            WHERE c.org_id = m.org_id
        ), posting AS (
            INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin, hold_id,
                               request_id, created_at)
            SELECT org_id, entry_id, 'charge', 'customer', 'revenue', charge, cost, charge - cost, id,
                   request_id, $7
            FROM done WHERE charge > 0
        )
        SELECT ord AS "ord!" FROM done
        "#,
        &flush.settle_org,
        &flush.settle_id,
        &flush.settle_cost,
        &flush.settle_charge,
        &flush.settle_entry,
        &flush.settle_void,
        now,
        &flush.settle_spent as &[Option<i64>],
    )
    .fetch_all(connection)
    .await?;
    rows.iter().for_each(|row| read.note_settle(row.ord));
    Ok(read)
}

/// Holds alone; as in [`flush_both`].
async fn flush_holds(
    connection: &mut PgConnection,
    flush: &Flush,
    instance: InstanceId,
    now: OffsetDateTime,
) -> Result<FlushRead, StoreError> {
    let mut read = FlushRead::of(flush);
    let (price_version, model) = (texts(&flush.price_version), texts(&flush.model));
    let rows = sqlx::query!(
        r#"
        WITH locked AS MATERIALIZED (
            SELECT a.org_id, a.budgets_set, a.posted - a.held AS free FROM credit_account a
            WHERE a.org_id = ANY($1::uuid[]) ORDER BY a.org_id FOR UPDATE
        ), room AS MATERIALIZED (
            SELECT l.* FROM locked l
            WHERE l.budgets_set = 0
               OR l.budgets_set = (SELECT a.budgets_set FROM credit_account a WHERE a.org_id = l.org_id)
        ), asked AS MATERIALIZED (
            SELECT w.*, k.state AS known_state, k.amount AS known_amount
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::uuid[], $6::bigint[],
                        $7::bigint[], $8::integer[], $9::text[], $10::text[], $11::text[], $12::text[],
                        $15::boolean[], $16::smallint[], $17::timestamptz[], $18::timestamptz[],
                        $19::timestamptz[], $20::timestamptz[])
                WITH ORDINALITY AS w (org_id, id, request_id, turn, api_key_id, want, floor, margin_bps,
                                      price_version, provider, model, kind, own_key, counted, key_starts, key_ends,
                                      org_starts, org_ends, ord)
            LEFT JOIN hold k ON k.org_id = w.org_id AND k.id = w.id
        ), subject AS MATERIALIZED (
            SELECT s.org_id, s.id, max(s.starts) AS starts, max(s.ends) AS ends
            FROM (SELECT org_id, api_key_id AS id, key_starts AS starts, key_ends AS ends FROM asked
                  UNION ALL SELECT org_id, org_id, org_starts, org_ends FROM asked) s
            JOIN room a ON a.org_id = s.org_id AND a.budgets_set > 0
            GROUP BY s.org_id, s.id
        ), line AS MATERIALIZED (
            SELECT b.org_id, b.subject_id, b.amount, b.includes_own, b.period_start, b.period_end, b.spent, b.held,
                   s.starts, s.ends
            FROM subject s JOIN budget b ON b.org_id = s.org_id AND b.subject_id = s.id
            ORDER BY b.org_id, b.subject_id FOR UPDATE OF b
        ), budgets AS MATERIALIZED (
            SELECT l.org_id, l.subject_id, l.amount, l.includes_own,
                   CASE WHEN l.starts > l.period_start THEN l.starts ELSE l.period_start END AS period_start,
                   CASE WHEN l.starts > l.period_start THEN l.ends ELSE l.period_end END AS period_end,
                   CASE WHEN l.starts > l.period_start THEN 0 ELSE l.spent END AS spent,
                   CASE WHEN l.starts > l.period_start THEN 0 ELSE l.held END AS held
            FROM line l
        ), lease AS MATERIALIZED (
            SELECT EXISTS (SELECT 1 FROM instance WHERE id = $13 AND lease_until > now()) AS live
        ), wanted AS (
            SELECT w.*, r.free, k.amount - k.spent - k.held AS key_free, o.amount - o.spent - o.held AS org_free,
                   GREATEST($14::timestamptz, k.period_start, o.period_start) AS budgeted_at,
                   (CASE WHEN k.subject_id IS NULL THEN 0 ELSE 1 END
                    + CASE WHEN o.subject_id IS NULL THEN 0 ELSE 2 END)::smallint AS counts_for
            FROM asked w
            JOIN room r ON r.org_id = w.org_id
            LEFT JOIN budgets k ON k.org_id = w.org_id AND k.subject_id = w.api_key_id AND w.counted & 1 = 1
            LEFT JOIN budgets o ON o.org_id = w.org_id AND o.subject_id = w.org_id AND w.counted & 2 = 2
            WHERE w.known_state IS NULL AND (SELECT live FROM lease)
        ), by_key AS MATERIALIZED (
            SELECT w.*, w.key_free - (sum(CASE WHEN w.key_free IS NULL THEN 0 ELSE w.want END) OVER (
                PARTITION BY w.org_id, w.api_key_id ORDER BY w.want, w.ord ROWS UNBOUNDED PRECEDING) - w.want) AS key_rest
            FROM wanted w
        ), ranked AS MATERIALIZED (
            SELECT w.*,
                   w.org_free - (sum(CASE WHEN w.org_free IS NULL THEN 0 ELSE w.want END) OVER o - w.want) AS org_rest,
                   CASE WHEN NOT w.own_key THEN w.free - (sum(CASE WHEN w.own_key THEN 0 ELSE w.want END) OVER o - w.want)
                   END AS credit_rest
            FROM by_key w
            WHERE w.key_rest IS NULL OR w.key_rest >= w.floor
            WINDOW o AS (PARTITION BY w.org_id ORDER BY w.want, w.ord ROWS UNBOUNDED PRECEDING)
        ), taken AS (
            INSERT INTO hold (org_id, id, request_id, turn, api_key_id, instance_id, amount, margin_bps,
                              price_version, provider, model, kind, created_at, own_key, reserved, counted, budgeted_at)
            SELECT org_id, id, request_id, turn, api_key_id, $13,
                   CASE WHEN own_key THEN 0 ELSE LEAST(want, key_rest, org_rest, credit_rest) END, margin_bps,
                   price_version, provider, model, kind, $14, own_key,
                   CASE WHEN own_key THEN LEAST(want, key_rest, org_rest) END, counts_for,
                   CASE WHEN budgeted_at > $14 THEN budgeted_at END
            FROM ranked WHERE LEAST(want, key_rest, org_rest, credit_rest) >= floor
            ON CONFLICT DO NOTHING
            RETURNING org_id, id, amount, api_key_id, counted, COALESCE(reserved, amount) AS reserved
        ), moved AS (
            SELECT org_id, sum(amount)::bigint AS held FROM taken GROUP BY org_id
        ), summed AS (
            UPDATE credit_account c SET held = c.held + m.held FROM moved m WHERE c.org_id = m.org_id
        ), counting AS MATERIALIZED (
            SELECT b.org_id, b.subject_id, b.period_start, b.period_end, b.spent,
                   (b.held + COALESCE(t.reserved, 0))::bigint AS held
            FROM budgets b
            LEFT JOIN LATERAL (
                SELECT sum(t.reserved) AS reserved FROM taken t
                WHERE t.org_id = b.org_id
                  AND CASE WHEN b.subject_id = b.org_id THEN t.counted & 2 = 2
                           ELSE t.api_key_id = b.subject_id AND t.counted & 1 = 1 END) t ON true
        ), budgeting AS (
            UPDATE budget b SET spent = c.spent, held = c.held, period_start = c.period_start, period_end = c.period_end
            FROM counting c WHERE b.org_id = c.org_id AND b.subject_id = c.subject_id
        )
        SELECT w.ord AS "ord!", COALESCE(t.reserved, w.known_amount) AS "amount?",
               CASE WHEN t.id IS NOT NULL THEN 'open'
                    WHEN w.known_state IS NULL AND f.org_id IS NULL AND w.org_id IN (SELECT org_id FROM locked)
                        THEN 'unclear'
                    WHEN w.known_state IS NULL AND LEAST(w.want, r.key_rest, r.org_rest, r.credit_rest) >= w.floor
                         AND r.ord IS NOT NULL THEN 'unclear'
                    ELSE w.known_state END AS "state?",
               COALESCE(f.free - COALESCE(m.held, 0), 0)::bigint AS "rest?", (SELECT live FROM lease) AS "live!",
               b.subject_id <> b.org_id AS "of_key?", b.amount AS "budget?", b.spent AS "spent?", g.held AS "held?",
               b.period_end AS "resets_at?"
        FROM asked w
        LEFT JOIN taken t ON t.org_id = w.org_id AND t.id = w.id
        LEFT JOIN ranked r ON r.ord = w.ord
        LEFT JOIN by_key k ON k.ord = w.ord
        LEFT JOIN room f ON f.org_id = w.org_id
        LEFT JOIN moved m ON m.org_id = w.org_id
        LEFT JOIN budgets b ON b.org_id = w.org_id AND t.id IS NULL
            AND CASE WHEN k.key_rest < w.floor THEN b.subject_id = w.api_key_id
                     ELSE r.org_rest < w.floor AND b.subject_id = w.org_id END
        LEFT JOIN counting g ON g.org_id = b.org_id AND g.subject_id = b.subject_id
        "#,
        &flush.org,
        &flush.id,
        &flush.request,
        &flush.turn,
        &flush.api_key,
        &flush.want,
        &flush.floor,
        &flush.margin,
        &price_version as &[&str],
        &flush.provider as &[&str],
        &model as &[&str],
        &flush.kind as &[&str],
        instance.0,
        now,
        &flush.own_key,
        &flush.counted,
        &flush.key_starts as &[Option<OffsetDateTime>],
        &flush.key_ends as &[Option<OffsetDateTime>],
        &flush.org_starts as &[Option<OffsetDateTime>],
        &flush.org_ends as &[Option<OffsetDateTime>],
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let hold = HoldRow {
            state: row.state.as_deref(),
            amount: row.amount,
            rest: row.rest,
            live: row.live,
            budget: FullBudget::of(row.of_key, (row.budget, row.spent, row.held), row.resets_at),
        };
        read.note_hold(row.ord, hold);
    }
    Ok(read)
}

/// Both kinds.
async fn flush_both(
    connection: &mut PgConnection,
    flush: &Flush,
    instance: InstanceId,
    now: OffsetDateTime,
) -> Result<FlushRead, StoreError> {
    let mut read = FlushRead::of(flush);
    let (price_version, model) = (texts(&flush.price_version), texts(&flush.model));
    let rows = sqlx::query!(
        r#"
        WITH settle AS MATERIALIZED (
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::boolean[],
                                 $21::bigint[])
                WITH ORDINALITY AS s (org_id, id, cost, charge, entry_id, voided, spent, ord)
        ), locked AS MATERIALIZED (
            SELECT a.org_id, a.posted, a.held, a.budgets_set FROM credit_account a
            WHERE a.org_id = ANY($1::uuid[] || $7::uuid[])
            ORDER BY a.org_id FOR UPDATE
        ), account AS MATERIALIZED (
            SELECT l.* FROM locked l
            WHERE l.budgets_set = 0
               OR l.budgets_set = (SELECT a.budgets_set FROM credit_account a WHERE a.org_id = l.org_id)
        ), done AS (
            UPDATE hold h
            SET state = CASE WHEN s.voided THEN 'voided' ELSE 'settled' END,
                cost = s.cost, charge = s.charge, spent = s.spent, resolved_at = $16
            FROM settle s JOIN account a ON a.org_id = s.org_id
            WHERE h.org_id = s.org_id AND h.id = s.id AND h.state IS NOT DISTINCT FROM 'open'
            RETURNING s.ord, s.entry_id, h.org_id, h.id, h.request_id, h.amount, h.cost, h.charge, h.api_key_id,
                      h.counted, COALESCE(h.reserved, h.amount) AS reserved, COALESCE(h.spent, h.charge) AS spent,
                      COALESCE(h.budgeted_at, h.created_at) AS budgeted_at
        ), room AS MATERIALIZED (
            SELECT a.org_id, a.posted - a.held + COALESCE(d.freed, 0) AS free
            FROM account a
            LEFT JOIN (SELECT org_id, sum(amount - charge) AS freed FROM done GROUP BY org_id) d
                ON d.org_id = a.org_id
        ), asked AS MATERIALIZED (
            SELECT w.*, k.state AS known_state, k.amount AS known_amount
            FROM unnest($7::uuid[], $8::uuid[], $9::uuid[], $10::smallint[], $11::uuid[], $12::bigint[],
                        $13::bigint[], $14::integer[], $15::text[], $18::text[], $19::text[], $20::text[],
                        $22::boolean[], $23::smallint[], $24::timestamptz[], $25::timestamptz[],
                        $26::timestamptz[], $27::timestamptz[])
                WITH ORDINALITY AS w (org_id, id, request_id, turn, api_key_id, want, floor, margin_bps,
                                      price_version, provider, model, kind, own_key, counted, key_starts, key_ends,
                                      org_starts, org_ends, ord)
            LEFT JOIN hold k ON k.org_id = w.org_id AND k.id = w.id
        ), subject AS MATERIALIZED (
            SELECT s.org_id, s.id, max(s.starts) AS starts, max(s.ends) AS ends
            FROM (SELECT org_id, api_key_id AS id, key_starts AS starts, key_ends AS ends FROM asked
                  UNION ALL SELECT org_id, org_id, org_starts, org_ends FROM asked
                  UNION ALL SELECT org_id, api_key_id, NULL, NULL FROM done
                  UNION ALL SELECT org_id, org_id, NULL, NULL FROM done) s
            JOIN account a ON a.org_id = s.org_id AND a.budgets_set > 0
            GROUP BY s.org_id, s.id
        ), line AS MATERIALIZED (
            SELECT b.org_id, b.subject_id, b.amount, b.includes_own, b.period_start, b.period_end, b.spent, b.held,
                   s.starts, s.ends
            FROM subject s JOIN budget b ON b.org_id = s.org_id AND b.subject_id = s.id
            ORDER BY b.org_id, b.subject_id FOR UPDATE OF b
        ), budgets AS MATERIALIZED (
            SELECT l.org_id, l.subject_id, l.amount, l.includes_own,
                   CASE WHEN l.starts > l.period_start THEN l.starts ELSE l.period_start END AS period_start,
                   CASE WHEN l.starts > l.period_start THEN l.ends ELSE l.period_end END AS period_end,
                   (CASE WHEN l.starts > l.period_start THEN 0 ELSE l.spent END + COALESCE(d.spent, 0))::bigint AS spent,
                   (CASE WHEN l.starts > l.period_start THEN 0 ELSE l.held END - COALESCE(d.reserved, 0))::bigint AS held
            FROM line l
            LEFT JOIN LATERAL (
                SELECT sum(d.spent) AS spent, sum(d.reserved) AS reserved FROM done d
                WHERE d.org_id = l.org_id AND d.budgeted_at >= GREATEST(l.starts, l.period_start)
                  AND CASE WHEN l.subject_id = l.org_id THEN d.counted & 2 = 2
                           ELSE d.api_key_id = l.subject_id AND d.counted & 1 = 1 END) d ON true
        ), lease AS MATERIALIZED (
            SELECT EXISTS (SELECT 1 FROM instance WHERE id = $17 AND lease_until > now()) AS live
        ), wanted AS (
            SELECT w.*, r.free, k.amount - k.spent - k.held AS key_free, o.amount - o.spent - o.held AS org_free,
                   GREATEST($16::timestamptz, k.period_start, o.period_start) AS budgeted_at,
                   (CASE WHEN k.subject_id IS NULL THEN 0 ELSE 1 END
                    + CASE WHEN o.subject_id IS NULL THEN 0 ELSE 2 END)::smallint AS counts_for
            FROM asked w
            JOIN room r ON r.org_id = w.org_id
            LEFT JOIN budgets k ON k.org_id = w.org_id AND k.subject_id = w.api_key_id AND w.counted & 1 = 1
            LEFT JOIN budgets o ON o.org_id = w.org_id AND o.subject_id = w.org_id AND w.counted & 2 = 2
            WHERE w.known_state IS NULL AND (SELECT live FROM lease)
        ), by_key AS MATERIALIZED (
            SELECT w.*, w.key_free - (sum(CASE WHEN w.key_free IS NULL THEN 0 ELSE w.want END) OVER (
                PARTITION BY w.org_id, w.api_key_id ORDER BY w.want, w.ord ROWS UNBOUNDED PRECEDING) - w.want) AS key_rest
            FROM wanted w
        ), ranked AS MATERIALIZED (
            SELECT w.*,
                   w.org_free - (sum(CASE WHEN w.org_free IS NULL THEN 0 ELSE w.want END) OVER o - w.want) AS org_rest,
                   CASE WHEN NOT w.own_key THEN w.free - (sum(CASE WHEN w.own_key THEN 0 ELSE w.want END) OVER o - w.want)
                   END AS credit_rest
            FROM by_key w
            WHERE w.key_rest IS NULL OR w.key_rest >= w.floor
            WINDOW o AS (PARTITION BY w.org_id ORDER BY w.want, w.ord ROWS UNBOUNDED PRECEDING)
        ), taken AS (
            INSERT INTO hold (org_id, id, request_id, turn, api_key_id, instance_id, amount, margin_bps,
                              price_version, provider, model, kind, created_at, own_key, reserved, counted, budgeted_at)
            SELECT org_id, id, request_id, turn, api_key_id, $17,
                   CASE WHEN own_key THEN 0 ELSE LEAST(want, key_rest, org_rest, credit_rest) END, margin_bps,
                   price_version, provider, model, kind, $16, own_key,
                   CASE WHEN own_key THEN LEAST(want, key_rest, org_rest) END, counts_for,
                   CASE WHEN budgeted_at > $16 THEN budgeted_at END
            FROM ranked WHERE LEAST(want, key_rest, org_rest, credit_rest) >= floor
            ON CONFLICT DO NOTHING
            RETURNING org_id, id, amount, api_key_id, counted, COALESCE(reserved, amount) AS reserved
        ), moved AS (
            SELECT org_id, sum(held)::bigint AS held, sum(posted)::bigint AS posted
            FROM (SELECT org_id, amount AS held, 0::bigint AS posted FROM taken
                  UNION ALL SELECT org_id, -amount, -charge FROM done) m
            GROUP BY org_id
        ), summed AS (
            UPDATE credit_account c SET held = c.held + m.held, posted = c.posted + m.posted
            FROM moved m WHERE c.org_id = m.org_id
        ), posting AS (
            INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, cost, margin, hold_id,
                               request_id, created_at)
            SELECT org_id, entry_id, 'charge', 'customer', 'revenue', charge, cost, charge - cost, id,
                   request_id, $16
            FROM done WHERE charge > 0
        ), counting AS MATERIALIZED (
            SELECT b.org_id, b.subject_id, b.period_start, b.period_end, b.spent,
                   (b.held + COALESCE(t.reserved, 0))::bigint AS held
            FROM budgets b
            LEFT JOIN LATERAL (
                SELECT sum(t.reserved) AS reserved FROM taken t
                WHERE t.org_id = b.org_id
                  AND CASE WHEN b.subject_id = b.org_id THEN t.counted & 2 = 2
                           ELSE t.api_key_id = b.subject_id AND t.counted & 1 = 1 END) t ON true
        ), budgeting AS (
            UPDATE budget b SET spent = c.spent, held = c.held, period_start = c.period_start, period_end = c.period_end
            FROM counting c WHERE b.org_id = c.org_id AND b.subject_id = c.subject_id
        )
        SELECT true AS "settle!", d.ord AS "ord!", NULL::bigint AS amount, NULL::text AS state,
               NULL::bigint AS rest, true AS "live!", NULL::boolean AS of_key, NULL::bigint AS budget,
               NULL::bigint AS spent, NULL::bigint AS held, NULL::timestamptz AS resets_at
        FROM done d
        UNION ALL
        SELECT false, w.ord, COALESCE(t.reserved, w.known_amount),
               CASE WHEN t.id IS NOT NULL THEN 'open'
                    WHEN w.known_state IS NULL AND f.org_id IS NULL AND w.org_id IN (SELECT org_id FROM locked)
                        THEN 'unclear'
                    WHEN w.known_state IS NULL AND LEAST(w.want, r.key_rest, r.org_rest, r.credit_rest) >= w.floor
                         AND r.ord IS NOT NULL THEN 'unclear'
                    ELSE w.known_state END,
               COALESCE(f.free - COALESCE(u.amount, 0), 0)::bigint, (SELECT live FROM lease),
               b.subject_id <> b.org_id, b.amount, b.spent, g.held, b.period_end
        FROM asked w
        LEFT JOIN taken t ON t.org_id = w.org_id AND t.id = w.id
        LEFT JOIN ranked r ON r.ord = w.ord
        LEFT JOIN by_key k ON k.ord = w.ord
        LEFT JOIN room f ON f.org_id = w.org_id
        LEFT JOIN (SELECT org_id, sum(amount) AS amount FROM taken GROUP BY org_id) u ON u.org_id = w.org_id
        LEFT JOIN budgets b ON b.org_id = w.org_id AND t.id IS NULL
            AND CASE WHEN k.key_rest < w.floor THEN b.subject_id = w.api_key_id
                     ELSE r.org_rest < w.floor AND b.subject_id = w.org_id END
        LEFT JOIN counting g ON g.org_id = b.org_id AND g.subject_id = b.subject_id
        "#,
        &flush.settle_org,
        &flush.settle_id,
        &flush.settle_cost,
        &flush.settle_charge,
        &flush.settle_entry,
        &flush.settle_void,
        &flush.org,
        &flush.id,
        &flush.request,
        &flush.turn,
        &flush.api_key,
        &flush.want,
        &flush.floor,
        &flush.margin,
        &price_version as &[&str],
        now,
        instance.0,
        &flush.provider as &[&str],
        &model as &[&str],
        &flush.kind as &[&str],
        &flush.settle_spent as &[Option<i64>],
        &flush.own_key,
        &flush.counted,
        &flush.key_starts as &[Option<OffsetDateTime>],
        &flush.key_ends as &[Option<OffsetDateTime>],
        &flush.org_starts as &[Option<OffsetDateTime>],
        &flush.org_ends as &[Option<OffsetDateTime>],
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        if row.settle {
            read.note_settle(row.ord);
            continue;
        }
        let hold = HoldRow {
            state: row.state.as_deref(),
            amount: row.amount,
            rest: row.rest,
            live: row.live,
            budget: FullBudget::of(row.of_key, (row.budget, row.spent, row.held), row.resets_at),
        };
        read.note_hold(row.ord, hold);
    }
    Ok(read)
}

fn texts(column: &[Arc<str>]) -> Vec<&str> {
    column.iter().map(AsRef::as_ref).collect()
}
