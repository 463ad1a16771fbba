//! Request-scoped provider keys, in each of the three forms and on each endpoint: where they are sent, what is
//! returned, and that no money moves.

mod bodies;
mod chains;
mod counts;
mod pins;
mod servers;
mod strategies;

use crate::{
    harness::{Customer, Reply, Request, Stack, wait_until},
    kinds::{Form as Multipart, wav},
};
use serde_json::{Value, json};

/// The simulated providers take any key but one that looks revoked.
pub const GOOD: &str = "sk-brought-along-0001";
pub const WRONG: &str = "revoked-brought-along-0002";

/// How a request carries a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Header,
    ByokApiKey,
    Extra,
}

pub const FORMS: [Form; 3] = [Form::Header, Form::ByokApiKey, Form::Extra];

/// An endpoint and a request for it.
pub struct Endpoint {
    pub path: &'static str,
    model: &'static str,
    /// The other fields; of a form, all of them text.
    fields: Value,
    file: Option<&'static str>,
}

/// A request in progress.
pub struct Asking {
    path: &'static str,
    body: Value,
    file: Option<&'static str>,
    headers: Vec<(&'static str, String)>,
}

pub fn endpoints() -> Vec<Endpoint> {
    let json = |path, model, fields| Endpoint { path, model, fields, file: None };
    let form = |path, model, file, fields| Endpoint { path, model, fields, file: Some(file) };
    let said = json!([{ "role": "user", "content": "Hello" }]);
    let document = json!({ "type": "document_url", "document_url": "https://example.test/a.pdf" });
    vec![
        json("/v1/chat/completions", "openai/gpt-4o-mini", json!({ "messages": said })),
        json("/v1/completions", "openai/gpt-4o-mini", json!({ "prompt": "Hello" })),
        json("/v1/responses", "openai/gpt-4o-mini", json!({ "input": "Hello" })),
        json("/v1/messages", "anthropic/claude-sonnet-4-6", json!({ "messages": said, "max_tokens": 9 })),
        json("/v1/embeddings", "openai/text-embedding-3-small", json!({ "input": "Hello" })),
        json("/v1/images/generations", "openai/gpt-image-2", json!({ "prompt": "a dot" })),
        json("/v1/audio/speech", "openai/tts-1", json!({ "input": "Hello", "voice": "alloy" })),
        json("/v1/moderations", "openai/omni-moderation-latest", json!({ "input": "Hello" })),
        json("/v1/rerank", "cohere/rerank-v4.0-pro", json!({ "query": "a", "documents": ["a", "b"] })),
        json("/v1/ocr", "mistral/mistral-ocr-latest", json!({ "document": document })),
        form("/v1/images/edits", "openai/gpt-image-2", "image", json!({ "prompt": "bluer" })),
        form("/v1/audio/transcriptions", "openai/whisper-1", "file", json!({})),
        form("/v1/audio/translations", "openai/whisper-1", "file", json!({})),
    ]
}

impl Endpoint {
    pub fn provider(&self) -> &'static str {
        self.model.split_once('/').unwrap().0
    }

    pub fn ask(&self) -> Asking {
        let mut body = self.fields.clone();
        body["model"] = json!(self.model);
        Asking { path: self.path, body, file: self.file, headers: Vec::new() }
    }
}

impl Asking {
    #[must_use]
    pub fn key(self, form: Form, key: &str) -> Self {
        match form {
            Form::Header => self.header("x-provider-key", key),
            Form::ByokApiKey => self.field("byok_api_key", json!(key)),
            Form::Extra => self.extra("byok", json!(key)),
        }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    #[must_use]
    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.body[name] = value;
        self
    }

    #[must_use]
    pub fn extra(self, name: &str, value: Value) -> Self {
        // In forms, SDKs write members of objects so.
        match self.file {
            Some(_) => self.field(&format!("extra[{name}]"), value),
            None => {
                let mut extra = self.body["extra"].clone();
                extra[name] = value;
                self.field("extra", extra)
            }
        }
    }

