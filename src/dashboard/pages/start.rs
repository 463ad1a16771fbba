//! Getting started: a key, a call that can be copied, and the first answer.

use super::read;
use crate::{
    accounts::{Accounts, keys::CreatedKey, patch::KeyBody, roles::Capability},
    billing::{report, requests},
    dashboard::{
        explain,
        frame::{Frame, PageError, page, page_of, state},
        routes::Visit,
    },
    domain::money::NanoUsd,
    store::{requests::Filter, sessions::Session},
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage<'a> {
    frame: &'a Frame,
    /// Shown once, in the answer to the form that made it.
    secret: &'a str,
    base: &'a str,
    model: &'a str,
    has_credit: bool,
    sees_money: bool,
    first: Option<First>,
}

/// The newest answered request.
struct First {
    link: String,
    sentence: String,
}

const EXAMPLE_MODEL: &str = "openai/gpt-5.4-mini";

/// `GET /o/{org}/start`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    start_page(visit, None).await
}

/// `POST /o/{org}/start`: makes an API key.
pub async fn create_key(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let name = visit.form.given("name").unwrap_or("My first key");
    let body: KeyBody = serde_json::from_value(json!({ "name": name }))
        .map_err(|error| PageError::form("name", error.to_string()))?;
    match state::<Accounts>(&visit.call)?.create_key(visit.who, body).await.map_err(PageError::from) {
        Ok(created) => start_page(visit, Some(created)).await,
        Err(PageError::Form(error)) => {
            let mut visit = visit;
            visit.frame.error = Some(error);
            start_page(visit, None).await
        }
        Err(error) => Err(error),
    }
}

async fn start_page(visit: Visit<Session>, created: Option<CreatedKey>) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let sees_money = session.role.can(Capability::ReadMoney);
    let made_by = (!session.role.has_all_keys()).then_some(session.user_id);
    let (balance, newest) = read(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let balance = report::balance(&mut connection, session.scope).await?;
        let filter = Filter { made_by, status: Some("completed".to_owned()), ..Filter::default() };
        let page = requests::list(&mut connection, session.scope, &filter, None, 1).await?;
        Ok((balance, page.requests.into_iter().next()))
    })
    .await?;
    let base = visit.origin.base(&visit.call);
    let frame = visit.frame.titled("Get started");
    let first = newest.map(|request| First {
        link: format!("{}/requests/{}", frame.home, request.id),
        sentence: explain::sentence(&request.receipt, &BTreeMap::new()),
    });
    let is_refused = frame.error.is_some();
    let template = StartPage {
        secret: created.as_ref().map_or("", |created| created.secret.expose()),
        base: &base,
        model: EXAMPLE_MODEL,
        has_credit: balance.available_usd > NanoUsd::ZERO,
        sees_money,
        first,
        frame: &frame,
    };
    match (is_refused, created.is_some()) {
        (true, _) => Ok(page_of(&template, StatusCode::UNPROCESSABLE_ENTITY)),
        (_, true) => Ok(page_of(&template, StatusCode::CREATED)),
        _ => page(&template),
    }
}
