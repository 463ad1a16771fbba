//! Members, invitations and what each role may do.

use crate::harness::{Client, Customer, PASSWORD, Reply, Stack, text};
use kairosroute::domain::ambient::Ambient;
use serde_json::{Value, json};

/// Invites an address and lets it sign up: its session and user id.
pub async fn join(client: &Client, owner: &Customer, role: &str) -> (String, String) {
    let email = format!("{}@example.test", Ambient::system().uuid().simple());
    let invited = client.post("/api/members", &owner.session, &json!({ "email": email, "role": role })).await;
    assert_eq!(invited.status, 201, "{invited}");
    let token = text(&invited.json()["token"]);
    let body = json!({ "email": email, "password": PASSWORD, "invitation": token });
    let joined = client.post("/api/auth/signup", "", &body).await;
    assert_eq!(joined.status, 201, "{joined}");
    let answer = joined.json();
    assert_eq!(text(&answer["organization"]["id"]), owner.organization_id);
    (text(&answer["sessionToken"]), text(&answer["user"]["id"]))
}

async fn set_role(client: &Client, session: &str, user: &str, role: &str) -> Reply {
    let path = format!("/api/members/{user}");
    client.request("PATCH", &path).bearer(session).json(&json!({ "role": role })).send().await
}

/// The permissions of a role: read keys, create a key, read members, invite, read money.
async fn allowed(client: &Client, session: &str) -> [bool; 5] {
    let email = format!("{}@example.test", Ambient::system().uuid().simple());
    let me = client.get("/api/auth", session).await;
    assert_eq!(me.status, 200);
    let replies = [
        client.post("/api/auth", session, &json!({})).await,
        client.get("/api/members", session).await,
        client.post("/api/members", session, &json!({ "email": email, "role": "viewer" })).await,
        client.get("/api/billing/balance", session).await,
    ];
    let [write, members, invite, money] = replies.map(|reply| match reply.status {
        200 | 201 => true,
        403 => {
            assert_eq!(reply.code(), "permission_denied");
            false
        }
        _ => panic!("{reply}"),
    });
    let keys = me.json()["apiKeys"].as_array().is_some_and(|keys| !keys.is_empty()) || write;
    [keys, write, members, invite, money]
}

#[tokio::test]
async fn each_role_may_do_exactly_what_is_promised() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    for (role, expected) in [
        ("owner", [true, true, true, true, true]),
        ("admin", [true, true, true, true, true]),
        ("member", [true, true, false, false, false]),
        ("billing", [false, false, false, false, true]),
        ("viewer", [true, false, true, false, true]),
    ] {
        let (session, _) = join(&stack, &owner, role).await;
        assert_eq!(allowed(&stack, &session).await, expected, "{role}");
    }
}

#[tokio::test]
async fn a_member_sees_and_changes_only_the_keys_it_made() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let (session, _) = join(&stack, &owner, "member").await;
    let (_, own) = stack.create_key(&session, &json!({ "name": "own" })).await;
    let me = stack.get("/api/auth", &session).await.json();
    assert_eq!(me["apiKeys"].as_array().unwrap().len(), 1);
    assert_eq!(stack.get(&format!("/api/auth/keys/{own}"), &session).await.status, 200);
    let theirs = format!("/api/auth/keys/{}", owner.key_id);
    assert_eq!(stack.get(&theirs, &session).await.status, 404);
    assert_eq!(stack.delete(&theirs, &session).await.status, 404);
    assert_eq!(stack.patch_key(&session, &owner.key_id, &json!({ "name": "x" })).await.status, 404);
    // The owner has both.
    assert_eq!(stack.get(&format!("/api/auth/keys/{own}"), &owner.session).await.status, 200);
}

#[tokio::test]
async fn a_role_change_and_a_removal_act_at_once_on_every_replica() {
    let stack = Stack::start().await;
    let second = stack.second_node().await;
    let owner = stack.sign_up().await;
    let (session, user) = join(&stack, &owner, "admin").await;
    assert_eq!(second.get("/api/members", &session).await.status, 200);
    assert_eq!(set_role(&stack, &owner.session, &user, "billing").await.status, 200);
    assert_eq!(second.get("/api/members", &session).await.status, 403);
    assert_eq!(stack.delete(&format!("/api/members?userId={user}"), &owner.session).await.status, 204);
    let reply = second.get("/api/auth", &session).await;
    assert_eq!((reply.status, reply.code().as_str()), (401, "invalid_session"));
}

