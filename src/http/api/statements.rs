//! Monthly statements as JSON, CSV and a page to print: thin over `billing::statements`.

use crate::{
    billing::statements::{self, StatementsError},
    books::{
        month::Month,
        print::{self, Paper},
        statement::Statement,
    },
    http::{
        error::{ApiError, Code},
        extract::Call,
    },
    store::{Db, Purpose, sessions::Session, statements::KeptStatement},
};
use actix_web::{HttpResponse, http::header};
use serde::Deserialize;
use serde_json::json;

/// What the printed page may load: only its own style.
const PRINT_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/billing/statements`: the months, latest first.
pub async fn list_statements(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let pool = db.clone();
    let months = db.run::<_, StatementsError, _>(async move {
        statements::list(&mut *pool.acquire().await?, session.scope).await
    });
    Ok(HttpResponse::Ok().json(json!({ "statements": months.await? })))
}

/// The format of a requested statement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatementForm {
    Json,
    Csv,
    Html(Paper),
}

impl StatementForm {
    /// From `format` and `paper`, else from `Accept`.
    pub fn of(
        format: Option<&str>,
        paper: Option<&str>,
        accept: Option<&str>,
    ) -> Result<StatementForm, ApiError> {
        let paper = match paper.map(|name| (name, Paper::by_name(name))) {
            None => Paper::default(),
            Some((_, Some(paper))) => paper,
            Some((_, None)) => return Err(ApiError::invalid("paper", "`paper` must be a4 or letter")),
        };
        let accept = accept.unwrap_or_default();
        match format {
            Some("json") => Ok(StatementForm::Json),
            Some("csv") => Ok(StatementForm::Csv),
            Some("html") => Ok(StatementForm::Html(paper)),
            Some(_) => Err(ApiError::invalid("format", "`format` must be json, csv or html")),
            None if accept.starts_with("text/csv") => Ok(StatementForm::Csv),
            None if accept.starts_with("text/html") => Ok(StatementForm::Html(paper)),
            None => Ok(StatementForm::Json),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatementQuery {
    format: Option<String>,
    paper: Option<String>,
}

/// `GET /api/billing/statements/{month}`, the month as `2026-10`; CSV and HTML by `format` or `Accept`.
pub async fn get_statement(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let query: StatementQuery = call.query()?;
    let form = StatementForm::of(query.format.as_deref(), query.paper.as_deref(), call.header("accept"))?;
    let month: Month = call.path("month").parse().map_err(|error| {
        ApiError::invalid("month", format!("The month in the path is not valid: {error}"))
    })?;
    let db = call.state::<Db>()?.with_purpose(Purpose::Reports);
    let kept = read(&db, session, month).await?;
    respond(&kept, month, form)
}

/// The statement of a month; the request closes a month that is due.
pub async fn read(db: &Db, session: Session, month: Month) -> Result<KeptStatement, StatementsError> {
    let pool = db.clone();
    db.run(async move {
        let mut transaction = pool.begin().await?;
        let kept = statements::get(&mut transaction, session.scope, month).await?;
        transaction.commit().await?;
        Ok(kept)
    })
    .await
}

/// The answer with a statement.
pub fn respond(kept: &KeptStatement, month: Month, form: StatementForm) -> Result<HttpResponse, ApiError> {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    Ok(match form {
        StatementForm::Json => response.content_type("application/json").body(kept.document.clone()),
        StatementForm::Csv => {
            let name = format!("attachment; filename=\"statement-{month}.csv\"");
            response.insert_header((header::CONTENT_DISPOSITION, name));
            response.content_type("text/csv; charset=utf-8").body(kept.csv.clone())
        }
        StatementForm::Html(paper) => {
            let statement: Statement = serde_json::from_str(&kept.document).map_err(ApiError::internal)?;
            let page = print::page(&statement, paper).map_err(ApiError::internal)?;
            response.insert_header((header::CONTENT_SECURITY_POLICY, PRINT_POLICY));
            response.content_type("text/html; charset=utf-8").body(page)
        }
    })
}

impl From<StatementsError> for ApiError {
    fn from(error: StatementsError) -> Self {
        match error {
            StatementsError::NoSuchMonth => {
                let message = "There is no statement of this month: it is in the future, or the organization did not \
                               exist yet";
                ApiError::new(Code::NotFound, message)
            }
            StatementsError::Store(error) => ApiError::of_report(error),
            StatementsError::Statement(_) | StatementsError::Unreadable(_) => ApiError::internal(error),
        }
    }
}
