//! The flush: one statement that ends holds and admits new ones. A flush of one kind alone runs a statement of that kind,
//! because what a statement does not contain need not be set up either, and most flushes of a quiet process are of one.

use super::{Flush, FlushRead, HoldRead};
use crate::{
    domain::{ids::InstanceId, money::NanoUsd},
    store::StoreError,
};
use sqlx::PgConnection;
use std::sync::Arc;
use time::OffsetDateTime;

/// Writes a flush: ends holds, then admits new ones out of what is free after that. One statement, so it
/// happens whole or not at all, in one round trip, without a transaction that could be left open.
///
/// Per account the smaller holds come first, so a refused one never stands in the way of one that fits.
/// Only what this statement itself inserted or ended is summed into the account: a row that an earlier try
/// wrote is never counted twice. `IS NOT DISTINCT FROM 'open'` keeps the planner off the index of open holds,
/// which it would read whole; the primary key finds the few rows.
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
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::boolean[])
                WITH ORDINALITY AS s (org_id, id, cost, charge, entry_id, voided, ord)
        ), account AS MATERIALIZED (
            SELECT a.org_id FROM credit_account a WHERE a.org_id = ANY($1::uuid[])
            ORDER BY a.org_id FOR UPDATE
        ), done AS (
            UPDATE hold h
            SET state = CASE WHEN s.voided THEN 'voided' ELSE 'settled' END,
                cost = s.cost, charge = s.charge, resolved_at = $7
            FROM settle s JOIN account a ON a.org_id = s.org_id
            WHERE h.org_id = s.org_id AND h.id = s.id AND h.state IS NOT DISTINCT FROM 'open'
            RETURNING s.ord, s.entry_id, h.org_id, h.id, h.request_id, h.amount, h.cost, h.charge
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
        WITH room AS MATERIALIZED (
            SELECT a.org_id, a.posted - a.held AS free FROM credit_account a
            WHERE a.org_id = ANY($1::uuid[]) ORDER BY a.org_id FOR UPDATE
        ), asked AS MATERIALIZED (
            SELECT w.*, k.state AS known_state, k.amount AS known_amount
            FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::uuid[], $6::bigint[],
                        $7::bigint[], $8::integer[], $9::text[], $10::text[], $11::text[], $12::text[])
                WITH ORDINALITY AS w (org_id, id, request_id, turn, api_key_id, want, floor, margin_bps,
                                      price_version, provider, model, kind, ord)
            LEFT JOIN hold k ON k.org_id = w.org_id AND k.id = w.id
        ), lease AS MATERIALIZED (
            SELECT EXISTS (SELECT 1 FROM instance WHERE id = $13 AND lease_until > now()) AS live
        ), ranked AS (
            SELECT w.*, r.free - (sum(w.want) OVER (
                PARTITION BY w.org_id ORDER BY w.want, w.ord ROWS UNBOUNDED PRECEDING) - w.want) AS rest
            FROM asked w JOIN room r ON r.org_id = w.org_id
            WHERE w.known_state IS NULL AND (SELECT live FROM lease)
        ), taken AS (
            INSERT INTO hold (org_id, id, request_id, turn, api_key_id, instance_id, amount, margin_bps,
                              price_version, provider, model, kind, created_at)
            SELECT org_id, id, request_id, turn, api_key_id, $13, LEAST(want, rest), margin_bps,
                   price_version, provider, model, kind, $14
            FROM ranked WHERE rest >= floor
            ON CONFLICT DO NOTHING
            RETURNING org_id, id, amount
        ), moved AS (
            SELECT org_id, sum(amount)::bigint AS held FROM taken GROUP BY org_id
        ), summed AS (
            UPDATE credit_account c SET held = c.held + m.held FROM moved m WHERE c.org_id = m.org_id
        )
        SELECT w.ord AS "ord!", COALESCE(t.amount, w.known_amount) AS "amount?",
               CASE WHEN t.id IS NOT NULL THEN 'open'
                    WHEN w.known_state IS NULL AND r.rest >= w.floor THEN 'unclear'
                    ELSE w.known_state END AS "state?",
               COALESCE(f.free - COALESCE(m.held, 0), 0)::bigint AS "rest?", (SELECT live FROM lease) AS "live!"
        FROM asked w
        LEFT JOIN taken t ON t.org_id = w.org_id AND t.id = w.id
        LEFT JOIN ranked r ON r.ord = w.ord
        LEFT JOIN room f ON f.org_id = w.org_id
        LEFT JOIN moved m ON m.org_id = w.org_id
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
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        read.note_hold(row.ord, row.state.as_deref(), (row.amount, row.rest), row.live);
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
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::uuid[], $6::boolean[])
                WITH ORDINALITY AS s (org_id, id, cost, charge, entry_id, voided, ord)
        ), account AS MATERIALIZED (
            SELECT a.org_id, a.posted, a.held FROM credit_account a
            WHERE a.org_id = ANY($1::uuid[] || $7::uuid[])
            ORDER BY a.org_id FOR UPDATE
        ), done AS (
            UPDATE hold h
            SET state = CASE WHEN s.voided THEN 'voided' ELSE 'settled' END,
                cost = s.cost, charge = s.charge, resolved_at = $16
            FROM settle s JOIN account a ON a.org_id = s.org_id
            WHERE h.org_id = s.org_id AND h.id = s.id AND h.state IS NOT DISTINCT FROM 'open'
            RETURNING s.ord, s.entry_id, h.org_id, h.id, h.request_id, h.amount, h.cost, h.charge
        ), room AS MATERIALIZED (
            SELECT a.org_id, a.posted - a.held + COALESCE(d.freed, 0) AS free
            FROM account a
            LEFT JOIN (SELECT org_id, sum(amount - charge) AS freed FROM done GROUP BY org_id) d
                ON d.org_id = a.org_id
        ), asked AS MATERIALIZED (
            SELECT w.*, k.state AS known_state, k.amount AS known_amount
            FROM unnest($7::uuid[], $8::uuid[], $9::uuid[], $10::smallint[], $11::uuid[], $12::bigint[],
                        $13::bigint[], $14::integer[], $15::text[], $18::text[], $19::text[], $20::text[])
                WITH ORDINALITY AS w (org_id, id, request_id, turn, api_key_id, want, floor, margin_bps,
                                      price_version, provider, model, kind, ord)
            LEFT JOIN hold k ON k.org_id = w.org_id AND k.id = w.id
        ), lease AS MATERIALIZED (
            SELECT EXISTS (SELECT 1 FROM instance WHERE id = $17 AND lease_until > now()) AS live
        ), ranked AS (
            SELECT w.*, r.free - (sum(w.want) OVER (
                PARTITION BY w.org_id ORDER BY w.want, w.ord ROWS UNBOUNDED PRECEDING) - w.want) AS rest
            FROM asked w JOIN room r ON r.org_id = w.org_id
            WHERE w.known_state IS NULL AND (SELECT live FROM lease)
        ), taken AS (
            INSERT INTO hold (org_id, id, request_id, turn, api_key_id, instance_id, amount, margin_bps,
                              price_version, provider, model, kind, created_at)
            SELECT org_id, id, request_id, turn, api_key_id, $17, LEAST(want, rest), margin_bps,
                   price_version, provider, model, kind, $16
            FROM ranked WHERE rest >= floor
            ON CONFLICT DO NOTHING
            RETURNING org_id, id, amount
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
        )
        SELECT true AS "settle!", d.ord AS "ord!", NULL::bigint AS amount, NULL::text AS state,
               NULL::bigint AS rest, true AS "live!"
        FROM done d
        UNION ALL
        SELECT false, w.ord, COALESCE(t.amount, w.known_amount),
               CASE WHEN t.id IS NOT NULL THEN 'open'
                    WHEN w.known_state IS NULL AND r.rest >= w.floor THEN 'unclear'
                    ELSE w.known_state END,
               COALESCE(f.free - COALESCE(u.amount, 0), 0)::bigint, (SELECT live FROM lease)
        FROM asked w
        LEFT JOIN taken t ON t.org_id = w.org_id AND t.id = w.id
        LEFT JOIN ranked r ON r.ord = w.ord
        LEFT JOIN room f ON f.org_id = w.org_id
        LEFT JOIN (SELECT org_id, sum(amount) AS amount FROM taken GROUP BY org_id) u ON u.org_id = w.org_id
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
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        match row.settle {
            true => read.note_settle(row.ord),
            false => read.note_hold(row.ord, row.state.as_deref(), (row.amount, row.rest), row.live),
        }
    }
    Ok(read)
}