#[tokio::test]
async fn only_owners_touch_owners_and_the_last_one_stays() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let (admin, admin_id) = join(&stack, &owner, "admin").await;
    let made = stack.post("/api/members", &admin, &json!({ "email": "o@x.test", "role": "owner" })).await;
    assert_eq!(made.status, 403, "{made}");
    assert_eq!(set_role(&stack, &admin, &admin_id, "owner").await.status, 403);
    assert_eq!(set_role(&stack, &admin, &owner.user_id, "viewer").await.status, 403);
    assert_eq!(stack.delete(&format!("/api/members/{}", owner.user_id), &admin).await.status, 403);
    let reply = set_role(&stack, &owner.session, &owner.user_id, "viewer").await;
    assert_eq!((reply.status, reply.code().as_str()), (409, "conflict"));
    let reply = stack.delete(&format!("/api/members/{}", owner.user_id), &owner.session).await;
    assert_eq!((reply.status, reply.code().as_str()), (409, "conflict"));
    assert_eq!(set_role(&stack, &owner.session, &admin_id, "owner").await.status, 200);
    assert_eq!(set_role(&stack, &owner.session, &owner.user_id, "viewer").await.status, 200);
}

#[tokio::test]
async fn an_invitation_works_once_for_its_address_until_it_is_withdrawn() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let invite = async |email: &str| -> Value {
        stack.post("/api/members", &owner.session, &json!({ "email": email, "role": "viewer" })).await.json()
    };
    let sign_up = async |email: &str, token: &str| {
        let body = json!({ "email": email, "password": PASSWORD, "invitation": token });
        stack.post("/api/auth/signup", "", &body).await
    };
    let first = invite("a@example.test").await;
    let wrong = sign_up("b@example.test", &text(&first["token"])).await;
    assert_eq!((wrong.status, wrong.json()["error"]["param"].as_str()), (400, Some("invitation")));
    // A new invitation replaces the open one.
    let second = invite("a@example.test").await;
    assert_eq!(sign_up("a@example.test", &text(&first["token"])).await.status, 400);
    assert_eq!(sign_up("a@example.test", &text(&second["token"])).await.status, 201);
    assert_eq!(sign_up("c@example.test", &text(&second["token"])).await.status, 400);
    let third = invite("d@example.test").await;
    let path = format!("/api/members?invitationId={}", text(&third["invitationId"]));
    assert_eq!(stack.delete(&path, &owner.session).await.status, 204);
    assert_eq!(stack.delete(&path, &owner.session).await.status, 404);
    assert_eq!(sign_up("d@example.test", &text(&third["token"])).await.status, 400);
    let list = stack.get("/api/members", &owner.session).await.json();
    assert_eq!(list["members"].as_array().unwrap().len(), 2);
    assert_eq!(list["invitations"], json!([]));
    assert!(!list.to_string().contains("kri_"), "a token is shown once");
}

#[tokio::test]
async fn a_person_of_two_organizations_chooses_at_log_in() {
    let stack = Stack::start().await;
    let (first, second) = (stack.sign_up().await, stack.sign_up().await);
    let invited = stack
        .post("/api/members", &second.session, &json!({ "email": first.email, "role": "viewer" }))
        .await
        .json();
    let log_in = async |more: Value| {
        let mut body = json!({ "email": first.email, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        stack.post("/api/auth/login", "", &body).await
    };
    assert_eq!(log_in(json!({ "organization": second.organization_id })).await.status, 403);
    assert_eq!(log_in(json!({ "invitation": invited["token"] })).await.status, 200);
    for (organization, role) in [(&first.organization_id, "owner"), (&second.organization_id, "viewer")] {
        let token = text(&log_in(json!({ "organization": organization })).await.json()["sessionToken"]);
        let me = stack.get("/api/auth", &token).await.json();
        assert_eq!(&text(&me["organization"]["id"]), organization);
        assert_eq!(me["role"], role);
    }
}

#[tokio::test]
async fn privileged_fields_of_member_calls_are_refused() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let (_, user) = join(&stack, &owner, "viewer").await;
    let before = stack.database.rows("membership").await;
    for body in [
        json!({ "role": "operator" }),
        json!({ "role": "viewer", "isOperator": true }),
        json!({ "role": "viewer", "organizationId": "org_1" }),
        json!({ "role": 1 }),
        json!({}),
    ] {
        let path = format!("/api/members/{user}");
        let reply = stack.request("PATCH", &path).bearer(&owner.session).json(&body).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "invalid_request"), "{body}");
    }
    assert_eq!(stack.database.rows("membership").await, before);
}

