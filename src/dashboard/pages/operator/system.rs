//! Revenue and margin, and the state of the installation: the running processes, what waits to be written, and an audit of
//! the books on request.

use crate::{
    billing::{
        audit::{Drift, audit},
        report::Range,
    },
    dashboard::{
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::money::NanoUsd,
    gateway::Gateway,
    http::error::ApiError,
    store::{
        Db, Purpose, StoreError,
        instances::{self, RunningInstance},
        operator,
        sessions::Operator,
    },
};
use actix_web::HttpResponse;
use askama::Template;

/// Organizations listed by name.
const ROWS_MAX: i64 = 200;
/// Drifts listed of an audit.
const DRIFTS_MAX: usize = 100;

#[derive(Template)]
#[template(path = "operator_revenue.html")]
struct RevenuePage<'a> {
    frame: &'a Frame,
    from: &'a str,
    to: &'a str,
    total: Sums,
    rows: Vec<(String, String, Sums)>,
}

struct Sums {
    requests: String,
    charged: String,
    cost: String,
    margin: String,
}

fn sums(requests: i64, charged: NanoUsd, cost: NanoUsd) -> Sums {
    Sums {
        requests: view::count(requests),
        charged: view::exact(charged),
        cost: view::exact(cost),
        margin: view::exact(NanoUsd(charged.0.saturating_sub(cost.0))),
    }
}

/// `GET /operator/revenue?from&to`.
pub async fn revenue(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let now = state::<Gateway>(&visit.call)?.ambient.now();
    let range =
        Range::parse(visit.form.given("from"), visit.form.given("to"), now).map_err(ApiError::from)?;
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let found = db.run::<_, StoreError, _>(async move {
        operator::revenue(&mut *pool.acquire().await?, range.bounds(), ROWS_MAX).await
    });
    let (rows, total) = found.await.map_err(ApiError::of_report)?;
    let row = |row: &operator::RevenueRow| {
        let path = format!("/operator/organizations/{}", row.id);
        (path, row.name.clone(), sums(row.requests, row.charged, row.cost))
    };
    page(&RevenuePage {
        frame: &visit.frame.clone().titled("Revenue"),
        from: visit.form.get("from"),
        to: visit.form.get("to"),
        total: sums(total.requests, total.charged, total.cost),
        rows: rows.iter().map(row).collect(),
    })
}

#[derive(Template)]
#[template(path = "operator_system.html")]
struct SystemPage<'a> {
    frame: &'a Frame,
    instances: Vec<InstanceRow>,
    settles: u64,
    records: u64,
    problem: String,
    audited: Option<Audited>,
}

struct InstanceRow {
    id: String,
    started: Moment,
    is_live: bool,
    open_holds: i64,
}

/// The result of an audit that was just made.
struct Audited {
    at: Moment,
    drifts: Vec<String>,
    more: usize,
}

/// `GET /operator/system`.
pub async fn show(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    system_page(&visit, None).await
}

/// `POST /operator/system`: checks every invariant of the books now.
pub async fn audit_now(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let drifts = db.run::<_, StoreError, _>(async move { audit(&mut *pool.acquire().await?).await });
    let drifts = drifts.await.map_err(ApiError::of_report)?;
    let more = drifts.len().saturating_sub(DRIFTS_MAX);
    let line = |drift: &Drift| format!("{}: {:?}", drift.check, drift.row);
    let lines = drifts.iter().take(DRIFTS_MAX).map(line).collect();
    let audited = Audited { at: view::moment(gateway.ambient.now()), drifts: lines, more };
    system_page(&visit, Some(audited)).await
}

async fn system_page(visit: &Visit<Operator>, audited: Option<Audited>) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let db = state::<Db>(&visit.call)?.get_ref().clone();
    let pool = db.clone();
    let found = db.run::<_, StoreError, _>(async move { instances::list(&mut *pool.acquire().await?).await });
    let row = |row: &RunningInstance| InstanceRow {
        id: row.id.to_string(),
        started: view::moment(row.started_at),
        is_live: row.is_live,
        open_holds: row.open_holds,
    };
    page(&SystemPage {
        frame: &visit.frame.clone().titled("System"),
        instances: found.await?.iter().map(row).collect(),
        settles: u64::try_from(gateway.ledger.unwritten()).unwrap_or(u64::MAX),
        records: u64::try_from(gateway.recorder.state().records).unwrap_or(u64::MAX),
        problem: gateway.problem().unwrap_or_default(),
        audited,
    })
}
