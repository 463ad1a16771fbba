//! The rules of an API key and of an organization about rates, concurrency and spend: checking their fields and
//! applying them to the stored rules.

use super::{AccountError, Field, lay_over, lay_over_option};
use crate::{
    domain::{
        money::NanoUsd,
        policy::{BudgetRule, KeyRules, OrganizationRules, RateRules},
    },
    limits::{PeriodKind, TimeZone},
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::net::IpAddr;

/// Maximum networks in one list.
const NETS_MAX: usize = 100;
/// The maximum amount in a rule about money: one million dollars.
const AMOUNT_NANO_MAX: i64 = 1_000_000_000_000_000;

/// Dollars as received: a number or a decimal string.
pub type Amount = Box<RawValue>;

/// Whether providers may use prompts for their own purposes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataCollection {
    Allow,
    Deny,
}

/// Fields of [`RateRules`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RatesChange {
    pub requests_per_minute: Field<u32>,
    pub tokens_per_minute: Field<u32>,
    pub concurrent_requests: Field<u32>,
}

/// Fields of a budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct BudgetChange {
    pub amount: Field<NanoUsd>,
    pub period: Field<PeriodKind>,
    pub includes_own: Field<bool>,
}

/// Fields of [`KeyRules`] after the checks.
#[derive(Clone, Debug, Default)]
pub struct RulesChange {
    pub rates: RatesChange,
    pub end_user: RatesChange,
    pub max_cost_per_request: Field<NanoUsd>,
    pub allowed_ips: Field<Vec<IpNet>>,
    pub zdr: Field<bool>,
    pub data_collection: Field<DataCollection>,
}

/// The body that changes an organization's rules, as received.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct OrganizationBody {
    time_zone: Field<String>,
    requests_per_minute: Field<u32>,
    tokens_per_minute: Field<u32>,
    concurrent_requests: Field<u32>,
    budget_usd: Field<Amount>,
    budget_period: Field<PeriodKind>,
    budget_includes_byok: Field<bool>,
    low_balance_usd: Field<Amount>,
    spend_jump_factor: Field<u32>,
    alert_emails: Field<bool>,
}

/// The same after the checks.
#[derive(Clone, Debug, Default)]
pub struct OrganizationChange {
    pub time_zone: Field<String>,
    pub low_balance: Field<NanoUsd>,
    pub spend_jump_factor: Field<u32>,
    pub alert_emails: Field<bool>,
    pub rates: RatesChange,
    pub budget: BudgetChange,
}

impl RatesChange {
    /// Checks three fields; `names` are their names in messages.
    pub(super) fn judge(fields: [Field<u32>; 3], names: [&str; 3]) -> Result<Self, AccountError> {
        for (field, name) in fields.iter().zip(names) {
            if *field == Field::Set(0) {
                let message = format!("`{name}` must be a whole number above 0; null removes the limit");
                return Err(AccountError::invalid(name, message));
            }
        }
        let [requests_per_minute, tokens_per_minute, concurrent_requests] = fields;
        Ok(Self { requests_per_minute, tokens_per_minute, concurrent_requests })
    }

    fn apply(&self, rates: &mut RateRules) {
        lay_over_option(&mut rates.requests_per_minute, &self.requests_per_minute);
        lay_over_option(&mut rates.tokens_per_minute, &self.tokens_per_minute);
        lay_over_option(&mut rates.concurrent_requests, &self.concurrent_requests);
    }
}

impl BudgetChange {
    pub(super) fn judge(
        amount: Field<Amount>,
        period: Field<PeriodKind>,
        includes_own: Field<bool>,
    ) -> Result<Self, AccountError> {
        Ok(Self { amount: amount.try_map(|text| parse_amount("budgetUsd", &text))?, period, includes_own })
    }

    /// The budget after the change. Without an amount there is no budget, and no other budget field may be set.
    pub fn apply(&self, budget: Option<BudgetRule>) -> Result<Option<BudgetRule>, AccountError> {
        let amount = match self.amount {
            Field::Keep => budget.map(|budget| budget.amount),
            Field::Clear => None,
            Field::Set(amount) => Some(amount),
        };
        let Some(amount) = amount else {
            let names = [
                ("budgetPeriod", matches!(self.period, Field::Set(_))),
                ("budgetIncludesByok", matches!(self.includes_own, Field::Set(true))),
            ];
            return match names.into_iter().find(|(_, is_set)| *is_set) {
                Some((name, _)) => Err(AccountError::invalid(name, format!("`{name}` needs `budgetUsd`"))),
                None => Ok(None),
            };
        };
        let period = match self.period {
            Field::Keep => budget.map_or(PeriodKind::Month, |budget| budget.period),
            Field::Clear => PeriodKind::Month,
            Field::Set(period) => period,
        };
        let mut includes_own = budget.is_some_and(|budget| budget.includes_own);
        lay_over(&mut includes_own, &self.includes_own);
        Ok(Some(BudgetRule { amount, period, includes_own }))
    }
}

