//! What customers and finance read: balance, ledger, usage. Reads only, always within one organization, and
//! bounded in range and rows. Money leaves as decimal strings, exact to the nano-dollar.

use crate::{
    domain::{
        ids::{ApiKeyId, EntryId},
        money::NanoUsd,
    },
    store::{
        OrgScope, StoreError, entries,
        usage::{self, GroupBy, UsageSum},
    },
};
use serde::{Serialize, Serializer};
use sqlx::PgConnection;
use time::{Date, Duration, OffsetDateTime, Time, format_description::well_known::Rfc3339};

/// Entries on one page.
pub const PAGE_MAX: i64 = 200;
/// Longest range of one usage report.
pub const RANGE_DAYS_MAX: i64 = 400;
/// Groups in one usage report.
const GROUPS_MAX: i64 = 10_000;

/// A query that cannot be answered as asked.
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
        let to = match to {
            Some(text) => parse_moment(text, Duration::DAY).ok_or(RangeError::Syntax("to"))?,
            None => now + Duration::MILLISECOND,
        };
        let from = match from {
            Some(text) => parse_moment(text, Duration::ZERO).ok_or(RangeError::Syntax("from"))?,
            None => to.checked_sub(Duration::days(30)).ok_or(RangeError::Order)?,
        };
        if from >= to || to - from > Duration::days(RANGE_DAYS_MAX) {
            return Err(RangeError::Order);
        }
        Ok(Range { from, to })
    }

    /// The first moment, and the first one past the range.
    pub fn bounds(&self) -> (OffsetDateTime, OffsetDateTime) {
        (self.from, self.to)
    }
}

fn parse_moment(text: &str, after_date: Duration) -> Option<OffsetDateTime> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    match Date::parse(text, format) {
        Ok(date) => date.with_time(Time::MIDNIGHT).assume_utc().checked_add(after_date),
        Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok(),
    }
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

/// What an organization has, has set aside, and can still spend.
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
    /// `charge`, `grant`, `topup` or `refund`.
    pub kind: String,
    /// Signed as it changes the customer's balance.
    #[serde(serialize_with = "decimal")]
    pub amount_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub margin_usd: NanoUsd,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    pub note: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
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

/// Entries of `range` older than `before`, at most `limit` (1 to [`PAGE_MAX`]).
pub async fn entries(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: Range,
    before: Option<EntryId>,
    limit: i64,
) -> Result<EntryPage, StoreError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let bounds = (usage::first_id_at(range.from), usage::first_id_at(range.to));
    let mut rows = entries::list_entries(connection, scope, bounds, before, limit.saturating_add(1)).await?;
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
            created_at: row.created_at,
        })
        .collect();
    let next = if more { entries.last().map(|entry| entry.id) } else { None };
    Ok(EntryPage { entries, next })
}

/// `GET /api/usage`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub group_by: &'static str,
    pub rows: Vec<UsageLine>,
}

/// Sums of one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageLine {
    pub key: String,
    pub requests: i64,
    pub input_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_write_tokens: i64,
    pub cache_write1h_tokens: i64,
    pub output_tokens: i64,
    /// Part of `outputTokens`.
    pub reasoning_tokens: i64,
    pub audio_input_tokens: i64,
    pub image_input_tokens: i64,
    pub audio_output_tokens: i64,
    pub image_output_tokens: i64,
    pub images: i64,
    pub input_images: i64,
    pub characters: i64,
    pub audio_ms: i64,
    pub searches: i64,
    pub queries: i64,
    pub pages: i64,
    #[serde(serialize_with = "decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(serialize_with = "decimal")]
    pub charged_usd: NanoUsd,
}

/// `day`, `model`, `provider`, `key`, `byok`, `category` or `kind`.
pub fn parse_group_by(text: &str) -> Option<GroupBy> {
    GroupBy::ALL.into_iter().find(|group| group.as_str() == text)
}

/// Sums an organization's usage of `range` in groups.
pub async fn usage(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: Range,
    group_by: GroupBy,
) -> Result<UsageReport, StoreError> {
    summed(connection, scope, None, range, group_by).await
}

/// As [`usage`], of one API key alone.
pub async fn usage_of_key(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: ApiKeyId,
    range: Range,
    group_by: GroupBy,
) -> Result<UsageReport, StoreError> {
    summed(connection, scope, Some(api_key), range, group_by).await
}

async fn summed(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: Option<ApiKeyId>,
    range: Range,
    group_by: GroupBy,
) -> Result<UsageReport, StoreError> {
    let bounds = (usage::first_id_at(range.from), usage::first_id_at(range.to));
    let sums = usage::sum_by(connection, scope, api_key, group_by, bounds, GROUPS_MAX).await?;
    let rows = sums.into_iter().map(UsageLine::from).collect();
    Ok(UsageReport { from: range.from, to: range.to, group_by: group_by.as_str(), rows })
}

impl From<UsageSum> for UsageLine {
    fn from(sum: UsageSum) -> Self {
        UsageLine {
            key: sum.key,
            requests: sum.requests,
            input_tokens: sum.input,
            cache_read_tokens: sum.cache_read,
            cache_write_tokens: sum.cache_write,
            cache_write1h_tokens: sum.cache_write_1h,
            output_tokens: sum.output,
            reasoning_tokens: sum.reasoning,
            audio_input_tokens: sum.audio_input,
            image_input_tokens: sum.image_input,
            audio_output_tokens: sum.audio_output,
            image_output_tokens: sum.image_output,
            images: sum.images,
            input_images: sum.input_images,
            characters: sum.characters,
            audio_ms: sum.audio_ms,
            searches: sum.searches,
            queries: sum.queries,
            pages: sum.pages,
            provider_cost_usd: sum.cost,
            charged_usd: sum.charge,
        }
    }
}

impl UsageReport {
    /// The same rows as `text/csv` (RFC 4180), with a header line.
    pub fn to_csv(&self) -> String {
        let mut csv = format!(
            "{},requests,inputTokens,cacheReadTokens,cacheWriteTokens,cacheWrite1hTokens,outputTokens,\
             reasoningTokens,providerCostUsd,chargedUsd,audioInputTokens,imageInputTokens,audioOutputTokens,\
             imageOutputTokens,images,inputImages,characters,audioMs,searches,queries,pages\r\n",
            self.group_by
        );
        for row in &self.rows {
            csv.push_str(&quote_csv(&row.key));
            for count in [
                row.requests,
                row.input_tokens,
                row.cache_read_tokens,
                row.cache_write_tokens,
                row.cache_write1h_tokens,
                row.output_tokens,
                row.reasoning_tokens,
            ] {
                csv.push_str(&format!(",{count}"));
            }
            csv.push_str(&format!(",{},{}", row.provider_cost_usd, row.charged_usd));
            // After the money: who reads columns by their place finds the older ones where they were.
            for count in [
                row.audio_input_tokens,
                row.image_input_tokens,
                row.audio_output_tokens,
                row.image_output_tokens,
                row.images,
                row.input_images,
                row.characters,
                row.audio_ms,
                row.searches,
                row.queries,
                row.pages,
            ] {
                csv.push_str(&format!(",{count}"));
            }
            csv.push_str("\r\n");
        }
        csv
    }
}

/// A field as text: quoted where RFC 4180 asks for it, and never read as a formula by a spreadsheet (model
/// names come from customers).
fn quote_csv(field: &str) -> String {
    let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if guard.is_empty() && !field.contains([',', '"', '\r', '\n']) {
        return field.to_owned();
    }
    format!("\"{guard}{}\"", field.replace('"', "\"\""))
}

fn decimal<S: Serializer>(amount: &NanoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}
