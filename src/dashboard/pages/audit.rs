//! Who changed what in the organization, from where, with the fields before and after; no secrets are in it.

use super::report;
use crate::{
    billing::report::Range,
    books::table::{Cell, TableWriter},
    dashboard::{
        form::Form,
        frame::{Frame, PageError, guarded, page, state},
        links::{Choice, Link, change, chips, choices},
        names::Names,
        routes::Visit,
        view::{self, Moment},
    },
    domain::ambient::Ambient,
    http::api::export::{Pieces, send_csv},
    store::{
        Db, Purpose, StoreError,
        audit_log::{self, AuditFilter, AuditLine, AuditScope},
        sessions::Session,
        usage::first_id_at,
    },
};
use actix_web::HttpResponse;
use askama::Template;
use serde_json::{Map, Value};
use uuid::Uuid;

const PAGE_SIZE: i64 = 50;
const EXPORT_SIZE: i64 = 500;
const FILTERS: [&str; 5] = ["actor", "action", "subject", "from", "to"];
/// What entries are about, as filters name it.
const NOUNS: [(&str, &str); 8] = [
    ("api_key", "API keys"),
    ("provider_keys", "provider keys"),
    ("member", "members"),
    ("invitation", "invitations"),
    ("organization", "the organization"),
    ("user", "people"),
    ("session", "sessions"),
    ("credits", "credit"),
];

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    nouns: Vec<Choice>,
    chips: Vec<Link>,
    rows: Vec<Row>,
    next: Option<String>,
    csv: String,
}

struct Row {
    at: Moment,
    actor: String,
    actor_link: String,
    action: String,
    subject: String,
    subject_link: String,
    address: String,
    changes: Vec<FieldChange>,
}

struct FieldChange {
    field: String,
    old: String,
    new: String,
}

/// `GET /o/{org}/audit`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let filter = filter(&visit)?;
    let before = visit.form.given("before").map(Uuid::try_parse).transpose();
    let before = before.map_err(|_| PageError::form("before", "`before` must be the id of an entry"))?;
    let (mut lines, names) = report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let scope = AuditScope::Organization(session.scope);
        let lines = audit_log::list(&mut connection, scope, &filter, before, PAGE_SIZE + 1).await?;
        Ok((lines, Names::read(&mut connection, &session).await?))
    })
    .await?;
    let size = usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX);
    let has_more = lines.len() > size;
    lines.truncate(size);
    let form = &visit.form;
    let next = lines.last().filter(|_| has_more).map(|line| line.id.to_string());
    let frame = visit.frame.titled("Audit log");
    let template = AuditPage {
        nouns: choices(NOUNS.map(|(noun, words)| (noun.to_owned(), words.to_owned())), form.get("action")),
        chips: chips(form, &FILTERS, |name, value| match name {
            "actor" => format!("by {}", names.person(value)),
            "subject" => format!("on {}", names.key(value)),
            _ => format!("{name}: {value}"),
        }),
        rows: lines.iter().map(|line| row(line, &names, form)).collect(),
        next: next.map(|id| format!("?{}", form.with("before", Some(&id)))),
        csv: format!("{}/audit.csv?{}", frame.home, change(form, &[])),
        form,
        frame: &frame,
    };
    page(&template)
}

fn filter(visit: &Visit<Session>) -> Result<AuditFilter, PageError> {
    let form = &visit.form;
    let ids = match (form.given("from"), form.given("to")) {
        (None, None) => None,
        (from, to) => {
            let range = Range::parse(from, to, state::<Ambient>(&visit.call)?.now());
            let (from, to) = range.map_err(|error| PageError::form("from", error.to_string()))?.bounds();
            Some((first_id_at(from), first_id_at(to)))
        }
    };
    let text = |name: &str| form.given(name).map(str::to_owned);
    Ok(AuditFilter { actor: text("actor"), action: text("action"), subject: text("subject"), ids })
}

/// `GET /o/{org}/audit.csv`.
pub async fn export(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let (filter, scope) = (filter(&visit)?, visit.who.scope);
    let db = state::<Db>(&visit.call)?.with_purpose(Purpose::Reports);
    let write = move |db: Db, pieces: Pieces| async move {
        let mut table = TableWriter::default();
        let columns =
            ["createdAt", "actor", "actorEmail", "action", "subject", "changes", "address", "requestId"];
        table.row(columns.map(Cell::Text));
        let mut before = None;
        loop {
            let of = AuditScope::Organization(scope);
            let lines = audit_log::list(&mut *db.acquire().await?, of, &filter, before, EXPORT_SIZE).await?;
            before = lines.last().map(|line| line.id);
            lines.iter().for_each(|line| write_row(&mut table, line));
            let is_last = i64::try_from(lines.len()).is_ok_and(|length| length < EXPORT_SIZE);
            if !pieces.clone().send(table.take()).await || is_last {
                return Ok::<(), StoreError>(());
            }
        }
    };
    Ok(guarded(send_csv(&db, scope, "audit.csv", write)))
}

fn write_row(table: &mut TableWriter, line: &AuditLine) {
    let at = view::rfc3339(line.created_at);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let rest = [
        line.actor.clone(),
        text(&line.actor_email),
        line.action.clone(),
        line.subject.clone(),
        text(&line.changes),
        text(&line.address),
        text(&line.request_id),
    ];
    table.row([Cell::Figure(&at)].into_iter().chain(rest.iter().map(|text| Cell::Text(text))));
}

fn row(line: &AuditLine, names: &Names, form: &Form) -> Row {
    let changes: Map<String, Value> =
        line.changes.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let is_key = line.subject.starts_with("key_");
    let subject = match (line.subject.split_once('_'), is_key) {
        (_, true) => names.key(&line.subject),
        (Some(("usr", _)), _) => names.person(&line.subject),
        _ => line.subject.clone(),
    };
    Row {
        at: view::moment(line.created_at),
        actor: line.actor_email.clone().unwrap_or_else(|| line.actor.clone()),
        actor_link: format!("?{}", change(form, &[("actor", Some(&line.actor))])),
        action: line.action.clone(),
        subject_link: format!("?{}", change(form, &[("subject", Some(&line.subject))])),
        subject,
        address: line.address.clone().unwrap_or_default(),
        changes: changes.iter().map(|(field, pair)| field_change(field, pair)).collect(),
    }
}

fn field_change(field: &str, pair: &Value) -> FieldChange {
    let shown = |index: usize| match pair.get(index) {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    FieldChange { field: field.to_owned(), old: shown(0), new: shown(1) }
}
