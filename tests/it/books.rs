//! Books that finance can close, over real HTTP: a month of mixed traffic in which statement, ledger, usage, requests and
//! receipts agree to the nano-dollar, and what each role may read.

use crate::{
    harness::{Customer, PASSWORD, Stack, hello, text, wait_until},
    money::the,
    payments::{SimulatedStripe, deliver, paid, stack_with},
};
use kairosroute::{
    domain::money::NanoUsd,
    jobs::books,
    simulator::{KindScript, Script},
};
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-5.4-mini";

fn nano(value: &Value) -> i64 {
    NanoUsd::parse(value.as_str().unwrap_or_else(|| panic!("{value} is no amount"))).unwrap().0
}

fn sum(rows: &Value, member: &str) -> i64 {
    rows.as_array().unwrap().iter().map(|row| nano(&row[member])).sum()
}

async fn operator(stack: &Stack) -> String {
    let made = stack.command(&["admin", "operator", "create", "op@example.test"], &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{made:?}");
    let body = json!({ "email": "op@example.test", "password": PASSWORD });
    text(&stack.post("/api/auth/login", "", &body).await.json()["sessionToken"])
}

async fn get(stack: &Stack, customer: &Customer, path: &str) -> Value {
    let reply = stack.get(path, &customer.session).await;
    assert_eq!(reply.status, 200, "{path}: {reply}");
    reply.json()
}

/// Chats whole and streamed, with the provider's cache and the gateway's, that fail, that are refused, that a client leaves; a picture, speech; on the
/// platform's key and on an own one.
async fn traffic(stack: &Stack, customer: &Customer) -> usize {
    let cached = Script { cached_tokens: 4, ..Script::default().with_tokens(12, 6) };
    stack.simulator.set_default("openai", cached);
    let mut requests = 0;
    for _ in 0..4 {
        assert_eq!(stack.chat(&customer.key, &hello(MODEL)).await.status, 200);
        let mut streamed = hello("groq/gpt-oss-120b");
        streamed["stream"] = json!(true);
        let mut stream = stack.stream(&customer.key, &streamed).await;
        stream.rest().await;
        requests += 2;
    }
    let picture = json!({ "model": "xai/grok-imagine-image", "prompt": "a dot", "n": 1 });
    let kinds = KindScript { image_count: Some(1), ..KindScript::default() };
    stack.simulator.set_default("xai", Script { kinds, ..Script::default() });
    assert_eq!(stack.post("/v1/images/generations", &customer.key, &picture).await.status, 200);
    let speech = json!({ "model": "groq/orpheus-v1-english", "input": "good day", "voice": "alloy" });
    let kinds = KindScript { audio: vec![b"\xff\xfb\x90\0".to_vec()], ..KindScript::default() };
    stack.simulator.enqueue("groq", Script { kinds, ..Script::default() });
    assert_eq!(stack.post("/v1/audio/speech", &customer.key, &speech).await.status, 200);
    // A failure at the provider, and two refusals before any.
    stack.simulator.enqueue("mistral", Script { status: 400, ..Script::default() });
    assert!(stack.chat(&customer.key, &hello("mistral/mistral-small-4")).await.status >= 400);
    assert_eq!(stack.chat(&customer.key, &json!({ "model": MODEL })).await.status, 400);
    assert_eq!(stack.chat(&customer.key, &hello("openai/no-such-model-xyz")).await.status, 404);
    requests += 5;
    let mut repeated = hello(MODEL);
    repeated["cache"] = json!(true);
    for hit in ["miss", "hit"] {
        let reply = stack.chat(&customer.key, &repeated).await;
        assert_eq!((reply.status, reply.header("x-kairosroute-cache")), (200, hit), "{reply}");
    }
    stack.simulator.enqueue("openai", the(500).with_gap_ms(10));
    let mut left = hello(MODEL);
    left["stream"] = json!(true);
    let mut stream = stack.stream(&customer.key, &left).await;
    while stream.next().await.unwrap().content().is_empty() {}
    drop(stream);
    stack.no_hold_is_open().await;
    requests += 3;
    stack.set_provider_keys(customer, &json!({ "OpenAI": "sk-own-12345678" })).await;
    for _ in 0..3 {
        let reply = stack.chat(&customer.key, &hello(MODEL)).await;
        assert_eq!((reply.status, reply.header("x-kairosroute-byok")), (200, "true"));
        requests += 1;
    }
    requests
}

#[tokio::test]
async fn statement_ledger_usage_requests_and_receipts_agree_to_the_nano_dollar() {
    let stack = stack_with(&SimulatedStripe::start()).await;
    let customer = stack.customer("0").await;
    let operator = operator(&stack).await;
    let post = async |kind: &str, amount: &str, more: Value| {
        let mut body = json!({ "organizationId": customer.organization_id, "kind": kind, "amountUsd": amount,
                               "reason": format!("a {kind}, \"really\"") });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stack.post("/api/billing/entries", &operator, &body).await
    };
    // A payment of 25 dollars of which 5 go back: each event comes three times, the refund first.
    let refund = json!({ "id": "re_1", "amount": 500, "currency": "usd", "status": "succeeded", "payment_intent": "pi_1" });
    for _ in 0..3 {
        assert_eq!(deliver(&stack, "refund.created", &refund).await, 200);
        assert_eq!(deliver(&stack, "payment_intent.succeeded", &paid(&customer, "pi_1", 2_500)).await, 200);
    }
    assert_eq!(post("promotion", "1.5", json!({ "expiresAt": "2999-12-31" })).await.status, 201);
    let expected = traffic(&stack, &customer).await;
    assert_eq!(post("refund", "0.000001", json!({})).await.status, 201);
    assert_eq!(post("adjustment", "-0.25", json!({})).await.status, 201);
    stack.gateway().recorder.flush().await;
    stack.no_hold_is_open().await;
    // The promotion ends; what the month's charges left of it expires.
    stack.database.tamper("UPDATE promotion SET expires_at = clock_timestamp() - interval '1 second'").await;
    books::keep(stack.gateway()).await.unwrap();
    books::sum(stack.gateway()).await.unwrap();

    let month = stack.database.texts("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM')").await.remove(0);
    let statement = get(&stack, &customer, &format!("/api/billing/statements/{month}")).await;
    let balance = get(&stack, &customer, "/api/billing/balance").await;
    let ledger = get(&stack, &customer, "/api/billing/ledger?limit=200").await;
    let usage = get(&stack, &customer, "/api/usage?group_by=byok,model").await;
    let requests = get(&stack, &customer, "/api/requests?limit=200").await;

    let charged = sum(&statement["charges"], "chargedUsd");
    assert!(charged > 0);
    assert_eq!(nano(&statement["totals"]["chargesUsd"]), charged);
    assert_eq!(nano(&usage["total"]["chargedUsd"]), charged, "usage");
    assert_eq!(sum(&requests["requests"], "chargedUsd"), charged, "requests");
    let entries = ledger["entries"].as_array().unwrap();
    let of_kind = |kind: &str| -> i64 {
        entries.iter().filter(|entry| entry["kind"] == kind).map(|entry| nano(&entry["amountUsd"])).sum()
    };
    assert_eq!(of_kind("charge"), -charged, "ledger");
    assert_eq!(
        entries.iter().map(|entry| nano(&entry["amountUsd"])).sum::<i64>(),
        nano(&balance["balanceUsd"])
    );
    assert_eq!(statement["closingBalanceUsd"], balance["balanceUsd"]);
    assert_eq!(of_kind("topup"), 25_000_000_000, "delivered three times, credited once");
    assert_eq!(of_kind("payment_refund"), -5_000_000_000, "delivered before its payment");
    assert_eq!(statement["totals"]["topupsUsd"], "20");
    // Promotional credit pays first.
    assert_eq!(of_kind("expiry"), charged - 1_500_000_000);
    assert_eq!(nano(&statement["totals"]["expiredUsd"]), charged - 1_500_000_000);
    assert_eq!(nano(&statement["totals"]["adjustmentsUsd"]), 1_000 - 250_000_000);
    let adjustment = &statement["adjustments"][1];
    assert_eq!(
        (&adjustment["reason"], &adjustment["kind"]),
        (&json!("a adjustment, \"really\""), &json!("adjustment"))
    );
    assert!(adjustment["actor"].as_str().unwrap().starts_with("usr_"));
    // Cost, and what ran on own keys.
    let own = &statement["ownKeyUsage"][0];
    assert_eq!((&own["model"], &own["requests"]), (&json!(MODEL), &json!(3)));
    let rows = usage["rows"].as_array().unwrap();
    let own_row = rows.iter().find(|row| row["key"] == "true").unwrap();
    assert_eq!(own_row["providerCostUsd"], own["providerCostUsd"]);
    let platform: i64 =
        rows.iter().filter(|row| row["key"] == "false").map(|row| nano(&row["providerCostUsd"])).sum();
    assert_eq!(platform, nano(&statement["totals"]["providerCostUsd"]));
    // Receipts, one for each request, failed and refused ones too.
    let listed = requests["requests"].as_array().unwrap();
    assert_eq!(listed.len(), expected);
    let mut sum_of_receipts = 0;
    for request in listed {
        let id = request["requestId"].as_str().unwrap();
        let receipt = get(&stack, &customer, &format!("/api/requests/{id}")).await;
        sum_of_receipts += receipt["charged_nano_usd"].as_i64().unwrap();
        assert_eq!(receipt["receipt_id"], request["receiptId"]);
    }
    assert_eq!(sum_of_receipts, charged, "receipts");
    for status in ["aborted", "failed", "completed"] {
        assert!(listed.iter().any(|request| request["status"] == status), "{status}: {listed:#?}");
    }
    ledger_as_csv(&stack, &customer, entries.len(), &balance).await;
    recomputed(&stack, &customer).await;
    forms(&stack, &customer, &month, &statement).await;
    stack.finish().await;
}

/// All entries of the range, whose amounts are the balance; texts are never formulas.
async fn ledger_as_csv(stack: &Stack, customer: &Customer, entries: usize, balance: &Value) {
    let csv = stack.get("/api/billing/ledger?format=csv", &customer.session).await;
    assert!(csv.header("content-type").starts_with("text/csv"), "{csv}");
    assert!(csv.header("content-disposition").contains("ledger.csv"), "{csv}");
    let text = csv.text();
    let amounts: Vec<i64> =
        text.lines().skip(1).map(|line| NanoUsd::parse(line.split(',').nth(3).unwrap()).unwrap().0).collect();
    assert_eq!(amounts.len(), entries, "{text}");
    assert_eq!(amounts.iter().sum::<i64>(), nano(&balance["balanceUsd"]));
    let with_page = stack.get("/api/billing/ledger?format=csv&limit=5", &customer.session).await;
    assert_eq!(with_page.status, 400, "{with_page}");
    let odd = stack.get("/api/billing/ledger?format=odd", &customer.session).await;
    assert_eq!(odd.status, 400, "{odd}");
}

/// The command finds nothing, and then a row that was changed.
async fn recomputed(stack: &Stack, customer: &Customer) {
    let command = || {
        let arguments =
            ["billing", "recompute", "--from", "2020-01-01", "--to", "2099-01-01", "--organization"];
        let mut arguments: Vec<&str> = arguments.to_vec();
        arguments.push(&customer.organization_id);
        stack.command(&arguments, "")
    };
    let clean = command();
    assert!(clean.status.success() && clean.stdout.contains(" 0 difference(s)"), "{clean:?}");
    stack.database.tamper("UPDATE usage SET charge = charge + 1, cost = cost + 1 WHERE NOT byok").await;
    let changed = command();
    assert_eq!(changed.status.code(), Some(1), "{changed:?}");
    assert!(
        changed.stdout.contains("usage req_") && changed.stdout.contains("charge_nano_usd"),
        "{changed:?}"
    );
    stack.database.tamper("UPDATE usage SET charge = charge - 1, cost = cost - 1 WHERE NOT byok").await;
}

/// CSV and page of a statement.
async fn forms(stack: &Stack, customer: &Customer, month: &str, statement: &Value) {
    let path = format!("/api/billing/statements/{month}");
    let csv = stack.get(&format!("{path}?format=csv"), &customer.session).await;
    assert!(csv.header("content-type").starts_with("text/csv"), "{csv}");
    let lines = csv.text();
    assert_eq!(lines.lines().next().unwrap().split(',').count(), 16);
    assert!(lines.contains("\"a refund, \"\"really\"\"\""), "{lines}");
    let hash = kairosroute::books::statement::Statement::is_consistent;
    assert!(hash(&serde_json::from_value(statement.clone()).unwrap()));
    let html =
        stack.request("GET", &path).bearer(&customer.session).header("accept", "text/html").send().await;
    assert!(html.header("content-type").starts_with("text/html"), "{html}");
    assert!(html.header("content-security-policy").contains("default-src 'none'"));
    assert!(html.text().contains("Closing balance") && !html.text().contains("<script"));
    let months = get(stack, customer, "/api/billing/statements").await;
    assert_eq!(months["statements"][0]["closingBalanceUsd"], statement["closingBalanceUsd"]);
    for (path, status) in [
        ("/api/billing/statements/2999-01", 404),
        ("/api/billing/statements/2001-01", 404),
        ("/api/billing/statements/2026-13", 400),
    ] {
        assert_eq!(stack.get(path, &customer.session).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn requests_are_filtered_paged_without_gap_or_repeat_and_a_member_sees_its_own() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let (second, second_id) = stack.create_key(&customer.session, &json!({ "name": "second" })).await;
    for number in 0..7 {
        let key = if number % 2 == 0 { &customer.key } else { &second };
        assert_eq!(stack.chat(key, &hello(MODEL)).await.status, 200);
    }
    assert_eq!(stack.chat(&customer.key, &json!({ "model": MODEL })).await.status, 400);
    stack.gateway().recorder.flush().await;
    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let page = get(&stack, &customer, &format!("/api/requests?limit=3{next}")).await;
        seen.extend(page["requests"].as_array().unwrap().iter().map(|row| text(&row["requestId"])));
        match page["next"].as_str() {
            Some(id) => next = format!("&before={id}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 8);
    assert!(seen.is_sorted_by(|newer, older| newer > older), "{seen:?}");
    for (query, count) in [
        (format!("key={second_id}"), 3),
        ("status=failed".to_owned(), 1),
        ("error_class=refused".to_owned(), 1),
        ("status=completed&provider=openai".to_owned(), 7),
        ("provider=groq".to_owned(), 0),
        (format!("model={MODEL}"), 7),
        ("byok=true".to_owned(), 0),
        ("cost_min=0.000000001".to_owned(), 7),
        ("cost_max=0".to_owned(), 1),
        ("kind=chat&status=completed".to_owned(), 7),
        ("fallback=true".to_owned(), 0),
    ] {
        let page = get(&stack, &customer, &format!("/api/requests?{query}")).await;
        assert_eq!(page["requests"].as_array().unwrap().len(), count, "{query}: {page}");
    }
    for query in
        ["status=odd", "provider=nobody", "limit=0", "limit=201", "key=x", "cost_min=x", "before=x", "odd=1"]
    {
        assert_eq!(
            stack.get(&format!("/api/requests?{query}"), &customer.session).await.status,
            400,
            "{query}"
        );
    }
    // A member sees the requests of its own keys alone, and no audit log.
    let invite = json!({ "email": "member@example.test", "role": "member" });
    let token = text(&stack.post("/api/members", &customer.session, &invite).await.json()["token"]);
    let body = json!({ "email": "member@example.test", "password": PASSWORD, "invitation": token });
    let member = text(&stack.post("/api/auth/signup", "", &body).await.json()["sessionToken"]);
    let (own, _) = stack.create_key(&member, &json!({})).await;
    assert_eq!(stack.chat(&own, &hello(MODEL)).await.status, 200);
    stack.gateway().recorder.flush().await;
    let page = stack.get("/api/requests", &member).await.json();
    assert_eq!(page["requests"].as_array().unwrap().len(), 1, "{page}");
    assert_eq!(stack.get(&format!("/api/requests/{}", seen[0]), &member).await.status, 404);
    assert_eq!(stack.get("/api/audit-log", &member).await.status, 403);
    stack.finish().await;
}

#[tokio::test]
async fn the_audit_log_names_who_from_where_and_with_which_request() {
    let stack = Stack::start().await;
    let customer = stack.customer("0").await;
    let reply = stack.post("/api/auth", &customer.session, &json!({ "name": "made" })).await;
    let log = get(&stack, &customer, "/api/audit-log?limit=1").await;
    let line = &log["entries"][0];
    assert_eq!(line["requestId"].as_str().unwrap(), reply.header("x-request-id"), "{log}");
    assert_eq!((&line["actor"], &line["actorEmail"]), (&json!(customer.user_id), &json!(customer.email)));
    assert!(line["address"].as_str().unwrap().contains("127.0.0.1"), "{log}");
    let change = json!({ "name": "renamed", "byokFallback": "never" });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &change).await.status, 200);
    let log = get(&stack, &customer, "/api/audit-log?action=api_key.change").await;
    let changes = &log["entries"][0]["changes"];
    assert_eq!(changes["byok_fallback"], json!(["platform", "never"]), "{log}");
    assert_eq!(changes["name"][1], "renamed");
    let operator = operator(&stack).await;
    let body = json!({ "organizationId": customer.organization_id, "kind": "grant", "amountUsd": "3", "reason": "why" });
    assert_eq!(stack.post("/api/billing/entries", &operator, &body).await.status, 201);
    let all = stack.get("/api/audit-log?action=credit", &operator).await.json();
    assert_eq!(all["entries"][0]["changes"]["amountUsd"], json!([null, "3"]), "{all}");
    assert_eq!(all["entries"][0]["changes"]["reason"], json!([null, "why"]));
    let other = stack.customer("0").await;
    let others = get(&stack, &other, "/api/audit-log").await;
    assert!(!others.to_string().contains(&customer.organization_id), "{others}");
    let one =
        stack.get(&format!("/api/audit-log?organization={}", other.organization_id), &operator).await.json();
    assert!(!one.to_string().contains(&customer.organization_id), "{one}");
    for bad in [
        json!({ "organizationId": customer.organization_id, "kind": "charge", "amountUsd": "1", "reason": "x" }),
        json!({ "organizationId": customer.organization_id, "kind": "refund", "amountUsd": "-1", "reason": "x" }),
        json!({ "organizationId": customer.organization_id, "kind": "refund", "amountUsd": "1" }),
        json!({ "organizationId": customer.organization_id, "kind": "promotion", "amountUsd": "1", "reason": "x" }),
        json!({ "organizationId": customer.organization_id, "kind": "grant", "amountUsd": "1", "reason": "x",
                "expiresAt": "2999-01-01" }),
        json!({ "organizationId": customer.organization_id, "kind": "promotion", "amountUsd": "1", "reason": "x",
                "expiresAt": "2001-01-01" }),
    ] {
        assert_eq!(stack.post("/api/billing/entries", &operator, &bad).await.status, 400, "{bad}");
    }
    wait_until("the balance", async || stack.account(&customer.organization_id).await.0 == 3_000_000_000)
        .await;
    stack.finish().await;
}

#[tokio::test]
async fn a_usage_export_is_streamed_whole_and_safe_to_open() {
    let stack = Stack::start().await;
    let customer = stack.customer("5").await;
    let org = customer.organization_id.trim_start_matches("org_");
    // Many groups: more than one piece of the download.
    stack
        .database
        .tamper(&format!(
            "INSERT INTO usage (org_id, request_id, api_key_id, provider, model, byok, status, basis, input_tokens,
                                cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, cost, charge,
                                latency_ms, created_at)
             SELECT '{org}', (left(first_id_at(now())::text, 19) || '8000-' || lpad(to_hex(n), 12, '0'))::uuid,
                    gen_random_uuid(), 'openai', '=m' || n, true, 'completed', 'reported', 1, 0, 0, 1, 0, 1, 0, 1, now()
             FROM generate_series(1, 12000) n"
        ))
        .await;
    let csv = stack.get("/api/usage?group_by=model,kind&format=csv", &customer.session).await;
    assert_eq!(csv.status, 200);
    let body = csv.text();
    assert_eq!(body.lines().count(), 12_001);
    assert!(body.starts_with("model,kind,requests,"), "{}", &body[..100]);
    assert!(body.lines().skip(1).all(|line| line.starts_with("'=m")));
    let json = get(&stack, &customer, "/api/usage?group_by=model,kind").await;
    assert_eq!((&json["truncated"], &json["total"]["requests"]), (&json!(true), &json!(12_000)));
    assert_eq!(json["rows"].as_array().unwrap().len(), 10_000);
    for query in [
        "group_by=day,hour",
        "group_by=model,model",
        "group_by=day,model,key",
        "tz=Mars/Olympus",
        "compare=x",
        "odd=1",
    ] {
        assert_eq!(stack.get(&format!("/api/usage?{query}"), &customer.session).await.status, 400, "{query}");
    }
}
