//! Money and faults over real HTTP. The simulated providers keep their own bill, and the charge of a customer is
//! computed here again from that bill and from prices written by hand: no arithmetic of the gateway is used to check
//! it.

mod broken;
mod counting;
mod crash;
mod database_away;
mod departures;
mod failover;
mod holds;
mod keys;
mod oversell;
mod scenarios;
mod searches;
mod unpriced;
mod unseen;
mod usage;

use crate::harness::{Customer, Stack, World, hello, wait_for};
use kairosroute::simulator::{Call, Script};
use serde_json::{Value, json};

/// Nano-USD per million tokens.
#[derive(Clone, Copy)]
pub struct Price {
    pub model: &'static str,
    pub input: i64,
    pub cached: i64,
    pub output: i64,
}

const fn price(model: &'static str, input: i64, cached: i64, output: i64) -> Price {
    Price { model, input: input * 1_000_000, cached: cached * 1_000_000, output: output * 1_000_000 }
}

// In thousandths of a dollar per million tokens, as the providers publish them.
pub const GPT: Price = price("openai/gpt-5.4-mini", 750, 75, 4_500);
pub const GPT_FLEX: Price = Price { input: 375_000_000, cached: 37_500_000, output: 2_250_000_000, ..GPT };
pub const MISTRAL: Price = price("mistral/mistral-small-4", 150, 15, 600);
pub const GROQ: Price = price("groq/gpt-oss-120b", 150, 75, 600);
pub const CEREBRAS: Price = price("cerebras/gpt-oss-120b", 350, 350, 750);
pub const TOGETHER: Price = price("together_ai/gpt-oss-120b", 150, 150, 600);
pub const MOONSHOT: Price = price("moonshot/kimi-k3", 3_000, 300, 15_000);
pub const XAI: Price = price("xai/grok-4.3", 1_250, 200, 2_500);

/// What providers charge for these tokens, `cached` being a part of `prompt`.
pub fn cost(price: Price, prompt: u64, cached: u64, output: u64) -> i64 {
    let term = |tokens: u64, price: i64| i128::from(tokens) * i128::from(price);
    let sum = term(prompt - cached, price.input) + term(cached, price.cached) + term(output, price.output);
    ceil_div(sum, 1_000_000)
}

/// Cost with the margin of 5 %.
pub fn charge(cost: i64) -> i64 {
    ceil_div(i128::from(cost) * 10_500, 10_000)
}

fn ceil_div(sum: i128, by: i128) -> i64 {
    i64::try_from(sum.div_euclid(by) + i128::from(sum.rem_euclid(by) > 0)).unwrap()
}

/// Dollars as decimal text to nano-dollars.
pub fn nano(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 9, "{text} has more than nine decimals");
    whole.parse::<i64>().unwrap() * 1_000_000_000 + format!("{fraction:0<9}").parse::<i64>().unwrap()
}

/// Many chunks of one token each in OpenAI's tokenizer.
pub fn the(count: usize) -> Script {
    Script { chunks: vec![" the".to_owned(); count], ..Script::default() }
}

/// One question with a limit on the answer.
pub fn ask(model: &str) -> Value {
    let mut body = hello(model);
    body["max_tokens"] = json!(4_000);
    body
}

/// The receipt member of a whole or of a streamed answer.
pub async fn answer_note(
    stack: &World,
    customer: &Customer,
    body: &Value,
    streamed: bool,
) -> (Value, String) {
    if streamed {
        let mut stream = stack.stream(&customer.key, body).await;
        let status = stream.status;
        assert_eq!(status, 200, "{:?}", stream.rest().await);
        let receipt = stream.receipt_id().to_owned();
        let frames = stream.rest().await;
        assert!(frames.last().unwrap().is_done(), "{frames:?}");
        let note =
            frames.iter().map(|frame| frame.json()["x_kairosroute"].clone()).find(|note| !note.is_null());
        return (note.unwrap(), receipt);
    }
    let reply = stack.chat(&customer.key, body).await;
    assert_eq!(reply.status, 200, "{reply}");
    (reply.json()["x_kairosroute"].clone(), reply.receipt_id().to_owned())
}

/// A number of dollars in JSON, as nano-dollars, digit for digit.
pub fn nano_of(number: &Value) -> i64 {
    let text = number.to_string();
    match text.split_once(['e', 'E']) {
        None => nano(&text),
        // The test's own JSON reader writes small numbers with an exponent.
        Some((digits, exponent)) => {
            let places = usize::try_from(-exponent.parse::<i64>().unwrap()).unwrap();
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            nano(&format!("0.{whole:0>places$}{fraction}"))
        }
    }
}