    pub async fn send(self, stack: &Stack, customer: &Customer) -> Reply {
        self.request(stack, customer).send().await
    }

    fn request(self, stack: &Stack, customer: &Customer) -> Request {
        let request = match self.file {
            None => stack.request("POST", self.path).bearer(&customer.key).json(&self.body),
            Some(name) => {
                let file = wav(1_000);
                let form = Multipart::new().file(name, "a.wav", "audio/wav", &file);
                let fields = self.body.as_object().unwrap().iter();
                let form = fields.fold(form, |form, (name, value)| form.field(name, value.as_str().unwrap()));
                form.request(stack, self.path, &customer.key)
            }
        };
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

/// A customer with credit and a stored key at every provider, so that many fallbacks are possible.
pub async fn rich(stack: &Stack) -> Customer {
    let customer = stack.customer("1").await;
    let keys = json!({ "OpenAI": "stored-openai-1", "Anthropic": "stored-anthropic-1", "Cohere": "stored-cohere-1",
        "Mistral": "stored-mistral-1", "Together AI": "stored-together_ai-1" });
    stack.set_provider_keys(&customer, &keys).await;
    customer
}

/// No entry except the credit, and no hold was ever placed.
pub async fn assert_no_money_moved(stack: &Stack) {
    assert_eq!(stack.database.number("SELECT count(*) FROM entry WHERE kind <> 'grant'").await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM hold").await, 0);
}

/// The credentials that providers received since the last time, each with its provider.
pub fn seen(stack: &Stack) -> Vec<String> {
    let calls = stack.simulator.bill();
    let leaked: Vec<_> = calls.iter().flat_map(|call| &call.leaked).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    stack.simulator.clear();
    calls.into_iter().map(|call| format!("{} {}", call.provider, call.authorization)).collect()
}

pub fn assert_refused(reply: &Reply, code: &str, what: &str) {
    assert_eq!(reply.status, 400, "{what}: {reply}");
    // Anthropic's envelope has no code.
    let told = reply.code();
    assert!(told == code || told.is_empty() && reply.json()["type"] == "error", "{what}: {reply}");
    assert!(!reply.text().contains("brought-along"), "{what}: {reply}");
    assert!(!reply.receipt_id().is_empty(), "{what}");
}

#[tokio::test]
async fn a_brought_key_reaches_its_provider_and_nobody_else_on_every_endpoint_in_every_form() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    let mut answers = 0;
    for endpoint in endpoints() {
        for form in FORMS {
            let what = format!("{} {form:?}", endpoint.path);
            let reply = endpoint.ask().key(form, GOOD).send(&stack, &customer).await;
            assert_eq!(reply.status, 200, "{what}: {reply}");
            let calls = stack.simulator.bill();
            assert_eq!(calls.len(), 1, "{what}");
            assert_eq!(calls[0].host, stack.simulator.address().to_string(), "{what}");
            let elsewhere = calls[0].headers.iter().filter(|(_, value)| value.contains("brought-along"));
            assert_eq!(elsewhere.count(), 1, "{what}: the key stands in one header");
            assert!(!calls[0].body.contains("brought-along") && !calls[0].body.contains("extra"), "{what}");
            assert_eq!(seen(&stack), [format!("{} {GOOD}", endpoint.provider())], "{what}");
            assert_eq!(reply.header("x-kairosroute-byok"), "true", "{what}");
            let bypass = if form == Form::ByokApiKey { "BYOK API key used" } else { "" };
            assert_eq!(reply.header("x-ratelimit-bypass"), bypass, "{what}");
            assert!(!reply.to_string().contains("brought-along"), "{what}");
            let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
            let attempt = &receipt["attempts"][0];
            assert_eq!(attempt["credential"], "byok", "{what}: {receipt}");
            let fingerprint = attempt["credential_id"].as_str().unwrap();
            assert!(fingerprint.len() == 16 && !GOOD.contains(fingerprint), "{what}: {receipt}");
            assert_eq!(receipt["charged_nano_usd"], 0, "{what}");
            answers += 1;
        }
    }
    wait_until("the usage rows", async || {
        stack.database.number("SELECT count(*) FROM usage WHERE byok AND charge = 0").await == answers
    })
    .await;
    assert_eq!(stack.database.number("SELECT count(*) FROM usage WHERE NOT byok OR charge > 0").await, 0);
    assert_eq!(stack.database.number("SELECT count(*) FROM usage WHERE cost IS NULL").await, 0);
    assert!(stack.database.number("SELECT sum(cost)::bigint FROM usage").await > 0);
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_wrong_key_is_the_providers_answer_and_falls_back_to_nothing() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for endpoint in endpoints() {
        for form in FORMS {
            let what = format!("{} {form:?}", endpoint.path);
            let asking = endpoint.ask().key(form, WRONG);
            // Not even if the platform is allowed: that applies to other providers.
            let asking = asking.header("x-kairosroute-fallback", "platform");
            let reply = asking.send(&stack, &customer).await;
            assert_eq!(reply.status, 401, "{what}: {reply}");
            assert!(reply.text().contains("Incorrect API key provided."), "{what}: {reply}");
            assert!(!reply.to_string().contains("brought-along"), "{what}");
            assert_eq!(seen(&stack), [format!("{} {WRONG}", endpoint.provider())], "{what}");
            assert_eq!(reply.header("x-kairosroute-byok"), "true", "{what}");
            let receipt = stack.receipt(&customer.key, reply.receipt_id()).await;
            assert_eq!(receipt["attempts"][0]["status"], 401, "{what}: {receipt}");
        }
    }
    assert_eq!(stack.database.number("SELECT count(*) FROM usage").await, 0);
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn an_unknown_provider_two_keys_and_a_broken_key_are_refused_before_anything_is_sent() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for endpoint in endpoints() {
        for form in FORMS {
            let what = format!("{} {form:?}", endpoint.path);
            let asking = endpoint.ask().key(form, GOOD);
            let unknown = match form {
                Form::Header => asking.header("x-provider", "nobody"),
                Form::ByokApiKey => asking.field("model", json!("nobody/gpt-4o")),
                Form::Extra => asking.extra("provider", json!("nobody")),
            };
            let reply = unknown.send(&stack, &customer).await;
            assert_refused(&reply, "unknown_provider", &what);
            assert!(reply.text().contains("together_ai"), "{what}: {reply}");
            for other in FORMS.into_iter().filter(|other| *other != form) {
                let two = endpoint.ask().key(form, GOOD).key(other, GOOD);
                assert_refused(&two.send(&stack, &customer).await, "invalid_request", &what);
            }
            let broken = endpoint.ask().key(form, &format!("{GOOD} {GOOD}"));
            assert_refused(&broken.send(&stack, &customer).await, "invalid_request", &what);
        }
        let twice = endpoint.ask().key(Form::Header, GOOD).key(Form::Header, GOOD);
        assert_refused(&twice.send(&stack, &customer).await, "invalid_request", "the header twice");
    }
    assert!(stack.simulator.bill().is_empty());
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}

#[tokio::test]
async fn a_blank_key_is_absent_and_a_stored_one_serves() {
    let stack = Stack::start().await;
    let customer = rich(&stack).await;
    for endpoint in endpoints() {
        for form in FORMS {
            for blank in ["", "  "] {
                let what = format!("{} {form:?}", endpoint.path);
                let reply = endpoint.ask().key(form, blank).send(&stack, &customer).await;
                assert_eq!(reply.status, 200, "{what}: {reply}");
                let provider = endpoint.provider();
                assert_eq!(seen(&stack), [format!("{provider} stored-{provider}-1")], "{what}");
                assert_eq!(reply.header("x-ratelimit-bypass"), "", "{what}");
            }
        }
    }
    assert_no_money_moved(&stack).await;
    stack.finish().await;
}
