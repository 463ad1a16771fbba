//! Signing up, logging in and logging out.

use crate::harness::{PASSWORD, Reply, Stack, hello, text};
use serde_json::json;

#[tokio::test]
async fn a_new_organization_can_be_served_as_soon_as_it_has_credit() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let reply = stack.chat(&customer.key, &hello("openai/gpt-4o-mini")).await;
    assert_eq!(reply.status, 200, "{reply}");
    assert_eq!(stack.simulator.bill().len(), 1);
    stack.finish().await;
}

#[tokio::test]
async fn signing_up_makes_an_owner_who_is_logged_in() {
    let stack = Stack::start().await;
    let body = json!({ "email": " Ann@Example.test ", "password": PASSWORD, "organization": "Ann & Co" });
    let reply = stack.post("/api/auth/signup", "", &body).await;
    assert_eq!(reply.status, 201, "{reply}");
    let answer = reply.json();
    assert_eq!(answer["user"]["email"], "ann@example.test");
    assert_eq!(answer["organization"]["name"], "Ann & Co");
    let me = stack.get("/api/auth", &text(&answer["sessionToken"])).await.json();
    assert_eq!(me["role"], "owner");
    assert_eq!(me["organization"], answer["organization"]);
    assert_eq!(me["user"], answer["user"]);
    assert_eq!(me["apiKeys"], json!([]));
}

#[tokio::test]
async fn a_taken_address_is_refused_whatever_its_case_and_changes_nothing() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let body = json!({ "email": customer.email.to_uppercase(), "password": PASSWORD, "organization": "B" });
    let reply = stack.post("/api/auth/signup", "", &body).await;
    assert_eq!((reply.status, reply.code().as_str()), (409, "email_taken"));
    assert_eq!(stack.database.number("SELECT count(*) FROM organization").await, 1);
}

#[tokio::test]
async fn a_closed_installation_signs_nobody_up() {
    let stack = Stack::builder().env("KAIROSROUTE_SIGNUP", "closed").start().await;
    let body = json!({ "email": "a@example.test", "password": PASSWORD, "organization": "A" });
    let reply = stack.post("/api/auth/signup", "", &body).await;
    assert_eq!((reply.status, reply.code().as_str()), (403, "permission_denied"));
    assert_eq!(stack.database.number("SELECT count(*) FROM app_user").await, 0);
}

#[tokio::test]
async fn a_sign_up_with_bad_or_privileged_fields_is_refused_and_changes_nothing() {
    let stack = Stack::start().await;
    let good = json!({ "email": "a@example.test", "password": PASSWORD, "organization": "A" });
    for (field, value) in [
        ("email", json!("nobody")),
        ("email", json!(7)),
        ("password", json!("short")),
        ("password", json!(null)),
        ("organization", json!("")),
        ("organization", json!("a\u{0}b")),
        ("isOperator", json!(true)),
        ("is_operator", json!(true)),
        ("role", json!("owner")),
        ("invitation", json!("kri_x")),
        ("id", json!("usr_1")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let reply = stack.post("/api/auth/signup", "", &body).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{body}: {reply}");
    }
    for body in ["", "[]", "null", "{", "\u{0}", r#"["a@example.test","longenough","A"]"#] {
        let reply = stack.request("POST", "/api/auth/signup").body(body).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{body}: {reply}");
    }
    for table in ["app_user", "organization", "membership", "session", "audit_log"] {
        assert!(stack.database.rows(table).await.is_empty(), "{table}");
    }
}

#[tokio::test]
async fn logging_out_acts_at_once_on_every_replica() {
    let stack = Stack::start().await;
    let second = stack.second_node().await;
    let customer = stack.sign_up().await;
    let body = json!({ "email": customer.email, "password": PASSWORD });
    let token = text(&stack.post("/api/auth/login", "", &body).await.json()["sessionToken"]);
    assert_eq!(second.get("/api/auth", &token).await.status, 200);
    let reply = stack.request("POST", "/api/auth/logout").bearer(&token).send().await;
    assert_eq!(reply.status, 204, "{reply}");
    for node in [&stack.client, &*second] {
        let reply = node.get("/api/auth", &token).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_session"));
    }
    // The session of the sign-up is another one.
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 200);
}

/// Everything of an answer that a caller could compare, but what differs each time by nature.
fn comparable(reply: &Reply) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = reply
        .headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    (reply.status, headers, reply.text())
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_get_the_same_answer() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let wrong = json!({ "email": customer.email, "password": "not the password" });
    let unknown = json!({ "email": "nobody@example.test", "password": "not the password" });
    let wrong = stack.post("/api/auth/login", "", &wrong).await;
    let unknown = stack.post("/api/auth/login", "", &unknown).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (401, "invalid_credentials"));
    assert_eq!(comparable(&wrong), comparable(&unknown));
}

#[tokio::test]
async fn failed_log_ins_of_an_account_are_throttled_and_others_are_not() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let other = stack.sign_up().await;
    let wrong = json!({ "email": customer.email, "password": "not the password" });
    let mut last = stack.post("/api/auth/login", "", &wrong).await;
    for _ in 0..30 {
        if last.status == 429 {
            break;
        }
        last = stack.post("/api/auth/login", "", &wrong).await;
    }
    assert_eq!((last.status, last.code().as_str()), (429, "rate_limit_exceeded"));
    let wait: u32 = last.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&wait));
    let right = json!({ "email": other.email, "password": PASSWORD });
    assert_eq!(stack.post("/api/auth/login", "", &right).await.status, 200);
}

#[tokio::test]
async fn an_api_key_manages_nothing_known_or_not() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for key in [customer.key.as_str(), "kr-unknown"] {
        let reply = stack.get("/api/auth", key).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "permission_denied"), "{reply}");
    }
}

#[tokio::test]
async fn the_operator_is_made_on_the_command_line_and_belongs_to_no_organization() {
    let stack = Stack::start().await;
    let made = stack.command(&["admin", "operator", "create", "op@example.test"], &format!("{PASSWORD}\n"));
    assert!(made.status.success(), "{made:?}");
    let body = json!({ "email": "op@example.test", "password": PASSWORD });
    let token = text(&stack.post("/api/auth/login", "", &body).await.json()["sessionToken"]);
    let me = stack.get("/api/auth", &token).await.json();
    assert_eq!(me["role"], "operator");
    assert!(me["organization"].is_null());
    let customer = stack.sign_up().await;
    let topup =
        json!({ "organizationId": customer.organization_id, "amountUsd": "2.50", "externalId": "e1" });
    assert_eq!(stack.post("/api/billing/topups", &token, &topup).await.status, 201);
    assert_eq!(stack.post("/api/billing/topups", &token, &topup).await.status, 200);
    assert_eq!(stack.balance(&customer.session).await["balanceUsd"], "2.5");
    stack.finish().await;
}
