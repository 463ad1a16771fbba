//! The checker: tries rows of a route table as everyone who may not call them.

use crate::{
    harness::{Client, Customer, PASSWORD, Stack, hello, text},
    members::join,
};
use kairosroute::{
    accounts::roles::Role,
    http::routes::{Access, Endpoint, ROUTES, Route},
};
use serde_json::{Value, json};

/// One row to try. In `path`, `{key}`, `{user}`, `{invitation}`, `{receipt}` stand for the victim's.
pub struct Tried {
    pub method: String,
    pub path: &'static str,
    pub access: Access,
    pub body: Option<Value>,
    /// The path has an id of the victim's organization.
    pub names_victim: bool,
    /// Tokens of indoxhub's client are looked at.
    pub takes_tokens: bool,
}

/// A stranger who names the victim's organization in `X-KairosRoute-Organization`.
const BY_HEADER: &str = "another organization by header";

/// A victim with everything an id can name, its members, and a stranger.
pub struct World<'a> {
    stack: &'a Stack,
    pub victim: Customer,
    pub stranger: Customer,
    pub operator: String,
    /// A session of each role in the victim's organization.
    pub roles: Vec<(Role, String)>,
    pub member_id: String,
    invitation_id: String,
    pub receipt: String,
    pub shared_key: String,
    webhook: String,
    /// Of the victim.
    token: String,
    tables: Vec<String>,
}

impl<'a> World<'a> {
    pub async fn make(stack: &'a Stack) -> Self {
        let (victim, stranger) = (stack.customer("5").await, stack.customer("5").await);
        let made = stack.command(&["admin", "operator", "create", "op@example.test"], PASSWORD);
        assert!(made.status.success(), "{made:?}");
        let body = json!({ "email": "op@example.test", "password": PASSWORD });
        let operator = text(&stack.post("/api/auth/login", "", &body).await.json()["sessionToken"]);
        let (mut roles, mut member_id) = (Vec::new(), String::new());
        for role in Role::ALL {
            let (session, id) = join(stack, &victim, role.as_str()).await;
            if role == Role::Member {
                member_id = id;
            }
            roles.push((role, session));
        }
        let invited = json!({ "email": "open@example.test", "role": "viewer" });
        let invited = stack.post("/api/members", &victim.session, &invited).await.json();
        stack.set_provider_keys(&victim, &json!({ "OpenAI": "sk-victim-12345678" })).await;
        let reply = stack.chat(&victim.key, &hello("openai/gpt-4o-mini")).await;
        stack.receipt(&victim.key, reply.receipt_id()).await;
        // The job that notes when a key was used must have run: it changes rows by itself.
        crate::harness::wait_until("the key's use to be noted", async || {
            stack.database.number("SELECT count(*) FROM provider_key WHERE last_used_at IS NULL").await == 0
        })
        .await;
        let shared = json!({ "providerKeys": { "OpenAI": "sk-shared-12345678" } });
        let shared = stack.request("PATCH", "/api/provider-keys").bearer(&victim.session).json(&shared);
        let shared = shared.send().await.json();
        let webhook = json!({ "url": "https://example.com/alerts" });
        let webhook = stack.post("/api/webhooks", &victim.session, &webhook).await.json();
        let mut tables = stack.database.tables().await;
        // A lease is renewed by itself.
        // What jobs write of themselves.
        // Attempts are counted, whoever makes them.
        tables.retain(|table| !["instance", "host_health", "throttle"].contains(&table.as_str()));
        Self {
            invitation_id: text(&invited["invitationId"]),
            receipt: reply.receipt_id().to_owned(),
            shared_key: text(&shared["providerKeys"][0]["id"]),
            webhook: text(&webhook["id"]),
            token: stack.token(&victim.key).await,
            stack,
            victim,
            stranger,
            operator,
            roles,
            member_id,
            tables,
        }
    }

    fn path(&self, template: &str) -> String {
        template
            .replace("{key}", &self.victim.key_id)
            .replace("{user}", &self.member_id)
            .replace("{org}", &self.victim.organization_id)
            .replace("{invitation}", &self.invitation_id)
            .replace("{receipt}", &self.receipt)
            .replace("{shared}", &self.shared_key)
            .replace("{webhook}", &self.webhook)
    }

    pub async fn rows(&self) -> Vec<Vec<String>> {
        self.stack.database.rows_of(&self.tables).await
    }

