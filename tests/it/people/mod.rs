//! Organizations as wholes and the operator's hand: one server, many checks.

mod oidc;
mod recovery;

use crate::{
    harness::{Customer, PASSWORD, Reply, Stack, hello, text, wait_until},
    members::join,
};
use serde_json::{Value, json};

const PLATFORM: &str = "openai/gpt-5.4-mini";

async fn operator(stack: &Stack, email: &str) -> String {
    let made = stack.command(&["admin", "operator", "create", email], PASSWORD);
    assert!(made.status.success(), "{made:?}");
    let body = json!({ "email": email, "password": PASSWORD });
    text(&stack.post("/api/auth/login", "", &body).await.json()["sessionToken"])
}

async fn send(stack: &Stack, method: &str, path: &str, token: &str, body: Value) -> Reply {
    stack.request(method, path).bearer(token).json(&body).send().await
}

/// A call of a session in another organization of its person.
async fn get_in(stack: &Stack, path: &str, session: &str, organization: &str) -> Reply {
    let request = stack.request("GET", path).bearer(session);
    request.header("x-kairosroute-organization", organization).send().await
}

async fn audit_actions(stack: &Stack) -> Vec<String> {
    let mut connection = stack.database.connect().await;
    sqlx::query_scalar("SELECT action FROM audit_log ORDER BY id").fetch_all(&mut connection).await.unwrap()
}

fn names(actions: &[String], wanted: &[&str]) {
    for action in wanted {
        assert!(actions.iter().any(|found| found == action), "{action} is not in the audit log: {actions:?}");
    }
}

