//! The hold covers the possible charge.

use super::{GPT, Price, ask, charge, close, cost};
use crate::harness::Stack;
use kairosroute::simulator::Script;
use serde_json::json;

#[tokio::test]
async fn a_tier_that_the_operator_s_account_chooses_is_covered_by_the_hold_and_billed() {
    const PRIORITY: Price = Price { input: 1_500_000_000, cached: 150_000_000, output: 9_000_000_000, ..GPT };
    for tier in [None, Some("auto")] {
        let stack = Stack::start().await;
        let customer = stack.customer("10").await;
        let script = Script { service_tier: Some("priority".into()), ..Script::default() };
        stack.simulator.set_default("openai", script.with_tokens(10, 4_000));
        let (before, _) = stack.account(&customer.organization_id).await;
        let mut body = ask(GPT.model);
        body["service_tier"] = json!(tier);
        let reply = stack.chat(&customer.key, &body).await;
        assert_eq!(reply.status, 200, "{reply}");
        let billed = charge(cost(PRIORITY, 10, 0, 4_000));
        assert_eq!(super::spent_since(&stack, &customer, before).await, billed);
        assert!(stack.database.number("SELECT amount FROM hold").await >= billed);
        close(stack).await;
    }
}

#[tokio::test]
async fn the_dearer_tier_is_no_reason_to_refuse_who_can_pay_the_usual_one() {
    let stack = Stack::start().await;
    // 4,000 tokens of output cost 1.89 cents at the usual price with the margin, and twice that at the other.
    let customer = stack.customer("0.02").await;
    stack.simulator.set_default("openai", Script::default().with_tokens(10, 5));
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!(reply.status, 200, "{reply}");
    let held = stack.database.number("SELECT amount FROM hold").await;
    assert!((18_900_000..=20_000_000).contains(&held), "{held}");
    close(stack).await;
}

#[tokio::test]
async fn the_tier_that_the_head_of_an_answer_names_is_the_one_billed() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    // The body does not state it; the head states that the request was served in the standard tier.
    let script = Script::default().with_tokens(1_000, 100).with_header("x-gemini-service-tier", "STANDARD");
    stack.simulator.set_default("google", script);
    for streamed in [false, true] {
        let mut body = ask("google/gemini-3.8-flash");
        body["service_tier"] = json!("flex");
        let (before, _) = stack.account(&customer.organization_id).await;
        super::answer_note(&stack, &customer, &body, streamed).await;
        assert_eq!(super::spent_since(&stack, &customer, before).await, charge(1_000 * 750 + 100 * 3_750));
    }
    close(stack).await;
}
