//! A monthly statement: opening balance, credit received, charges, closing balance. Created once from the month's
//! bookings; the sum is checked, and the hash covers every line of its CSV form.

use crate::{
    entry::EntryKind,
    month::Month,
    table::{Cell, TableWriter},
};
use kairosroute_domain::money::{MoneyError, NanoUsd};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use time::OffsetDateTime;

/// Maximum lines of one section; further ones are summed in one line.
pub const LINES_MAX: usize = 20_000;

/// An amount as decimal text, exact to the nano-dollar.
mod decimal {
    use kairosroute_domain::money::NanoUsd;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(amount: &NanoUsd, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NanoUsd, D::Error> {
        NanoUsd::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Credit in and out besides charges.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Movement {
    /// Of the entry in the ledger.
    pub id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub booked_at: OffsetDateTime,
    pub kind: String,
    /// With the sign of its effect on the balance.
    #[serde(with = "decimal")]
    pub amount_usd: NanoUsd,
    pub reason: String,
    /// The author: a person's id, `cli`, `stripe`; empty for the gateway itself.
    pub actor: String,
}

/// The charges of one API key for one model of one provider.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChargeLine {
    pub model: String,
    pub provider: String,
    pub api_key_id: String,
    pub api_key_name: String,
    pub requests: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    #[serde(with = "decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(with = "decimal")]
    pub margin_usd: NanoUsd,
    #[serde(with = "decimal")]
    pub charged_usd: NanoUsd,
}

/// The usage of one API key and one model on the organization's own provider keys: the provider bills it, not the
/// gateway.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnKeyLine {
    pub model: String,
    pub provider: String,
    pub api_key_id: String,
    pub api_key_name: String,
    pub requests: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    /// At list prices; models without a known price are left out.
    #[serde(with = "decimal")]
    pub provider_cost_usd: NanoUsd,
    #[serde(with = "decimal")]
    pub charged_usd: NanoUsd,
}

/// The charges of one model or of one API key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChargeSum {
    pub name: String,
    pub requests: i64,
    #[serde(with = "decimal")]
    pub charged_usd: NanoUsd,
}

/// Sums of the sections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Paid in, minus amounts that were paid back or disputed.
    #[serde(with = "decimal")]
    pub topups_usd: NanoUsd,
    /// Given by the operator without a date.
    #[serde(with = "decimal")]
    pub grants_usd: NanoUsd,
    /// Given by the operator until a date.
    #[serde(with = "decimal")]
    pub promotions_usd: NanoUsd,
    /// The expired part of that; zero or below.
    #[serde(with = "decimal")]
    pub expired_usd: NanoUsd,
    #[serde(with = "decimal")]
    pub adjustments_usd: NanoUsd,
    #[serde(with = "decimal")]
    pub charges_usd: NanoUsd,
    /// The part of the charges for the providers.
    #[serde(with = "decimal")]
    pub provider_cost_usd: NanoUsd,
    /// The rest of the charges.
    #[serde(with = "decimal")]
    pub margin_usd: NanoUsd,
    #[serde(with = "decimal")]
    pub own_key_provider_cost_usd: NanoUsd,
    pub requests: i64,
    pub own_key_requests: i64,
}

/// One organization's statement of one month.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    pub organization_id: String,
    pub organization_name: String,
    pub month: Month,
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    /// The month is over and its statement is stored: its bytes do not change any more.
    pub closed: bool,
    #[serde(with = "decimal")]
    pub opening_balance_usd: NanoUsd,
    /// Payments, grants, promotional credit and its expiry, payments that went back.
    pub topups: Vec<Movement>,
    pub charges: Vec<ChargeLine>,
    pub charges_by_model: Vec<ChargeSum>,
    pub charges_by_api_key: Vec<ChargeSum>,
    pub own_key_usage: Vec<OwnKeyLine>,
    /// Refunds of charges and corrections of the balance by the operator.
    pub adjustments: Vec<Movement>,
    pub totals: Totals,
    #[serde(with = "decimal")]
    pub closing_balance_usd: NanoUsd,
    /// SHA-256 of the CSV form, hexadecimal.
    pub sha256: String,
}

/// The input of a statement.
#[derive(Clone, Debug)]
pub struct Bookings {
    pub organization_id: String,
    pub organization_name: String,
    pub month: Month,
    pub closed: bool,
    pub opening: NanoUsd,
    /// In the order of booking.
    pub movements: Vec<Movement>,
    pub charges: Vec<ChargeLine>,
    pub own_key_usage: Vec<OwnKeyLine>,
}

/// Why no statement can be created.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StatementError {
    #[error(transparent)]
    Money(#[from] MoneyError),
    #[error("entry {0} has an unknown kind")]
    UnknownKind(String),
}

