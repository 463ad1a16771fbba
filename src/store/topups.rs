//! Incoming credit: grants by the operator and payments, each external event once. A short form of a posting.

use super::{
    OrgScope, StoreError,
    postings::{self, Posting},
};
use crate::{
    books::entry::EntryKind,
    domain::{ids::EntryId, money::NanoUsd},
};
use sqlx::PgConnection;
use time::OffsetDateTime;

pub use postings::{BALANCE_MAX, PostingOutcome as CreditOutcome};

/// Where the credit comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreditKind {
    /// Given by the operator.
    Grant,
    /// Paid by the customer.
    Topup,
}

/// Credit to add to an organization.
#[derive(Clone, Copy, Debug)]
pub struct Credit<'a> {
    pub kind: CreditKind,
    /// More than zero.
    pub amount: NanoUsd,
    /// The payment's own identifier; it is credited once, for any organization.
    pub external_id: Option<&'a str>,
    pub note: &'a str,
    pub entry_id: EntryId,
    pub now: OffsetDateTime,
}

/// Adds credit, once per external identifier.
pub async fn grant(
    connection: &mut PgConnection,
    scope: OrgScope,
    credit: &Credit<'_>,
) -> Result<CreditOutcome, StoreError> {
    let kind = match credit.kind {
        CreditKind::Grant => EntryKind::Grant,
        CreditKind::Topup => EntryKind::Topup,
    };
    let Credit { amount, external_id, note: reason, entry_id, now, .. } = *credit;
    let posting = Posting { kind, amount, external_id, reason, actor: "", entry_id, now };
    postings::post(connection, scope, &posting).await
}
