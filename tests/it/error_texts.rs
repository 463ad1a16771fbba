//! Every message of an error, reviewed in one file: the request, the status, the code, the wrong field, and the message
//! in OpenAI's and in Anthropic's envelope. A changed text shows as a changed line of `error_texts.txt`;
//! `KAIROSROUTE_WRITE_ERROR_TEXTS=1` writes the file again.

use crate::harness::{Customer, Reply, Stack, hello};
use kairosroute::simulator::Script;
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/error_texts.txt");

/// One request and what its provider answers, if it is called.
struct Case {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    scripts: Vec<(&'static str, Script)>,
}

fn raw(name: &'static str, path: &'static str, body: &[u8]) -> Case {
    Case { name, method: "POST", path, headers: Vec::new(), body: body.to_vec(), scripts: Vec::new() }
}

fn ask(name: &'static str, path: &'static str, body: &Value) -> Case {
    raw(name, path, body.to_string().as_bytes())
}

/// OpenAI answers this to every call.
fn refused(name: &'static str, status: u16, body: &str) -> Case {
    let scripts = (0..4).map(|_| ("openai", Script::error(status, body))).collect();
    Case { scripts, ..ask(name, CHAT, &hello("openai/gpt-5.4-mini")) }
}

impl Case {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    async fn send(&self, stack: &Stack, customer: &Customer, anthropic: bool) -> Reply {
        stack.simulator.clear();
        for (provider, script) in &self.scripts {
            stack.simulator.enqueue(provider, script.clone());
        }
        let mut request = stack.request(self.method, self.path);
        if !self.headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer(&customer.key);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if anthropic {
            request = request.header("anthropic-version", "2023-06-01");
        }
        match self.body.is_empty() && self.method == "GET" {
            true => request.send().await,
            false => request.body(self.body.clone()).send().await,
        }
    }
}

fn with(model: &str, name: &str, value: Value) -> Value {
    let mut body = hello(model);
    body[name] = value;
    body
}

fn unread() -> Vec<Case> {
    let get = |name, path| Case { method: "GET", ..raw(name, path, b"") };
    vec![
        raw("no key", CHAT, b"{}").with("authorization", ""),
        raw("a wrong key", CHAT, b"{}").with("authorization", "Bearer kr-nonsense"),
        raw("a provider's key", CHAT, b"{}").with("authorization", "Bearer sk-proj-nonsense"),
        raw("a body in another coding", CHAT, b"{}").with("content-encoding", "lz4"),
        raw("a body that is not what its coding says", CHAT, b"{}").with("content-encoding", "gzip"),
        raw("an empty body", CHAT, b""),
        raw("a blank body", CHAT, b"  \n"),
        raw("broken JSON", CHAT, b"{\"model\": "),
        raw("a list as a body", CHAT, b"[]"),
        raw("no model", CHAT, br#"{"messages":[{"role":"user","content":"a"}]}"#),
        raw("no messages", CHAT, br#"{"model":"openai/gpt-5.4-mini"}"#),
        ask("a field of the wrong kind", CHAT, &with("openai/gpt-5.4-mini", "temperature", json!("hot"))),
        get("v1 twice", "/v1/v1/models"),
        raw("v1 twice", "/v1/v1/chat/completions", b"{}"),
        raw("no v1", "/chat/completions", b"{}"),
        raw("a base URL that ends in the path", "/v1/chat/completions/chat/completions", b"{}"),
        raw("Anthropic's SDK with v1 in its base URL", "/v1/messages/v1/messages", b"{}"),
        get("no such path", "/v1/nothing"),
        raw("another slash at the end", "/v1/chat/completions/", b"{}"),
        raw("videos", "/v1/videos", b"{}"),
        raw("batches", "/v1/batches", b"{}"),
        get("a stored response", "/v1/responses/resp_1"),
        raw("Google's form", "/v1beta/models/gemini-3.8-flash:generateContent", b"{}"),
        raw("variations of images", "/v1/images/variations", b"{}"),
        get("the wrong method", CHAT),
        get("an unknown model", "/v1/models/openai/gpt-5.5-minni"),
        get("no such receipt", "/v1/receipts/none"),
        get("an account call with an API key", "/api/members"),
        ask("a fallback that is none", CHAT, &hello("openai/gpt-5.4-mini"))
            .with("x-kairosroute-fallback", "maybe"),
        ask("a time that is none", CHAT, &hello("openai/gpt-5.4-mini"))
            .with("x-kairosroute-first-content-timeout-ms", "soon"),
        ask("an idempotency key that is not ASCII", CHAT, &hello("openai/gpt-5.4-mini"))
            .with("idempotency-key", "schlüssel"),
    ]
}

fn unplanned() -> Vec<Case> {
    let image = json!([{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } }] }]);
    let odd_image = json!([{ "role": "user", "content": [
        { "type": "image_url", "image_url": { "url": "data:image/tiff;base64,AAAA" } }] }]);
    let tools = |model: &str, tool: &str| json!({ "model": model, "input": "a", "tools": [{ "type": "function", "name": "f" }, { "type": tool }] });
    let limited = |model: &str| {
        let mut body = tools(model, "web_search");
        body["max_tool_calls"] = json!(3);
        body
    };
    let long = "word ".repeat(600_000);
    vec![
        ask(
            "automatic routing of images",
            "/v1/images/generations",
            &json!({ "model": "auto", "prompt": "a" }),
        ),
        ask(
            "a quality that no model is known to reach",
            CHAT,
            &json!({ "model": "auto", "min_quality": 1, "provider": { "only": ["cohere"] },
                     "messages": [{ "role": "user", "content": "Hello" }] }),
        ),
        ask("an unknown name", CHAT, &hello("gpt4o")),
        ask("an unknown name of a provider", CHAT, &hello("openai/gpt-5.4-turbo")),
        ask("an unknown provider", CHAT, &hello("azure/gpt-5.4")),
        ask("a retired model", CHAT, &hello("openai/gpt-4")),
        ask("a model of another kind", CHAT, &hello("openai/tts-1")),
        ask(
            "a chat model for embeddings",
            "/v1/embeddings",
            &json!({ "model": "openai/gpt-5.4-mini", "input": "a" }),
        ),
        ask(
            "a provider without the endpoint",
            "/v1/moderations",
            &json!({ "model": "groq/gpt-oss-20b", "input": "a" }),
        ),
        ask("images to a model without vision", CHAT, &with("groq/gpt-oss-120b", "messages", image)),
        ask(
            "a prompt that fits no window",
            CHAT,
            &with("groq/gpt-oss-120b", "messages", json!([{ "role": "user", "content": long }])),
        ),
        ask(
            "stored responses on the platform's key",
            "/v1/responses",
            &json!({ "model": "openai/gpt-5.4-mini", "input": "a", "previous_response_id": "resp_1" }),
        ),
        ask("tools that bear a fee", "/v1/responses", &tools("openai/gpt-5.5", "code_interpreter")),
        ask("a search without a limit", "/v1/responses", &tools("openai/gpt-5.5", "web_search")),
        ask("a search without a price", "/v1/responses", &limited("openai/gpt-5.4")),
        ask("a search that the provider does not have", "/v1/responses", &limited("groq/gpt-oss-120b")),
        ask("a tool of another provider", "/v1/responses", &tools("anthropic/claude-sonnet-4-6", "computer")),
        ask("two answers of one", CHAT, &with("anthropic/claude-sonnet-4-6", "n", json!(2))),
        ask(
            "a field of another provider",
            CHAT,
            &with("anthropic/claude-sonnet-4-6", "logprobs", json!(true)),
        ),
        ask(
            "an image in a form that is not read",
            CHAT,
            &with("anthropic/claude-sonnet-4-6", "messages", odd_image),
        ),
        ask(
            "a tool without a name",
            CHAT,
            &with("anthropic/claude-sonnet-4-6", "tools", json!([{ "type": "function" }])),
        ),
        ask(
            "images of a size that is none",
            "/v1/images/generations",
            &json!({ "model": "xai/grok-imagine-image-2.0", "prompt": "a", "size": "7x7" }),
        ),
        ask(
            "an embedding of nothing",
            "/v1/embeddings",
            &json!({ "model": "openai/text-embedding-3-small" }),
        ),
        ask("the batch tier", CHAT, &with("openai/gpt-5.4-mini", "service_tier", json!("batch"))),
        ask("a key for a name that roams", CHAT, &hello("gpt-oss-120b")).with("x-provider-key", "k"),
        ask("a key for an unknown provider", CHAT, &hello("azure/gpt-5.4")).with("x-provider-key", "k"),
        ask("a header with an unknown provider", CHAT, &hello("gpt-5.4-mini")).with("x-provider", "azure"),
        ask(
            "an unknown preference",
            CHAT,
            &with("openai/gpt-5.4-mini", "extra", json!({ "provider": "azure" })),
        ),
    ]
}