#[tokio::test]
async fn the_operator_manages_customers_platform_keys_and_operators() {
    let stack = Stack::builder().env("KAIROSROUTE_SIGNUP", "closed").start().await;
    let first = operator(&stack, "op@example.test").await;

    // While sign-up is closed: an organization, and its owner by invitation.
    let body = json!({ "name": "Customer", "ownerEmail": "owner@example.test" });
    let made = stack.post("/api/operator/organizations", &first, &body).await;
    assert_eq!(made.status, 201, "{made}");
    let made = made.json();
    let closed = json!({ "email": "x@example.test", "password": PASSWORD, "organization": "No" });
    assert_eq!(stack.post("/api/auth/signup", "", &closed).await.status, 403);
    let token = &made["invitation"]["token"];
    let wrong = json!({ "email": "thief@example.test", "password": PASSWORD, "invitation": token });
    assert_eq!(stack.post("/api/auth/signup", "", &wrong).await.status, 400);
    let right = json!({ "email": "owner@example.test", "password": PASSWORD, "invitation": token });
    let joined = stack.post("/api/auth/signup", "", &right).await;
    assert_eq!(joined.status, 201, "{joined}");
    let (session, id) = (text(&joined.json()["sessionToken"]), text(&made["id"]));
    let (key, _) = stack.create_key(&session, &json!({ "name": "app" })).await;
    let entry = json!({ "organizationId": id, "kind": "grant", "amountUsd": "5", "reason": "welcome" });
    assert_eq!(stack.post("/api/billing/entries", &first, &entry).await.status, 201);
    assert_eq!(stack.chat(&key, &hello(PLATFORM)).await.status, 200);
    stack.no_hold_is_open().await;

    // Balance, usage, people and keys of the customer; revenue adds up to them.
    wait_until("the charge to be recorded", async || {
        stack.database.number("SELECT count(*) FROM usage WHERE charge > 0").await == 1
    })
    .await;
    let path = format!("/api/operator/organizations/{id}");
    let customer = stack.get(&path, &first).await.json();
    assert_eq!(customer["members"][0]["email"], "owner@example.test");
    assert_eq!(customer["apiKeys"][0]["name"], "app");
    assert!(!customer.to_string().contains(&key), "no secret");
    assert_eq!(customer["last30Days"]["requests"], 1);
    let (posted, _) = stack.account(&id).await;
    let charged = customer["last30Days"]["chargedUsd"].as_str().unwrap();
    let charged = kairosroute::domain::money::NanoUsd::parse(charged).unwrap();
    assert_eq!(posted, 5_000_000_000 - charged.0);
    let revenue = stack.get("/api/operator/revenue", &first).await.json();
    assert_eq!(revenue["total"], customer["last30Days"], "{revenue:#}");
    assert_eq!(revenue["organizations"][0]["figures"], customer["last30Days"]);
    let found = stack.get("/api/operator/organizations?name=CUSTOM", &first).await.json();
    assert_eq!(found["organizations"][0]["id"], json!(id));
    let none = stack.get("/api/operator/organizations?name=%25", &first).await.json();
    assert_eq!(none["organizations"], json!([]));

    // Suspended: calls are refused with a reason, sessions read and change nothing, then all works again.
    let no_reason = send(&stack, "PATCH", &path, &first, json!({ "suspended": true })).await;
    assert_eq!((no_reason.status, no_reason.json()["error"]["param"].as_str()), (400, Some("reason")));
    let suspend = json!({ "suspended": true, "reason": "unpaid invoice" });
    let suspended = send(&stack, "PATCH", &path, &first, suspend).await;
    assert_eq!(suspended.json()["suspendedReason"], "unpaid invoice", "{suspended}");
    let refused = stack.chat(&key, &hello(PLATFORM)).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "permission_denied"), "{refused}");
    assert!(refused.message().contains("suspended"), "{refused}");
    assert_eq!(stack.get("/v1/models", &key).await.status, 403);
    assert_eq!(stack.get("/api/billing/balance", &session).await.status, 200);
    let change = stack.post("/api/auth", &session, &json!({ "name": "more" })).await;
    assert!(change.status == 403 && change.message().contains("suspended"), "{change}");
    let resumed = send(&stack, "PATCH", &path, &first, json!({ "suspended": false })).await;
    assert_eq!(resumed.json()["suspendedAt"], Value::Null);
    assert_eq!(stack.chat(&key, &hello(PLATFORM)).await.status, 200);

    // Platform keys: from the environment, stored, tested, switched off wherever they come from, removed.
    let keys = "/api/operator/platform-keys/openai";
    let line = async || {
        let list = stack.get("/api/operator/platform-keys", &first).await.json();
        let mut rows = list["platformKeys"].as_array().unwrap().iter();
        rows.find(|row| row["provider"] == "openai").unwrap().clone()
    };
    assert_eq!((&line().await["source"], &line().await["enabled"]), (&json!("environment"), &json!(true)));
    let stored = send(&stack, "PUT", keys, &first, json!({ "key": "sk-stored-canary-9876" })).await;
    assert_eq!((stored.status, &stored.json()["last4"]), (200, &json!("9876")), "{stored}");
    assert!(!stored.text().contains("canary"));
    let tested = send(&stack, "POST", &format!("{keys}/test"), &first, json!({})).await;
    assert_eq!(tested.json()["valid"], true, "{tested}");
    assert_eq!(send(&stack, "PATCH", keys, &first, json!({ "enabled": false })).await.status, 200);
    assert_eq!(line().await["enabled"], false);
    let without = stack.chat(&key, &hello(PLATFORM)).await;
    assert!(without.status >= 400, "{without}");
    assert_eq!(send(&stack, "DELETE", keys, &first, json!({})).await.status, 204);
    assert_eq!(send(&stack, "DELETE", keys, &first, json!({})).await.status, 404);
    assert_eq!((&line().await["source"], &line().await["enabled"]), (&json!("environment"), &json!(false)));
    assert!(stack.chat(&key, &hello(PLATFORM)).await.status >= 400, "the environment's is off, too");
    assert_eq!(send(&stack, "PATCH", keys, &first, json!({ "enabled": true })).await.status, 200);
    assert_eq!(stack.chat(&key, &hello(PLATFORM)).await.status, 200);

    // Operators: listed, removed with their sessions; the last one stays.
    let second = operator(&stack, "second@example.test").await;
    let list = stack.get("/api/operator/operators", &second).await.json();
    assert_eq!(list["operators"].as_array().unwrap().len(), 2);
    let first_id = text(&list["operators"][0]["userId"]);
    let remove = format!("/api/operator/operators/{first_id}");
    assert_eq!(stack.delete(&remove, &second).await.status, 204);
    assert_eq!(stack.get("/api/operator/operators", &first).await.status, 401);
    let second_id = text(&list["operators"][1]["userId"]);
    let last = stack.delete(&format!("/api/operator/operators/{second_id}"), &second).await;
    assert_eq!((last.status, last.code().as_str()), (409, "conflict"));
    assert!(!operator(&stack, "op@example.test").await.is_empty(), "the address is free again");

    // The same hand on the command line.
    let run = |arguments: &[&str], input: &str| {
        let output = stack.command(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    };
    let created = run(&["admin", "organization", "create", "By hand", "--owner", "hand@example.test"], "");
    assert!(created.contains("organization org_") && created.contains("invitation kri_"), "{created}");
    assert!(run(&["admin", "organization", "suspend", &id, "--reason", "test"], "").contains("suspended"));
    assert!(run(&["admin", "organizations"], "").contains("suspended"));
    assert!(run(&["admin", "organization", "show", &id], "").contains("owner@example.test"));
    run(&["admin", "organization", "resume", &id], "");
    assert!(run(&["admin", "operator", "list"], "").contains("second@example.test"));
    run(&["admin", "operator", "remove", "second@example.test"], "");
    run(&["admin", "platform-key", "set", "groq"], "gsk_by_hand_0001");
    assert!(run(&["admin", "platform-key", "test", "groq"], "").contains("accepts"));
    run(&["admin", "platform-key", "disable", "groq"], "");
    assert!(run(&["admin", "platform-key", "list"], "").contains("groq  stored  …0001  switched off"));
    run(&["admin", "platform-key", "enable", "groq"], "");
    run(&["admin", "platform-key", "remove", "groq"], "");

    names(
        &audit_actions(&stack).await,
        &[
            "organization.create",
            "organization.suspend",
            "organization.resume",
            "platform_key.set",
            "platform_key.disable",
            "platform_key.enable",
            "platform_key.remove",
            "operator.create",
            "operator.remove",
            "credit.grant",
        ],
    );
    stack.finish().await;
}

