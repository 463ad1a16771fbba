//! Credit: the balance, what is set aside and for which requests, and the ledger newest first with the balance after
//! each entry.

use super::report;
use crate::{
    billing::report::{self as reports, Balance, EntryLine, Range},
    dashboard::{
        frame::{Frame, PageError, guarded, page, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{ambient::Ambient, ids::EntryId, money::NanoUsd},
    http::api::export::{Pieces, send_csv},
    store::{
        Db, Purpose,
        overview::{self, OpenHold},
        sessions::Session,
    },
};
use actix_web::HttpResponse;
use askama::Template;

const PAGE_SIZE: i64 = 50;
const RANGE_DAYS: i64 = 365;

#[derive(Template)]
#[template(path = "billing.html")]
struct BillingPage<'a> {
    frame: &'a Frame,
    posted: String,
    held: String,
    available: String,
    is_negative: bool,
    holds: Vec<HoldRow>,
    entries: Vec<Row>,
    next: Option<String>,
    is_first_page: bool,
}

struct HoldRow {
    at: Moment,
    key: String,
    link: String,
    id: String,
    amount: String,
}

struct Row {
    at: Moment,
    kind: String,
    amount: String,
    provider_cost: String,
    margin: String,
    balance: String,
    request: Option<(String, String)>,
    note: String,
}

/// The last year.
fn range(visit: &Visit<Session>) -> Result<Range, PageError> {
    let now = state::<Ambient>(&visit.call)?.now();
    let from = (now - time::Duration::days(RANGE_DAYS)).date().to_string();
    Range::of_bookings(Some(&from), None, now).map_err(|error| PageError::form("", error.to_string()))
}

/// `GET /o/{org}/billing?before`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let range = range(&visit)?;
    let before = match visit.form.given("before").map(str::parse::<EntryId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(PageError::form("before", "`before` must be the id of an entry")),
    };
    let (balance, holds, entries, latest): (Balance, Vec<OpenHold>, _, NanoUsd) =
        report(&visit.call, move |db| async move {
            let mut connection = db.acquire().await?;
            let balance = reports::balance(&mut connection, session.scope).await?;
            let holds = match balance.held_usd {
                NanoUsd::ZERO => Vec::new(),
                _ => overview::open_holds(&mut connection, session.scope).await?,
            };
            let entries = reports::entries(&mut connection, session.scope, range, before, PAGE_SIZE).await?;
            let latest = match entries.entries.first() {
                Some(entry) => overview::balance_after(&mut connection, session.scope, entry.id.0).await?,
                None => NanoUsd::ZERO,
            };
            Ok((balance, holds, entries, latest))
        })
        .await?;
    let frame = visit.frame.titled("Billing");
    let template = BillingPage {
        posted: view::exact(balance.balance_usd),
        held: view::exact(balance.held_usd),
        available: view::exact(balance.available_usd),
        is_negative: balance.balance_usd.0 < 0,
        holds: holds.iter().map(|hold| hold_row(hold, &frame.home)).collect(),
        entries: rows(&entries.entries, latest, &frame.home),
        next: entries.next.map(|id| format!("?before={id}")),
        is_first_page: before.is_none(),
        frame: &frame,
    };
    page(&template)
}

fn hold_row(hold: &OpenHold, home: &str) -> HoldRow {
    let id = hold.request_id.receipt().to_string();
    HoldRow {
        at: view::moment(hold.created_at),
        key: hold.api_key_id.to_string(),
        link: format!("{home}/keys/{}", hold.api_key_id),
        id,
        amount: view::exact(hold.amount),
    }
}

/// Entries with the balance after each; `latest` is the one after the first.
fn rows(entries: &[EntryLine], latest: NanoUsd, home: &str) -> Vec<Row> {
    let mut balance = latest;
    entries
        .iter()
        .map(|entry| {
            let row = row(entry, balance, home);
            balance = NanoUsd(balance.0.saturating_sub(entry.amount_usd.0));
            row
        })
        .collect()
}

fn row(entry: &EntryLine, balance: NanoUsd, home: &str) -> Row {
    let request = entry.request_id.as_ref().map(|id| {
        let receipt = id.replace("req_", "rcpt_");
        (format!("{home}/requests/{receipt}"), receipt)
    });
    Row {
        at: view::moment(entry.booked_at),
        kind: entry.kind.replace('_', " "),
        amount: view::exact(entry.amount_usd),
        provider_cost: view::exact(entry.provider_cost_usd),
        margin: view::exact(entry.margin_usd),
        balance: view::exact(balance),
        request,
        note: entry.note.clone(),
    }
}

/// `GET /o/{org}/billing.csv`: the ledger of the last year.
pub async fn export(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let (range, scope) = (range(&visit)?, visit.who.scope);
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let write = async move |db: Db, pieces: Pieces| {
        let send = |piece| pieces.clone().send(piece);
        reports::write_entries(&mut *db.acquire().await?, scope, range, send).await
    };
    Ok(guarded(send_csv(&db, scope, "ledger.csv", write)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn the_balance_after_each_entry_leads_back_to_the_beginning() {
        let entry = |nano: i64| EntryLine {
            id: EntryId(uuid::Uuid::nil()),
            kind: "charge".to_owned(),
            amount_usd: NanoUsd(nano),
            provider_cost_usd: NanoUsd::ZERO,
            margin_usd: NanoUsd::ZERO,
            request_id: None,
            note: String::new(),
            actor: String::new(),
            created_at: datetime!(2026-01-01 0:00 UTC),
            booked_at: datetime!(2026-01-01 0:00 UTC),
        };
        let entries = [entry(-5_000_000_000), entry(-1_500_000_000), entry(10_000_000_000)];
        let balances: Vec<String> =
            rows(&entries, NanoUsd(3_500_000_000), "/o/x").into_iter().map(|row| row.balance).collect();
        assert_eq!(balances, ["$3.50", "$8.50", "$10.00"]);
    }
}
