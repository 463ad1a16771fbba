//! Recomputes every charge of a time range from its usage and the prices in its receipt, and compares usage, receipt,
//! hold and entries. It reads page by page, so it needs the same memory for any number of rows, and can run while a
//! gateway is running: a request that has just ended is read again before it counts as a difference.

use crate::{
    books::recompute::{Difference, RequestRows, check},
    domain::ids::{HoldId, OrgId, ReceiptId, RequestId},
    store::{
        OrgScope, StoreError, organizations,
        partitions::{self, Partitioned},
        recompute::{self, RequestPage},
        usage::first_id_at,
    },
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// Requests read at once.
const PAGE: i64 = 2_000;
/// Organizations read at once.
const ORGANIZATIONS: i64 = 500;

/// What was recomputed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recomputed {
    pub organizations: u64,
    pub requests: u64,
    pub turns: u64,
    pub differences: u64,
    /// Requests whose receipts were dropped after their retention, so that only usage and ledger were compared.
    pub without_receipt: u64,
}

/// What is recomputed.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    pub organization: Option<OrgId>,
}

/// Recomputes, and passes each difference with its organization to `report`.
pub async fn recompute(
    connection: &mut PgConnection,
    extent: Extent,
    mut report: impl FnMut(OrgId, &Difference) + Send,
) -> Result<Recomputed, StoreError> {
    let mut done = Recomputed::default();
    let mut after = None;
    loop {
        let ids = match extent.organization {
            Some(id) => vec![id],
            None => {
                let page = organizations::list(connection, after, ORGANIZATIONS).await?;
                page.into_iter().map(|organization| organization.id).collect()
            }
        };
        let Some(last) = ids.last() else { return Ok(done) };
        after = Some(*last);
        for id in ids {
            if let Some(scope) = organizations::find_scope(connection, id).await? {
                done.organizations += 1;
                one(connection, scope, extent, &mut done, &mut report).await?;
            }
        }
        if extent.organization.is_some() {
            return Ok(done);
        }
    }
}

async fn one(
    connection: &mut PgConnection,
    scope: OrgScope,
    extent: Extent,
    done: &mut Recomputed,
    report: &mut (impl FnMut(OrgId, &Difference) + Send),
) -> Result<(), StoreError> {
    let ids = (first_id_at(extent.from), first_id_at(extent.to));
    let receipts_from = partitions::kept_from(connection, Partitioned::Receipts).await?;
    let mut after: Option<RequestId> = None;
    loop {
        let page = recompute::list_requests(connection, scope, ids, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for request in &page {
            done.requests += 1;
            done.turns += u64::try_from(request.turns.len()).unwrap_or(0);
            let mut differences = differences(request, receipts_from, done);
            if !differences.is_empty() {
                // Its receipt or its settle may not have been written when the page was read.
                let next = Uuid::from_u128(request.id.0.as_u128().saturating_add(1));
                let again =
                    recompute::list_requests(connection, scope, (request.id.0, next), None, 1).await?;
                differences = again.first().map_or_else(Vec::new, |again| check_one(again, receipts_from));
            }
            for difference in &differences {
                done.differences += 1;
                report(scope.org_id(), difference);
            }
        }
    }
    orphans(connection, scope, ids, done, report).await
}

fn differences(request: &RequestPage, receipts_from: Uuid, done: &mut Recomputed) -> Vec<Difference> {
    if request.receipt.is_none() && request.id.0 < receipts_from {
        done.without_receipt += 1;
    }
    check_one(request, receipts_from)
}

fn check_one(request: &RequestPage, receipts_from: Uuid) -> Vec<Difference> {
    let id = request.id.to_string();
    let mut found =
        check(&RequestRows { id: &id, turns: &request.turns, receipt: request.receipt.as_deref() });
    if request.receipt.is_none() && request.id.0 < receipts_from {
        found.retain(|difference| difference.table != "receipt");
    }
    found
}

/// Charges of the ledger, and receipts, without a usage row.
async fn orphans(
    connection: &mut PgConnection,
    scope: OrgScope,
    ids: (Uuid, Uuid),
    done: &mut Recomputed,
    report: &mut (impl FnMut(OrgId, &Difference) + Send),
) -> Result<(), StoreError> {
    let mut missing = |table: &'static str, row: String, charge: i64| {
        done.differences += 1;
        let difference = Difference {
            table,
            row,
            figure: "usage row".to_owned(),
            expected: format!("one of {charge} nano-USD"),
            found: "none".to_owned(),
        };
        report(scope.org_id(), &difference);
    };
    let mut after: Option<HoldId> = None;
    loop {
        let page = recompute::list_holds_without_usage(connection, scope, ids, after, PAGE).await?;
        for (hold, request, charge) in &page {
            missing("hold", format!("{hold} of {request}"), *charge);
        }
        let Some((last, ..)) = page.last() else { break };
        after = Some(*last);
    }
    let mut after: Option<ReceiptId> = None;
    loop {
        let page = recompute::list_receipts_without_usage(connection, scope, ids, after, PAGE).await?;
        for (receipt, charge) in &page {
            missing("receipt", receipt.to_string(), *charge);
        }
        let Some((last, _)) = page.last() else { return Ok(()) };
        after = Some(*last);
    }
}
