//! The playground: one prompt to one model or to two side by side, with the rules and credentials of an API key. The
//! server makes the requests, so that no secret is in the browser; prompts are not stored. With a script the answers
//! appear as they come; without one, whole.

use super::report;
use crate::{
    dashboard::{
        explain,
        form::Form,
        frame::{FormError, Frame, PageError, guarded, page_of, state},
        links::{Choice, choices},
        names::Names,
        routes::Visit,
        view,
    },
    domain::{ambient::Ambient, catalog::Mode, ids::ApiKeyId, money::NanoUsd},
    gateway::{Gateway, dry_run::DryRun, receipt::CredentialKind},
    http::{error::ApiError, v1::conversation::on_behalf::OnBehalf},
    store::{api_keys::KeyScope, principals, sessions::Session},
};
use actix_web::{HttpResponse, ResponseError, http::StatusCode};
use askama::Template;
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of the tools that a form may define.
const TOOLS_BYTES_MAX: usize = 16 * 1024;
const DEFAULT_MODEL: &str = "openai/gpt-5.4-mini";
const SAMPLES: [(&str, &str); 4] = [
    ("A short answer", "In one sentence: why is the sky blue?"),
    (
        "Reasoning",
        "A bat and a ball cost $1.10 together. The bat costs $1.00 more than the ball. What does the ball cost?",
    ),
    ("Code", "Write a Rust function that returns the n-th Fibonacci number without recursion."),
    (
        "Translation",
        "Translate into French, keeping the tone: We are sorry for the delay, and thank you for your patience.",
    ),
];

#[derive(Template)]
#[template(path = "playground.html")]
struct PlaygroundPage<'a> {
    frame: &'a Frame,
    form: &'a Form,
    keys: Vec<Choice>,
    models: Vec<String>,
    model: &'a str,
    other: &'a str,
    prompt: &'a str,
    samples: Vec<(&'static str, String)>,
    sides: Vec<Side>,
    curl: String,
    python: String,
}

