//! The audit log of the whole installation.

use crate::{
    dashboard::{
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view::{self, Moment},
    },
    http::error::ApiError,
    store::{
        Db, Purpose, StoreError,
        audit_log::{self, AuditFilter, AuditLine, AuditScope},
        sessions::Operator,
    },
};
use actix_web::HttpResponse;
use askama::Template;
use serde_json::{Map, Value};
use uuid::Uuid;

const PAGE_SIZE: usize = 50;

#[derive(Template)]
#[template(path = "operator_audit.html")]
struct AuditPage<'a> {
    frame: &'a Frame,
    rows: Vec<Row>,
    actor: &'a str,
    action: &'a str,
    subject: &'a str,
    next: Option<String>,
}

struct Row {
    at: Moment,
    actor: String,
    action: String,
    subject: String,
    organization: String,
    address: String,
    changes: Vec<String>,
}

impl Row {
    fn of(line: &AuditLine) -> Self {
        let changes =
            line.changes.as_deref().and_then(|text| serde_json::from_str::<Map<String, Value>>(text).ok());
        let change = |(field, pair): (&String, &Value)| {
            let side = |index: usize| match pair.get(index) {
                None | Some(Value::Null) => "nothing".to_owned(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            format!("{field}: {} → {}", side(0), side(1))
        };
        Self {
            at: view::moment(line.created_at),
            actor: line.actor_email.clone().unwrap_or_else(|| line.actor.clone()),
            action: line.action.clone(),
            subject: line.subject.clone(),
            organization: line.org.map(|org| org.to_string()).unwrap_or_default(),
            address: line.address.clone().unwrap_or_default(),
            changes: changes.unwrap_or_default().iter().map(change).collect(),
        }
    }
}

/// `GET /operator/audit?actor&action&subject&before`.
pub async fn show(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let before = visit.form.given("before").map(Uuid::try_parse).transpose();
    let before =
        before.map_err(|_| PageError::form("before", "`before` must be the `next` of another page"))?;
    let given = |name: &str| visit.form.given(name).map(|text| text.replace('\0', ""));
    let filter =
        AuditFilter { actor: given("actor"), action: given("action"), subject: given("subject"), ids: None };
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let (pool, limit) = (db.clone(), i64::try_from(PAGE_SIZE + 1).unwrap_or(i64::MAX));
    let lines = db.run::<_, StoreError, _>(async move {
        audit_log::list(&mut *pool.acquire().await?, AuditScope::Installation, &filter, before, limit).await
    });
    let mut lines = lines.await.map_err(ApiError::of_report)?;
    let more = lines.len() > PAGE_SIZE;
    lines.truncate(PAGE_SIZE);
    let last = lines.last().filter(|_| more).map(|line| line.id.to_string());
    let next = last.map(|last| format!("?{}", visit.form.with("before", Some(&last))));
    let rows = lines.iter().map(Row::of).collect();
    page(&AuditPage {
        frame: &visit.frame.clone().titled("Audit log"),
        rows,
        actor: visit.form.get("actor"),
        action: visit.form.get("action"),
        subject: visit.form.get("subject"),
        next,
    })
}
