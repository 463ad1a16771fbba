//! What an operator and a browser see of requests: a log line for each, with the caller's id; cross-origin calls; the
//! list of models with filters and an ETag; the documents as pages.

use crate::harness::{ChildStack, Stack, hello, wait_for, wait_until};
use serde_json::{Value, json};

const MODEL: &str = "openai/gpt-5.4-mini";

/// The access lines of a process so far.
fn lines(stack: &ChildStack) -> Vec<Value> {
    let log = stack.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "kairosroute::access").collect()
}

/// The one line of a request, by the caller's own id for it.
async fn line_of(stack: &ChildStack, id: &str) -> Value {
    let find = || lines(stack).into_iter().find(|line| line["request.client_id"] == id);
    wait_for("the line of the request", async || find()).await
}

#[tokio::test]
async fn each_request_has_one_line_that_says_who_asked_whom_and_how_long_it_took() {
    let stack = Stack::builder().env("KAIROSROUTE_LOG_FORMAT", "json").start_child().await;
    let customer = stack.customer("10").await;
    let ask = |id: &str, body: &Value| {
        stack
            .request("POST", "/v1/chat/completions")
            .bearer(&customer.key)
            .header("x-request-id", id)
            .json(body)
    };
    let whole = ask("whole", &hello(MODEL)).send().await;
    assert_eq!(whole.status, 200, "{whole}");
    assert_eq!(whole.header("x-client-request-id"), "whole");
    assert_ne!(whole.header("x-request-id"), "whole");
    let line = line_of(&stack, "whole").await;
    for (field, value) in [
        ("request.id", json!(whole.header("x-request-id"))),
        ("org.id", json!(customer.organization_id)),
        ("api_key.id", json!(customer.key_id)),
        ("http.method", json!("POST")),
        ("http.route", json!("/v1/chat/completions")),
        ("http.status", json!(200)),
        ("provider.name", json!("OpenAI")),
        ("model.id", json!("gpt-5.4-mini")),
        ("byok", json!("false")),
        ("attempts", json!("1")),
        ("charged_usd", json!(whole.header("x-kairosroute-cost"))),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    assert!(line["duration_ms"].as_u64() >= line["head_ms"].as_u64(), "{line}");

    let mut body = hello(MODEL);
    body["stream"] = json!(true);
    let mut streamed = ask("streamed", &body).stream().await;
    streamed.rest().await;
    let line = line_of(&stack, "streamed").await;
    assert_eq!(line["http.status"], 200, "{line}");
    assert_eq!(line["model.id"], "gpt-5.4-mini", "{line}");

    let refused = stack.request("GET", "/v1/models").bearer("kr-wrong").header("x-request-id", "refused");
    assert_eq!(refused.send().await.status, 401);
    let line = line_of(&stack, "refused").await;
    assert_eq!(line["http.status"], 401, "{line}");
    assert!(line.get("org.id").is_none(), "{line}");

    assert_eq!(stack.get("/api/billing/balance", &customer.session).await.status, 200);
    wait_until("the line of a person's call", async || {
        lines(&stack).iter().any(|line| line["http.route"] == "/api/billing/balance")
    })
    .await;
    let ids: Vec<String> = lines(&stack).iter().map(|line| line["request.id"].to_string()).collect();
    let once: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(ids.len(), once.len(), "a request has two lines");
    let log = stack.log();
    for secret in [&customer.key, &customer.session] {
        assert!(!log.contains(secret.as_str()));
    }
}

#[tokio::test]
async fn a_browser_calls_from_an_origin_that_is_allowed_and_from_no_other() {
    let app = "https://app.example.com";
    let stack = Stack::builder().env("KAIROSROUTE_CORS_ORIGINS", app).start().await;
    let customer = stack.customer("10").await;
    let preflight = |path: &str, origin: &str| {
        stack
            .request("OPTIONS", path)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type")
    };
    let allowed = preflight("/v1/chat/completions", app).send().await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), app);
    assert_eq!(allowed.header("access-control-allow-headers"), "authorization,content-type");
    for (path, origin) in [("/v1/chat/completions", "https://evil.example"), ("/api/auth", app)] {
        let refused = preflight(path, origin).send().await;
        assert_eq!(refused.header("access-control-allow-origin"), "", "{path} from {origin}");
    }
    let call = stack.request("GET", "/v1/models").bearer(&customer.key).header("origin", app).send().await;
    assert_eq!(call.header("access-control-allow-origin"), app);
    let refused = stack.request("GET", "/v1/models").header("origin", app).send().await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, app));
    stack.finish().await;
}

#[tokio::test]
async fn models_are_listed_by_mode_and_by_what_the_key_may_use_and_once() {
    let stack = Stack::builder().no_platform_keys().start().await;
    let customer = stack.customer("10").await;
    let list = async |query: &str| {
        let reply = stack.get(&format!("/v1/models{query}"), &customer.key).await;
        assert_eq!(reply.status, 200, "{reply}");
        reply.json()["data"].as_array().unwrap().clone()
    };
    let all = list("").await;
    let embeddings = list("?mode=embedding").await;
    assert!(!embeddings.is_empty() && embeddings.len() < all.len());
    assert!(embeddings.iter().all(|model| model["mode"] == "embedding"));
    assert!(all.iter().any(|model| model["created"].as_i64() > Some(1_600_000_000)), "no model has a day");
    assert_eq!(list("?available=true").await, Vec::<Value>::new());
    stack.set_provider_keys(&customer, &json!({ "Groq": "gsk_own_key_of_theirs" })).await;
    let mut available = Vec::new();
    wait_until("the key to be known", async || {
        available = list("?available=true").await;
        !available.is_empty()
    })
    .await;
    assert!(available.iter().all(|model| model["owned_by"] == "groq"));
    assert_eq!(stack.get("/v1/models?mode=nothing", &customer.key).await.status, 400);
    let first = stack.get("/v1/models?mode=embedding", &customer.key).await;
    let again = stack.request("GET", "/v1/models?mode=embedding").bearer(&customer.key);
    let again = again.header("if-none-match", first.header("etag")).send().await;
    assert_eq!((again.status, again.body.len()), (304, 0));
    stack.finish().await;
}

#[tokio::test]
async fn documents_are_pages_and_the_api_describes_itself() {
    let stack = Stack::start().await;
    let contents = stack.get("/docs", "").await;
    assert!(contents.text().contains("href=\"/docs/api\""), "{contents}");
    assert!(contents.header("content-security-policy").contains("default-src 'none'"));
    let page = stack.get("/docs/api", "").await;
    assert!(page.text().contains("<h1 id=\"the-api\">"), "{page}");
    assert!(page.header("content-type").starts_with("text/html"));
    let raw = stack.get("/docs/api.md", "").await;
    assert!(raw.text().starts_with("# The API"), "{raw}");
    assert_eq!(stack.get("/docs/nothing", "").await.status, 404);
    let found = stack.get("/docs?q=master+key", "").await;
    assert!(found.text().contains("/docs/operating#master-key"), "{found}");
    assert!(stack.get("/llms.txt", "").await.text().starts_with("# KairosRoute"));
    let document = stack.get("/openapi.json", "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(stack.request("HEAD", "/docs").send().await.status, 200);
    stack.finish().await;
}
