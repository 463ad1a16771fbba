//! Usage in groups: by one or two of its properties, with filters, in the days of a time zone, compared with the
//! previous range of the same length. As JSON with limits; as CSV of any size, row by row.

use super::report::{Range, RangeError};
use crate::{
    books::{
        cover,
        periods::{PeriodError, Step, Zone},
        table::{Cell, TableWriter},
    },
    domain::{ids::ApiKeyId, money::NanoUsd},
    store::{
        OrgScope, StoreError,
        rollups::{self, GroupBy, Grouping, UsageFilter, UsageSum},
        zone_days,
    },
};
use serde::Serialize;
use sqlx::PgConnection;
use std::collections::HashMap;
use time::OffsetDateTime;

/// Groups in one JSON report; a CSV has all.
pub const GROUPS_MAX: usize = 10_000;

/// A report that cannot be created.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QueryError {
    #[error(transparent)]
    Range(#[from] RangeError),
    #[error(transparent)]
    Period(#[from] PeriodError),
    #[error("`group_by` takes one property or two different ones, at most one of them day, hour or month")]
    Groups,
}

/// A usage report to be made.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    range: Range,
    zone: Zone,
    zone_name: String,
    first: GroupBy,
    second: Option<GroupBy>,
    filter: UsageFilter,
}

/// A query with the named steps of its range.
struct Steps {
    range: (OffsetDateTime, OffsetDateTime),
    grouping: Grouping,
    names: Vec<String>,
}

impl UsageQuery {
    /// Of a range in UTC, by one property.
    pub fn by(range: Range, first: GroupBy) -> UsageQuery {
        let (zone, zone_name) = (Zone::utc(), "UTC".to_owned());
        UsageQuery { range, zone, zone_name, first, second: None, filter: UsageFilter::default() }
    }

    /// The days, hours and months are those of the zone.
    #[must_use]
    pub fn in_zone(self, zone: Zone, name: &str) -> UsageQuery {
        UsageQuery { zone, zone_name: name.to_owned(), ..self }
    }

    /// By a second property, too.
    pub fn and_by(self, second: GroupBy) -> Result<UsageQuery, QueryError> {
        if self.first == second || (self.first.is_time() && second.is_time()) {
            return Err(QueryError::Groups);
        }
        Ok(UsageQuery { second: Some(second), ..self })
    }

    #[must_use]
    pub fn filtered(self, filter: UsageFilter) -> UsageQuery {
        UsageQuery { filter, ..self }
    }

    /// Refuses a query with too many steps, before anything is read.
    pub fn check(&self) -> Result<(), QueryError> {
        self.steps(self.range).map(|_| ())
    }

    /// The days of its zone whose sums would greatly reduce the rows that its report reads; see
    /// [`cover::phases_wanted`].
    pub fn zone_days_wanted(&self) -> Vec<i16> {
        let steps = self.steps(self.range);
        steps.map_or_else(|_| Vec::new(), |steps| cover::phases_wanted(steps.range, &steps.grouping.steps))
    }

    fn steps(&self, range: Range) -> Result<Steps, QueryError> {
        let (from, to) = range.bounds();
        let step = [Some(self.first), self.second].into_iter().flatten().find_map(|group| match group {
            GroupBy::Hour => Some(Step::Hour),
            GroupBy::Day => Some(Step::Day),
            GroupBy::Month => Some(Step::Month),
            _ => None,
        });
        let steps = step.map_or(Ok(Vec::new()), |step| self.zone.steps(step, from, to))?;
        let (begins, names) = steps.into_iter().unzip();
        let grouping = Grouping { first: self.first, second: self.second, steps: begins };
        Ok(Steps { range: (from, to), grouping, names })
    }

    fn group_by(&self) -> String {
        match self.second {
            Some(second) => format!("{},{}", self.first.as_str(), second.as_str()),
            None => self.first.as_str().to_owned(),
        }
    }
}

impl Steps {
    /// Puts the names of the steps where their groups belong.
    fn named(&self, mut sum: UsageSum) -> UsageSum {
        let name = sum.step.and_then(|step| self.names.get(step)).cloned();
        if let Some(name) = name {
            match self.grouping.first.is_time() {
                true => sum.key = name,
                false => sum.second_key = name,
            }
        }
        sum
    }
}

