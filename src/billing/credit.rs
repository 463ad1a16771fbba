//! Entries that people and payment providers make, and promotional credit: it is used before all other credit, and the
//! rest is taken back at its end by a separate entry. Entries are never edited; another entry corrects a wrong one.

use crate::{
    books::{
        entry::EntryKind,
        promotion::{Lot, burn, expiring},
    },
    domain::{ambient::Ambient, ids::EntryId, money::NanoUsd},
    store::{
        OrgScope, StoreError,
        audit_log::{self, AuditEntry},
        postings::{self, Posting, PostingOutcome},
        promotions,
    },
};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// An entry that a person or payment provider requests.
#[derive(Clone, Debug)]
pub struct NewEntry<'a> {
    pub kind: EntryKind,
    /// A positive amount adds to the organization's credit.
    pub amount: NanoUsd,
    pub external_id: Option<&'a str>,
    pub reason: &'a str,
    /// A person's id, `cli` or `stripe`.
    pub actor: &'a str,
    /// Of promotional credit.
    pub expires_at: Option<OffsetDateTime>,
}

/// The kinds that the operator makes.
pub const OPERATOR_KINDS: [EntryKind; 5] =
    [EntryKind::Grant, EntryKind::Topup, EntryKind::Promotion, EntryKind::Refund, EntryKind::Adjustment];

/// Posts an entry and its line in the audit log, in the caller's transaction.
pub async fn post(
    connection: &mut PgConnection,
    ambient: &Ambient,
    scope: OrgScope,
    entry: &NewEntry<'_>,
) -> Result<(EntryId, PostingOutcome), StoreError> {
    let entry_id = EntryId(ambient.uuid());
    // Charges until now use only the older lots.
    if entry.expires_at.is_some() && count_burned(connection, scope).await?.is_none() {
        return Ok((entry_id, PostingOutcome::NoAccount));
    }
    let posting = Posting {
        kind: entry.kind,
        amount: entry.amount,
        external_id: entry.external_id,
        reason: entry.reason,
        actor: entry.actor,
        entry_id,
        now: ambient.now(),
    };
    let outcome = postings::post(connection, scope, &posting).await?;
    if outcome != PostingOutcome::Posted {
        return Ok((entry_id, outcome));
    }
    if let Some(expires_at) = entry.expires_at {
        promotions::insert(connection, scope, entry_id, entry.amount, expires_at).await?;
    }
    let action = format!("credit.{}", entry.kind.as_str());
    let subject = entry_id.to_string();
    let changes = json!({
        "amountUsd": [null, entry.amount.to_string()],
        "reason": [null, entry.reason],
        "externalId": [null, entry.external_id],
    });
    let line =
        AuditEntry { org: Some(scope.org_id()), actor: entry.actor, action: &action, subject: &subject };
    audit_log::insert_with(connection, ambient, &line, Some(&changes)).await?;
    Ok((entry_id, outcome))
}

/// Counts how much charges have used of the open lots until now. `None`: no account. Locks the account.
async fn count_burned(
    connection: &mut PgConnection,
    scope: OrgScope,
) -> Result<Option<promotions::LockedAccount>, StoreError> {
    let Some(account) = promotions::lock_account(connection, scope).await? else { return Ok(None) };
    let lots = promotions::list_open(connection, scope).await?;
    // All lots are counted together, so that they share one time; a later one would belong to a lot created since.
    let Some(after) = lots.iter().map(|lot| lot.counted_until).min() else { return Ok(Some(account)) };
    let charged = promotions::charged_between(connection, scope, after, account.now).await?;
    let remaining: Vec<Lot> = lots.iter().map(|lot| Lot { remaining: lot.remaining }).collect();
    for (lot, burned) in lots.iter().zip(burn(&remaining, charged)) {
        promotions::note_burned(connection, scope, lot.entry_id, burned, account.now).await?;
    }
    Ok(Some(account))
}

/// Takes back the rest of an organization's promotional credit whose time is over. A lot waits for requests that began
/// before its end and still have a hold. Returns the number of closed lots.
pub async fn expire(
    connection: &mut PgConnection,
    ambient: &Ambient,
    scope: OrgScope,
) -> Result<usize, StoreError> {
    let Some(account) = count_burned(connection, scope).await? else { return Ok(0) };
    let mut balance = account.posted;
    let mut closed = 0_usize;
    for lot in promotions::list_open(connection, scope).await? {
        if !lot.is_due || lot.is_held {
            continue;
        }
        let amount = expiring(lot.remaining, balance);
        let entry_id = EntryId(ambient.uuid());
        let expiry = (amount > NanoUsd::ZERO).then_some(entry_id);
        if expiry.is_some() {
            let reason = format!("promotional credit {} expired on {}", lot.entry_id, lot.expires_at.date());
            let posting = Posting {
                kind: EntryKind::Expiry,
                amount: NanoUsd(amount.0.saturating_neg()),
                external_id: None,
                reason: &reason,
                actor: "",
                entry_id,
                now: ambient.now(),
            };
            if postings::post(connection, scope, &posting).await? != PostingOutcome::Posted {
                continue;
            }
            balance = NanoUsd(balance.0.saturating_sub(amount.0));
        }
        promotions::close(connection, scope, lot.entry_id, expiry, account.now).await?;
        closed = closed.saturating_add(1);
    }
    Ok(closed)
}
