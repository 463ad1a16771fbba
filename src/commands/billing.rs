//! The commands of finance: recomputing charges, and printing statements.

use super::{admin::OrgIdArgument, with_schema};
use crate::{
    billing::{
        recompute::{Extent, recompute},
        report::Range,
        statements,
    },
    books::{month::Month, print, statement::Statement},
    config::Config,
    domain::ambient::Ambient,
    store::{Db, organizations},
};
use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use std::process::ExitCode;

#[derive(Subcommand)]
pub enum BillingAction {
    /// Recomputes every charge from usage and the prices frozen in receipts, and compares usage, receipts, holds and
    /// ledger entries. Prints each difference with its row; exit 1 on any. Only reads, and may run beside a gateway.
    Recompute {
        /// First day (UTC), or an RFC 3339 time.
        #[arg(long)]
        from: String,
        /// Last day (UTC), or an RFC 3339 time.
        #[arg(long)]
        to: String,
        /// Only this organization.
        #[arg(long)]
        organization: Option<OrgIdArgument>,
    },
    /// Prints the statement of a month. The SHA-256 of the CSV form is the one that the statement names.
    Statement {
        organization_id: OrgIdArgument,
        /// Such as 2026-10.
        month: String,
        #[arg(long, value_enum, default_value = "json")]
        format: StatementFormat,
        /// Prints nothing but whether the kept statement has the hash of its lines and the sums of the ledger; exit 1
        /// if it does not.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StatementFormat {
    Json,
    Csv,
    Html,
}

pub async fn run(config: &Config, action: BillingAction) -> anyhow::Result<ExitCode> {
    match action {
        BillingAction::Recompute { from, to, organization } => {
            let range = span(&from, &to)?;
            let extent = Extent { from: range.0, to: range.1, organization: organization.map(|id| id.0) };
            with_schema(config, |db| print_recomputed(db, extent)).await
        }
        BillingAction::Statement { organization_id, month, format, check } => {
            let month: Month = month.parse()?;
            with_schema(config, |db| print_statement(db, organization_id, month, format, check)).await
        }
    }
}

/// Any number of days, unlike a report's range.
fn span(from: &str, to: &str) -> anyhow::Result<(time::OffsetDateTime, time::OffsetDateTime)> {
    let now = Ambient::system().now();
    let begin = Range::parse(Some(from), Some(from), now).or_else(|_| Range::parse(None, Some(from), now));
    let end = Range::parse(None, Some(to), now).context("`--to`")?.bounds().1;
    let from = match begin {
        // A date is a day of its own; a time is the end of a range.
        Ok(range) if from.len() == 10 => range.bounds().0,
        Ok(range) => range.bounds().1,
        Err(error) => bail!("`--from`: {error}"),
    };
    if from >= end {
        bail!("`--from` must lie before `--to`");
    }
    Ok((from, end))
}

async fn print_recomputed(db: Db, extent: Extent) -> anyhow::Result<ExitCode> {
    let reading = db.clone();
    let done = db
        .run(async move {
            let mut connection = reading.acquire().await?;
            let report = |org: crate::domain::ids::OrgId,
                          difference: &crate::books::recompute::Difference| {
                println!("{org} {difference}");
            };
            recompute(&mut connection, extent, report).await
        })
        .await?;
    println!(
        "{} organization(s), {} request(s), {} turn(s) recomputed; {} request(s) without a receipt any more; {} difference(s)",
        done.organizations, done.requests, done.turns, done.without_receipt, done.differences
    );
    Ok(if done.differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn print_statement(
    db: Db,
    organization: OrgIdArgument,
    month: Month,
    format: StatementFormat,
    check: bool,
) -> anyhow::Result<ExitCode> {
    let reading = db.clone();
    let id = organization.0;
    let found = db
        .run::<_, statements::StatementsError, _>(async move {
            let mut transaction = reading.begin().await?;
            let Some(scope) = organizations::find_scope(&mut transaction, id).await? else { return Ok(None) };
            let kept = statements::get(&mut transaction, scope, month).await?;
            let again = statements::draw_up_again(&mut transaction, scope, month).await?;
            transaction.commit().await?;
            Ok(Some((kept, again)))
        })
        .await?;
    let Some((kept, again)) = found else { bail!("no organization {id}") };
    let statement: Statement = serde_json::from_str(&kept.document)?;
    if check {
        let is_whole = statement.is_consistent() && statement.to_csv() == kept.csv;
        let agrees =
            again.closing == kept.closing && again.opening == kept.opening && again.charged == kept.charged;
        println!("hash and sums of the lines: {}", if is_whole { "right" } else { "WRONG" });
        println!("balances and charges of the ledger: {}", if agrees { "the same" } else { "DIFFERENT" });
        return Ok(if is_whole && agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    match format {
        StatementFormat::Json => println!("{}", kept.document),
        StatementFormat::Csv => print!("{}", kept.csv),
        StatementFormat::Html => print!("{}", print::page(&statement, print::Paper::default())?),
    }
    Ok(ExitCode::SUCCESS)
}