/// `GET /api/usage`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageReport {
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub tz: String,
    /// One property, or two with a comma between.
    pub group_by: String,
    pub rows: Vec<UsageLine>,
    /// There are more groups than a JSON report may have; the CSV form has all.
    pub truncated: bool,
    pub total: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

/// The span of the same length before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Previous {
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    pub total: Figures,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub requests: i64,
    #[serde(serialize_with = "super::report::decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(serialize_with = "super::report::decimal")]
    pub charged_usd: NanoUsd,
}

impl Figures {
    fn plus(self, sum: &UsageSum) -> Figures {
        Figures {
            requests: self.requests.saturating_add(sum.requests),
            provider_cost_usd: NanoUsd(self.provider_cost_usd.0.saturating_add(sum.cost.0)),
            charged_usd: NanoUsd(self.charged_usd.0.saturating_add(sum.charge.0)),
        }
    }
}

/// Sums of one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageLine {
    pub key: String,
    /// Where the report is by two properties.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second_key: Option<String>,
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
    #[serde(serialize_with = "super::report::decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(serialize_with = "super::report::decimal")]
    pub charged_usd: NanoUsd,
    /// The same group in the span before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Figures>,
}

/// A property by its name.
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
    report(connection, scope, &UsageQuery::by(range, group_by), false).await
}

/// As [`usage`], for one API key only.
pub async fn usage_of_key(
    connection: &mut PgConnection,
    scope: OrgScope,
    api_key: ApiKeyId,
    range: Range,
    group_by: GroupBy,
) -> Result<UsageReport, StoreError> {
    let filter = UsageFilter { api_key: Some(api_key), ..UsageFilter::default() };
    report(connection, scope, &UsageQuery::by(range, group_by).filtered(filter), false).await
}

/// Makes a report, which [`UsageQuery::check`] has found possible; `compared` with the span before.
pub async fn report(
    connection: &mut PgConnection,
    scope: OrgScope,
    query: &UsageQuery,
    compared: bool,
) -> Result<UsageReport, StoreError> {
    let steps = query.steps(query.range).map_err(impossible)?;
    let (sums, truncated) = sums(connection, scope, query, &steps).await?;
    let mut previous = None;
    let mut lines_before: HashMap<(Option<usize>, String, String), Figures> = HashMap::new();
    if compared {
        let before = query.steps(query.range.before()).map_err(impossible)?;
        let (sums_before, _) = self::sums(connection, scope, query, &before).await?;
        previous = Some(Previous {
            from: before.range.0,
            to: before.range.1,
            total: total(connection, scope, query, &before, &sums_before, truncated).await?,
        });
        // A span of the same length may begin within one step more, where clocks changed: the last steps correspond.
        let shift = before.names.len().saturating_sub(steps.names.len());
        for sum in sums_before {
            let figures = Figures::default().plus(&sum);
            let step = match sum.step {
                Some(step) if step < shift => continue,
                step => step.map(|step| step.saturating_sub(shift)),
            };
            lines_before.insert((step, sum.key, sum.second_key), figures);
        }
    }
    let total = total(connection, scope, query, &steps, &sums, truncated).await?;
    let rows = sums.into_iter().map(|sum| {
        let key = (sum.step, sum.key.clone(), sum.second_key.clone());
        let before = compared.then(|| lines_before.get(&key).copied().unwrap_or_default());
        UsageLine { previous: before, ..line(steps.named(sum), query.second.is_some()) }
    });
    Ok(UsageReport {
        from: steps.range.0,
        to: steps.range.1,
        tz: query.zone_name.clone(),
        group_by: query.group_by(),
        rows: rows.collect(),
        truncated,
        total,
        previous,
    })
}

/// Requests that the sums of these days are kept for later reports. Needs a transaction that may write.
pub async fn want_zone_days(
    connection: &mut PgConnection,
    scope: OrgScope,
    phases: &[i16],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    zone_days::want(connection, scope, phases, now).await
}

/// A checked query does not fail; if it does, nothing is reported.
fn impossible(error: QueryError) -> StoreError {
    StoreError::Refused(error.to_string())
}

async fn sums(
    connection: &mut PgConnection,
    scope: OrgScope,
    query: &UsageQuery,
    steps: &Steps,
) -> Result<(Vec<UsageSum>, bool), StoreError> {
    let limit = i64::try_from(GROUPS_MAX).unwrap_or(i64::MAX).saturating_add(1);
    let mut sums =
        rollups::sum(connection, scope, steps.range, &steps.grouping, &query.filter, limit).await?;
    let truncated = sums.len() > GROUPS_MAX;
    sums.truncate(GROUPS_MAX);
    Ok((sums, truncated))
}

