//! Writes an example statement with this many lines of charges to standard output, to check its printed form: `cargo
//! run -p kairosroute-books --example print -- 3000 > statement.html`.

use kairosroute_books::{
    print::{Paper, page},
    statement::{Bookings, ChargeLine, Movement, OwnKeyLine, Statement},
};
use kairosroute_domain::money::NanoUsd;
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let lines: i64 = arguments.next().as_deref().unwrap_or("12").parse()?;
    let paper = arguments.next().as_deref().and_then(Paper::by_name).unwrap_or_default();
    let begin = "2026-10".parse::<kairosroute_books::month::Month>()?.begin();
    let kinds = [
        ("topup", 250_000_000_000, "Payment pi_3SabcDEF", "stripe"),
        (
            "promotion",
            20_000_000_000,
            "Welcome credit until 2026-10-31",
            "usr_01a1fb0133f8736bb53e7ce60be93cc4",
        ),
        ("refund", 1_050_000, "Answer was cut off, ticket 4711", "usr_01a1fb0133f8736bb53e7ce60be93cc4"),
        ("expiry", -3_120_004_001, "Promotional credit of 2026-10-02 expired", ""),
    ];
    let movements = kinds.into_iter().zip(1_i64..).map(|((kind, amount, reason, actor), day)| Movement {
        id: format!("ent_{day:032x}"),
        booked_at: begin + time::Duration::days(day * 7 - 6),
        kind: kind.to_owned(),
        amount_usd: NanoUsd(amount),
        reason: reason.to_owned(),
        actor: actor.to_owned(),
    });
    let models = [
        "gpt-5.4-mini",
        "claude-opus-4.8",
        "gemini-3.5-flash",
        "a-very-long-model-name-of-somebody/with-a-path-2026-10-31",
    ];
    let charge = |number: i64| {
        let cost = 37_800 * (number * 7_919 % 10_007 + 1);
        ChargeLine {
            model: models
                .iter()
                .cycle()
                .nth(usize::try_from(number % 4).unwrap_or(0))
                .map_or_else(String::new, |model| (*model).to_owned()),
            provider: ["openai", "anthropic", "google", "together_ai"]
                .iter()
                .cycle()
                .nth(usize::try_from(number % 4).unwrap_or(0))
                .map_or_else(String::new, |name| (*name).to_owned()),
            api_key_id: format!("key_{number:032x}"),
            api_key_name: format!("Team {} production", number / 4),
            requests: number * 31 % 5_000 + 1,
            input_tokens: number * 104_729 % 9_000_000,
            output_tokens: number * 7_919 % 2_000_000,
            provider_cost_usd: NanoUsd(cost),
            margin_usd: NanoUsd(cost / 20),
            charged_usd: NanoUsd(cost + cost / 20),
        }
    };
    let own = |number: i64| OwnKeyLine {
        model: "llama-4-maverick".to_owned(),
        provider: "groq".to_owned(),
        api_key_id: format!("key_{number:032x}"),
        api_key_name: format!("Team {number} own key"),
        requests: 12 * number,
        input_tokens: 34_567 * number,
        output_tokens: 8_910 * number,
        provider_cost_usd: NanoUsd(1_234_567 * number),
        charged_usd: NanoUsd::ZERO,
    };
    let statement = Statement::draw_up(Bookings {
        organization_id: "org_01a1fb0133f8736bb53e7ce60be93cc4".to_owned(),
        organization_name: "Example & Söhne GmbH".to_owned(),
        month: "2026-10".parse()?,
        closed: true,
        opening: NanoUsd(41_230_000_017),
        movements: movements.collect(),
        charges: (0..lines).map(charge).collect(),
        own_key_usage: (1..4).map(own).collect(),
    })?;
    std::io::stdout().write_all(page(&statement, paper)?.as_bytes())?;
    Ok(())
}
