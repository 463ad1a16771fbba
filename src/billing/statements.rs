//! Monthly statements. A month (UTC) is closed an hour after its end: its statement is drawn up once and kept, and what
//! is booked later belongs to a later month. A month that is not closed is drawn up as it stands.

use crate::{
    books::{
        month::Month,
        statement::{Bookings, ChargeLine, LINES_MAX, Movement, OwnKeyLine, Statement, StatementError},
    },
    domain::money::NanoUsd,
    store::{
        Db, OrgScope, StoreError,
        statements::{self, KeptStatement, Listed, Subject},
    },
};
use serde::Serialize;
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};

/// How long after its end a month is closed: by then every request of it has ended and is on record.
pub const CLOSED_AFTER: Duration = Duration::hours(1);
/// Organizations read at once by the job that closes months.
const CLOSED_PER_STEP: i64 = 200;
/// Months that the job looks back: an installation that was off for longer closes older ones when they are asked for.
const MONTHS_BACK: usize = 3;
/// The model and API key of the line for what is beyond the longest list.
const OTHER: &str = "other";
/// Longest time of one SQL statement for it; no request waits for it.
const CLOSING_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(300);

/// Why there is no statement.
#[derive(Debug, thiserror::Error)]
pub enum StatementsError {
    /// The month is in the future, or before the organization was there.
    #[error("there is no statement of this month")]
    NoSuchMonth,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("the kept statement cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
}

/// One month in the list of statements.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MonthLine {
    pub month: Month,
    pub closed: bool,
    #[serde(serialize_with = "super::report::decimal")]
    pub opening_balance_usd: NanoUsd,
    #[serde(serialize_with = "super::report::decimal")]
    pub charged_usd: NanoUsd,
    #[serde(serialize_with = "super::report::decimal")]
    pub closing_balance_usd: NanoUsd,
    /// Of a kept statement.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// The statement of a month: the kept one where the month is closed. Needs a transaction that may write.
pub async fn get(
    connection: &mut PgConnection,
    scope: OrgScope,
    month: Month,
) -> Result<KeptStatement, StatementsError> {
    if let Some(kept) = statements::get(connection, scope, month).await? {
        return Ok(kept);
    }
    let subject = statements::get_subject(connection, scope).await?.ok_or(StatementsError::NoSuchMonth)?;
    if month > Month::of(subject.now) || month < Month::of(subject.created_at) {
        return Err(StatementsError::NoSuchMonth);
    }
    let closed = subject.now >= month.end() + CLOSED_AFTER;
    if !closed {
        return draw_up(connection, scope, &subject, month, false).await;
    }
    close(connection, scope, &subject, month).await?;
    // The one that was first, if another process closed it at the same time.
    statements::get(connection, scope, month).await?.ok_or(StatementsError::NoSuchMonth)
}

/// The months of an organization, latest first.
pub async fn list(connection: &mut PgConnection, scope: OrgScope) -> Result<Vec<MonthLine>, StatementsError> {
    let Some(subject) = statements::get_subject(connection, scope).await? else { return Ok(Vec::new()) };
    let kept = statements::list(connection, scope).await?;
    let mut lines: Vec<MonthLine> = Vec::new();
    let (this, mut month) = (Month::of(subject.now), Month::of(subject.created_at));
    // Months between kept ones are summed from the entries, so that the list does not wait for the job.
    let first_missing = first_missing(&kept.iter().map(|kept| kept.month).collect::<Vec<_>>(), month);
    let sums = statements::sum_months(connection, scope, first_missing.begin()).await?;
    let mut balance = statements::balance_before(connection, scope, month.begin()).await?;
    while month <= this {
        let line = match kept.iter().find(|kept| kept.month == month) {
            Some(kept) => MonthLine {
                month,
                closed: true,
                opening_balance_usd: kept.opening,
                charged_usd: kept.charged,
                closing_balance_usd: kept.closing,
                sha256: Some(kept.sha256.clone()),
            },
            None => {
                let sum = sums.iter().find(|sum| sum.month == month);
                let change = sum.map_or(0, |sum| sum.change.0);
                MonthLine {
                    month,
                    closed: false,
                    opening_balance_usd: balance,
                    charged_usd: sum.map_or(NanoUsd::ZERO, |sum| sum.charged),
                    closing_balance_usd: NanoUsd(balance.0.saturating_add(change)),
                    sha256: None,
                }
            }
        };
        balance = line.closing_balance_usd;
        lines.push(line);
        month = month.next();
    }
    lines.reverse();
    Ok(lines)
}

/// The first month from `from` on that is not among `kept`.
fn first_missing(kept: &[Month], from: Month) -> Month {
    let mut month = from;
    while kept.contains(&month) {
        month = month.next();
    }
    month
}

/// Closes every month that is due; for the job. Returns how many it closed. An organization whose statement cannot be
/// drawn up is logged and passed over.
pub async fn close_due(db: &Db, now: OffsetDateTime) -> Result<usize, StoreError> {
    let mut month = Month::of(now - CLOSED_AFTER);
    let mut closed = 0_usize;
    for _ in 0..MONTHS_BACK {
        month = month.previous();
        let mut after = None;
        loop {
            let (first, end) = (month.first_day(), month.end());
            let mut transaction = db.begin_with_limit(CLOSING_TIME_MAX).await?;
            let due = statements::list_unclosed(&mut transaction, first, end, after, CLOSED_PER_STEP).await?;
            transaction.commit().await?;
            let Some(last) = due.last() else { break };
            after = Some(last.org_id());
            for scope in due {
                let mut transaction = db.begin_with_limit(CLOSING_TIME_MAX).await?;
                match get(&mut transaction, scope, month).await {
                    Ok(_) => {
                        transaction.commit().await?;
                        closed = closed.saturating_add(1);
                    }
                    Err(StatementsError::NoSuchMonth) => {}
                    Err(error) => {
                        tracing::error!(org.id = %scope.org_id(), %month, %error, "a month cannot be closed");
                    }
                }
            }
        }
    }
    Ok(closed)
}

/// The month as the ledger has it now, beside what may be kept of it.
pub async fn draw_up_again(
    connection: &mut PgConnection,
    scope: OrgScope,
    month: Month,
) -> Result<KeptStatement, StatementsError> {
    let subject = statements::get_subject(connection, scope).await?.ok_or(StatementsError::NoSuchMonth)?;
    let closed = subject.now >= month.end() + CLOSED_AFTER;
    draw_up(connection, scope, &subject, month, closed).await
}

async fn close(
    connection: &mut PgConnection,
    scope: OrgScope,
    subject: &Subject,
    month: Month,
) -> Result<(), StatementsError> {
    statements::settle_account(connection, scope).await?;
    let statement = draw_up(connection, scope, subject, month, true).await?;
    Ok(statements::insert(connection, scope, month, &statement, subject.now).await?)
}

async fn draw_up(
    connection: &mut PgConnection,
    scope: OrgScope,
    subject: &Subject,
    month: Month,
    closed: bool,
) -> Result<KeptStatement, StatementsError> {
    let statement = Statement::draw_up(bookings(connection, scope, subject, month, closed).await?)?;
    Ok(KeptStatement {
        document: serde_json::to_string(&statement)?,
        csv: statement.to_csv(),
        sha256: statement.sha256.clone(),
        opening: statement.opening_balance_usd,
        charged: statement.totals.charges_usd,
        closing: statement.closing_balance_usd,
    })
}

/// The month's bookings, read from the ledger.
async fn bookings(
    connection: &mut PgConnection,
    scope: OrgScope,
    subject: &Subject,
    month: Month,
    closed: bool,
) -> Result<Bookings, StoreError> {
    // An open month ends at one moment for all its parts.
    let range = (month.begin(), month.end().min(subject.now));
    let limit = i64::try_from(LINES_MAX).unwrap_or(i64::MAX);
    Ok(Bookings {
        organization_id: scope.org_id().to_string(),
        organization_name: subject.name.clone(),
        month,
        closed,
        opening: statements::balance_before(connection, scope, range.0).await?,
        movements: movements(connection, scope, range, limit).await?,
        charges: with_rest(statements::list_charges(connection, scope, range, limit).await?),
        own_key_usage: with_own_key_rest(
            statements::list_own_key_usage(connection, scope, range, limit).await?,
        ),
    })
}

/// All of them, or so many and what the rest of each kind comes to.
async fn movements(
    connection: &mut PgConnection,
    scope: OrgScope,
    range: (OffsetDateTime, OffsetDateTime),
    limit: i64,
) -> Result<Vec<Movement>, StoreError> {
    let mut movements = statements::list_movements(connection, scope, range, limit).await?;
    let Some(last) = movements.last().filter(|_| movements.len() >= LINES_MAX) else { return Ok(movements) };
    let booked_at = last.booked_at;
    for (kind, entries, amount) in statements::sum_movements(connection, scope, range).await? {
        let listed = movements.iter().filter(|movement| movement.kind == kind);
        let (count, sum) = listed.fold((0_i64, 0_i64), |(count, sum), movement| {
            (count.saturating_add(1), sum.saturating_add(movement.amount_usd.0))
        });
        let rest = entries.saturating_sub(count);
        if rest > 0 {
            movements.push(Movement {
                id: String::new(),
                booked_at,
                kind,
                amount_usd: NanoUsd(amount.0.saturating_sub(sum)),
                reason: format!("{rest} further entries, which the ledger lists"),
                actor: String::new(),
            });
        }
    }
    Ok(movements)
}

/// All lines of the charges, or so many and what the rest comes to.
fn with_rest(listed: Listed<ChargeLine>) -> Vec<ChargeLine> {
    let Listed { mut lines, total } = listed;
    if lines.len() < LINES_MAX {
        return lines;
    }
    let rest = |pick: fn(&ChargeLine) -> i64| rest_of(&lines, &total, pick);
    let (cost, charge) = (rest(|line| line.provider_cost_usd.0), rest(|line| line.charged_usd.0));
    let other = ChargeLine {
        model: OTHER.to_owned(),
        api_key_name: OTHER.to_owned(),
        requests: rest(|line| line.requests),
        input_tokens: rest(|line| line.input_tokens),
        output_tokens: rest(|line| line.output_tokens),
        provider_cost_usd: NanoUsd(cost),
        margin_usd: NanoUsd(charge.saturating_sub(cost)),
        charged_usd: NanoUsd(charge),
        ..ChargeLine::default()
    };
    if charge != 0 || other.requests != 0 {
        lines.push(other);
    }
    lines
}

/// The same of usage on own keys.
fn with_own_key_rest(listed: Listed<OwnKeyLine>) -> Vec<OwnKeyLine> {
    let Listed { mut lines, total } = listed;
    if lines.len() < LINES_MAX {
        return lines;
    }
    let rest = |pick: fn(&OwnKeyLine) -> i64| rest_of(&lines, &total, pick);
    let other = OwnKeyLine {
        model: OTHER.to_owned(),
        api_key_name: OTHER.to_owned(),
        requests: rest(|line| line.requests),
        input_tokens: rest(|line| line.input_tokens),
        output_tokens: rest(|line| line.output_tokens),
        provider_cost_usd: NanoUsd(rest(|line| line.provider_cost_usd.0)),
        charged_usd: NanoUsd(rest(|line| line.charged_usd.0)),
        ..OwnKeyLine::default()
    };
    if other.provider_cost_usd != NanoUsd::ZERO || other.requests != 0 {
        lines.push(other);
    }
    lines
}

/// A figure of the total less that of all lines.
fn rest_of<L>(lines: &[L], total: &L, pick: impl Fn(&L) -> i64) -> i64 {
    lines.iter().fold(pick(total), |rest, line| rest.saturating_sub(pick(line)))
}