/// The receipt's figures are derived from each other: tokens times price, cost, charge, margin.
pub fn recompute(receipt: &Value) {
    let (charged, byok) = (receipt["charged_nano_usd"].as_i64().unwrap(), receipt["byok"] == true);
    let Some(cost) = receipt["provider_cost_nano_usd"].as_i64() else {
        assert_eq!((charged, &receipt["price"]), (0, &Value::Null), "{receipt}");
        return;
    };
    let lines = receipt["price"]["lines"].as_array().unwrap();
    let sum = lines.iter().map(|line| {
        let bucket = line["bucket"].as_str().unwrap();
        let Some(tokens) = line["tokens"].as_u64() else {
            let quantity = i128::from(line["quantity"].as_u64().unwrap());
            let each = i128::from(nano(line["usd_per_unit"].as_str().unwrap()));
            assert_eq!(line["quantity_per_unit"], 1, "{receipt}");
            return quantity * each * 1_000_000;
        };
        assert_eq!(line["tokens"], receipt["usage"][bucket], "{receipt}");
        i128::from(tokens) * i128::from(nano(line["usd_per_million"].as_str().unwrap()))
    });
    assert_eq!(ceil_div(sum.sum(), 1_000_000), cost, "{receipt}");
    let priced: u64 = lines.iter().filter_map(|line| line["tokens"].as_u64()).sum();
    let usage = &receipt["usage"];
    let buckets = ["input", "cache_read", "cache_write", "cache_write_1h", "output"];
    assert_eq!(priced, buckets.iter().map(|name| usage[name].as_u64().unwrap()).sum::<u64>(), "{receipt}");
    if byok {
        assert_eq!((charged, &receipt["margin_nano_usd"]), (0, &json!(0)), "{receipt}");
    } else if receipt["usage_flag"] == "undelivered" {
        assert_eq!((charged, receipt["margin_nano_usd"].as_i64()), (0, Some(-cost)), "{receipt}");
    } else {
        assert_eq!(receipt["margin_bps"], 500);
        assert_eq!((charged, receipt["margin_nano_usd"].as_i64()), (charge(cost), Some(charged - cost)));
    }
}

/// Every receipt can be recomputed, and agrees with its hold, its entry and its usage row.
pub async fn receipts_agree(world: &World) {
    for text in world.database.texts("SELECT document::text FROM receipt").await {
        recompute(&serde_json::from_str(&text).unwrap());
    }
    let differing = world
        .database
        .texts(
            "SELECT concat_ws(' ', r.id, h.state, h.charge, e.amount, u.charge, r.document)
             FROM receipt r
             LEFT JOIN hold h ON h.org_id = r.org_id AND h.request_id = r.id
             LEFT JOIN entry e ON e.org_id = r.org_id AND e.request_id = r.id
             LEFT JOIN usage u ON u.org_id = r.org_id AND u.request_id = r.id
             WHERE (r.document->>'charged_nano_usd')::bigint <> COALESCE(h.charge, 0)
                OR (r.document->>'charged_nano_usd')::bigint <> COALESCE(e.amount, 0)
                OR (r.document->>'charged_nano_usd')::bigint <> COALESCE(u.charge, 0)",
        )
        .await;
    assert!(differing.is_empty(), "{differing:#?}");
}

/// The end of a test about money: ledger closed and balanced, every receipt recomputed.
pub async fn close(stack: Stack) {
    stack.no_hold_is_open().await;
    every_request_has_its_receipt(&stack).await;
    receipts_agree(&stack).await;
    stack.finish().await;
}

/// Receipts are readable a moment after the answer.
async fn every_request_has_its_receipt(world: &World) {
    wait_for("the receipts", async || {
        let missing =
            "SELECT count(*) FROM hold h LEFT JOIN receipt r ON r.org_id = h.org_id AND r.id = h.request_id
                       WHERE r.id IS NULL AND h.state <> 'expired'";
        (world.database.number(missing).await == 0).then_some(())
    })
    .await;
}

/// By how much the customer's balance has fallen since it had this value.
pub async fn spent_since(world: &World, customer: &Customer, before: i64) -> i64 {
    before - world.account(&customer.organization_id).await.0
}

/// Credentials in the order in which the providers received them.
pub fn credentials(calls: &[Call]) -> Vec<&str> {
    calls.iter().map(|call| call.authorization.as_str()).collect()
}
