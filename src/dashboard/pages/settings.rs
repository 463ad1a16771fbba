//! The settings of an organization: its time zone, its limits and budget over all API keys, and what it is alerted to.
//! The form becomes the same merge patch that the JSON API takes.

use crate::{
    accounts::{
        Accounts, organization::OrganizationDetails, patch::rules::OrganizationBody, roles::Capability,
    },
    dashboard::{
        form::Form,
        frame::{Frame, PageError, page_of, see_other, state},
        limits::{self, BudgetView},
        links::{Choice, choices},
        routes::Visit,
    },
    domain::money::NanoUsd,
    store::sessions::Session,
};
use actix_web::{HttpResponse, http::StatusCode};
use askama::Template;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage<'a> {
    frame: &'a Frame,
    name: String,
    id: String,
    zone: String,
    rates: limits::RateFields,
    budget: Option<BudgetView>,
    budget_usd: String,
    periods: Vec<Choice>,
    includes_byok: bool,
    low_balance: String,
    spend_jump: String,
    alert_emails: bool,
    may_write: bool,
}

/// `GET /o/{org}/settings`.
pub async fn show(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    visit.frame.done = if visit.form.get("done") == "saved" { "Saved." } else { "" };
    settings_page(visit, StatusCode::OK).await
}

async fn settings_page(visit: Visit<Session>, status: StatusCode) -> Result<HttpResponse, PageError> {
    let details = state::<Accounts>(&visit.call)?.get_organization(visit.who).await?;
    let frame = visit.frame.titled("Settings");
    let OrganizationDetails { name, rules, budget, now } = details;
    let template = SettingsPage {
        name,
        id: visit.who.scope.org_id().to_string(),
        zone: rules.time_zone.clone().unwrap_or_default(),
        rates: limits::RateFields::of(&rules.rates),
        budget: budget.map(|budget| BudgetView::of(&budget, &rules, now)),
        budget_usd: budget.map_or(String::new(), |budget| budget.rule.amount.to_string()),
        periods: choices(limits::periods(), budget.map_or("month", |budget| budget.rule.period.as_str())),
        includes_byok: budget.is_some_and(|budget| budget.rule.includes_own),
        low_balance: rules.low_balance_nano.map_or(String::new(), |nano| NanoUsd(nano).to_string()),
        spend_jump: rules.spend_jump_factor.map_or(String::new(), |factor| factor.to_string()),
        alert_emails: rules.alert_emails,
        may_write: visit.who.role.can(Capability::WriteMembers),
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// `POST /o/{org}/settings`.
pub async fn change(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    match changed(&visit).await {
        Ok(()) => Ok(see_other(&format!("{}/settings?done=saved", visit.frame.home))),
        Err(PageError::Form(error)) => {
            visit.frame.error = Some(error);
            settings_page(visit, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(error) => Err(error),
    }
}

async fn changed(visit: &Visit<Session>) -> Result<(), PageError> {
    let wanted = wanted(&visit.form)?;
    let body: OrganizationBody =
        serde_json::from_value(wanted).map_err(|error| PageError::form("", error.to_string()))?;
    state::<Accounts>(&visit.call)?.change_organization(visit.who, body).await?;
    Ok(())
}

fn wanted(form: &Form) -> Result<Value, PageError> {
    let mut wanted = limits::wanted(form)?;
    let text = |field: &str| form.given(field).map_or(Value::Null, |text| json!(text));
    wanted.insert("timeZone".to_owned(), text("timeZone"));
    wanted.insert("lowBalanceUsd".to_owned(), text("lowBalanceUsd"));
    wanted.insert("spendJumpFactor".to_owned(), limits::number(form, "spendJumpFactor")?);
    wanted.insert("alertEmails".to_owned(), json!(form.given("alertEmails").is_some()));
    Ok(Value::Object(wanted))
}
