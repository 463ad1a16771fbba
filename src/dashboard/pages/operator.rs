//! The operator's pages: organizations with their credit, and the platform's own provider keys.

use super::read;
use crate::{
    billing::report,
    dashboard::{
        frame::{Frame, PageError, page, state},
        routes::Visit,
        view::{self, Moment},
    },
    domain::{ids::OrgId, provider::ProviderId},
    gateway::Gateway,
    store::{organizations, platform_keys, sessions::Operator},
};
use actix_web::HttpResponse;
use askama::Template;
use std::collections::HashMap;

const PAGE_SIZE: i64 = 50;

#[derive(Template)]
#[template(path = "operator.html")]
struct OrganizationsPage<'a> {
    frame: &'a Frame,
    rows: Vec<Row>,
    next: Option<String>,
}

struct Row {
    id: String,
    name: String,
    created: Moment,
    posted: String,
    held: String,
}

/// `GET /operator?after`.
pub async fn organizations(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let after = match visit.form.given("after").map(str::parse::<OrgId>) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(PageError::form("after", "`after` must be the id of an organization")),
    };
    let found = read(&visit.call, move |db| async move {
        let mut connection = db.acquire().await?;
        let mut found = Vec::new();
        for organization in organizations::list(&mut connection, after, PAGE_SIZE).await? {
            if let Some(scope) = organizations::find_scope(&mut connection, organization.id).await? {
                found.push((organization, report::balance(&mut connection, scope).await?));
            }
        }
        Ok(found)
    })
    .await?;
    let frame = visit.frame.titled("Organizations");
    let is_full = i64::try_from(found.len()).is_ok_and(|found| found == PAGE_SIZE);
    let next = found.last().filter(|_| is_full).map(|(last, _)| format!("?after={}", last.id));
    let rows = found
        .into_iter()
        .map(|(organization, balance)| Row {
            id: organization.id.to_string(),
            name: organization.name,
            created: view::moment(organization.created_at),
            posted: view::exact(balance.balance_usd),
            held: view::exact(balance.held_usd),
        })
        .collect();
    page(&OrganizationsPage { frame: &frame, rows, next })
}

#[derive(Template)]
#[template(path = "operator_providers.html")]
struct ProvidersPage<'a> {
    frame: &'a Frame,
    rows: Vec<ProviderRow>,
}

struct ProviderRow {
    name: &'static str,
    address: String,
    key: String,
}

/// `GET /operator/providers`.
pub async fn providers(visit: Visit<Operator>) -> Result<HttpResponse, PageError> {
    let gateway = state::<Gateway>(&visit.call)?;
    let stored =
        read(&visit.call, |db| async move { platform_keys::list(&mut *db.acquire().await?).await }).await?;
    let stored: HashMap<ProviderId, String> =
        stored.into_iter().map(|key| (key.provider, key.last4)).collect();
    let rows = ProviderId::all()
        .map(|provider| ProviderRow {
            name: provider.row().name,
            address: gateway.settings.base_url(provider).unwrap_or_default().to_owned(),
            key: match (stored.get(&provider), gateway.platform_keys.get(provider).is_some()) {
                (Some(last4), _) => format!("stored, ends in …{last4}"),
                (None, true) => "from the environment".to_owned(),
                (None, false) => "none: only customers' own keys serve".to_owned(),
            },
        })
        .collect();
    page(&ProvidersPage { frame: &visit.frame.titled("Providers"), rows })
}
