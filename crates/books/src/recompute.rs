//! Recomputes the charge of a request from its usage and the prices in its receipt, and compares usage, receipt, hold
//! and ledger entries. Pure: the caller passes the rows. Every difference names its row.

use kairosroute_domain::money::{self, Bps, MoneyError, NanoPerMillion, NanoUsd, Per, Unrounded};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt};

/// The counts of a usage row, by their names in the receipt.
pub const BUCKETS: [&str; 17] = [
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "audio_input",
    "image_input",
    "output",
    "reasoning",
    "audio_output",
    "image_output",
    "images",
    "input_images",
    "characters",
    "audio_ms",
    "searches",
    "queries",
    "pages",
];

/// The maximum of any count in a usage row.
const COUNT_MAX: i64 = 1_000_000_000_000;
/// The price line for the part of a provider's reported cost above the sum of the other lines.
const STATED: &str = "stated_by_provider";

/// One usage row and its ledger data.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TurnRow {
    pub turn: i16,
    pub byok: bool,
    pub flag: Option<String>,
    /// In the order of [`BUCKETS`].
    pub counts: [i64; 17],
    /// The cost that the provider reported; 0 if it reported none.
    pub stated: i64,
    pub cost: Option<i64>,
    pub charge: i64,
    /// `None`: it had no hold.
    pub hold: Option<HoldRow>,
}

/// An ended or open hold, and the sum of its entries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HoldRow {
    pub is_open: bool,
    pub cost: i64,
    pub charge: i64,
    pub margin_bps: u32,
    /// Charges minus corrections; `None` without an entry.
    pub entries_charge: Option<i64>,
    pub entries_cost: Option<i64>,
}

/// One request: its usage rows in the order of their turns, and its receipt.
#[derive(Clone, Debug)]
pub struct RequestRows<'a> {
    /// `req_…`.
    pub id: &'a str,
    pub turns: &'a [TurnRow],
    /// `None`: there is no receipt.
    pub receipt: Option<&'a str>,
}