/// One of the two columns.
#[derive(Default)]
struct Side {
    /// `a` or `b`.
    name: &'static str,
    model: String,
    text: String,
    error: String,
    figures: Vec<(&'static str, String)>,
    /// The page of the request.
    why: String,
    plan: Option<Plan>,
}

struct Plan {
    summary: String,
    candidates: Vec<(String, String, String)>,
}

/// `GET /o/{org}/playground?key&model&other&prompt`.
pub async fn show(visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    playground_page(visit, Vec::new(), StatusCode::OK).await
}

async fn playground_page(
    visit: Visit<Session>,
    sides: Vec<Side>,
    status: StatusCode,
) -> Result<HttpResponse, PageError> {
    let session = visit.who;
    let names =
        report(&visit.call, move |db| async move { Names::read(&mut *db.acquire().await?, &session).await })
            .await?;
    let gateway = state::<Gateway>(&visit.call)?;
    let today = gateway.ambient.now().date();
    let catalog = gateway.catalog.load();
    let chats = catalog.models().filter(|model| model.mode == Mode::Chat && model.is_live(today));
    let mut models: Vec<String> = chats.map(|model| model.id.to_string()).collect();
    models.sort();
    models.insert(0, "auto".to_owned());
    let base = visit.origin.base(&visit.call);
    let frame = visit.frame.titled("Playground");
    let form = &visit.form;
    let model = form.given("model").unwrap_or(DEFAULT_MODEL);
    let prompt = form.given("prompt").unwrap_or_default();
    let body = body(form, model, false).unwrap_or_default();
    let pretty = serde_json::to_string_pretty(&body).unwrap_or_default();
    let sample = |(name, text): (&'static str, &str)| {
        (
            name,
            format!(
                "?{}",
                crate::dashboard::links::change(form, &[("prompt", Some(text)), ("form_token", None)])
            ),
        )
    };
    let template = PlaygroundPage {
        keys: choices(names.live_keys().iter().cloned(), form.get("key")),
        models,
        model,
        other: form.get("other"),
        prompt,
        samples: SAMPLES.into_iter().map(sample).collect(),
        sides: if sides.is_empty() {
            ["a", "b"].map(|name| Side { name, ..Side::default() }).into_iter().collect()
        } else {
            sides
        },
        curl: format!(
            "curl {base}/v1/chat/completions \\\n  -H \"Authorization: Bearer $KAIROSROUTE_API_KEY\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{}'",
            pretty.replace('\'', "'\\''")
        ),
        python: format!(
            "import json\nfrom openai import OpenAI\n\nclient = OpenAI(base_url=\"{base}/v1\")  # key in OPENAI_API_KEY\nbody = json.loads({})\nprint(client.chat.completions.create(**body).choices[0].message.content)",
            // The text of a JSON string is a string of Python too.
            Value::from(body.to_string())
        ),
        form,
        frame: &frame,
    };
    Ok(page_of(&template, status))
}

/// The chat request that the form means.
fn body(form: &Form, model: &str, stream: bool) -> Result<Value, PageError> {
    let mut messages = Vec::new();
    if let Some(system) = form.given("system") {
        messages.push(json!({ "role": "system", "content": system }));
    }
    messages.push(json!({ "role": "user", "content": form.get("prompt") }));
    let mut body = json!({ "model": model, "messages": messages });
    let Some(fields) = body.as_object_mut() else { return Ok(body) };
    if stream {
        fields.insert("stream".to_owned(), json!(true));
        fields.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(tokens) = form.given("max_tokens") {
        let tokens = tokens.parse::<u32>();
        let tokens = tokens
            .map_err(|_| PageError::form("max_tokens", "The longest answer must be a number of tokens"))?;
        fields.insert("max_tokens".to_owned(), json!(tokens));
    }
    if let Some(temperature) = form.given("temperature") {
        let number = temperature.parse::<serde_json::Number>();
        let number =
            number.map_err(|_| PageError::form("temperature", "The temperature must be a number"))?;
        fields.insert("temperature".to_owned(), Value::Number(number));
    }
    if let Some(tools) = form.given("tools").filter(|tools| tools.len() <= TOOLS_BYTES_MAX) {
        let tools: Value = serde_json::from_str(tools)
            .map_err(|error| PageError::form("tools", format!("The tools are no JSON array: {error}")))?;
        fields.insert("tools".to_owned(), tools);
    }
    Ok(body)
}

/// The request of one side, as the chosen API key.
async fn on_behalf(visit: &Visit<Session>, model: &str, stream: bool) -> Result<OnBehalf, PageError> {
    if visit.form.given("prompt").is_none() {
        return Err(PageError::form("prompt", "Write a prompt"));
    }
    let id: ApiKeyId = visit
        .form
        .get("key")
        .parse()
        .map_err(|_| PageError::form("key", "Choose an API key, or make one first"))?;
    let body = body(&visit.form, model, stream)?;
    let session = visit.who;
    let made_by = (!session.role.has_all_keys()).then_some(session.user_id);
    let scope = KeyScope { org: session.scope, made_by };
    let now = state::<Ambient>(&visit.call)?.now();
    let principal = super::read(&visit.call, move |db| async move {
        principals::get(&mut *db.acquire().await?, scope, id, now).await
    })
    .await?;
    let principal = principal
        .ok_or_else(|| PageError::form("key", "This API key is revoked or expired; choose another"))?;
    Ok(OnBehalf { principal: Arc::new(principal), body: body.to_string().into() })
}

/// `POST /o/{org}/playground/answer`: the answer of one model as it comes, for the page's script.
pub async fn answer(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let model = visit.form.given("model").unwrap_or(DEFAULT_MODEL).to_owned();
    let response = match on_behalf(&visit, &model, true).await {
        Ok(request) => request.stream(&mut visit.call).await.unwrap_or_else(|error| error.error_response()),
        Err(PageError::Form(error)) => ApiError::invalid(error.field, error.message).error_response(),
        Err(error) => return Err(error),
    };
    Ok(guarded(response))
}

/// `POST /o/{org}/playground`: whole answers, or what would be done.
pub async fn submit(mut visit: Visit<Session>) -> Result<HttpResponse, PageError> {
    let is_plan = visit.form.get("action") == "plan";
    let asked = [("a", visit.form.given("model").unwrap_or(DEFAULT_MODEL)), ("b", visit.form.get("other"))]
        .map(|(name, model)| (name, model.to_owned()));
    let mut sides = Vec::new();
    for (name, model) in asked {
        let side = Side { name, model: model.clone(), ..Side::default() };
        let side = match (model.is_empty(), is_plan) {
            (true, _) => Ok(side),
            (_, true) => planned(&mut visit, side).await,
            (_, false) => answered(&mut visit, side).await,
        };
        match side {
            Ok(side) => sides.push(side),
            Err(PageError::Form(FormError { field, message })) => {
                visit.frame.error = Some(FormError { field, message });
                return playground_page(visit, Vec::new(), StatusCode::UNPROCESSABLE_ENTITY).await;
            }
            Err(error) => return Err(error),
        }
    }
    playground_page(visit, sides, StatusCode::OK).await
}

async fn answered(visit: &mut Visit<Session>, mut side: Side) -> Result<Side, PageError> {
    let request = on_behalf(visit, &side.model, false).await?;
    match request.whole(&mut visit.call).await {
        Ok((meta, body)) => {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            side.text = text_of(&body);
            let text = |pointer: &str| body.pointer(pointer).map(ToString::to_string).unwrap_or_default();
            side.figures = vec![
                ("Served by", meta.model.as_deref().unwrap_or_default().to_owned()),
                ("Provider", meta.provider.unwrap_or_default().to_owned()),
                ("Charged", view::exact(meta.cost.unwrap_or(NanoUsd::ZERO))),
                (
                    "Tokens",
                    format!("{} → {}", text("/usage/prompt_tokens"), text("/usage/completion_tokens")),
                ),
            ];
            side.why = meta
                .request_id
                .map(|id| format!("{}/requests/{}", visit.frame.home, id.receipt()))
                .unwrap_or_default();
        }
        Err(error) => side.error = error.message().to_owned(),
    }
    Ok(side)
}

/// What the model wrote; the calls of tools that it asks for as their JSON.
fn text_of(body: &Value) -> String {
    let message = body.pointer("/choices/0/message").cloned().unwrap_or_default();
    let content = message.get("content").and_then(Value::as_str).unwrap_or_default();
    match message.get("tool_calls").filter(|calls| !calls.is_null()) {
        None => content.to_owned(),
        Some(calls) => {
            let calls = serde_json::to_string_pretty(calls).unwrap_or_default();
            format!("{content}\n{calls}").trim().to_owned()
        }
    }
}

async fn planned(visit: &mut Visit<Session>, mut side: Side) -> Result<Side, PageError> {
    let request = on_behalf(visit, &side.model, false).await?;
    match request.plan(&mut visit.call).await {
        Ok(run) => side.plan = Some(plan(&run)),
        Err(error) => side.error = error.message().to_owned(),
    }
    Ok(side)
}

fn plan(run: &DryRun) -> Plan {
    let key = match run.credential {
        CredentialKind::Byok => "your own key",
        CredentialKind::Platform => "the platform's key",
    };
    let cost = run.est_cost_usd.as_ref().map_or("an unknown amount".to_owned(), |usd| format!("${usd}"));
    let in_words = |code: &&str| match explain::reason(code) {
        "" => code.replace('_', " "),
        words => words.to_owned(),
    };
    let candidates = run.candidates.iter().map(|candidate| {
        let why = match candidate.filtered_out_by {
            Some(code) => format!("left out: {}", in_words(&code)),
            None => candidate.reasons.iter().map(in_words).collect::<Vec<_>>().join("; "),
        };
        let estimate = candidate.est_cost_usd.as_ref().map_or(String::new(), |usd| format!("${usd}"));
        (candidate.model_id.to_string(), estimate, why)
    });
    Plan {
        summary: format!(
            "{} would serve it from {} on {key}, for about {cost}. {} would be set aside.",
            run.model,
            run.provider,
            view::exact(run.hold)
        ),
        candidates: candidates.collect(),
    }
}
