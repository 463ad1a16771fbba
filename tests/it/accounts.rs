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
    assert_eq!((&me["user"]["id"], &me["user"]["email"]), (&answer["user"]["id"], &answer["user"]["email"]));
    assert_eq!(me["user"]["emailVerified"], false);
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

/// Everything of an answer that a caller could compare, except what always differs.
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

async fn log_in_from(stack: &Stack, address: &str, email: &str, password: &str) -> Reply {
    let body = json!({ "email": email, "password": password });
    stack.request("POST", "/api/auth/login").header("x-forwarded-for", address).json(&body).send().await
}

#[tokio::test]
async fn failed_log_ins_are_throttled_where_they_come_from_and_nowhere_else() {
    let stack = Stack::builder().env("KAIROSROUTE_TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    let customer = stack.sign_up().await;
    let other = stack.sign_up().await;
    let (attacker, victim) = ("203.0.113.9", "198.51.100.7");
    let mut last = log_in_from(&stack, attacker, &customer.email, "not the password").await;
    for _ in 0..30 {
        if last.status == 429 {
            break;
        }
        last = log_in_from(&stack, attacker, &customer.email, "not the password").await;
    }
    assert_eq!((last.status, last.code().as_str()), (429, "rate_limit_exceeded"));
    // One attempt becomes free every 15 s: the stated wait is correct.
    let wait: u32 = last.header("retry-after").parse().unwrap();
    assert!((1..=15).contains(&wait), "{wait}");
    assert_eq!(log_in_from(&stack, attacker, &customer.email, PASSWORD).await.status, 429);
    assert_eq!(log_in_from(&stack, victim, &customer.email, PASSWORD).await.status, 200);
    assert_eq!(log_in_from(&stack, attacker, &other.email, PASSWORD).await.status, 200);
}

#[tokio::test]
async fn an_address_and_all_together_sign_up_so_many_organizations_a_day() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_TRUSTED_PROXIES", "127.0.0.0/8")
        .env("KAIROSROUTE_SIGNUPS_PER_ADDRESS_DAY_MAX", "2")
        .env("KAIROSROUTE_SIGNUPS_PER_DAY_MAX", "3")
        .start()
        .await;
    let sign_up = async |email: &str, address: &str| {
        let body = json!({ "email": email, "password": PASSWORD, "organization": "O" });
        stack.request("POST", "/api/auth/signup").header("x-forwarded-for", address).json(&body).send().await
    };
    for email in ["a@example.test", "b@example.test"] {
        assert_eq!(sign_up(email, "2001:db8::1").await.status, 201);
    }
    let third = sign_up("c@example.test", "2001:db8::2").await;
    assert_eq!((third.status, third.code().as_str()), (429, "rate_limit_exceeded"), "one /64 is one address");
    assert_eq!(third.header("x-should-retry"), "false");
    assert_eq!(stack.database.number("SELECT count(*) FROM app_user").await, 2);
    assert_eq!(sign_up("c@example.test", "2001:db8:0:1::2").await.status, 201);
    let fourth = sign_up("d@example.test", "203.0.113.7").await;
    assert_eq!((fourth.status, fourth.code().as_str()), (429, "rate_limit_exceeded"), "three in all");
    assert_eq!(
        stack.database.number("SELECT count::bigint FROM signup_count WHERE network = 'all'").await,
        3
    );
}

#[tokio::test]
async fn a_new_password_ends_every_session_that_the_old_one_began() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    let log_in = async |password: &str| {
        let body = json!({ "email": customer.email, "password": password });
        stack.post("/api/auth/login", "", &body).await
    };
    let stolen = text(&log_in(PASSWORD).await.json()["sessionToken"]);
    let change = async |current: &str, new: &str| {
        let body = json!({ "currentPassword": current, "newPassword": new });
        stack.post("/api/auth/password", &customer.session, &body).await
    };
    let new = "another battery staple entirely";
    let wrong = change("not the password", new).await;
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("currentPassword")));
    let weak = change(PASSWORD, "password123").await;
    assert_eq!((weak.status, weak.json()["error"]["param"].as_str()), (400, Some("newPassword")));
    assert_eq!(stack.get("/api/auth", &stolen).await.status, 200, "nothing has changed yet");
    assert_eq!(change(PASSWORD, new).await.status, 204);
    assert_eq!(stack.get("/api/auth", &stolen).await.status, 401);
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 200);
    assert_eq!((log_in(PASSWORD).await.status, log_in(new).await.status), (401, 200));
    // The operator's reset ends them all.
    let reset = stack.command(&["admin", "user", "reset", &customer.email], &format!("{PASSWORD}\n"));
    assert!(reset.status.success(), "{reset:?}");
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 401);
    assert_eq!((log_in(new).await.status, log_in(PASSWORD).await.status), (401, 200));
}

