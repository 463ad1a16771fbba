//! API keys: the list with their use, making, rotating and revoking. Forms become the same bodies that the JSON API
//! takes, so that the rules about them stand in one place.

use super::{key, report};
use crate::{
    accounts::{Accounts, keys::CreatedKey, patch::KeyBody, roles::Capability, rotation::RotateBody},
    billing::{
        report::Range,
        usage_report::{self, UsageQuery},
    },
    dashboard::{
        frame::{FormError, Frame, PageError, page_of, see_other, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{ambient::Ambient, ids::ApiKeyId},
    store::{
        api_keys::{self, ApiKey, KeyScope},
        overview::{self, KeyActivity},
        rollups::{GroupBy, UsageFilter},
        sessions::Session,
    },
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::{Value, json};
use std::collections::HashMap;

/// API keys on a page.
const PAGE_SIZE: i64 = 100;

#[derive(Template)]
#[template(path = "keys.html")]
struct ListPage<'a> {
    frame: &'a Frame,
    live: Vec<KeyRow>,
    ended: Vec<KeyRow>,
    next: Option<String>,
    may_write: bool,
    name: &'a str,
}

struct KeyRow {
    link: String,
    name: String,
    last4: String,
    rules: String,
    created: Moment,
    last_used: Option<Moment>,
    requests: String,
    charged: String,
    ends: Option<Moment>,
}

/// `GET /o/{org}/keys?after`.
pub async fn list(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    list_page(visit, StatusCode::OK).await
}

/// What the keys of a page did in 30 days, by their ids.
type Activity = HashMap<String, (i64, i64, Option<KeyActivity>)>;

async fn list_page(visit: Visit<Session>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let after = visit.form.given("after").map(str::parse).transpose();
    let after = after.map_err(|_| PageError::form("after", "`after` must be the id of an API key"))?;
    let (keys, next, activity) = read_page(&visit, after).await?;
    let frame = visit.frame.titled("API keys");
    let row = |key: &ApiKey| key_row(key, &activity, &frame.home);
    let (live, ended): (Vec<&ApiKey>, Vec<&ApiKey>) = keys.iter().partition(|key| key.revoked_at.is_none());
    let template = ListPage {
        live: live.into_iter().map(row).collect(),
        ended: ended.into_iter().map(row).collect(),
        next: next.map(|id| format!("?after={id}")),
        may_write: visit.who.role.can(Capability::WriteKeys),
        name: visit.form.get("name"),
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// The keys of a page that the session's role may see, the last one if more follow, and what they did.
async fn read_page(
    visit: &Visit<Session>,
    after: Option<ApiKeyId>,
) -> Result<(Vec<ApiKey>, Option<ApiKeyId>, Activity), PageError> {
    let session = visit.who;
    let now = state::<Ambient>(&visit.call)?.now();
    let range = Range::parse(None, None, now).map_err(|error| PageError::form("", error.to_string()))?;
    let member = (!session.role.has_all_keys()).then_some(session.user_id);
    let query =
        UsageQuery::by(range, GroupBy::Key).filtered(UsageFilter { member, ..UsageFilter::default() });
    report(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let scope = KeyScope { org: session.scope, made_by: member };
        let mut keys = api_keys::list(&mut connection, scope, after, PAGE_SIZE + 1).await?;
        let size = usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX);
        let has_more = keys.len() > size;
        keys.truncate(size);
        let next = keys.last().filter(|_| has_more).map(|key| key.id);
        let ids: Vec<ApiKeyId> = keys.iter().map(|key| key.id).collect();
        let mut activity = Activity::new();
        for one in overview::key_activity(&mut connection, session.scope, &ids, now).await? {
            activity.insert(one.id.to_string(), (0, 0, Some(one)));
        }
        for line in usage_report::report(&mut connection, session.scope, &query, false).await?.rows {
            if let Some((requests, charged, _)) = activity.get_mut(&line.key) {
                (*requests, *charged) = (line.requests, line.charged_usd.0);
            }
        }
        Ok((keys, next, activity))
    })
    .await
}

fn key_row(key: &ApiKey, activity: &Activity, home: &str) -> KeyRow {
    let (requests, charged, used) = activity.get(&key.id.to_string()).copied().unwrap_or_default();
    KeyRow {
        link: format!("{home}/keys/{}", key.id),
        name: key.name.clone(),
        last4: key.last4.clone(),
        rules: key::rules_in_words(&key.policy).join("; "),
        created: view::moment(key.created_at),
        last_used: used.and_then(|used| used.last_used_at).map(view::moment),
        requests: view::count(requests),
        charged: view::exact(crate::domain::money::NanoUsd(charged)),
        ends: key.revoked_at.or(key.policy.expires_at).map(view::moment),
    }
}

/// `POST /o/{org}/keys`.
pub async fn create(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let accounts = state::<Accounts>(&visit.call)?;
    let made = match body(json!({ "name": visit.form.get("name") })) {
        Ok(body) => accounts.create_key(visit.who, body).await.map_err(PageError::from),
        Err(error) => Err(error),
    };
    match made {
        Ok(CreatedKey { secret, details }) => {
            key::show_key(visit, details.key.id, ("", secret.expose()), StatusCode::CREATED).await
        }
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            list_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

/// `POST /o/{org}/keys/{id}/rotate`: a new secret, shown in this answer alone.
pub async fn rotate(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let (accounts, id) = (state::<Accounts>(&visit.call)?, key_id(&visit)?);
    let grace = visit.form.get("graceSeconds").parse::<u64>();
    let grace = grace.map_err(|_| PageError::form("graceSeconds", "Choose how long the old secret works"))?;
    let body: RotateBody = serde_json::from_value(json!({ "graceSeconds": grace }))
        .map_err(|error| PageError::form("graceSeconds", error.to_string()))?;
    match accounts.rotate_key(visit.who, id, body).await.map_err(PageError::from) {
        Ok(rotated) => key::show_key(visit, id, ("", rotated.secret.expose()), StatusCode::CREATED).await,
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            key::show_key(visit, id, ("", ""), StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage<'a> {
    frame: &'a Frame,
    heading: &'a str,
    consequence: &'a str,
    action: &'a str,
    expected: &'a str,
    button: &'a str,
    back: &'a str,
}

/// `GET /o/{org}/keys/{id}/revoke`.
pub async fn confirm_revoke(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    revoke_page(visit, StatusCode::OK).await
}

async fn revoke_page(visit: Visit<Session>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let details = state::<Accounts>(&visit.call)?.get_key(visit.who, key_id(&visit)?).await?;
    let frame = visit.frame.titled("Revoke the API key");
    let back = format!("{}/keys/{}", frame.home, details.key.id);
    let template = ConfirmPage {
        heading: "Revoke the API key",
        consequence: "Requests with this key are refused from now on, on every machine within five seconds. The \
                      provider keys stored in it are deleted. This cannot be undone.",
        action: visit.call.request.path(),
        expected: &details.key.name,
        button: "Revoke the key",
        back: &back,
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// `POST /o/{org}/keys/{id}/revoke`: the key's name must be typed.
pub async fn revoke(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let (accounts, id) = (state::<Accounts>(&visit.call)?, key_id(&visit)?);
    let name = accounts.get_key(visit.who, id).await?.key.name;
    if visit.form.get("confirm") != name.trim() {
        visit.frame.error = Some(FormError {
            field: "confirm".to_owned(),
            message: format!("Type the name of the key to revoke it: {name}"),
        });
        return revoke_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await;
    }
    accounts.revoke_key(visit.who, id).await?;
    Ok(see_other(&format!("{}/keys", visit.frame.home)))
}

/// The API key of the path. Text that is no id gets the answer of an id that is not there.
pub(super) fn key_id(visit: &Visit<Session>) -> Result<ApiKeyId, PageError> {
    visit.call.path("id").parse().map_err(|_| PageError::NotFound)
}

pub(super) fn body(wanted: Value) -> Result<KeyBody, PageError> {
    serde_json::from_value(wanted).map_err(|error| PageError::form("", error.to_string()))
}
