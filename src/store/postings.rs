//! Entries that no request creates: credit in and out, refunds, corrections. Each is one statement that changes the
//! balance together with its entry; an external event is posted once.

use super::{OrgScope, StoreError};
use crate::{
    books::entry::EntryKind,
    domain::{
        ids::{EntryId, OrgId},
        money::NanoUsd,
    },
};
use sqlx::PgConnection;
use time::OffsetDateTime;

/// One entry to post.
#[derive(Clone, Copy, Debug)]
pub struct Posting<'a> {
    pub kind: EntryKind,
    /// Not zero; a positive amount adds to the organization's credit.
    pub amount: NanoUsd,
    /// The event's own identifier; the same one is posted once, for any organization.
    pub external_id: Option<&'a str>,
    pub reason: &'a str,
    /// The author: a person's id, `cli`, `stripe`; empty for the gateway itself.
    pub actor: &'a str,
    pub entry_id: EntryId,
    pub now: OffsetDateTime,
}

/// The result of a posting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PostingOutcome {
    Posted,
    /// This event was posted before, to this organization and with this amount; nothing changed.
    Repeat,
    /// This event was posted before with another amount or to another organization; nothing changed.
    Conflict {
        org_id: OrgId,
        amount: NanoUsd,
    },
    /// The organization has no credit account; nothing changed.
    NoAccount,
    /// The balance would be beyond [`BALANCE_MAX`] on either side; nothing changed.
    TooMuch,
    /// The kind cannot change credit in this direction; nothing changed.
    WrongWay,
}

/// The maximum of an account: far above any payment, and far enough below the column's range that no sum of the ledger
/// overflows.
pub const BALANCE_MAX: NanoUsd = NanoUsd(1_000_000_000_000_000_000);

/// Posts an entry, once per external identifier.
pub async fn post(
    connection: &mut PgConnection,
    scope: OrgScope,
    posting: &Posting<'_>,
) -> Result<PostingOutcome, StoreError> {
    let Some((debit, credit)) = posting.kind.sides(posting.amount > NanoUsd::ZERO) else {
        return Ok(PostingOutcome::WrongWay);
    };
    let size = posting.amount.0.saturating_abs();
    if size == 0 {
        return Ok(PostingOutcome::WrongWay);
    }
    if size > BALANCE_MAX.0 {
        return Ok(PostingOutcome::TooMuch);
    }
    let found = sqlx::query!(
        r#"WITH account AS MATERIALIZED (
               SELECT org_id, posted <= $8 - $3::bigint AND posted >= -$8::bigint - $3::bigint AS fits
               FROM credit_account WHERE org_id = $1 FOR UPDATE
           ), event AS (
               INSERT INTO topup (external_id, org_id, amount, entry_id, created_at)
               SELECT $2, org_id, $11, $4, $5 FROM account WHERE $2::text IS NOT NULL AND fits
               ON CONFLICT (external_id) DO NOTHING
               RETURNING org_id
           ), fresh AS (
               SELECT org_id FROM account WHERE $2::text IS NULL AND fits UNION ALL SELECT org_id FROM event
           ), posted AS (
               UPDATE credit_account c SET posted = c.posted + $3 FROM fresh f WHERE c.org_id = f.org_id
           ), posting AS (
               INSERT INTO entry (org_id, id, kind, debit_account, credit_account, amount, note, actor, created_at)
               SELECT org_id, $4, $6, $9, $10, $11, $7, $12, $5 FROM fresh
           )
           SELECT EXISTS (SELECT 1 FROM account) AS "account!", EXISTS (SELECT 1 FROM fresh) AS "fresh!",
                  EXISTS (SELECT 1 FROM account WHERE fits) AS "fits!""#,
        scope.uuid(),
        posting.external_id,
        posting.amount.0,
        posting.entry_id.0,
        posting.now,
        posting.kind.as_str(),
        posting.reason,
        BALANCE_MAX.0,
        debit.as_str(),
        credit.as_str(),
        size,
        posting.actor,
    )
    .fetch_one(&mut *connection)
    .await?;
    match (found.account, found.fresh, posting.external_id) {
        (false, ..) => Ok(PostingOutcome::NoAccount),
        (true, true, _) => Ok(PostingOutcome::Posted),
        (true, false, external_id) => {
            // A separate statement: the one above cannot see an event that was committed while it waited.
            let first = sqlx::query!("SELECT org_id, amount FROM topup WHERE external_id = $1", external_id)
                .fetch_optional(connection)
                .await?;
            let Some(first) = first else {
                // The event is new, so only the limit can have refused it.
                return if found.fits { Err(StoreError::Contention) } else { Ok(PostingOutcome::TooMuch) };
            };
            Ok(if first.org_id == scope.uuid() && first.amount == size {
                PostingOutcome::Repeat
            } else {
                PostingOutcome::Conflict { org_id: OrgId(first.org_id), amount: NanoUsd(first.amount) }
            })
        }
    }
}

/// The organization that an event was posted to.
pub async fn find_event(
    connection: &mut PgConnection,
    external_id: &str,
) -> Result<Option<OrgScope>, StoreError> {
    let found = sqlx::query_scalar!("SELECT org_id FROM topup WHERE external_id = $1", external_id);
    Ok(found.fetch_optional(connection).await?.map(|id| OrgScope::of(OrgId(id))))
}
