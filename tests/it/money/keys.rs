//! Which key serves, and who pays: own keys, their order, their fallback, and the platform keys beside them.

use super::{GPT, MISTRAL, XAI, ask, charge, close, cost, credentials, spent_since};
use crate::harness::{Customer, Stack, sized};
use kairosroute::simulator::{Script, Settings, Simulator};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const OWN: &str = "sk-proj-customers-own-key";
/// One that the simulated provider refuses.
const REFUSED: &str = "sk-proj-bad-revoked-key";

pub async fn with_own_key(stack: &Stack, credit: &str) -> Customer {
    let customer = stack.customer(credit).await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": OWN })).await;
    customer
}

#[tokio::test]
async fn an_own_key_serves_its_provider_for_nothing_and_the_platform_charges_for_the_others() {
    let stack = Stack::start().await;
    let customer = with_own_key(&stack, "10").await;
    let (before, _) = stack.account(&customer.organization_id).await;
    stack.simulator.set_default("openai", Script::default().with_tokens(1_234, 567));
    stack.simulator.set_default("mistral", Script::default().with_tokens(4_321, 765));

    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"), "{reply}");
    assert_eq!(stack.simulator.bill()[0].authorization, OWN);
    assert_eq!(stack.account(&customer.organization_id).await, (before, 0), "an own key moves no credit");
    assert_eq!(stack.database.number("SELECT count(*) FROM entry WHERE kind <> 'grant'").await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    let answered = Instant::now();
    let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
    assert!(answered.elapsed() < Duration::from_secs(1), "receipts are readable within a second");
    let own_cost = cost(GPT, 1_234, 0, 567);
    assert_eq!(receipt["provider_cost_nano_usd"], own_cost);
    let recorded = "SELECT concat_ws(' ', byok, charge, cost) FROM usage WHERE provider = 'openai'";
    assert_eq!(stack.database.texts(recorded).await, [format!("t 0 {own_cost}")]);

    let reply = stack.chat(&customer.key, &ask(MISTRAL.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "false"), "{reply}");
    assert_eq!(stack.simulator.bill()[1].authorization, "platform-mistral");
    let expected = charge(cost(MISTRAL, 4_321, 0, 765));
    assert_eq!(spent_since(&stack, &customer, before).await, expected);
    assert_eq!(super::nano(reply.header("x-kairosroute-cost")), expected);
    close(stack).await;
}

/// Failures of a stored key after which another credential could succeed, with the reported reason.
fn mendable() -> Vec<(Script, &'static str)> {
    vec![
        (Script::failing(401), "bad_key"),
        (Script::failing(402), "no_money"),
        (Script::failing(403), "permission"),
        (Script::failing(429), "rate_limit"),
        (Script::failing(503), "overload"),
    ]
}

#[tokio::test]
async fn a_dead_stored_key_falls_back_to_the_platform_and_is_billed_and_told_as_such() {
    let stack = Stack::start().await;
    let customer = with_own_key(&stack, "10").await;
    for (failure, reason) in mendable() {
        for streamed in [false, true] {
            stack.simulator.clear();
            stack.simulator.enqueue("openai", failure.clone());
            stack.simulator.enqueue("openai", Script::default().with_tokens(321, 45));
            falls_back(&stack, &customer, GPT.model, OWN, reason, streamed, charge(cost(GPT, 321, 0, 45)))
                .await;
        }
    }
    close(stack).await;
}

async fn falls_back(
    stack: &Stack,
    customer: &Customer,
    model: &str,
    own: &str,
    reason: &str,
    streamed: bool,
    expected: i64,
) {
    let (before, _) = stack.account(&customer.organization_id).await;
    let (headers, receipt) = if streamed {
        let mut stream = stack.stream(&customer.key, &ask(model)).await;
        let status = stream.status;
        assert_eq!(status, 200, "{reason}: {:?}", stream.rest().await);
        assert!(stream.rest().await.last().unwrap().is_done());
        (stream.headers.clone(), stream.receipt_id().to_owned())
    } else {
        let reply = stack.chat(&customer.key, &ask(model)).await;
        assert_eq!(reply.status, 200, "{reason}: {reply}");
        (reply.headers.clone(), reply.receipt_id().to_owned())
    };
    assert_eq!(headers["x-kairosroute-byok"], "false", "{reason}");
    assert_eq!(headers["x-kairosroute-fallback-reason"], reason);
    assert_eq!(headers["x-kairosroute-attempts"], "2");
    let platform = format!("platform-{}", model.split('/').next().unwrap());
    assert_eq!(credentials(&stack.simulator.bill()), [own, platform.as_str()], "{reason}");
    assert_eq!(spent_since(stack, customer, before).await, expected, "{reason}");
    let receipt = stack.receipt(&customer.key, &receipt).await;
    assert_eq!((&receipt["byok"], &receipt["fallback_reason"]), (&json!(false), &json!(reason)), "{receipt}");
    let kinds: Vec<&Value> =
        receipt["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["credential"]).collect();
    assert_eq!(kinds, ["byok", "platform"]);
}

#[tokio::test]
async fn a_bad_key_that_a_provider_calls_a_bad_request_falls_back_all_the_same() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    stack.set_provider_keys(&customer, &json!({ "xAI": "xai-revoked-key" })).await;
    stack.simulator.set_default("xai", Script::default().with_tokens(100, 10));
    let expected = charge(cost(XAI, 100, 0, 10));
    falls_back(&stack, &customer, XAI.model, "xai-revoked-key", "bad_key", false, expected).await;
    close(stack).await;
}

#[tokio::test]
async fn a_stored_key_that_is_too_slow_falls_back() {
    let stack = Stack::builder().env("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS", "400").start().await;
    let customer = with_own_key(&stack, "10").await;
    stack.simulator.enqueue("openai", Script { latency_ms: 20_000, ..Script::default() });
    stack.simulator.enqueue("openai", Script::default().with_tokens(9, 9));
    falls_back(&stack, &customer, GPT.model, OWN, "timeout", true, charge(cost(GPT, 9, 0, 9))).await;
    close(stack).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_request_itself_never_reaches_the_platforms_key() {
    let stack = Stack::start().await;
    let customer = with_own_key(&stack, "10").await;
    for status in [400, 404] {
        stack.simulator.clear();
        let body = r#"{"error":{"message":"what the provider said","type":"t","param":null,"code":null}}"#;
        stack.simulator.enqueue("openai", Script::error(status, body));
        let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
        assert_eq!((reply.status, reply.message().as_str()), (status, "what the provider said"), "{reply}");
        assert_eq!(reply.header("x-kairosroute-byok"), "true");
        assert_eq!(credentials(&stack.simulator.bill()), [OWN]);
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    close(stack).await;
}

#[tokio::test]
async fn without_fallback_the_providers_own_status_comes_back_and_the_platforms_key_is_never_sent() {
    let stack = Stack::start().await;
    let by_header = with_own_key(&stack, "10").await;
    let by_setting = with_own_key(&stack, "10").await;
    let never = json!({ "byokFallback": "never" });
    let patched = stack.patch_key(&by_setting.session, &by_setting.key_id, &never).await;
    assert_eq!(patched.status, 200, "{patched}");
    for (failure, _) in mendable() {
        stack.simulator.clear();
        stack.simulator.set_default("openai", failure.clone());
        for (customer, header) in [(&by_header, Some("never")), (&by_setting, None)] {
            let mut request = stack.request("POST", "/v1/chat/completions").bearer(&customer.key);
            if let Some(value) = header {
                request = request.header("x-kairosroute-fallback", value);
            }
            let reply = request.json(&ask(GPT.model)).send().await;
            assert_eq!(reply.status, failure.status, "{reply}");
            assert_eq!(reply.message(), "The request failed as scripted.", "{reply}");
            assert_eq!(reply.header("x-kairosroute-byok"), "true");
            assert_eq!(reply.header("x-kairosroute-fallback-reason"), "");
        }
        let bill = stack.simulator.bill();
        assert!(credentials(&bill).iter().all(|key| *key == OWN), "{:?}", credentials(&bill));
    }
    // A single request may allow what the key's setting forbids.
    stack.simulator.clear();
    stack.simulator.enqueue("openai", Script::failing(401));
    let request = stack.request("POST", "/v1/chat/completions").bearer(&by_setting.key);
    let reply = request.header("x-kairosroute-fallback", "platform").json(&ask(GPT.model)).send().await;
    assert_eq!((reply.status, reply.header("x-kairosroute-fallback-reason")), (200, "bad_key"), "{reply}");
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 1, "only the last was on credit");
    close(stack).await;
}

#[tokio::test]
async fn several_stored_keys_are_tried_in_order_before_the_platform() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let keys = json!({ "OpenAI": [
        { "key": "sk-proj-switched-off", "enabled": false },
        { "key": "sk-proj-for-another-model", "models": ["openai/gpt-5.5"] },
        { "key": "sk-proj-bad-one" },
        { "key": "sk-proj-bad-two", "models": ["gpt-5.4-mini"] },
        { "key": "sk-proj-works" },
        { "key": "sk-proj-not-needed" },
    ] });
    stack.set_provider_keys(&customer, &keys).await;
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"), "{reply}");
    assert_eq!(reply.header("x-kairosroute-fallback-reason"), "", "no platform key was needed");
    let tried = ["sk-proj-bad-one", "sk-proj-bad-two", "sk-proj-works"];
    assert_eq!(credentials(&stack.simulator.bill()), tried);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);

    stack.simulator.clear();
    stack
        .set_provider_keys(&customer, &json!({ "OpenAI": [{ "key": "sk-bad-1" }, { "key": "sk-bad-2" }] }))
        .await;
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "false"), "{reply}");
    assert_eq!(credentials(&stack.simulator.bill()), ["sk-bad-1", "sk-bad-2", "platform-openai"]);
    close(stack).await;
}