#[tokio::test]
async fn an_invitation_ends_with_the_rights_of_who_made_it() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let invite = async |session: &str, email: &str, role: &str| -> Value {
        stack.post("/api/members", session, &json!({ "email": email, "role": role })).await.json()
    };
    let sign_up = async |invited: &Value| {
        let body = json!({ "email": invited["email"], "password": PASSWORD, "invitation": invited["token"] });
        stack.post("/api/auth/signup", "", &body).await.status
    };
    // Removed: everything that it created.
    let (admin, admin_id) = join(&stack, &owner, "admin").await;
    let back = invite(&admin, "back@example.test", "admin").await;
    let fine = invite(&owner.session, "fine@example.test", "viewer").await;
    assert_eq!(fine["invitedBy"], json!(owner.user_id));
    assert_eq!(stack.delete(&format!("/api/members/{admin_id}"), &owner.session).await.status, 204);
    assert_eq!(sign_up(&back).await, 400);
    // Demoted: what the new role could not create.
    let (second, second_id) = join(&stack, &owner, "owner").await;
    let (to_owner, to_viewer) =
        (invite(&second, "o@example.test", "owner").await, invite(&second, "v@example.test", "viewer").await);
    assert_eq!(set_role(&stack, &owner.session, &second_id, "admin").await.status, 200);
    assert_eq!((sign_up(&to_owner).await, sign_up(&to_viewer).await), (400, 201));
    let late = invite(&second, "late@example.test", "viewer").await;
    assert_eq!(set_role(&stack, &owner.session, &second_id, "member").await.status, 200);
    assert_eq!((sign_up(&late).await, sign_up(&fine).await), (400, 201));
    // A key that was stored meanwhile gives no access either.
    let hidden = invite(&owner.session, "hidden@example.test", "admin").await;
    let sql = format!(
        "UPDATE invitation SET invited_by = '{}' WHERE email = 'hidden@example.test'",
        second_id.trim_start_matches("usr_")
    );
    stack.database.tamper(&sql).await;
    assert_eq!(sign_up(&hidden).await, 400);
}

#[tokio::test]
async fn only_owners_touch_the_invitations_of_owners() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let (admin, _) = join(&stack, &owner, "admin").await;
    let body = json!({ "email": "second@example.test", "role": "owner" });
    let invited = stack.post("/api/members", &owner.session, &body).await.json();
    let path = format!("/api/members/{}", text(&invited["invitationId"]));
    assert_eq!(stack.delete(&path, &admin).await.status, 403);
    let replaced = json!({ "email": "second@example.test", "role": "viewer" });
    assert_eq!(stack.post("/api/members", &admin, &replaced).await.status, 403);
    let body =
        json!({ "email": "second@example.test", "password": PASSWORD, "invitation": invited["token"] });
    assert_eq!(stack.post("/api/auth/signup", "", &body).await.status, 201, "it was left alone");
}

#[tokio::test]
async fn a_member_can_be_removed_together_with_its_api_keys() {
    let stack = Stack::start().await;
    let owner = stack.sign_up().await;
    let (kept, kept_id) = join(&stack, &owner, "member").await;
    let (gone, gone_id) = join(&stack, &owner, "member").await;
    let (_, kept_key) = stack.create_key(&kept, &json!({})).await;
    let (secret, gone_key) = stack.create_key(&gone, &json!({ "providerKeys": { "OpenAI": "sk-x" } })).await;
    assert_eq!(stack.get("/v1/models", &secret).await.status, 200);
    assert_eq!(stack.delete(&format!("/api/members/{kept_id}"), &owner.session).await.status, 204);
    let path = format!("/api/members/{gone_id}?revokeKeys=true");
    assert_eq!(stack.delete(&path, &owner.session).await.status, 204);
    assert_eq!(stack.get("/v1/models", &secret).await.status, 401);
    let revoked = async |id: &str| {
        stack.get(&format!("/api/auth/keys/{id}"), &owner.session).await.json()["revokedAt"].is_string()
    };
    assert!(!revoked(&kept_key).await && revoked(&gone_key).await && !revoked(&owner.key_id).await);
    assert_eq!(stack.database.number("SELECT count(*) FROM provider_key").await, 0);
}
