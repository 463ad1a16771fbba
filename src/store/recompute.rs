//! Usage rows with their holds, entries and receipts, page by page, for the recomputation of charges. Reads only.

use super::{OrgScope, StoreError};
use crate::{
    books::recompute::{HoldRow, TurnRow},
    domain::ids::{HoldId, ReceiptId, RequestId},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// One request's rows.
#[derive(Clone, Debug)]
pub struct RequestPage {
    pub id: RequestId,
    pub turns: Vec<TurnRow>,
    pub receipt: Option<String>,
}

/// Requests that have usage rows, with ids from `from` (or after `after`) up to `to`, at most `limit` of them.
pub async fn list_requests(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (Uuid, Uuid),
    after: Option<RequestId>,
    limit: i64,
) -> Result<Vec<RequestPage>, StoreError> {
    let rows = sqlx::query!(
        r#"WITH page AS MATERIALIZED (
               SELECT DISTINCT request_id FROM usage
               WHERE org_id = $1 AND request_id >= $2 AND request_id < $3 AND ($4::uuid IS NULL OR request_id > $4)
               ORDER BY request_id LIMIT $5
           ), held AS MATERIALIZED (
               SELECT h.request_id, h.turn, h.id, h.state, h.cost, h.charge, h.margin_bps
               FROM hold h
               WHERE h.org_id = $1 AND NOT h.own_key AND h.request_id IN (SELECT request_id FROM page)
                 -- A hold is made after its request began, at most an hour later.
                 AND h.id >= (SELECT first_id_at(moment_of_id(min(request_id::text)::uuid)) FROM page)
                 AND h.id < (SELECT first_id_at(moment_of_id(max(request_id::text)::uuid) + interval '1 hour') FROM page)
           )
           SELECT u.request_id, u.turn, u.byok, u.flag, u.cost, u.charge, u.stated,
                  ARRAY[u.input_tokens, u.cache_read_tokens, u.cache_write_tokens, u.cache_write_1h_tokens,
                        u.audio_input_tokens, u.image_input_tokens, u.output_tokens, u.reasoning_tokens,
                        u.audio_output_tokens, u.image_output_tokens, u.images, u.input_images, u.characters,
                        u.audio_ms, u.searches, u.queries, u.pages] AS "counts!",
                  h.state AS "state?", h.cost AS hold_cost, h.charge AS hold_charge, h.margin_bps AS "margin_bps?",
                  e.charge AS entries_charge, e.cost AS entries_cost, c.charge AS corrections_charge,
                  c.cost AS corrections_cost,
                  CASE WHEN u.turn = first_value(u.turn) OVER (PARTITION BY u.request_id ORDER BY u.turn)
                       THEN r.document::text END AS "receipt?"
           FROM page p
           JOIN usage u ON u.org_id = $1 AND u.request_id = p.request_id AND u.request_id >= $2 AND u.request_id < $3
           LEFT JOIN held h ON h.request_id = u.request_id AND h.turn = u.turn
           LEFT JOIN LATERAL (
               SELECT sum(CASE WHEN e.debit_account = 'customer' THEN e.amount ELSE -e.amount END)::bigint AS charge,
                      sum(CASE WHEN e.debit_account = 'customer' THEN e.cost ELSE -e.cost END)::bigint AS cost
               FROM entry e WHERE e.org_id = $1 AND e.hold_id = h.id) e ON h.id IS NOT NULL
           LEFT JOIN LATERAL (
               SELECT sum(CASE WHEN e.debit_account = 'customer' THEN e.amount ELSE -e.amount END)::bigint AS charge,
                      sum(CASE WHEN e.debit_account = 'customer' THEN e.cost ELSE -e.cost END)::bigint AS cost
               FROM entry e WHERE e.org_id = $1 AND e.corrects_hold_id = h.id) c ON h.id IS NOT NULL
           LEFT JOIN receipt r ON r.org_id = $1 AND r.id = u.request_id
           ORDER BY u.request_id, u.turn"#,
        scope.uuid(),
        from,
        to,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    let mut pages: Vec<RequestPage> = Vec::new();
    for row in rows {
        let id = RequestId(row.request_id);
        let sum = |first: Option<i64>, more: Option<i64>| match (first, more) {
            (None, None) => None,
            (first, more) => Some(first.unwrap_or(0).saturating_add(more.unwrap_or(0))),
        };
        let hold = row.state.map(|state| HoldRow {
            is_open: state == "open",
            cost: row.hold_cost.unwrap_or(0),
            charge: row.hold_charge.unwrap_or(0),
            margin_bps: row.margin_bps.and_then(|bps| u32::try_from(bps).ok()).unwrap_or(0),
            entries_charge: sum(row.entries_charge, row.corrections_charge),
            entries_cost: sum(row.entries_cost, row.corrections_cost),
        });
        let mut counts = [0; 17];
        counts.iter_mut().zip(row.counts).for_each(|(place, count)| *place = count);
        let turn = TurnRow {
            turn: row.turn,
            byok: row.byok,
            flag: row.flag,
            counts,
            stated: row.stated,
            cost: row.cost,
            charge: row.charge,
            hold,
        };
        match pages.last_mut().filter(|page| page.id == id) {
            Some(page) => page.turns.push(turn),
            None => pages.push(RequestPage { id, turns: vec![turn], receipt: row.receipt }),
        }
    }
    Ok(pages)
}

/// Charged holds with ids in a range that have no usage row, after `after`, at most `limit`: the hold and its request.
pub async fn list_holds_without_usage(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (Uuid, Uuid),
    after: Option<HoldId>,
    limit: i64,
) -> Result<Vec<(HoldId, RequestId, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT h.id, h.request_id, h.charge AS "charge!" FROM hold h
           WHERE h.org_id = $1 AND h.id >= $2 AND h.id < $3 AND ($4::uuid IS NULL OR h.id > $4) AND h.charge > 0
             AND h.request_id >= (SELECT kept_from('usage'))
             AND NOT EXISTS (SELECT 1 FROM usage u
                             WHERE u.org_id = h.org_id AND u.request_id = h.request_id AND u.turn = h.turn)
           ORDER BY h.id LIMIT $5"#,
        scope.uuid(),
        from,
        to,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (HoldId(row.id), RequestId(row.request_id), row.charge)).collect())
}

/// Receipts with ids in a range that name a charge although there is no usage row, after `after`, at most `limit`.
pub async fn list_receipts_without_usage(
    connection: &mut PgConnection,
    scope: OrgScope,
    (from, to): (Uuid, Uuid),
    after: Option<ReceiptId>,
    limit: i64,
) -> Result<Vec<(ReceiptId, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"SELECT r.id, COALESCE(r.charge, (r.document->>'charged_nano_usd')::bigint, 0) AS "charge!" FROM receipt r
           WHERE r.org_id = $1 AND r.id >= $2 AND r.id < $3 AND ($4::uuid IS NULL OR r.id > $4)
             AND r.id >= (SELECT kept_from('usage'))
             AND COALESCE(r.charge, (r.document->>'charged_nano_usd')::bigint, 0) <> 0
             AND NOT EXISTS (SELECT 1 FROM usage u WHERE u.org_id = r.org_id AND u.request_id = r.id)
           ORDER BY r.id LIMIT $5"#,
        scope.uuid(),
        from,
        to,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (ReceiptId(row.id), row.charge)).collect())
}
