//! Reports for customers and finance: balance and ledger; usage is in `usage_report`. Read-only, always within one
//! organization, and bounded in range and rows. Money is returned as decimal strings, exact to the nano-dollar.

use crate::{
    books::{
        periods::Zone,
        table::{Cell, TableWriter},
    },
    domain::{ids::EntryId, money::NanoUsd},
    store::{OrgScope, StoreError, entries},
};
use serde::{Serialize, Serializer};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

/// Entries on one page.
pub const PAGE_MAX: i64 = 200;
/// Longest range of one usage report.
pub const RANGE_DAYS_MAX: i64 = 400;
/// How far the database's clock may be ahead of this process's.
const CLOCK_AHEAD_MAX: Duration = Duration::minutes(5);

/// A query that cannot be answered.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RangeError {
    #[error("`{0}` must be a date (YYYY-MM-DD) or an RFC 3339 time")]
    Syntax(&'static str),
    #[error("`from` must lie before `to`, and at most {RANGE_DAYS_MAX} days")]
    Order,
}

/// A span of time, `from` included and `to` excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    from: OffsetDateTime,
    to: OffsetDateTime,
}

impl Range {
    /// Dates are UTC days; a date as `to` includes that day. Missing: the 30 days up to `now`.
    pub fn parse(from: Option<&str>, to: Option<&str>, now: OffsetDateTime) -> Result<Range, RangeError> {
        Self::parse_in(&Zone::utc(), from, to, now)
    }

    /// The same with the days of a time zone.
    pub fn parse_in(
        zone: &Zone,
        from: Option<&str>,
        to: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Range, RangeError> {
        let to = match to {
            Some(text) => parse_moment(zone, text, 1).ok_or(RangeError::Syntax("to"))?,
            None => now + Duration::MILLISECOND,
        };
        let from = match from {
            Some(text) => parse_moment(zone, text, 0).ok_or(RangeError::Syntax("from"))?,
            None => to.checked_sub(Duration::days(30)).ok_or(RangeError::Order)?,
        };
        if from >= to || to - from > Duration::days(RANGE_DAYS_MAX) {
            return Err(RangeError::Order);
        }
        Ok(Range { from, to })
    }

    /// The same for bookings, whose times are the database's: its clock may be ahead of this process's.
    pub fn of_bookings(
        from: Option<&str>,
        to: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Range, RangeError> {
        let range = Self::parse(from, to, now)?;
        Ok(match to {
            None => Range { to: range.to + CLOCK_AHEAD_MAX, ..range },
            Some(_) => range,
        })
    }

    /// The span of the same length before it.
    #[must_use]
    pub fn before(&self) -> Range {
        Range { from: self.from - (self.to - self.from), to: self.from }
    }

    /// The first moment, and the first one past the range.
    pub fn bounds(&self) -> (OffsetDateTime, OffsetDateTime) {
        (self.from, self.to)
    }
}

/// A date is its first moment in the zone, or that of a later day.
fn parse_moment(zone: &Zone, text: &str, days_later: i64) -> Option<OffsetDateTime> {
    zone.midnight(text, days_later).or_else(|| OffsetDateTime::parse(text, &Rfc3339).ok())
}

/// `GET /api/billing/balance`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balance {
    /// May be below zero by the overshoot of a request without an output limit.
    #[serde(serialize_with = "decimal")]
    pub balance_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub held_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub available_usd: NanoUsd,
}

/// The balance of an organization, its holds, and its available credit.
pub async fn balance(connection: &mut PgConnection, scope: OrgScope) -> Result<Balance, StoreError> {
    let account = entries::get_balance(connection, scope).await?.unwrap_or_default();
    let available = NanoUsd(account.posted.0.saturating_sub(account.held.0));
    Ok(Balance { balance_usd: account.posted, held_usd: account.held, available_usd: available })
}

/// One line of `GET /api/billing/ledger`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryLine {
    pub id: EntryId,
    /// `charge`, `refund`, `grant`, `topup`, `promotion`, `expiry`, `adjustment`, `payment_refund`, `dispute` or
    /// `dispute_reversal`.
    pub kind: String,
    /// With the sign of its effect on the customer's balance.
    #[serde(serialize_with = "decimal")]
    pub amount_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub margin_usd: NanoUsd,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The reason of the entry.
    pub note: String,
    /// The author: a person's id, `cli`, `stripe`; absent for the gateway itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub actor: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When the ledger recorded it: this decides its month.
    #[serde(with = "time::serde::rfc3339")]
    pub booked_at: OffsetDateTime,
}