fn texts(column: &[Arc<str>]) -> Vec<&str> {
    column.iter().map(AsRef::as_ref).collect()
}

impl FlushRead {
    fn of(flush: &Flush) -> Self {
        Self { settled: vec![false; flush.settle_id.len()], holds: vec![HoldRead::Unclear; flush.id.len()] }
    }

    /// Positions count from one.
    fn note_settle(&mut self, ord: i64) {
        if let Some(settled) = position(ord).and_then(|at| self.settled.get_mut(at)) {
            *settled = true;
        }
    }

    fn note_hold(
        &mut self,
        ord: i64,
        state: Option<&str>,
        (amount, rest): (Option<i64>, Option<i64>),
        live: bool,
    ) {
        let Some(hold) = position(ord).and_then(|at| self.holds.get_mut(at)) else { return };
        *hold = match (state, amount) {
            (Some("open"), Some(amount)) => HoldRead::Admitted { amount: NanoUsd(amount) },
            (Some("unclear"), _) => HoldRead::Unclear,
            (Some(_), _) => HoldRead::Ended,
            (None, _) if !live => HoldRead::LeaseLapsed,
            (None, _) => HoldRead::Refused { available: NanoUsd(rest.unwrap_or(0)) },
        };
    }
}

fn position(ord: i64) -> Option<usize> {
    usize::try_from(ord.checked_sub(1)?).ok()
}
