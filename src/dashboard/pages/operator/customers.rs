//! Organizations in the operator's hand: the list, creating one, and the page of one with its credit and its suspension.

use crate::{
    accounts::Accounts,
    dashboard::{
        frame::{Frame, PageError, page_of, see_other, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{ids::OrgId, money::NanoUsd},
    gateway::Gateway,
    http::api::{billing, operator as api},
    store::{
        operator::{OrganizationFilter, OrganizationRow},
        postings::PostingOutcome,
        sessions::Operator,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::json;

const PAGE_SIZE: i64 = 50;

#[derive(Template)]
#[template(path = "operator.html")]
struct OrganizationsPage<'a> {
    frame: &'a Frame,
    rows: Vec<Row>,
    next: Option<String>,
    search: &'a str,
    name: &'a str,
    owner_email: &'a str,
    /// The address of a new invitation, shown this once.
    link: &'a str,
}

/// An organization in words.
struct Row {
    path: String,
    id: String,
    name: String,
    created: Moment,
    state: &'static str,
    state_class: &'static str,
    posted: String,
    held: String,
    requests: String,
    charged: String,
    margin: String,
}

impl Row {
    fn of(row: &OrganizationRow) -> Self {
        let (state, state_class) = match (row.deleted_at, row.suspended_at) {
            (Some(_), _) => ("deleted", "bad"),
            (None, Some(_)) => ("suspended", "warn"),
            (None, None) => ("active", "good"),
        };
        Self {
            path: format!("/operator/organizations/{}", row.scope.org_id()),
            id: row.scope.org_id().to_string(),
            name: row.name.clone(),
            created: view::moment(row.created_at),
            state,
            state_class,
            posted: view::exact(row.posted),
            held: view::exact(row.held),
            requests: view::count(row.requests),
            charged: view::exact(row.charged),
            margin: view::exact(NanoUsd(row.charged.0.saturating_sub(row.cost.0))),
        }
    }
}

/// `GET /operator?after&search`.
pub async fn list(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    list_page(visit, "", StatusCode::OK).await
}

async fn list_page(
    visit: Visit<Operator>,
    link: &str,
    status: StatusCode,
) -> Result<HttpResponse, PageError> {
    let after = match visit.form.given("after").map(str::parse::<OrgId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(PageError::form("after", "`after` must be the id of an organization")),
    };
    let search = visit.form.get("search").replace('\0', "");
    let filter =
        OrganizationFilter { after, id: None, name: Some(search.clone()).filter(|text| !text.is_empty()) };
    let found = api::find_organizations(&visit.call, filter, PAGE_SIZE).await?;
    let is_full = i64::try_from(found.len()).is_ok_and(|found| found == PAGE_SIZE);
    let last = found.last().filter(|_| is_full).map(|last| last.scope.org_id().to_string());
    let next = last.map(|last| format!("?{}", visit.form.with("after", Some(&last))));
    let frame = visit.frame.titled("Organizations");
    let template = OrganizationsPage {
        frame: &frame,
        rows: found.iter().map(Row::of).collect(),
        next,
        search: &search,
        name: visit.form.get("name"),
        owner_email: visit.form.get("ownerEmail"),
        link,
    };
    Ok(page_of(&template, status))
}

/// `POST /operator`: creates an organization and shows the link of its owner's invitation once.
pub async fn create(mut visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let actor = visit.who.user_id.to_string();
    let (name, email) = (visit.form.get("name"), visit.form.get("ownerEmail"));
    match accounts.create_organization(actor, name, email).await.map_err(PageError::from) {
        Ok(made) => {
            let link = format!("{}/invite/{}", visit.origin.base(&visit.call), made.token.expose());
            visit.form = visit.form.cleared();
            list_page(visit, &link, StatusCode::CREATED).await
        }
        Err(PageError::Form(mut error)) => {
            if error.field == "email" {
                error.field = "ownerEmail".to_owned();
            }
            visit.frame.error = Some(error);
            list_page(visit, "", StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

#[derive(Template)]
#[template(path = "operator_customer.html")]
struct CustomerPage<'a> {
    frame: &'a Frame,
    row: Row,
    is_suspended: bool,
    is_deleted: bool,
    suspended_reason: String,
    members: Vec<(String, &'static str, Moment)>,
    keys: Vec<KeyRow>,
    amount: &'a str,
    reason: &'a str,
    /// A resend of the form carries the same one and posts nothing.
    entry: String,
}

struct KeyRow {
    id: String,
    name: String,
    last4: String,
    created: Moment,
    is_revoked: bool,
}

/// `GET /operator/organizations/{id}`.
pub async fn show(mut visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    visit.frame.done = match visit.form.get("done") {
        "posted" => "The entry was posted.",
        "repeat" => "This entry was posted before; nothing was posted again.",
        "state" => "The organization was changed. Running gateways follow within 5 seconds.",
        _ => "",
    };
    customer_page(visit, StatusCode::OK).await
}

async fn customer_page(visit: Visit<Operator>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let details = api::find_customer(&visit.call, visit.call.path("id")).await?;
    let entry = state::<Gateway>(&visit.call)?.ambient.uuid().simple().to_string();
    let frame = visit.frame.titled(details.row.name.clone());
    let template = CustomerPage {
        frame: &frame,
        row: Row::of(&details.row),
        is_suspended: details.row.suspended_at.is_some(),
        is_deleted: details.row.deleted_at.is_some(),
        suspended_reason: details.row.suspended_reason.clone().unwrap_or_default(),
        members: details
            .members
            .iter()
            .map(|member| (member.email.clone(), member.role.as_str(), view::moment(member.created_at)))
            .collect(),
        keys: details
            .api_keys
            .iter()
            .map(|key| KeyRow {
                id: key.id.to_string(),
                name: key.name.clone(),
                last4: key.last4.clone(),
                created: view::moment(key.created_at),
                is_revoked: key.revoked_at.is_some(),
            })
            .collect(),
        amount: visit.form.get("amountUsd"),
        reason: visit.form.get("reason"),
        entry,
    };
    Ok(page_of(&template, status))
}

async fn again(mut visit: Visit<Operator>, error: PageError) -> Result<HttpResponse, PageError> {
    match error {
        PageError::Form(error) => {
            visit.frame.error = Some(error);
            customer_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        error => Err(error),
    }
}

/// `POST /operator/organizations/{id}/entries`: grants, refunds or adjusts, with a reason.
pub async fn post_entry(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let entry = visit.form.get("entry");
    if entry.len() != 32 || !entry.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(PageError::NotFound);
    }
    let body = json!({
        "organizationId": visit.call.path("id"),
        "kind": visit.form.get("kind"),
        "amountUsd": visit.form.get("amountUsd"),
        "reason": visit.form.get("reason"),
        "externalId": format!("form-{entry}"),
    });
    match billing::post_form(&visit.call, visit.who, body).await.map_err(PageError::from) {
        Ok(outcome) => {
            let done = if outcome == PostingOutcome::Posted { "posted" } else { "repeat" };
            Ok(see_other(&format!("/operator/organizations/{}?done={done}", visit.call.path("id"))))
        }
        Err(error) => again(visit, error).await,
    }
}

/// `POST /operator/organizations/{id}/suspension`: suspends for a reason, or resumes.
pub async fn set_suspension(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let id: OrgId = visit.call.path("id").parse().map_err(|_| PageError::NotFound)?;
    let reason = match visit.form.get("action") {
        "resume" => None,
        _ => Some(visit.form.get("suspensionReason")),
    };
    let actor = visit.who.user_id.to_string();
    match accounts.set_suspension(actor, id, reason).await.map_err(PageError::from) {
        Ok(()) => Ok(see_other(&format!("/operator/organizations/{id}?done=state"))),
        Err(PageError::Form(mut error)) => {
            error.field = "suspensionReason".to_owned();
            again(visit, PageError::Form(error)).await
        }
        Err(error) => Err(error),
    }
}