impl Statement {
    /// Sums the bookings, in one fixed order, and seals them with the hash.
    pub fn draw_up(mut bookings: Bookings) -> Result<Statement, StatementError> {
        sort(&mut bookings);
        let totals = totals(&bookings)?;
        let (mut topups, mut adjustments) = (Vec::new(), Vec::new());
        for movement in bookings.movements {
            match kind(&movement)?.is_adjustment() {
                true => adjustments.push(movement),
                false => topups.push(movement),
            }
        }
        let moved = [
            totals.topups_usd,
            totals.grants_usd,
            totals.promotions_usd,
            totals.expired_usd,
            totals.adjustments_usd,
        ];
        let closing = moved
            .into_iter()
            .try_fold(bookings.opening, NanoUsd::checked_add)?
            .checked_sub(totals.charges_usd)?;
        let mut statement = Statement {
            organization_id: bookings.organization_id,
            organization_name: bookings.organization_name,
            month: bookings.month,
            from: bookings.month.begin(),
            to: bookings.month.end(),
            closed: bookings.closed,
            opening_balance_usd: bookings.opening,
            topups,
            charges_by_model: sums(&bookings.charges, |line| line.model.clone())?,
            charges_by_api_key: sums(&bookings.charges, |line| match line.api_key_name.as_str() {
                "" => line.api_key_id.clone(),
                name => format!("{name} ({})", line.api_key_id),
            })?,
            charges: bookings.charges,
            own_key_usage: bookings.own_key_usage,
            adjustments,
            totals,
            closing_balance_usd: closing,
            sha256: String::new(),
        };
        statement.sha256 = sha256_hex(statement.to_csv().as_bytes());
        Ok(statement)
    }

    /// The statement as one table. The amounts of its lines sum to the closing balance: charges count below zero.
    pub fn to_csv(&self) -> String {
        let mut table = TableWriter::default();
        table.row(COLUMNS.map(Cell::Text));
        let balance = |section, at, amount: NanoUsd| Row {
            section,
            id: &self.organization_id,
            kind: "balance",
            at: Some(at),
            amount,
            ..Row::default()
        };
        balance("opening", self.from, self.opening_balance_usd).write(&mut table);
        for (section, movements) in [("topup", &self.topups), ("adjustment", &self.adjustments)] {
            for movement in movements {
                Row::of_movement(section, movement).write(&mut table);
            }
        }
        for line in &self.charges {
            Row::of_charge(line).write(&mut table);
        }
        for line in &self.own_key_usage {
            Row::of_own_key(line).write(&mut table);
        }
        balance("closing", self.to, self.closing_balance_usd).write(&mut table);
        table.into_text()
    }

    /// Whether sums and hash match the lines. This checks an archived statement.
    pub fn is_consistent(&self) -> bool {
        let drawn_again = Statement::draw_up(Bookings {
            organization_id: self.organization_id.clone(),
            organization_name: self.organization_name.clone(),
            month: self.month,
            closed: self.closed,
            opening: self.opening_balance_usd,
            movements: self.topups.iter().chain(&self.adjustments).cloned().collect(),
            charges: self.charges.clone(),
            own_key_usage: self.own_key_usage.clone(),
        });
        drawn_again.as_ref() == Ok(self)
    }
}

/// The columns of the CSV form.
pub const COLUMNS: [&str; 16] = [
    "section",
    "bookedAt",
    "id",
    "kind",
    "provider",
    "model",
    "apiKeyId",
    "apiKeyName",
    "requests",
    "inputTokens",
    "outputTokens",
    "providerCostUsd",
    "marginUsd",
    "amountUsd",
    "reason",
    "actor",
];

#[derive(Default)]
struct Row<'a> {
    section: &'a str,
    at: Option<OffsetDateTime>,
    id: &'a str,
    kind: &'a str,
    provider: &'a str,
    model: &'a str,
    api_key: (&'a str, &'a str),
    counts: Option<(i64, i64, i64)>,
    cost: Option<NanoUsd>,
    margin: Option<NanoUsd>,
    amount: NanoUsd,
    reason: &'a str,
    actor: &'a str,
}

impl<'a> Row<'a> {
    fn of_movement(section: &'a str, movement: &'a Movement) -> Self {
        Row {
            section,
            at: Some(movement.booked_at),
            id: &movement.id,
            kind: &movement.kind,
            amount: movement.amount_usd,
            reason: &movement.reason,
            actor: &movement.actor,
            ..Row::default()
        }
    }

    fn of_charge(line: &'a ChargeLine) -> Self {
        Row {
            section: "charge",
            kind: "charge",
            provider: &line.provider,
            model: &line.model,
            api_key: (&line.api_key_id, &line.api_key_name),
            counts: Some((line.requests, line.input_tokens, line.output_tokens)),
            cost: Some(line.provider_cost_usd),
            margin: Some(line.margin_usd),
            amount: NanoUsd(line.charged_usd.0.saturating_neg()),
            ..Row::default()
        }
    }