    /// Everyone who must be refused, and with which status.
    fn refused(&self, row: &Tried) -> Vec<(String, String, u16)> {
        let mut list: Vec<(String, String, u16)> = Vec::new();
        let mut add = |who: &str, token: &str, status| list.push((who.into(), token.into(), status));
        if row.access == Access::Public {
            return list;
        }
        add("no credentials", "", 401);
        add("nonsense", "nonsense", 401);
        let forged = format!("krs_{}", "x".repeat(43));
        add("a forged session", &forged, 401);
        let forged = format!("krt_{}", "x".repeat(140));
        match row.takes_tokens {
            true => add("a forged token", &forged, 401),
            false => add("a forged token", &forged, 403),
        }
        if !row.takes_tokens && row.access == Access::ApiKey {
            add("a token of indoxhub's client", &self.token, 403);
        }
        if matches!(row.access, Access::ApiKey | Access::Client) {
            add("a session", &self.victim.session, 401);
            add("the operator", &self.operator, 401);
            if row.names_victim {
                add("another organization", &self.stranger.key, 404);
            }
            if row.access == Access::Client {
                add("an API key", &self.victim.key, 403);
            }
            return list;
        }
        if row.access == Access::Reader {
            add("a token of indoxhub's client", &self.token, 403);
            add("the operator", &self.operator, 403);
            if row.names_victim {
                add("another organization's key", &self.stranger.key, 404);
                add("another organization's session", &self.stranger.session, 404);
                let members = self.roles.iter().filter(|(role, _)| *role == Role::Member);
                members.for_each(|(_, session)| add("a member who did not make the key", session, 404));
            }
            return list;
        }
        add("an API key", &self.victim.key, 403);
        add("a token of indoxhub's client", &self.token, 403);
        match row.access {
            Access::Session(capability) => {
                add("the operator", &self.operator, 403);
                for (role, session) in &self.roles {
                    if !role.can(capability) {
                        add(&format!("a {}", role.as_str()), session, 403);
                    } else if *role == Role::Member && row.path.contains("{key}") {
                        add("a member who did not make the key", session, 404);
                    }
                }
                if row.names_victim {
                    add("another organization", &self.stranger.session, 404);
                }
                add(BY_HEADER, &self.stranger.session, 404);
            }
            Access::Operator => {
                add("an owner", &self.victim.session, 403);
                for (role, session) in &self.roles {
                    add(&format!("a {}", role.as_str()), session, 403);
                }
            }
            Access::Person => add(BY_HEADER, &self.stranger.session, 404),
            Access::Public | Access::ApiKey | Access::Client | Access::Reader => {}
        }
        list
    }
}

/// What is wrong with the rows, tried against `client`.
pub async fn problems(world: &World<'_>, client: &Client, rows: &[Tried]) -> Vec<String> {
    let mut found = Vec::new();
    let mut before = world.rows().await;
    for row in rows {
        let path = world.path(row.path);
        for (who, token, expected) in world.refused(row) {
            let mut request = client.request(&row.method, &path).bearer(&token);
            if let Some(body) = &row.body {
                request = request.json(body);
            }
            if who == BY_HEADER {
                request = request.header("x-kairosroute-organization", &world.victim.organization_id);
            }
            let reply = request.send().await;
            if reply.status != expected {
                found.push(format!(
                    "{} {} by {who}: {} instead of {expected}",
                    row.method, row.path, reply.status
                ));
            }
            if reply.status >= 400 && reply.text().contains(&world.victim.email) {
                found.push(format!("{} {} by {who}: tells the victim's address", row.method, row.path));
            }
            let after = world.rows().await;
            for (index, table) in world.tables.iter().enumerate() {
                if before[index] != after[index] {
                    found.push(format!("{} {} by {who}: changed {table}", row.method, row.path));
                }
            }
            before = after;
        }
    }
    found
}

/// The product's routes, each with ids and a body with which it would do its work if nobody stopped it.
pub fn rows_of_the_table() -> Vec<Tried> {
    ROUTES.iter().flat_map(samples).collect()
}