#[tokio::test]
async fn any_number_of_calls_on_an_own_key_changes_no_row_of_the_ledger() {
    let stack = Stack::start().await;
    let customer = with_own_key(&stack, "10").await;
    let account = stack.account(&customer.organization_id).await;
    let (callers, each) = (16, sized(8, 625));
    let mut calling = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let (client, key) = (stack.client.clone(), customer.key.clone());
        let fails = caller == 0;
        // A request-scoped key that its provider refuses, beside the stored one that serves.
        calling.spawn(async move {
            for _ in 0..each {
                let call = client.request("POST", "/v1/chat/completions").bearer(&key).json(&ask(GPT.model));
                let call = if fails { call.header("x-provider-key", REFUSED) } else { call };
                let status = call.send().await.status;
                assert_eq!(status, if fails { 401 } else { 200 });
            }
        });
    }
    calling.join_all().await;
    assert_eq!(stack.account(&customer.organization_id).await, account);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM entry WHERE kind <> 'grant'").await, 0);
    let bill = stack.simulator.bill();
    assert!(bill.iter().all(|call| [OWN, REFUSED].contains(&call.authorization.as_str())));
    let calls = bill.len();
    close(stack).await;
    println!("bar 11: {calls} calls on own keys changed no row of the ledger and reached no platform key");
}

