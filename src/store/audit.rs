//! The read-only queries behind `billing::audit`: each lists the rows that break one invariant, as found in
//! one snapshot. They recompute from the rows and trust no constraint, so that a dropped one is noticed.

use super::StoreError;
use crate::domain::ids::OrgId;
use sqlx::PgConnection;
use std::fmt;
use uuid::Uuid;

/// A row that is not what it should be; amounts in nano-USD.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DriftRow {
    pub org_id: OrgId,
    /// The row: a hold, an entry, a request, or the account itself.
    pub id: Uuid,
    pub expected: Option<i64>,
    pub found: Option<i64>,
}

impl fmt::Display for DriftRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { org_id, id, expected, found } = self;
        write!(f, "organization {org_id} row {id}: expected {expected:?}, found {found:?} (nano-USD)")
    }
}

/// One check: a documented function over one query that gives `org_id, id, expected, found`.
macro_rules! check {
    ($(#[$doc:meta])* $name:ident, $query:literal) => {
        $(#[$doc])*
        pub async fn $name(connection: &mut PgConnection, limit: i64) -> Result<Vec<DriftRow>, StoreError> {
            let rows = sqlx::query!($query, limit).fetch_all(connection).await?;
            let drift = rows.into_iter().map(|row| DriftRow {
                org_id: OrgId(row.org_id),
                id: row.id,
                expected: row.expected,
                found: row.found,
            });
            Ok(drift.collect())
        }
    };
}

check!(
    /// Accounts whose balance is not what their entries sum to, and entries without an account.
    list_posted_drift,
    r#"SELECT COALESCE(a.org_id, e.org_id) AS "org_id!", COALESCE(a.org_id, e.org_id) AS "id!",
              COALESCE(e.total, 0)::bigint AS "expected?", a.posted AS "found?"
       FROM credit_account a
       FULL JOIN (SELECT org_id, sum(CASE WHEN credit_account = 'customer' THEN amount
                                          WHEN debit_account = 'customer' THEN -amount ELSE 0 END) AS total
                  FROM entry GROUP BY org_id) e ON e.org_id = a.org_id
       WHERE a.posted IS DISTINCT FROM COALESCE(e.total, 0) ORDER BY 1 LIMIT $1"#
);
check!(
    /// Accounts whose set-aside credit is not what their open holds sum to, and open holds without an account.
    list_held_drift,
    r#"SELECT COALESCE(a.org_id, h.org_id) AS "org_id!", COALESCE(a.org_id, h.org_id) AS "id!",
              COALESCE(h.total, 0)::bigint AS "expected?", a.held AS "found?"
       FROM credit_account a
       FULL JOIN (SELECT org_id, sum(amount) AS total FROM hold WHERE state = 'open' GROUP BY org_id) h
           ON h.org_id = a.org_id
       WHERE a.held IS DISTINCT FROM COALESCE(h.total, 0) ORDER BY 1 LIMIT $1"#
);
check!(
    /// Budgets whose set-aside part is not what the open holds that count for them sum to.
    list_budget_drift,
    r#"SELECT b.org_id AS "org_id!", b.subject_id AS "id!", COALESCE(h.total, 0)::bigint AS "expected?",
              b.held AS "found?"
       FROM budget b
       LEFT JOIN LATERAL (
           SELECT sum(COALESCE(h.reserved, h.amount)) AS total FROM hold h
           WHERE h.org_id = b.org_id AND h.state = 'open' AND COALESCE(h.budgeted_at, h.created_at) >= b.period_start
             AND CASE WHEN b.subject_id = b.org_id THEN h.counted & 2 = 2
                      ELSE h.api_key_id = b.subject_id AND h.counted & 1 = 1 END) h ON true
       WHERE b.held <> COALESCE(h.total, 0) ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Holds whose entries, corrections included, do not sum to their charge and cost.
    list_entry_missing,
    r#"SELECT h.org_id AS "org_id!", h.id AS "id!", COALESCE(h.charge, 0) AS "expected?", e.amount AS "found?"
       FROM hold h
       LEFT JOIN (SELECT org_id, COALESCE(hold_id, corrects_hold_id) AS hold_id, count(hold_id) AS firsts,
                         count(corrects_hold_id) AS corrections,
                         sum(CASE WHEN debit_account = 'customer' THEN amount ELSE -amount END)::bigint AS amount,
                         sum(CASE WHEN debit_account = 'customer' THEN cost ELSE -cost END)::bigint AS cost
                  FROM entry WHERE hold_id IS NOT NULL OR corrects_hold_id IS NOT NULL GROUP BY 1, 2) e
           ON e.org_id = h.org_id AND e.hold_id = h.id
       WHERE COALESCE(e.amount, 0) <> COALESCE(h.charge, 0) OR COALESCE(e.cost, 0) <> COALESCE(h.cost, 0)
          OR COALESCE(e.firsts, 0) > 1 OR (h.revision = 0 AND COALESCE(e.corrections, 0) > 0)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Charges without a hold, or of another request or cost than their hold's; corrections of no hold.
    list_entry_orphaned,
    r#"SELECT e.org_id AS "org_id!", e.id AS "id!", h.cost AS "expected?", e.cost AS "found?"
       FROM entry e
       LEFT JOIN hold h ON h.org_id = e.org_id AND h.id = COALESCE(e.hold_id, e.corrects_hold_id)
       WHERE (e.kind = 'charge' OR e.corrects_hold_id IS NOT NULL)
         AND (h.id IS NULL OR h.request_id IS DISTINCT FROM e.request_id
              OR (h.revision = 0 AND h.cost IS DISTINCT FROM e.cost))
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Charges that are not cost and margin.
    list_entry_split,
    r#"SELECT org_id AS "org_id!", id AS "id!", amount AS "expected?", cost + margin AS "found?"
       FROM entry WHERE kind = 'charge' AND (cost + margin <> amount OR cost < 0 OR margin < 0)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Entries that are not a positive amount from the side of their kind to the other.
    list_entry_sides,
    r#"SELECT org_id AS "org_id!", id AS "id!", NULL::bigint AS "expected?", amount AS "found?"
       FROM entry
       WHERE amount <= 0 OR (kind, debit_account, credit_account) NOT IN (
           ('charge', 'customer', 'revenue'), ('refund', 'revenue', 'customer'),
           ('grant', 'funding', 'customer'), ('topup', 'funding', 'customer'),
           ('promotion', 'funding', 'customer'), ('expiry', 'customer', 'funding'),
           ('adjustment', 'funding', 'customer'), ('adjustment', 'customer', 'funding'),
           ('payment_refund', 'customer', 'funding'), ('dispute', 'customer', 'funding'),
           ('dispute_reversal', 'funding', 'customer'))
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Ended holds whose charge is not `ceil(cost × (10 000 + margin) / 10 000)`.
    list_formula_drift,
    r#"SELECT org_id AS "org_id!", id AS "id!",
              ceil(cost::numeric * (10000 + margin_bps) / 10000)::bigint AS "expected?", charge AS "found?"
       FROM hold
       WHERE state IN ('settled', 'expired') AND charge <> ceil(cost::numeric * (10000 + margin_bps) / 10000)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Expired holds that were charged something else than their checkpoint.
    list_expired_drift,
    r#"SELECT org_id AS "org_id!", id AS "id!", checkpoint_charge AS "expected?", charge AS "found?"
       FROM hold
       WHERE state = 'expired' AND revision = 0 AND (charge <> checkpoint_charge OR cost <> checkpoint_cost)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Voided holds with a charge or a cost.
    list_void_charged,
    r#"SELECT org_id AS "org_id!", id AS "id!", 0::bigint AS "expected?", charge AS "found?"
       FROM hold WHERE state = 'voided' AND (charge <> 0 OR cost <> 0) ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Open holds that should have been reaped a minute ago or more.
    list_unreaped,
    r#"SELECT h.org_id AS "org_id!", h.id AS "id!", NULL::bigint AS "expected?", h.amount AS "found?"
       FROM hold h
       WHERE h.state = 'open' AND NOT EXISTS (
           SELECT 1 FROM instance i
           WHERE i.id = h.instance_id AND i.lease_until >= now() - interval '75 seconds')
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// External events that did not become exactly their credit.
    list_topup_drift,
    r#"SELECT t.org_id AS "org_id!", t.entry_id AS "id!", t.amount AS "expected?", e.amount AS "found?"
       FROM topup t LEFT JOIN entry e ON e.org_id = t.org_id AND e.id = t.entry_id
       WHERE e.amount IS DISTINCT FROM t.amount OR e.kind IN ('charge', 'expiry')
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Paid credits without the event that paid them.
    list_topup_entry_orphaned,
    r#"SELECT e.org_id AS "org_id!", e.id AS "id!", NULL::bigint AS "expected?", e.amount AS "found?"
       FROM entry e
       WHERE e.kind = 'topup'
         AND NOT EXISTS (SELECT 1 FROM topup t WHERE t.org_id = e.org_id AND t.entry_id = e.id)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Platform usage whose charge is not that of the ended hold of its request and turn.
    list_usage_charge_drift,
    r#"SELECT u.org_id AS "org_id!", u.request_id AS "id!", h.charge AS "expected?", u.charge AS "found?"
       FROM usage u
       JOIN hold h ON h.org_id = u.org_id AND h.request_id = u.request_id AND h.turn = u.turn
       WHERE NOT u.byok AND NOT h.own_key AND h.state <> 'open' AND h.charge <> u.charge
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Requests served by the customer's own key that the ledger charged all the same.
    list_byok_charged,
    r#"SELECT u.org_id AS "org_id!", u.request_id AS "id!", 0::bigint AS "expected?", h.charge AS "found?"
       FROM usage u
       JOIN hold h ON h.org_id = u.org_id AND h.request_id = u.request_id AND h.turn = u.turn
       WHERE u.byok AND h.charge > 0
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Usage without a known cost that was charged, or that ran on the platform's key.
    list_usage_unpriced,
    r#"SELECT org_id AS "org_id!", request_id AS "id!", cost AS "expected?", charge AS "found?"
       FROM usage WHERE cost IS NULL AND (charge <> 0 OR NOT byok)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Platform usage of a request and turn that has no hold. An answer from the response cache has none and no charge.
    list_usage_without_hold,
    r#"SELECT u.org_id AS "org_id!", u.request_id AS "id!", NULL::bigint AS "expected?", u.charge AS "found?"
       FROM usage u
       WHERE NOT u.byok AND (u.cache_saved IS NULL OR u.charge <> 0) AND NOT EXISTS (
           SELECT 1 FROM hold h WHERE h.org_id = u.org_id AND h.request_id = u.request_id AND h.turn = u.turn
             AND NOT h.own_key)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Charges of more than a minute ago without a usage row.
    list_charge_without_usage,
    r#"SELECT h.org_id AS "org_id!", h.id AS "id!", h.charge AS "expected?", NULL::bigint AS "found?"
       FROM hold h
       WHERE h.charge > 0 AND h.resolved_at < now() - interval '1 minute'
         AND h.request_id >= (SELECT kept_from('usage')) AND NOT EXISTS (
           SELECT 1 FROM usage u
           WHERE u.org_id = h.org_id AND u.request_id = h.request_id AND u.turn = h.turn)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Charges without a receipt: of more than a minute ago, or an hour while their process may be at work on a later
    /// turn of the request.
    list_charge_without_receipt,
    r#"SELECT h.org_id AS "org_id!", h.id AS "id!", h.charge AS "expected?", NULL::bigint AS "found?"
       FROM hold h
       WHERE h.charge > 0 AND h.resolved_at < now() - interval '1 minute'
         AND h.request_id >= (SELECT kept_from('receipt'))
         AND (h.resolved_at < now() - interval '1 hour' OR NOT EXISTS (
             SELECT 1 FROM instance i
             WHERE i.id = h.instance_id AND i.lease_until >= now() - interval '75 seconds'))
         AND NOT EXISTS (SELECT 1 FROM receipt r WHERE r.org_id = h.org_id AND r.id = h.request_id)
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Receipts that say another charge than the usage rows of their request.
    list_receipt_drift,
    r#"SELECT r.org_id AS "org_id!", r.id AS "id!", u.charge AS "expected?",
              (r.document->>'charged_nano_usd')::bigint AS "found?"
       FROM receipt r
       JOIN (SELECT org_id, request_id, sum(charge)::bigint AS charge FROM usage GROUP BY 1, 2) u
           ON u.org_id = r.org_id AND u.request_id = r.id
       WHERE (r.document->>'charged_nano_usd')::bigint <> u.charge
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Promotional credit that is not what its entry gave, or that burned and expired to something else than it was.
    list_promotion_drift,
    r#"SELECT p.org_id AS "org_id!", p.entry_id AS "id!", e.amount AS "expected?", p.amount AS "found?"
       FROM promotion p
       LEFT JOIN entry e ON e.org_id = p.org_id AND e.id = p.entry_id AND e.kind = 'promotion'
       LEFT JOIN entry x ON x.org_id = p.org_id AND x.id = p.expiry_entry_id AND x.kind = 'expiry'
       WHERE e.amount IS DISTINCT FROM p.amount OR p.burned < 0 OR p.burned > p.amount
          OR (p.expiry_entry_id IS NOT NULL AND (x.amount IS NULL OR x.amount > p.amount - p.burned))
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Promotional credit, and expiries, of which no lot is on record.
    list_promotion_entry_orphaned,
    r#"SELECT e.org_id AS "org_id!", e.id AS "id!", NULL::bigint AS "expected?", e.amount AS "found?"
       FROM entry e
       WHERE (e.kind = 'promotion' AND NOT EXISTS (
                 SELECT 1 FROM promotion p WHERE p.org_id = e.org_id AND p.entry_id = e.id))
          OR (e.kind = 'expiry' AND NOT EXISTS (
                 SELECT 1 FROM promotion p WHERE p.org_id = e.org_id AND p.expiry_entry_id = e.id))
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Kept statements whose hash is not that of their lines, or whose balances are not those of the ledger at the
    /// beginning and the end of the month.
    list_statement_drift,
    r#"SELECT s.org_id AS "org_id!", s.org_id AS "id!", b.closing AS "expected?", s.closing AS "found?"
       FROM statement s
       CROSS JOIN LATERAL (
           SELECT COALESCE(sum(CASE WHEN credit_account = 'customer' THEN amount ELSE -amount END), 0)::bigint AS closing,
                  COALESCE(sum(CASE WHEN credit_account = 'customer' THEN amount ELSE -amount END)
                      FILTER (WHERE booked_at < s.month::timestamp AT TIME ZONE 'UTC'), 0)::bigint AS opening
           FROM entry e
           WHERE e.org_id = s.org_id AND e.booked_at < (s.month + interval '1 month') AT TIME ZONE 'UTC') b
       WHERE s.closing <> b.closing OR s.opening <> b.opening
          OR s.sha256 <> encode(sha256(convert_to(s.csv, 'UTF8')), 'hex')
          OR s.sha256 <> s.document::json->>'sha256'
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Steps of 15 minutes whose sums are not those of their usage rows.
    list_rollup_drift,
    r#"SELECT COALESCE(u.org_id, r.org_id) AS "org_id!", COALESCE(r.org_id, u.org_id) AS "id!",
              u.charge AS "expected?", r.charge AS "found?"
       FROM (SELECT org_id, bucket_of(moment_of_id(request_id)) AS bucket, sum(charge)::bigint AS charge,
                    sum(cost)::bigint AS cost, count(*) AS turns,
                    sum(input_tokens + cache_read_tokens + output_tokens)::bigint AS tokens
             FROM usage GROUP BY 1, 2) u
       FULL JOIN (SELECT org_id, bucket, sum(charge)::bigint AS charge, sum(cost)::bigint AS cost,
                         sum(turns)::bigint AS turns,
                         sum(input_tokens + cache_read_tokens + output_tokens)::bigint AS tokens
                  FROM usage_rollup WHERE first_id_at(bucket) >= (SELECT kept_from('usage')) GROUP BY 1, 2) r
           ON r.org_id = u.org_id AND r.bucket = u.bucket
       WHERE (u.charge IS DISTINCT FROM r.charge OR COALESCE(u.cost, 0) IS DISTINCT FROM r.cost
              OR u.turns IS DISTINCT FROM r.turns OR u.tokens IS DISTINCT FROM r.tokens)
         AND NOT EXISTS (SELECT 1 FROM usage_touched t WHERE t.org_id = COALESCE(u.org_id, r.org_id)
                         AND t.bucket = COALESCE(u.bucket, r.bucket))
       ORDER BY 1 LIMIT $1"#
);
check!(
    /// Receipts whose columns say another charge than their document.
    list_receipt_column_drift,
    r#"SELECT org_id AS "org_id!", id AS "id!", (document->>'charged_nano_usd')::bigint AS "expected?",
              charge AS "found?"
       FROM receipt
       WHERE status IS NOT NULL AND COALESCE((document->>'charged_nano_usd')::bigint, 0) <> charge
       ORDER BY 1, 2 LIMIT $1"#
);
check!(
    /// Days whose sums are not those of their steps.
    list_day_drift,
    r#"SELECT COALESCE(d.org_id, r.org_id) AS "org_id!", COALESCE(d.org_id, r.org_id) AS "id!",
              r.charge AS "expected?", d.charge AS "found?"
       FROM (SELECT org_id, bucket, sum(charge)::bigint AS charge, sum(cost)::bigint AS cost, sum(turns)::bigint AS turns
             FROM usage_day GROUP BY 1, 2) d
       FULL JOIN (SELECT org_id, day_of(bucket) AS bucket, sum(charge)::bigint AS charge, sum(cost)::bigint AS cost,
                         sum(turns)::bigint AS turns
                  FROM usage_rollup GROUP BY 1, 2) r ON r.org_id = d.org_id AND r.bucket = d.bucket
       WHERE (d.charge, d.cost, d.turns) IS DISTINCT FROM (r.charge, r.cost, r.turns)
       ORDER BY 1 LIMIT $1"#
);
check!(
    /// Days of time zones whose sums are not those of their steps.
    list_zone_day_drift,
    r#"SELECT COALESCE(d.org_id, r.org_id) AS "org_id!", COALESCE(d.org_id, r.org_id) AS "id!",
              r.charge AS "expected?", d.charge AS "found?"
       FROM (SELECT z.org_id, z.phase, d.bucket, sum(d.charge)::bigint AS charge, sum(d.cost)::bigint AS cost,
                    sum(d.turns)::bigint AS turns
             FROM usage_zone z JOIN usage_zone_day d ON d.org_id = z.org_id AND d.phase = z.phase
             WHERE z.is_summed GROUP BY 1, 2, 3) d
       FULL JOIN (SELECT z.org_id, z.phase, date_bin('1 day', r.bucket,
                             timestamptz '2001-01-01 00:00:00+00' + z.phase * interval '15 minutes') AS bucket,
                         sum(r.charge)::bigint AS charge, sum(r.cost)::bigint AS cost, sum(r.turns)::bigint AS turns
                  FROM usage_zone z JOIN usage_rollup r ON r.org_id = z.org_id
                  WHERE z.is_summed GROUP BY 1, 2, 3) r
           ON r.org_id = d.org_id AND r.phase = d.phase AND r.bucket = d.bucket
       WHERE (d.charge, d.cost, d.turns) IS DISTINCT FROM (r.charge, r.cost, r.turns)
       ORDER BY 1 LIMIT $1"#
);