#[tokio::test]
async fn a_person_sees_its_sessions_and_ends_one_or_all() {
    let stack = Stack::builder().env("KAIROSROUTE_TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    let (customer, stranger) = (stack.sign_up().await, stack.sign_up().await);
    let body = json!({ "email": customer.email, "password": PASSWORD });
    let begin = async || {
        let request = stack.request("POST", "/api/auth/login").header("user-agent", "A browser");
        let reply = request.header("x-forwarded-for", "203.0.113.9").json(&body).send().await;
        text(&reply.json()["sessionToken"])
    };
    let (first, second) = (begin().await, begin().await);
    let list = stack.get("/api/auth/sessions", &customer.session).await.json();
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    let current: Vec<bool> = sessions.iter().map(|one| one["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [false, false, true], "the newest first");
    let newest = &sessions[0];
    assert_eq!(
        (newest["address"].as_str(), newest["userAgent"].as_str()),
        (Some("203.0.113.9"), Some("A browser"))
    );
    assert!(newest["createdAt"].is_string() && newest["lastSeenAt"].is_string());
    let path = format!("/api/auth/sessions/{}", text(&newest["sessionId"]));
    assert_eq!(stack.delete(&path, &stranger.session).await.status, 404);
    assert_eq!(stack.delete(&path, &customer.session).await.status, 204);
    assert_eq!(stack.delete(&path, &customer.session).await.status, 404);
    assert_eq!(stack.get("/api/auth", &second).await.status, 401);
    assert_eq!(stack.get("/api/auth", &first).await.status, 200);
    assert_eq!(stack.delete("/api/auth/sessions?keepCurrent=true", &customer.session).await.status, 204);
    assert_eq!(stack.get("/api/auth", &first).await.status, 401);
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 200);
    assert_eq!(stack.delete("/api/auth/sessions", &customer.session).await.status, 204);
    assert_eq!(stack.get("/api/auth", &customer.session).await.status, 401);
    assert_eq!(stack.get("/api/auth", &stranger.session).await.status, 200);
}

#[tokio::test]
async fn spellings_of_one_address_are_one_account_and_weak_passwords_are_refused() {
    let stack = Stack::start().await;
    let sign_up = async |email: &str, password: &str| {
        let body = json!({ "email": email, "password": password, "organization": "O" });
        let reply = stack.post("/api/auth/signup", "", &body).await;
        (reply.status, reply.json()["error"]["param"].as_str().map(str::to_owned))
    };
    assert_eq!(sign_up("kelvin@example.test", PASSWORD).await.0, 201);
    for same in ["\u{212a}elvin@example.test", "KELVIN@EXAMPLE.TEST", "\u{ff4b}elvin@example.test"] {
        assert_eq!(sign_up(same, PASSWORD).await.0, 409, "{same}");
    }
    for hidden in ["kelvin\u{200b}@example.test", "kelvin@\u{200d}example.test"] {
        assert_eq!(sign_up(hidden, PASSWORD).await, (400, Some("email".to_owned())), "{hidden:?}");
    }
    for weak in ["12345678", "P@ssw0rd1", "qwertyuiop", "newcomer@example.test"] {
        assert_eq!(
            sign_up("newcomer@example.test", weak).await,
            (400, Some("password".to_owned())),
            "{weak}"
        );
    }
}

#[tokio::test]
async fn api_keys_are_read_in_pages() {
    let stack = Stack::start().await;
    let customer = stack.sign_up().await;
    for name in ["b", "c", "d"] {
        stack.create_key(&customer.session, &json!({ "name": name })).await;
    }
    assert_eq!(
        stack.delete(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await.status,
        200
    );
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = stack.get(&format!("/api/auth?limit=3{after}"), &customer.session).await.json();
        let keys = page["apiKeys"].as_array().unwrap();
        assert!(keys.len() <= 3);
        seen.extend(keys.iter().map(|key| text(&key["keyId"])));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 4);
    assert_eq!(seen.last(), Some(&customer.key_id), "revoked ones come last");
    for bad in ["limit=0", "limit=1001", "after=x", "offset=1"] {
        assert_eq!(stack.get(&format!("/api/auth?{bad}"), &customer.session).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn an_organization_has_so_many_api_keys_provider_keys_and_members() {
    let stack = Stack::builder()
        .env("KAIROSROUTE_API_KEYS_MAX", "2")
        .env("KAIROSROUTE_PROVIDER_KEYS_MAX", "2")
        .env("KAIROSROUTE_MEMBERS_MAX", "2")
        .start()
        .await;
    let customer = stack.sign_up().await;
    let (_, second) = stack.create_key(&customer.session, &json!({})).await;
    let third = stack.post("/api/auth", &customer.session, &json!({})).await;
    assert_eq!((third.status, third.code().as_str()), (409, "conflict"));
    let set = async |key: &str, keys: serde_json::Value| {
        stack.patch_key(&customer.session, key, &json!({ "providerKeys": keys })).await
    };
    assert_eq!(set(&second, json!({ "OpenAI": "sk-a", "Groq": "gsk_b" })).await.status, 200);
    let more = set(&customer.key_id, json!({ "OpenAI": "sk-c" })).await;
    assert_eq!((more.status, more.json()["error"]["param"].as_str()), (400, Some("providerKeys")));
    assert_eq!(stack.database.number("SELECT count(*) FROM provider_key").await, 2);
    let invite = async |email: &str| {
        stack
            .post("/api/members", &customer.session, &json!({ "email": email, "role": "viewer" }))
            .await
            .status
    };
    assert_eq!((invite("a@example.test").await, invite("b@example.test").await), (201, 409));
    // Creating and revoking keys in turn is also limited.
    let mut made = 0;
    loop {
        assert_eq!(
            stack.delete(&format!("/api/auth/keys/{}", customer.key_id), &customer.session).await.status,
            200
        );
        let reply = stack.post("/api/auth", &customer.session, &json!({})).await;
        if reply.status == 409 {
            break;
        }
        made += 1;
        assert!(made < 20);
        let id = text(&reply.json()["keyId"]);
        assert_eq!(stack.delete(&format!("/api/auth/keys/{id}"), &customer.session).await.status, 200);
    }
    assert_eq!(made, 9, "10 revoked ones are kept, the first key among them");
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