/// A wrong figure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The table whose row is named: `usage`, `receipt`, `hold`, `entry`.
    pub table: &'static str,
    /// The row's request, and turn where it has one.
    pub row: String,
    pub figure: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, row, figure, expected, found } = self;
        write!(f, "{table} {row}: {figure} is {found}, expected {expected}")
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Receipt {
    byok: Option<bool>,
    usage: Option<BTreeMap<String, serde_json::Value>>,
    price: Option<Price>,
    margin_bps: Option<u32>,
    charged_nano_usd: i64,
    provider_cost_nano_usd: Option<i64>,
    turns: Vec<Turn>,
    truncated: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Turn {
    turn: i16,
    usage: Option<BTreeMap<String, serde_json::Value>>,
    price: Option<Price>,
    margin_bps: Option<u32>,
    charged_nano_usd: i64,
    provider_cost_nano_usd: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Price {
    lines: Vec<Line>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Line {
    bucket: String,
    tokens: Option<u64>,
    usd_per_million: Option<String>,
    quantity: Option<u64>,
    usd_per_unit: Option<String>,
    quantity_per_unit: Option<u32>,
}

impl Line {
    fn quantity(&self) -> u64 {
        self.tokens.or(self.quantity).unwrap_or(0)
    }

    fn amount(&self) -> Result<Unrounded, MoneyError> {
        match (&self.usd_per_million, &self.usd_per_unit) {
            (Some(price), _) => {
                Unrounded::of(self.quantity(), NanoUsd(NanoPerMillion::parse(price)?.0), Per::Million)
            }
            (None, Some(price)) => {
                let per = Per::ALL.into_iter().find(|per| Some(per.quantity()) == self.quantity_per_unit);
                Unrounded::of(self.quantity(), NanoUsd::parse(price)?, per.ok_or(MoneyError::Syntax)?)
            }
            (None, None) => Err(MoneyError::Syntax),
        }
    }
}

/// Every difference of one request; empty if usage, receipt, hold and entries agree with the prices in the receipt.
pub fn check(rows: &RequestRows<'_>) -> Vec<Difference> {
    let mut found = Findings { request: rows.id, differences: Vec::new() };
    for turn in rows.turns {
        check_ledger(turn, &mut found);
    }
    let Some(text) = rows.receipt else {
        found.push("receipt", None, "receipt", "a receipt", "none");
        return found.differences;
    };
    let receipt: Receipt = match serde_json::from_str(text) {
        Ok(receipt) => receipt,
        Err(error) => {
            found.push("receipt", None, "document", "a receipt", error);
            return found.differences;
        }
    };
    check_sum(rows.turns, &receipt, &mut found);
    let is_single = receipt.turns.is_empty();
    let single = Turn {
        turn: 0,
        usage: receipt.usage,
        price: receipt.price,
        margin_bps: receipt.margin_bps,
        charged_nano_usd: receipt.charged_nano_usd,
        provider_cost_nano_usd: receipt.provider_cost_nano_usd,
    };
    for turn in rows.turns {
        let noted = match is_single {
            true => (turn.turn == 0 && rows.turns.len() == 1).then_some(&single),
            false => receipt.turns.iter().find(|noted| noted.turn == turn.turn),
        };
        match noted {
            Some(noted) => check_turn(turn, noted, &mut found),
            // Long receipts are shortened, and the receipt of a process that ended has only the last turn.
            None if receipt.truncated || turn.flag.as_deref() == Some("expired") || is_single => {}
            None => found.push("receipt", Some(turn.turn), "turn", "its figures", "none"),
        }
    }
    found.differences
}

struct Findings<'a> {
    request: &'a str,
    differences: Vec<Difference>,
}

impl Findings<'_> {
    fn push(
        &mut self,
        table: &'static str,
        turn: Option<i16>,
        figure: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) {
        let row = match turn {
            Some(turn) => format!("{} turn {turn}", self.request),
            None => self.request.to_owned(),
        };
        self.differences.push(Difference {
            table,
            row,
            figure: figure.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    fn compare<T: PartialEq + fmt::Debug>(
        &mut self,
        table: &'static str,
        turn: i16,
        figure: &str,
        expected: T,
        found: T,
    ) {
        if expected != found {
            self.push(table, Some(turn), figure, format!("{expected:?}"), format!("{found:?}"));
        }
    }
}

/// The usage row against its hold and the hold against its entries.
fn check_ledger(turn: &TurnRow, found: &mut Findings<'_>) {
    let number = turn.turn;
    let Some(hold) = &turn.hold else {
        if !turn.byok && turn.charge != 0 {
            found.push("hold", Some(number), "hold", "one for the charge", "none");
        }
        return;
    };
    if hold.is_open {
        return;
    }
    if turn.byok {
        found.compare("hold", number, "charge of a request on an own key", 0, hold.charge);
    } else {
        found.compare("usage", number, "charge_nano_usd", hold.charge, turn.charge);
        if hold.charge > 0 {
            found.compare("usage", number, "cost_nano_usd", Some(hold.cost), turn.cost);
        }
    }
    found.compare("entry", number, "amount_nano_usd", hold.charge, hold.entries_charge.unwrap_or(0));
    let cost_booked = if hold.charge > 0 { hold.cost } else { 0 };
    found.compare("entry", number, "cost_nano_usd", cost_booked, hold.entries_cost.unwrap_or(0));
    if hold.charge > 0 {
        match money::charge(NanoUsd(hold.cost), Bps(hold.margin_bps)) {
            Ok(charge) => found.compare("hold", number, "charge_nano_usd", charge.0, hold.charge),
            Err(error) => found.push("hold", Some(number), "cost_nano_usd", "an amount", error),
        }
    }
}

/// The whole charge of the receipt against that of all usage rows.
fn check_sum(turns: &[TurnRow], receipt: &Receipt, found: &mut Findings<'_>) {
    let sum = turns.iter().map(|turn| turn.charge).fold(0_i64, i64::saturating_add);
    if receipt.charged_nano_usd != sum {
        found.push("receipt", None, "charged_nano_usd", sum, receipt.charged_nano_usd);
    }
    let byok = turns.iter().all(|turn| turn.byok);
    if !turns.is_empty() && receipt.byok.is_some_and(|noted| noted != byok) {
        found.push("receipt", None, "byok", byok, !byok);
    }
}

/// One usage row against the figures and prices in the receipt.
fn check_turn(turn: &TurnRow, noted: &Turn, found: &mut Findings<'_>) {
    let number = turn.turn;
    for (bucket, count) in BUCKETS.iter().zip(turn.counts) {
        let noted = noted.usage.as_ref().and_then(|usage| usage.get(*bucket));
        let noted = noted.and_then(serde_json::Value::as_i64).unwrap_or(0);
        found.compare("usage", number, bucket, noted.min(COUNT_MAX), count);
    }
    let stated = noted.usage.as_ref().and_then(|usage| usage.get("stated"));
    let stated = stated.and_then(serde_json::Value::as_i64).unwrap_or(0);
    found.compare("usage", number, "stated", stated.min(COUNT_MAX), turn.stated);
    found.compare("receipt", number, "charged_nano_usd", turn.charge, noted.charged_nano_usd);
    found.compare("receipt", number, "provider_cost_nano_usd", turn.cost, noted.provider_cost_nano_usd);
    let Some(cost) = turn.cost else {
        found.compare("usage", number, "charge_nano_usd without a price", 0, turn.charge);
        return;
    };
    check_cost(turn, noted, cost, found);
    let margin = match (&turn.hold, noted.margin_bps) {
        (Some(hold), _) if !turn.byok => hold.margin_bps,
        (_, Some(margin)) => margin,
        (_, None) => return,
    };
    let charge = match turn.byok {
        _ if turn.flag.as_deref() == Some("undelivered") => Ok(NanoUsd::ZERO),
        true => money::byok_charge(NanoUsd(cost), Bps(margin)),
        false => money::charge(NanoUsd(cost), Bps(margin)),
    };
    match charge {
        Ok(charge) => found.compare("usage", number, "charge_nano_usd", charge.0, turn.charge),
        Err(error) => found.push("usage", Some(number), "cost_nano_usd", "an amount", error),
    }
}

/// The cost against the counts of the usage row at the receipt's prices.
fn check_cost(turn: &TurnRow, noted: &Turn, cost: i64, found: &mut Findings<'_>) {
    let number = turn.turn;
    let lines = noted.price.as_ref().map(|price| price.lines.as_slice()).unwrap_or_default();
    if lines.is_empty() {
        // If the process ended, only the checkpoint is known, which the ledger has.
        if turn.flag.as_deref() != Some("expired") && cost != 0 {
            found.push("receipt", Some(number), "price lines", format!("those of {cost} nano-USD"), "none");
        }
        return;
    }
    let mut sum = Unrounded::default();
    let mut noted_difference = None;
    for line in lines {
        let amount = match line.amount() {
            Ok(amount) => amount,
            Err(error) => {
                found.push("receipt", Some(number), format!("price of {}", line.bucket), "a price", error);
                return;
            }
        };
        if line.bucket == STATED {
            noted_difference = amount.ceil().ok();
            continue;
        }
        let counted = counts_of(turn, &line.bucket);
        if !counted.contains(&line.quantity()) {
            let expected = counted.first().copied().unwrap_or(0);
            found.push("receipt", Some(number), format!("priced {}", line.bucket), expected, line.quantity());
        }
        match sum.checked_add(amount) {
            Ok(added) => sum = added,
            Err(error) => {
                found.push("receipt", Some(number), "price lines", "a sum", error);
                return;
            }
        }
    }
    match sum.ceil() {
        Ok(whole) => check_whole(turn, whole, noted_difference, cost, found),
        Err(error) => found.push("receipt", Some(number), "price lines", "a sum", error),
    }
}

/// The cost is the larger of the computed cost and the cost that the provider reported.
fn check_whole(
    turn: &TurnRow,
    counted: NanoUsd,
    noted_difference: Option<NanoUsd>,
    cost: i64,
    found: &mut Findings<'_>,
) {
    // The hold limits the cost of an answer with an implausible usage report.
    if turn.flag.as_deref() == Some("above_bound") && cost <= counted.0 {
        return;
    }
    let expected = counted.0.max(turn.stated);
    found.compare("usage", turn.turn, "cost_nano_usd", expected, cost);
    let difference = expected.saturating_sub(counted.0);
    let noted = noted_difference.map_or(0, |noted| noted.0);
    found.compare("receipt", turn.turn, STATED, difference, noted);
}

/// The tokens that a price line of a bucket may include: its own, or also those of media without a separate price.
fn counts_of(turn: &TurnRow, bucket: &str) -> Vec<u64> {
    let count = |name: &str| {
        let place = BUCKETS.iter().position(|bucket| *bucket == name);
        let count = place.and_then(|place| turn.counts.get(place)).copied().unwrap_or(0);
        u64::try_from(count).unwrap_or(0)
    };
    let (bases, media) = match bucket {
        "input" => (vec![count("input")], ["audio_input", "image_input"]),
        "output" => (
            vec![count("output").saturating_sub(count("reasoning")), count("output")],
            ["audio_output", "image_output"],
        ),
        "reasoning" => return vec![count("reasoning").min(count("output"))],
        other => return vec![count(other)],
    };
    let [first, second] = media.map(count);
    bases
        .into_iter()
        .flat_map(|base| {
            [0, first, second, first.saturating_add(second)].map(|added| base.saturating_add(added))
        })
        .collect()
}

#[cfg(test)]
mod tests;
