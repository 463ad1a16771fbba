//! A statement as a page to print: complete in itself, without script, for A4 and Letter. It uses the paper setting of
//! the browser unless one is named.

use crate::statement::{ChargeLine, Movement, OwnKeyLine, Statement};
use askama::Template;
use kairosroute_domain::money::NanoUsd;

/// The paper size of the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Paper {
    /// The paper size of the browser.
    #[default]
    Printer,
    A4,
    Letter,
}

impl Paper {
    pub fn by_name(name: &str) -> Option<Paper> {
        match name.to_ascii_lowercase().as_str() {
            "a4" => Some(Paper::A4),
            "letter" => Some(Paper::Letter),
            _ => None,
        }
    }

    fn rule(self) -> &'static str {
        match self {
            Paper::Printer => "",
            Paper::A4 => "size: A4; ",
            Paper::Letter => "size: letter; ",
        }
    }
}

#[derive(Template)]
#[template(path = "statement.html")]
struct Page<'a> {
    statement: &'a Statement,
    paper: &'static str,
    month: String,
    period: String,
    opening: String,
    closing: String,
    summary: Vec<(&'static str, String)>,
    charged: String,
    provider_cost: String,
    margin: String,
    requests: String,
    own_requests: String,
    own_cost: String,
}

/// The page, HTML.
pub fn page(statement: &Statement, paper: Paper) -> Result<String, askama::Error> {
    let totals = &statement.totals;
    let lines = [
        ("Payments received, less refunds and disputes", totals.topups_usd),
        ("Credit granted", totals.grants_usd),
        ("Promotional credit granted", totals.promotions_usd),
        ("Promotional credit expired", totals.expired_usd),
        ("Adjustments and refunds of charges", totals.adjustments_usd),
    ];
    let last_day = statement.to.date().previous_day().unwrap_or(statement.to.date());
    let page = Page {
        paper: paper.rule(),
        month: statement.month.name(),
        period: format!("{} to {last_day}, UTC", statement.from.date()),
        opening: dollars(statement.opening_balance_usd),
        closing: dollars(statement.closing_balance_usd),
        summary: lines.into_iter().map(|(name, amount)| (name, dollars(amount))).collect(),
        charged: dollars(NanoUsd(totals.charges_usd.0.saturating_neg())),
        provider_cost: dollars(totals.provider_cost_usd),
        margin: dollars(totals.margin_usd),
        requests: grouped(totals.requests),
        own_requests: grouped(totals.own_key_requests),
        own_cost: dollars(totals.own_key_provider_cost_usd),
        statement,
    };
    page.render()
}

impl Page<'_> {
    fn at(&self, movement: &Movement) -> String {
        let at = movement.booked_at.to_offset(time::UtcOffset::UTC);
        format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute())
    }

    fn kind(&self, movement: &Movement) -> String {
        movement.kind.replace('_', " ")
    }

    fn amount(&self, amount: &NanoUsd) -> String {
        dollars(*amount)
    }

    fn count(&self, count: &i64) -> String {
        grouped(*count)
    }

    fn key<'l>(&self, name: &'l str, id: &'l str) -> &'l str {
        if name.is_empty() { id } else { name }
    }

    fn charge_key<'l>(&self, line: &'l ChargeLine) -> &'l str {
        self.key(&line.api_key_name, &line.api_key_id)
    }

    fn own_key<'l>(&self, line: &'l OwnKeyLine) -> &'l str {
        self.key(&line.api_key_name, &line.api_key_id)
    }
}

/// `$1,234.50`, every decimal there is, at least two.
fn dollars(amount: NanoUsd) -> String {
    let text = amount.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("\u{2212}", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    format!("{sign}${}.{fraction:0<2}", grouped_digits(whole))
}

fn grouped(number: i64) -> String {
    let digits = grouped_digits(&number.unsigned_abs().to_string());
    if number < 0 { format!("\u{2212}{digits}") } else { digits }
}

fn grouped_digits(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::Bookings;

    #[test]
    fn a_page_needs_no_script_escapes_every_text_and_asks_for_its_paper() {
        let name = "<script>alert(1)</script>";
        let statement = Statement::draw_up(Bookings {
            organization_id: "org_1".to_owned(),
            organization_name: name.to_owned(),
            month: "2026-02".parse().unwrap(),
            closed: false,
            opening: NanoUsd(1_234_567_500_000_000),
            movements: Vec::new(),
            charges: vec![ChargeLine {
                model: name.to_owned(),
                provider: "openai".to_owned(),
                api_key_id: "key_1".to_owned(),
                api_key_name: name.to_owned(),
                requests: 12_345,
                input_tokens: 1,
                output_tokens: 1,
                provider_cost_usd: NanoUsd(36_000),
                margin_usd: NanoUsd(1_800),
                charged_usd: NanoUsd(37_800),
            }],
            own_key_usage: Vec::new(),
        })
        .unwrap();
        let html = page(&statement, Paper::Letter).unwrap();
        assert!(!html.contains("<script"), "{html}");
        for text in
            ["$1,234,567.50", "\u{2212}$0.0000378", "12,345", "2026-02-01 to 2026-02-28", "size: letter"]
        {
            assert!(html.contains(text), "{text}");
        }
        assert!(html.contains(&statement.sha256));
        assert!(page(&statement, Paper::A4).unwrap().contains("size: A4"));
        assert!(page(&statement, Paper::Printer).unwrap().contains("@page { margin:"));
    }
}
