//! Credit: the balance, what is set aside, and the ledger newest first.

use super::read;
use crate::{
    billing::report::{self, Balance, EntryLine, Range},
    dashboard::{
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{ambient::Ambient, ids::EntryId},
    store::sessions::Session,
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
    entries: Vec<Row>,
    next: Option<String>,
}

struct Row {
    at: Moment,
    kind: String,
    amount: String,
    provider_cost: String,
    margin: String,
    request: Option<(String, String)>,
    note: String,
}

/// `GET /o/{org}/billing?before`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let from = (now - time::Duration::days(RANGE_DAYS)).date().to_string();
    let range =
        Range::of_bookings(Some(&from), None, now).map_err(|error| PageError::form("", error.to_string()))?;
    let before = match visit.form.given("before").map(str::parse::<EntryId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(PageError::form("before", "`before` must be the id of an entry")),
    };
    let (balance, entries): (Balance, _) = read(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let balance = report::balance(&mut connection, session.scope).await?;
        Ok((balance, report::entries(&mut connection, session.scope, range, before, PAGE_SIZE).await?))
    })
    .await?;
    let frame = visit.frame.titled("Billing");
    let template = BillingPage {
        posted: view::exact(balance.balance_usd),
        held: view::exact(balance.held_usd),
        available: view::exact(balance.available_usd),
        is_negative: balance.balance_usd.0 < 0,
        entries: entries.entries.iter().map(|entry| row(entry, &frame.home)).collect(),
        next: entries.next.map(|id| format!("?before={id}")),
        frame: &frame,
    };
    page(&template)
}

fn row(entry: &EntryLine, home: &str) -> Row {
    let request = entry.request_id.as_ref().map(|id| {
        let receipt = id.replace("req_", "rcpt_");
        (format!("{home}/requests/{receipt}"), receipt)
    });
    Row {
        at: view::moment(entry.created_at),
        kind: entry.kind.clone(),
        amount: view::exact(entry.amount_usd),
        provider_cost: view::exact(entry.provider_cost_usd),
        margin: view::exact(entry.margin_usd),
        request,
        note: entry.note.clone(),
    }
}
