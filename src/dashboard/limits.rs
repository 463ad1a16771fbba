//! Limits and budgets in forms: their fields, and what is used of a budget, in words.

use super::{form::Form, frame::PageError, view};
use crate::{
    domain::policy::{OrganizationRules, RateRules},
    store::budgets::Budget,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// The fields of rates.
pub struct RateFields {
    pub requests: String,
    pub tokens: String,
    pub concurrent: String,
}

impl RateFields {
    pub fn of(rates: &RateRules) -> RateFields {
        let text = |limit: Option<u32>| limit.map_or(String::new(), |limit| limit.to_string());
        RateFields {
            requests: text(rates.requests_per_minute),
            tokens: text(rates.tokens_per_minute),
            concurrent: text(rates.concurrent_requests),
        }
    }
}

/// How a budget stands.
pub struct BudgetView {
    /// `$3.20 of $10.00, resets 2026-12-01 00:00:00 UTC`
    pub text: String,
    /// 0 to 100.
    pub percent: i64,
    pub class: &'static str,
}

impl BudgetView {
    pub fn of(budget: &Budget, rules: &OrganizationRules, now: OffsetDateTime) -> BudgetView {
        let period = budget.rule.current(&rules.zone(), now);
        let spent = budget.spent_in(period);
        let amount = budget.rule.amount;
        let percent = i128::from(spent.0.max(0)) * 100 / i128::from(amount.0.max(1));
        let percent = i64::try_from(percent).unwrap_or(i64::MAX).min(100);
        BudgetView {
            text: format!(
                "{} of {}, resets {}",
                view::exact(spent),
                view::exact(amount),
                view::moment(period.ends_at).text
            ),
            percent,
            class: match percent {
                100.. => "bad",
                80.. => "warn",
                _ => "good",
            },
        }
    }
}

/// The periods of budgets.
pub fn periods() -> [(String, String); 3] {
    [("day", "each day"), ("week", "each week"), ("month", "each month")]
        .map(|(value, text)| (value.to_owned(), text.to_owned()))
}

/// A whole number, or nothing.
pub fn number(form: &Form, field: &'static str) -> Result<Value, PageError> {
    match form.given(field).map(str::parse::<u32>) {
        None => Ok(Value::Null),
        Some(Ok(number)) => Ok(json!(number)),
        Some(Err(_)) => Err(PageError::form(field, format!("`{field}` must be a whole number"))),
    }
}

/// The fields of rates and budget as a merge patch.
pub fn wanted(form: &Form) -> Result<Map<String, Value>, PageError> {
    let mut wanted = Map::new();
    for field in ["requestsPerMinute", "tokensPerMinute", "concurrentRequests"] {
        wanted.insert(field.to_owned(), number(form, field)?);
    }
    match form.given("budgetUsd") {
        None => {
            wanted.insert("budgetUsd".to_owned(), Value::Null);
        }
        Some(amount) => {
            wanted.insert("budgetUsd".to_owned(), json!(amount));
            wanted.insert("budgetPeriod".to_owned(), json!(form.given("budgetPeriod").unwrap_or("month")));
            let includes = form.given("budgetIncludesByok").is_some();
            wanted.insert("budgetIncludesByok".to_owned(), json!(includes));
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_form_clears_every_limit_and_a_wrong_number_is_named() {
        let cleared = wanted(&Form::default()).ok().unwrap();
        assert!(cleared.values().all(Value::is_null) && cleared.len() == 4);
        let form =
            Form::parse("requestsPerMinute=60&budgetUsd=10&budgetPeriod=week&budgetIncludesByok=on").unwrap();
        let wanted_fields = wanted(&form).ok().unwrap();
        assert_eq!(wanted_fields["requestsPerMinute"], json!(60));
        assert_eq!(wanted_fields["budgetPeriod"], json!("week"));
        assert_eq!(wanted_fields["budgetIncludesByok"], json!(true));
        let wrong = wanted(&Form::parse("tokensPerMinute=many").unwrap());
        assert!(matches!(wrong, Err(PageError::Form(error)) if error.field == "tokensPerMinute"));
    }
}