fn of_providers() -> Vec<Case> {
    let error = |message: &str, kind: &str, code: &str| {
        json!({ "error": { "message": message, "type": kind, "param": null, "code": code } }).to_string()
    };
    let rate = "Rate limit reached for gpt-5.4-mini in organization org-AbCdEf123456 on tokens per min (TPM)";
    let long = "The input token count (1250074) exceeds the maximum number of tokens allowed (1048576).";
    let google = Case {
        scripts: vec![("google", Script::error(400, &error(long, "INVALID_ARGUMENT", "400")))],
        ..ask("too long at Google", CHAT, &hello("google/gemini-3-flash-preview"))
    };
    vec![
        refused(
            "the platform's key is refused",
            401,
            &error("Incorrect API key: sk-proj-***", "x", "invalid_api_key"),
        ),
        refused(
            "the platform is out of money",
            429,
            &error("You exceeded your quota", "insufficient_quota", "insufficient_quota"),
        ),
        refused(
            "the platform's account lacks a permission",
            403,
            &error("Project proj_123456 has no access", "x", "no"),
        ),
        refused("a rate limit", 429, &error(rate, "tokens", "rate_limit_exceeded")),
        refused(
            "a bad request",
            400,
            &error("Unsupported value: 'x'", "invalid_request_error", "unsupported_value"),
        ),
        refused(
            "a prompt that is too long",
            400,
            &error("too many tokens", "invalid_request_error", "context_length_exceeded"),
        ),
        refused(
            "content that is not allowed",
            400,
            &error("blocked", "invalid_request_error", "content_policy_violation"),
        ),
        refused(
            "an unknown model",
            404,
            &error("The model `x` does not exist", "invalid_request_error", "model_not_found"),
        ),
        refused(
            "an error of the provider",
            500,
            &error("The server had an error", "server_error", "server_error"),
        ),
        refused("an overloaded provider", 503, &error("Overloaded", "server_error", "slow")),
        refused(
            "a list of what is wrong",
            422,
            r#"{"detail":[{"loc":["body","x"],"msg":"Field required"}]}"#,
        ),
        refused("a web page", 502, "<html>bad gateway</html>"),
        google,
    ]
}