/// A route that is not known here fails: whoever adds one says how it is to be tried.
fn samples(route: &Route) -> Vec<Tried> {
    let user = json!({ "role": "viewer" });
    let key = json!({ "name": "stolen", "providerKeys": { "OpenAI": null } });
    let shared = json!({ "providerKeys": null });
    let topup = json!({ "organizationId": "org_x", "amountUsd": "1" });
    let invite = json!({ "email": "thief@example.test", "role": "viewer" });
    let paths: Vec<(&'static str, Option<Value>, bool)> = match (route.method.as_str(), route.path) {
        ("POST", path) if path.ends_with("/chat/completions") => {
            vec![(path, Some(hello("openai/gpt-4o-mini")), false)]
        }
        ("GET", "/v1/models/{id:.+}") => vec![("/v1/models/gpt-4o-mini", None, false)],
        ("GET", "/api/v1/models/{id:.+}") => vec![("/api/v1/models/gpt-4o-mini", None, false)],
        ("GET", "/v1/receipts/{id}") => vec![("/v1/receipts/{receipt}", None, true)],
        ("GET", "/api/v1/receipts/{id}") => vec![("/api/v1/receipts/{receipt}", None, true)],
        ("PATCH", "/api/auth") => vec![("/api/auth?keyId={key}", Some(key), true)],
        ("DELETE", "/api/auth") => vec![("/api/auth?keyId={key}", None, true)],
        ("PATCH", "/api/auth/keys/{id}") => vec![("/api/auth/keys/{key}", Some(key), true)],
        (_, "/api/auth/keys/{id}") => vec![("/api/auth/keys/{key}", None, true)],
        ("POST", "/api/auth/keys/{id}/provider-keys/{provider}/test") => {
            vec![("/api/auth/keys/{key}/provider-keys/openai/test", None, true)]
        }
        ("POST", "/api/auth/keys/{id}/rotate") => {
            vec![("/api/auth/keys/{key}/rotate", Some(json!({ "graceSeconds": 0 })), true)]
        }
        ("PUT" | "PATCH", "/api/provider-keys") => vec![("/api/provider-keys", Some(shared), false)],
        ("DELETE", "/api/provider-keys") => vec![("/api/provider-keys?id={shared}", None, true)],
        ("DELETE", "/api/provider-keys/{id}") => vec![("/api/provider-keys/{shared}", None, true)],
        ("POST", "/api/provider-keys/{provider}/test") => {
            vec![("/api/provider-keys/openai/test?id={shared}", None, true)]
        }
        ("DELETE", "/api/webhooks") => vec![("/api/webhooks?webhookId={webhook}", None, true)],
        ("DELETE", "/api/webhooks/{id}") => vec![("/api/webhooks/{webhook}", None, true)],
        ("POST", "/api/webhooks/{id}/rotate") => vec![("/api/webhooks/{webhook}/rotate", None, true)],
        ("POST", "/api/webhooks/{id}/test") => vec![("/api/webhooks/{webhook}/test", None, true)],
        ("POST", "/api/members") => vec![("/api/members", Some(invite), false)],
        ("PATCH", "/api/members") => vec![("/api/members?userId={user}", Some(user), true)],
        ("PATCH", "/api/members/{id}") => vec![("/api/members/{user}", Some(user), true)],
        ("DELETE", "/api/members") => vec![
            ("/api/members?userId={user}", None, true),
            ("/api/members?invitationId={invitation}", None, true),
        ],
        ("DELETE", "/api/members/{id}") => {
            vec![("/api/members/{user}", None, true), ("/api/members/{invitation}", None, true)]
        }
        ("DELETE", "/api/auth/sessions/{id}") => {
            vec![("/api/auth/sessions/ses_00000000000000000000000000000000", None, false)]
        }
        ("POST", "/api/billing/entries") => {
            let entry =
                json!({ "organizationId": "org_x", "kind": "grant", "amountUsd": "1", "reason": "stolen" });
            vec![("/api/billing/entries", Some(entry), false)]
        }
        ("GET", "/api/billing/statements/{month}") => {
            vec![("/api/billing/statements/2026-10", None, false)]
        }
        ("GET", "/api/requests/{id}") => vec![("/api/requests/{receipt}", None, true)],
        (_, "/api/operator/organizations/{id}") => {
            let body = json!({ "suspended": true, "reason": "stolen" });
            vec![("/api/operator/organizations/{org}", Some(body), false)]
        }
        ("POST", "/api/operator/platform-keys/{provider}/test") => {
            vec![("/api/operator/platform-keys/openai/test", None, false)]
        }
        (_, "/api/operator/platform-keys/{provider}") => {
            let body = json!({ "key": "sk-stolen-12345678" });
            vec![("/api/operator/platform-keys/openai", Some(body), false)]
        }
        ("DELETE", "/api/operator/operators/{id}") => {
            vec![("/api/operator/operators/usr_00000000000000000000000000000000", None, false)]
        }
        ("POST", "/api/billing/topups") => vec![("/api/billing/topups", Some(topup), false)],
        (_, path) if !path.contains('{') => vec![(path, Some(json!({})), false)],
        (method, path) => panic!("say in tenancy/check.rs how to try {method} {path}"),
    };
    let tried = |(path, body, names_victim)| Tried {
        method: route.method.to_string(),
        path,
        access: route.access(),
        body,
        names_victim,
        takes_tokens: matches!(route.endpoint, Endpoint::Client(_) | Endpoint::Either(..)),
    };
    paths.into_iter().map(tried).collect()
}
