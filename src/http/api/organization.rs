//! `/api/organization`: the rules and the budget of the whole organization.

use super::time_text;
use crate::{
    accounts::{Accounts, organization::OrganizationDetails, patch::rules::OrganizationBody},
    domain::{
        money::NanoUsd,
        policy::{BudgetRule, OrganizationRules, RateRules},
    },
    http::{error::ApiError, extract::Call},
    store::{budgets::Budget, sessions::Session},
};
use actix_web::HttpResponse;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// `GET /api/organization`.
pub async fn get_organization(call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let details = call.state::<Accounts>()?.get_organization(session).await?;
    Ok(HttpResponse::Ok().json(view(session, &details)))
}

/// `PATCH /api/organization`.
pub async fn change_organization(mut call: Call, session: Session) -> Result<HttpResponse, ApiError> {
    let accounts = call.state::<Accounts>()?;
    let body: OrganizationBody = call.json().await?;
    let details = accounts.change_organization(session, body).await?;
    Ok(HttpResponse::Ok().json(view(session, &details)))
}

fn view(session: Session, details: &OrganizationDetails) -> Value {
    let mut view = Map::new();
    view.insert("id".into(), json!(session.scope.org_id()));
    view.insert("name".into(), json!(details.name));
    view.insert("timeZone".into(), json!(details.rules.zone().name()));
    let low_balance = details.rules.low_balance_nano.map(|nano| NanoUsd(nano).to_string());
    view.insert("lowBalanceUsd".into(), json!(low_balance));
    view.insert("spendJumpFactor".into(), json!(details.rules.spend_jump_factor));
    view.insert("alertEmails".into(), json!(details.rules.alert_emails));
    insert_rates(&mut view, "", &details.rules.rates);
    let rule = details.budget.map(|budget| budget.rule);
    insert_budget(&mut view, rule, details.budget.as_ref(), &details.rules, details.now);
    Value::Object(view)
}

/// Adds the fields of rates, with names that begin with `prefix`.
pub(super) fn insert_rates(view: &mut Map<String, Value>, prefix: &str, rates: &RateRules) {
    for (name, value) in [
        ("requestsPerMinute", rates.requests_per_minute),
        ("tokensPerMinute", rates.tokens_per_minute),
        ("concurrentRequests", rates.concurrent_requests),
    ] {
        let name = match (prefix, name.split_at(1)) {
            ("", _) => name.to_owned(),
            (prefix, (first, rest)) => format!("{prefix}{}{rest}", first.to_uppercase()),
        };
        view.insert(name, json!(value));
    }
}

/// Adds the fields of a budget, and its spent amount if it is known.
pub(super) fn insert_budget(
    view: &mut Map<String, Value>,
    rule: Option<BudgetRule>,
    budget: Option<&Budget>,
    rules: &OrganizationRules,
    now: OffsetDateTime,
) {
    view.insert("budgetUsd".into(), json!(rule.map(|rule| rule.amount.to_string())));
    view.insert("budgetPeriod".into(), json!(rule.map(|rule| rule.period)));
    view.insert("budgetIncludesByok".into(), json!(rule.is_some_and(|rule| rule.includes_own)));
    let current = budget.map(|budget| (budget, budget.rule.current(&rules.zone(), now)));
    let spent = current.map(|(budget, period)| budget.spent_in(period).to_string());
    view.insert("budgetSpentUsd".into(), json!(spent));
    view.insert("budgetResetsAt".into(), json!(current.map(|(_, period)| time_text(period.ends_at))));
}