#[tokio::test]
async fn every_message_of_an_error_is_as_reviewed() {
    let stack = Stack::start().await;
    let customer = stack.customer("10").await;
    let poor = stack.customer("0.000001").await;
    let mut text = String::new();
    for case in unread().into_iter().chain(unplanned()).chain(of_providers()) {
        write(&mut text, &stack, &customer, &case).await;
    }
    let case = ask("no credit", CHAT, &hello("openai/gpt-5.4-mini"));
    write(&mut text, &stack, &poor, &case).await;
    if std::env::var_os("KAIROSROUTE_WRITE_ERROR_TEXTS").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let reviewed = std::fs::read_to_string(FILE).unwrap();
    for (got, expected) in text.lines().zip(reviewed.lines()) {
        assert_eq!(got, expected);
    }
    assert_eq!(text.lines().count(), reviewed.lines().count());
    stack.finish().await;
}

async fn write(text: &mut String, stack: &Stack, customer: &Customer, case: &Case) {
    let openai = case.send(stack, customer, false).await;
    let anthropic = case.send(stack, customer, true).await;
    assert_eq!(openai.status, anthropic.status, "{}: {openai} {anthropic}", case.name);
    let (plain, other) = (openai.json()["error"].clone(), anthropic.json());
    // A message for customers contains no reason code of the router and no Rust.
    let message = plain["message"].as_str().unwrap();
    for word in ["_refused_on_", "_of_another_", "Some(", "None", "not_served"] {
        assert!(!message.contains(word), "{}: {message}", case.name);
    }
    assert_eq!(other["type"], "error", "{}: {anthropic}", case.name);
    assert!(other["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{anthropic}");
    text.push_str(&format!(
        "{}: {} {}\n  {} {} {} param {}\n  {}\n  anthropic {}\n  {}\n",
        case.name,
        case.method,
        case.path,
        openai.status,
        plain["code"],
        plain["type"],
        plain["param"],
        message,
        other["error"]["type"],
        other["error"]["message"].as_str().unwrap()
    ));
}