/// Of all groups: those that were read, unless there are more.
async fn total(
    connection: &mut PgConnection,
    scope: OrgScope,
    query: &UsageQuery,
    steps: &Steps,
    sums: &[UsageSum],
    truncated: bool,
) -> Result<Figures, StoreError> {
    if !truncated {
        return Ok(sums.iter().fold(Figures::default(), Figures::plus));
    }
    // Steps of time without any step: one group.
    let whole = Grouping { first: GroupBy::Day, second: None, steps: Vec::new() };
    let all = rollups::sum(connection, scope, steps.range, &whole, &query.filter, 1).await?;
    Ok(all.iter().fold(Figures::default(), Figures::plus))
}

fn line(sum: UsageSum, has_second: bool) -> UsageLine {
    UsageLine {
        key: sum.key,
        second_key: has_second.then_some(sum.second_key),
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
        previous: None,
    }
}

/// The columns after those of the groups. The newer ones come after the money: readers that use the position of columns
/// find the older ones in their place.
const COLUMNS: [&str; 20] = [
    "requests",
    "inputTokens",
    "cacheReadTokens",
    "cacheWriteTokens",
    "cacheWrite1hTokens",
    "outputTokens",
    "reasoningTokens",
    "providerCostUsd",
    "chargedUsd",
    "audioInputTokens",
    "imageInputTokens",
    "audioOutputTokens",
    "imageOutputTokens",
    "images",
    "inputImages",
    "characters",
    "audioMs",
    "searches",
    "queries",
    "pages",
];

impl UsageReport {
    /// The same rows as `text/csv`, with a header line.
    pub fn to_csv(&self) -> String {
        let mut table = TableWriter::default();
        write_header(&mut table, &self.group_by);
        self.rows.iter().for_each(|row| write_line(&mut table, row));
        table.into_text()
    }
}

/// Writes the report as CSV with all groups: pieces of text go to `send`, which returns whether more is wanted.
pub async fn write_csv<F>(
    connection: &mut PgConnection,
    scope: OrgScope,
    query: &UsageQuery,
    send: impl Fn(Vec<u8>) -> F,
) -> Result<(), StoreError>
where
    F: Future<Output = bool>,
{
    let steps = query.steps(query.range).map_err(impossible)?;
    let mut table = TableWriter::default();
    write_header(&mut table, &query.group_by());
    let each = |sum| {
        write_line(&mut table, &line(steps.named(sum), query.second.is_some()));
        let piece = (table.len() >= PIECE_BYTES).then(|| send(table.take()));
        async move {
            match piece {
                Some(sending) => sending.await,
                None => true,
            }
        }
    };
    rollups::sum_each(connection, scope, steps.range, &steps.grouping, &query.filter, i64::MAX, each).await?;
    if !table.is_empty() {
        send(table.take()).await;
    }
    Ok(())
}

/// Bytes of CSV that are sent at once.
const PIECE_BYTES: usize = 32 << 10;

fn write_header(table: &mut TableWriter, group_by: &str) {
    table.row(group_by.split(',').chain(COLUMNS).map(Cell::Text));
}

fn write_line(table: &mut TableWriter, line: &UsageLine) {
    let (cost, charge) = (line.provider_cost_usd.to_string(), line.charged_usd.to_string());
    let before_money = [
        line.requests,
        line.input_tokens,
        line.cache_read_tokens,
        line.cache_write_tokens,
        line.cache_write1h_tokens,
        line.output_tokens,
        line.reasoning_tokens,
    ]
    .map(|count| count.to_string());
    let after_money = [
        line.audio_input_tokens,
        line.image_input_tokens,
        line.audio_output_tokens,
        line.image_output_tokens,
        line.images,
        line.input_images,
        line.characters,
        line.audio_ms,
        line.searches,
        line.queries,
        line.pages,
    ]
    .map(|count| count.to_string());
    let figures = before_money.iter().chain([&cost, &charge]).chain(&after_money);
    let keys = [Some(line.key.as_str()), line.second_key.as_deref()].into_iter().flatten();
    table.row(keys.map(Cell::Text).chain(figures.map(|figure| Cell::Figure(figure))));
}