#[tokio::test]
async fn without_credit_an_own_key_is_served_and_the_ledger_stays_empty() {
    let stack = Stack::start().await;
    let customer = with_own_key(&stack, "0").await;
    for streamed in [false, true] {
        let (note, _) = super::answer_note(&stack, &customer, &ask(GPT.model), streamed).await;
        assert_eq!((&note["byok"], super::nano_of(&note["charged_usd"])), (&json!(true), 0), "{note}");
    }
    let reply = stack.chat(&customer.key, &ask(MISTRAL.model)).await;
    assert_eq!((reply.status, reply.code().as_str()), (402, "insufficient_credits"), "{reply}");
    // An invalid own key without credit for the fallback: the provider's error, not the gateway's about money.
    stack.simulator.enqueue("openai", Script::failing(401));
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!(reply.status, 401, "{reply}");
    assert_eq!(stack.database.number("SELECT count(*) FROM entry").await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    assert!(!credentials(&stack.simulator.bill()).iter().any(|key| key.starts_with("platform")));
    close(stack).await;
}

#[tokio::test]
async fn a_slow_key_without_fallback_is_a_time_out_and_nothing_of_the_platforms() {
    let stack = Stack::builder().env("KAIROSROUTE_FIRST_BYTE_TIMEOUT_MS", "300").start().await;
    let customer = with_own_key(&stack, "10").await;
    stack.simulator.set_default("openai", Script { latency_ms: 20_000, ..Script::default() });
    let mut body = ask(GPT.model);
    body["stream"] = json!(true);
    let request = stack.request("POST", "/v1/chat/completions").bearer(&customer.key);
    let reply = request.header("x-kairosroute-fallback", "never").json(&body).send().await;
    assert_eq!((reply.status, reply.code().as_str()), (504, "upstream_timeout"), "{reply}");
    assert!(credentials(&stack.simulator.bill()).iter().all(|key| *key == OWN));
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
    close(stack).await;
}

#[tokio::test]
async fn a_key_with_its_own_address_falls_back_to_the_operators_host() {
    let stack = Stack::builder().env("KAIROSROUTE_ALLOW_PRIVATE_NETS", "127.0.0.0/8").start().await;
    let customer = stack.customer("10").await;
    // A host of the customer: it must receive only the customer's key.
    let elsewhere = Simulator::start(Settings::default()).unwrap();
    elsewhere.set_default("openai", Script::failing(503));
    let keys = json!({ "OpenAI": [{ "key": OWN, "baseUrl": elsewhere.base_url("openai") }] });
    stack.set_provider_keys(&customer, &keys).await;
    stack.simulator.set_default("openai", Script::default().with_tokens(11, 13));
    let (before, _) = stack.account(&customer.organization_id).await;
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-fallback-reason")), (200, "overload"), "{reply}");
    assert_eq!(credentials(&elsewhere.bill()), [OWN]);
    assert_eq!(credentials(&stack.simulator.bill()), ["platform-openai"]);
    drop(elsewhere);
    let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
    assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "false"), "nobody there: {reply}");
    assert_eq!(spent_since(&stack, &customer, before).await, 2 * charge(cost(GPT, 11, 0, 13)));
    close(stack).await;
}

#[tokio::test]
async fn of_a_key_in_a_long_error_nothing_comes_back_and_nothing_is_kept() {
    let stack = Stack::start().await;
    let customer = with_own_key(&stack, "10").await;
    let patch = json!({ "byokFallback": "never" });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &patch).await.status, 200);
    // The passed-on part of a message ends at 2,000 bytes.
    for before in [1_900, 1_960, 1_974, 1_975, 1_976, 1_990, 1_999, 2_000] {
        let dumped = format!("{}Bearer {OWN}{}", "+".repeat(before - "Bearer ".len()), "+".repeat(3_000));
        let escaped = json!({ "authorization": dumped }).to_string().replace('-', "\\u002d");
        for body in [dumped.clone(), json!({ "error": { "message": escaped, "type": dumped } }).to_string()] {
            stack.simulator.enqueue("openai", Script::error(401, &body));
            let reply = stack.chat(&customer.key, &ask(GPT.model)).await;
            assert_eq!(reply.status, 401, "{reply}");
            let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
            for text in [reply.text(), receipt.to_string()] {
                assert!(text.contains("++++"), "{text}");
                assert!(!text.contains("sk") && !text.contains("proj"), "{before}: {text}");
            }
        }
    }
    close(stack).await;
}