#[tokio::test]
async fn a_person_acts_in_each_of_its_organizations_and_an_owner_transfers_and_deletes_one() {
    let stack = Stack::start().await;
    let (owner, other) = (stack.customer("3").await, stack.sign_up().await);
    let (member, member_id) = join(&stack, &owner, "member").await;

    // One session, two organizations.
    let made = stack.post("/api/organizations", &owner.session, &json!({ "name": "Second" })).await;
    assert_eq!(made.status, 201, "{made}");
    let second = text(&made.json()["id"]);
    let list = stack.get("/api/organizations", &owner.session).await.json();
    assert_eq!(list["organizations"].as_array().unwrap().len(), 2, "{list:#}");
    let me = get_in(&stack, "/api/auth", &owner.session, &second).await.json();
    assert_eq!((&me["organization"]["name"], &me["role"]), (&json!("Second"), &json!("owner")));
    assert_eq!(me["apiKeys"], json!([]), "the keys of that organization alone");
    let balance = get_in(&stack, "/api/billing/balance", &owner.session, &second).await.json();
    assert_eq!(balance["balanceUsd"], "0");
    for foreign in [other.organization_id.as_str(), "org_00000000000000000000000000000000", "nonsense"] {
        let reply = get_in(&stack, "/api/auth", &owner.session, foreign).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{foreign}");
    }
    // A member of another role there has that role there.
    let invited = json!({ "email": owner.email, "role": "viewer" });
    let invited = stack.post("/api/members", &other.session, &invited).await.json();
    let accept = json!({ "email": owner.email, "password": PASSWORD, "invitation": invited["token"] });
    assert_eq!(stack.post("/api/auth/login", "", &accept).await.status, 200);
    let create = stack.request("POST", "/api/auth").bearer(&owner.session);
    let create = create.header("x-kairosroute-organization", &other.organization_id).json(&json!({}));
    assert_eq!(create.send().await.status, 403, "a viewer there");
    assert_eq!(stack.delete(&format!("/api/members/{}", owner.user_id), &other.session).await.status, 204);
    assert_eq!(get_in(&stack, "/api/auth", &owner.session, &other.organization_id).await.status, 404);
    assert_eq!(stack.get("/api/auth", &owner.session).await.status, 200, "the session itself goes on");

    member_sees_its_own_usage(&stack, &owner, &member).await;

    // Transfer: with the password, to a member; the old owner is an admin.
    let transfer = |to: &str, password: &str| json!({ "userId": to, "currentPassword": password });
    let path = "/api/organization/transfer";
    let wrong = stack.post(path, &owner.session, &transfer(&member_id, "wrong")).await;
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("currentPassword")));
    assert_eq!(stack.post(path, &owner.session, &transfer(&other.user_id, PASSWORD)).await.status, 404);
    assert_eq!(stack.post(path, &member, &transfer(&member_id, PASSWORD)).await.status, 403);
    let done = stack.post(path, &owner.session, &transfer(&member_id, PASSWORD)).await;
    assert_eq!(done.status, 204, "{done}");
    assert_eq!(stack.get("/api/auth", &owner.session).await.json()["role"], "admin");
    assert_eq!(stack.get("/api/auth", &member).await.json()["role"], "owner");

    // Deletion: its consequences first, then with name and password; the books stay.
    let path = "/api/organization/deletion";
    assert_eq!(stack.get(path, &owner.session).await.status, 403, "an admin does not delete");
    let preview = stack.get(path, &member).await.json();
    assert_eq!((&preview["apiKeys"], &preview["members"]), (&json!(2), &json!(2)), "{preview:#}");
    assert!(preview["consequences"].as_array().unwrap().len() >= 5);
    let name = text(&preview["organization"]["name"]);
    let delete = |confirm: &str, password: &str| json!({ "confirm": confirm, "currentPassword": password });
    assert_eq!(stack.post(path, &member, &delete("other", PASSWORD)).await.status, 400);
    assert_eq!(stack.post(path, &member, &delete(&name, "wrong")).await.status, 400);
    assert_eq!(stack.get("/v1/models", &owner.key).await.status, 200);
    assert_eq!(stack.post(path, &member, &delete(&name, PASSWORD)).await.status, 204);
    assert_eq!(stack.get("/v1/models", &owner.key).await.status, 401);
    assert_eq!(stack.get("/api/auth", &member).await.status, 401);
    assert_eq!(stack.get("/api/auth", &owner.session).await.status, 401);
    let again = json!({ "email": owner.email, "password": PASSWORD, "organization": second });
    assert_eq!(stack.post("/api/auth/login", "", &again).await.status, 200, "the other one is untouched");
    assert!(stack.account(&owner.organization_id).await.0 > 0, "the books are kept");
    let kept = "SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM usage)";
    assert!(stack.database.number(kept).await > 0);
    names(&audit_actions(&stack).await, &["organization.transfer", "organization.delete"]);
    stack.finish().await;
}

/// A member's usage is that of the keys it made, whatever it asks for.
async fn member_sees_its_own_usage(stack: &Stack, owner: &Customer, member: &str) {
    let (own, _) = stack.create_key(member, &json!({ "name": "own" })).await;
    for key in [&owner.key, &owner.key, &own] {
        assert_eq!(stack.chat(key, &hello(PLATFORM)).await.status, 200);
    }
    wait_until("the charges to be recorded", async || {
        stack.database.number("SELECT count(*) FROM usage").await == 3
    })
    .await;
    let requests = async |session: &str, query: &str| {
        let report = stack.get(&format!("/api/usage{query}"), session).await;
        assert_eq!(report.status, 200, "{report}");
        report.json()["total"]["requests"].as_i64().unwrap()
    };
    assert_eq!(requests(&owner.session, "").await, 3);
    assert_eq!(requests(member, "").await, 1);
    assert_eq!(requests(member, &format!("?key={}", owner.key_id)).await, 0);
    let foreign = stack.get(&format!("/api/usage?member={}", owner.user_id), member).await;
    assert_eq!(foreign.status, 404);
}