/// A page of entries, newest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryPage {
    pub entries: Vec<EntryLine>,
    /// Pass as `before` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<EntryId>,
}

/// Entries booked in `range` before the entry `before`, at most `limit` (1 to [`PAGE_MAX`]).
pub async fn entries(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: Range,
    before: Option<EntryId>,
    limit: i64,
) -> Result<EntryPage, StoreError> {
    page(connection, scope, range, before, limit.clamp(1, PAGE_MAX)).await
}

async fn page(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: Range,
    before: Option<EntryId>,
    limit: i64,
) -> Result<EntryPage, StoreError> {
    let mut rows =
        entries::list_entries(connection, scope, range.bounds(), before, limit.saturating_add(1)).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let entries: Vec<EntryLine> = rows
        .into_iter()
        .map(|row| EntryLine {
            id: row.id,
            amount_usd: if row.to_customer { row.amount } else { NanoUsd(-row.amount.0) },
            kind: row.kind,
            provider_cost_usd: row.cost,
            margin_usd: row.margin,
            request_id: row.request_id.map(|id| id.to_string()),
            note: row.note,
            actor: row.actor,
            created_at: row.created_at,
            booked_at: row.booked_at,
        })
        .collect();
    let next = if more { entries.last().map(|entry| entry.id) } else { None };
    Ok(EntryPage { entries, next })
}

/// Entries read at once for a CSV.
const EXPORT_PAGE: i64 = 1_000;
const ENTRY_COLUMNS: [&str; 10] = [
    "bookedAt",
    "id",
    "kind",
    "amountUsd",
    "providerCostUsd",
    "marginUsd",
    "requestId",
    "note",
    "actor",
    "createdAt",
];

/// Writes all entries booked in `range` as CSV, newest first: pieces of text go to `send`, which returns whether more
/// is wanted.
pub async fn write_entries<F>(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: Range,
    send: impl Fn(Vec<u8>) -> F,
) -> Result<(), StoreError>
where
    F: Future<Output = bool>,
{
    let mut table = TableWriter::default();
    table.row(ENTRY_COLUMNS.map(Cell::Text));
    let mut before = None;
    loop {
        let page = page(connection, scope, range, before, EXPORT_PAGE).await?;
        page.entries.iter().for_each(|entry| write_entry(&mut table, entry));
        if !send(table.take()).await || page.next.is_none() {
            return Ok(());
        }
        before = page.next;
    }
}

fn write_entry(table: &mut TableWriter, entry: &EntryLine) {
    let at = |moment: OffsetDateTime| moment.format(&Rfc3339).unwrap_or_default();
    let figures = [entry.amount_usd, entry.provider_cost_usd, entry.margin_usd].map(|usd| usd.to_string());
    let [amount, cost, margin] = &figures;
    table.row([
        Cell::Figure(&at(entry.booked_at)),
        Cell::Text(&entry.id.to_string()),
        Cell::Text(&entry.kind),
        Cell::Figure(amount),
        Cell::Figure(cost),
        Cell::Figure(margin),
        Cell::Text(entry.request_id.as_deref().unwrap_or_default()),
        Cell::Text(&entry.note),
        Cell::Text(&entry.actor),
        Cell::Figure(&at(entry.created_at)),
    ]);
}

pub(super) fn decimal<S: Serializer>(amount: &NanoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

pub use super::usage_report::{UsageLine, UsageReport, parse_group_by, usage, usage_of_key};
