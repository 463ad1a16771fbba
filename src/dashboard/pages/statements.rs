//! Monthly statements: the list of months, and each month's statement to print or to download.

use crate::{
    billing::statements,
    books::month::Month,
    dashboard::{
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view,
    },
    http::{
        api::statements::{StatementForm, read, respond},
        error::ApiError,
    },
    store::{Db, Purpose, sessions::Session},
};
use actix_web::HttpResponse;
use askama::Template;

#[derive(Template)]
#[template(path = "statements.html")]
struct StatementsPage<'a> {
    frame: &'a Frame,
    rows: Vec<Row>,
}

struct Row {
    month: String,
    name: String,
    opening: String,
    charged: String,
    closing: String,
    is_closed: bool,
    sha256: String,
}

/// `GET /o/{org}/billing/statements`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let months = db.run::<_, statements::StatementsError, _>(async move {
        statements::list(&mut *pool.acquire().await?, session.scope).await
    });
    let months = months.await.map_err(ApiError::from)?;
    let frame = visit.frame.titled("Statements");
    let rows = months
        .into_iter()
        .map(|line| Row {
            month: line.month.to_string(),
            name: line.month.name(),
            opening: view::exact(line.opening_balance_usd),
            charged: view::exact(line.charged_usd),
            closing: view::exact(line.closing_balance_usd),
            is_closed: line.closed,
            sha256: line.sha256.unwrap_or_default(),
        })
        .collect();
    page(&StatementsPage { frame: &frame, rows })
}

/// `GET /o/{org}/billing/statements/{month}?format&paper`: complete in itself, to print; as CSV or JSON to download.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let month: Month = visit.call.path("month").parse().map_err(|_| PageError::NotFound)?;
    let format = visit.form.given("format").unwrap_or("html");
    let form = StatementForm::of(Some(format), visit.form.given("paper"), None)?;
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let kept = read(&db, visit.who, month).await.map_err(ApiError::from)?;
    Ok(respond(&kept, month, form)?)
}