impl RulesChange {
    pub fn apply(&self, rules: &mut KeyRules) {
        self.rates.apply(&mut rules.rates);
        self.end_user.apply(&mut rules.end_user);
        lay_over_option(&mut rules.max_cost_per_request_nano, &nano(&self.max_cost_per_request));
        lay_over(&mut rules.allowed_ips, &self.allowed_ips);
        lay_over(&mut rules.zdr, &self.zdr);
        match self.data_collection {
            Field::Keep => {}
            Field::Clear => rules.deny_collection = false,
            Field::Set(collection) => rules.deny_collection = collection == DataCollection::Deny,
        }
    }
}

impl OrganizationBody {
    pub fn judge(self) -> Result<OrganizationChange, AccountError> {
        let rates = [self.requests_per_minute, self.tokens_per_minute, self.concurrent_requests];
        Ok(OrganizationChange {
            time_zone: self.time_zone.try_map(|name| parse_zone(&name))?,
            low_balance: self.low_balance_usd.try_map(|text| parse_amount("lowBalanceUsd", &text))?,
            spend_jump_factor: self.spend_jump_factor.try_map(check_factor)?,
            alert_emails: self.alert_emails,
            rates: RatesChange::judge(rates, RATES)?,
            budget: BudgetChange::judge(self.budget_usd, self.budget_period, self.budget_includes_byok)?,
        })
    }
}

impl OrganizationChange {
    pub fn apply(&self, rules: &mut OrganizationRules) {
        lay_over_option(&mut rules.time_zone, &self.time_zone);
        lay_over_option(&mut rules.low_balance_nano, &nano(&self.low_balance));
        lay_over_option(&mut rules.spend_jump_factor, &self.spend_jump_factor);
        lay_over(&mut rules.alert_emails, &self.alert_emails);
        self.rates.apply(&mut rules.rates);
    }
}

/// The names of the fields of [`RateRules`].
pub const RATES: [&str; 3] = ["requestsPerMinute", "tokensPerMinute", "concurrentRequests"];
pub const END_USER_RATES: [&str; 3] =
    ["endUserRequestsPerMinute", "endUserTokensPerMinute", "endUserConcurrentRequests"];

/// Dollars of 0 or more, parsed without floats.
pub fn parse_amount(param: &str, text: &RawValue) -> Result<NanoUsd, AccountError> {
    let amount = NanoUsd::parse(text.get().trim_matches('"')).ok();
    amount.filter(|amount| (0..=AMOUNT_NANO_MAX).contains(&amount.0)).ok_or_else(|| {
        let message = format!(
            "`{param}` must be a number of dollars from 0 to 1000000 with at most 9 decimals, such as 12.5; null removes it"
        );
        AccountError::invalid(param, message)
    })
}

/// Networks in CIDR form; a single address is a network of one.
pub fn parse_nets(param: &str, texts: &[String]) -> Result<Vec<IpNet>, AccountError> {
    let parse = |text: &String| {
        let text = text.trim();
        text.parse::<IpNet>().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)))
    };
    let nets: Option<Vec<IpNet>> = texts.iter().map(|text| parse(text).map(|net| net.trunc())).collect();
    match nets {
        Some(nets) if nets.is_empty() => {
            Err(AccountError::invalid(param, format!("`{param}` must not be empty; null allows all")))
        }
        Some(nets) if nets.len() <= NETS_MAX => Ok(nets),
        Some(_) => Err(AccountError::invalid(param, format!("`{param}` may hold up to {NETS_MAX} networks"))),
        None => {
            let message =
                format!("`{param}` must hold networks or addresses such as 203.0.113.0/24 or 2001:db8::1");
            Err(AccountError::invalid(param, message))
        }
    }
}

fn check_factor(factor: u32) -> Result<u32, AccountError> {
    match factor {
        2..=1_000 => Ok(factor),
        _ => {
            let message = "`spendJumpFactor` must be a whole number from 2 to 1000; null removes it";
            Err(AccountError::invalid("spendJumpFactor", message))
        }
    }
}

fn parse_zone(name: &str) -> Result<String, AccountError> {
    let zone = TimeZone::by_name(name).ok_or_else(|| {
        let message = "`timeZone` must be a name of the IANA time zone database, such as Europe/Berlin";
        AccountError::invalid("timeZone", message)
    })?;
    Ok(zone.name().to_owned())
}

fn nano(field: &Field<NanoUsd>) -> Field<i64> {
    match field {
        Field::Keep => Field::Keep,
        Field::Clear => Field::Clear,
        Field::Set(amount) => Field::Set(amount.0),
    }
}