    /// It did not change the balance.
    fn of_own_key(line: &'a OwnKeyLine) -> Self {
        Row {
            section: "own_key_usage",
            kind: "own_key_usage",
            provider: &line.provider,
            model: &line.model,
            api_key: (&line.api_key_id, &line.api_key_name),
            counts: Some((line.requests, line.input_tokens, line.output_tokens)),
            cost: Some(line.provider_cost_usd),
            amount: NanoUsd::ZERO,
            ..Row::default()
        }
    }

    fn write(&self, table: &mut TableWriter) {
        let figure = |value: Option<String>| value.unwrap_or_default();
        let at =
            figure(self.at.and_then(|at| at.format(&time::format_description::well_known::Rfc3339).ok()));
        let (requests, input, output) = match self.counts {
            Some((requests, input, output)) => (requests.to_string(), input.to_string(), output.to_string()),
            None => Default::default(),
        };
        let cost = figure(self.cost.map(|cost| cost.to_string()));
        let margin = figure(self.margin.map(|margin| margin.to_string()));
        let amount = self.amount.to_string();
        table.row([
            Cell::Text(self.section),
            Cell::Figure(&at),
            Cell::Text(self.id),
            Cell::Text(self.kind),
            Cell::Text(self.provider),
            Cell::Text(self.model),
            Cell::Text(self.api_key.0),
            Cell::Text(self.api_key.1),
            Cell::Figure(&requests),
            Cell::Figure(&input),
            Cell::Figure(&output),
            Cell::Figure(&cost),
            Cell::Figure(&margin),
            Cell::Figure(&amount),
            Cell::Text(self.reason),
            Cell::Text(self.actor),
        ]);
    }
}

fn kind(movement: &Movement) -> Result<EntryKind, StatementError> {
    EntryKind::by_name(&movement.kind)
        .filter(|kind| *kind != EntryKind::Charge)
        .ok_or_else(|| StatementError::UnknownKind(movement.id.clone()))
}

fn sort(bookings: &mut Bookings) {
    bookings.movements.sort_by(|a, b| (a.booked_at, &a.id).cmp(&(b.booked_at, &b.id)));
    bookings.charges.sort_by(|a, b| {
        b.charged_usd
            .cmp(&a.charged_usd)
            .then_with(|| (&a.model, &a.provider, &a.api_key_id).cmp(&(&b.model, &b.provider, &b.api_key_id)))
    });
    bookings.own_key_usage.sort_by(|a, b| {
        b.provider_cost_usd
            .cmp(&a.provider_cost_usd)
            .then_with(|| (&a.model, &a.provider, &a.api_key_id).cmp(&(&b.model, &b.provider, &b.api_key_id)))
    });
}

fn totals(bookings: &Bookings) -> Result<Totals, StatementError> {
    let mut totals = Totals::default();
    for movement in &bookings.movements {
        let sum = match kind(movement)? {
            EntryKind::Grant => &mut totals.grants_usd,
            EntryKind::Promotion => &mut totals.promotions_usd,
            EntryKind::Expiry => &mut totals.expired_usd,
            EntryKind::Refund | EntryKind::Adjustment => &mut totals.adjustments_usd,
            EntryKind::Topup
            | EntryKind::PaymentRefund
            | EntryKind::Dispute
            | EntryKind::DisputeReversal
            | EntryKind::Charge => &mut totals.topups_usd,
        };
        *sum = sum.checked_add(movement.amount_usd)?;
    }
    for line in &bookings.charges {
        totals.charges_usd = totals.charges_usd.checked_add(line.charged_usd)?;
        totals.provider_cost_usd = totals.provider_cost_usd.checked_add(line.provider_cost_usd)?;
        totals.margin_usd = totals.margin_usd.checked_add(line.margin_usd)?;
        totals.requests = totals.requests.saturating_add(line.requests);
    }
    for line in &bookings.own_key_usage {
        totals.own_key_provider_cost_usd =
            totals.own_key_provider_cost_usd.checked_add(line.provider_cost_usd)?;
        totals.own_key_requests = totals.own_key_requests.saturating_add(line.requests);
    }
    Ok(totals)
}

/// The charges grouped by one of their texts, the highest first.
fn sums(
    lines: &[ChargeLine],
    name: impl Fn(&ChargeLine) -> String,
) -> Result<Vec<ChargeSum>, StatementError> {
    let mut by_name: BTreeMap<String, (i64, NanoUsd)> = BTreeMap::new();
    for line in lines {
        let sum = by_name.entry(name(line)).or_default();
        *sum = (sum.0.saturating_add(line.requests), sum.1.checked_add(line.charged_usd)?);
    }
    let mut sums: Vec<ChargeSum> = by_name
        .into_iter()
        .map(|(name, (requests, charged_usd))| ChargeSum { name, requests, charged_usd })
        .collect();
    sums.sort_by(|a, b| b.charged_usd.cmp(&a.charged_usd).then_with(|| a.name.cmp(&b.name)));
    Ok(sums)
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
