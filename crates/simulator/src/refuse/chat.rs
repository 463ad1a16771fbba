//! What each provider of OpenAI's chat wire format refuses. Mostly a table. It must not refuse what is only unusual.

use super::super::{
    errors::fault,
    reply::Reply,
    request::{Fields, Request, get},
    rows::Row,
};

/// Provider, beginnings of the models concerned (none means all), fields refused.
const REFUSED: &[(&str, &[&str], &[&str])] = &[
    ("openai", &[], &["top_k"]),
    ("openai", &["o1", "o3", "o4", "gpt-5", "gpt-6"], &["max_tokens"]),
    (
        "openai",
        &["gpt-5", "gpt-6"],
        &["stop", "frequency_penalty", "presence_penalty", "logit_bias", "prediction", "audio"],
    ),
    ("xai", &["grok-4", "grok-build"], &["stop", "frequency_penalty", "presence_penalty"]),
    ("xai", &["grok-4.20"], &["reasoning_effort"]),
    ("xai", &[], &["search_parameters", "web_search_options", "modalities", "audio", "prediction"]),
    ("deepseek", &[], &["modalities", "audio", "prediction"]),
    ("groq", &[], &["logprobs", "top_logprobs", "logit_bias", "modalities", "audio", "prediction"]),
    (
        "cerebras",
        &[],
        &[
            "frequency_penalty",
            "presence_penalty",
            "logit_bias",
            "parallel_tool_calls",
            "service_tier",
            "modalities",
            "audio",
        ],
    ),
    ("together_ai", &[], &["modalities", "audio", "prediction"]),
    ("fireworks_ai", &[], &["modalities", "audio"]),
    ("moonshot", &[], &["top_k", "modalities", "audio", "prediction"]),
];

/// Mistral checks against its schema: any other field is refused, null or not.
const MISTRAL_FIELDS: &[&str] = &[
    "model",
    "messages",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "min_tokens",
    "stop",
    "random_seed",
    "metadata",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "n",
    "prediction",
    "prompt_mode",
    "reasoning_effort",
    "safe_prompt",
    "guardrails",
    "logprobs",
    "top_logprobs",
    "prompt_logprobs",
    "service_tier",
    "prompt_cache_key",
];

/// The provider's answer to the first thing it does not take.
pub(super) fn first(row: &Row, request: &Request<'_>) -> Option<Reply> {
    for name in ["model", "messages"] {
        if !request.has(name) {
            return Some(refusal(row, name, "field required"));
        }
    }
    if request.messages.is_empty() {
        return Some(refusal(row, "messages", "must not be empty"));
    }
    let model = request.model();
    let field = REFUSED
        .iter()
        .filter(|(provider, models, _)| *provider == row.id && concerns(models, &model))
        .flat_map(|(_, _, fields)| fields.iter())
        .find(|field| request.has(field));
    if let Some(field) = field {
        return Some(refusal(row, field, "not supported with this model"));
    }
    let wrong = shape(row, request)
        .or_else(|| message_shape(row, request))
        .or_else(|| result_without_its_call(request).then_some(("messages", ORPHAN)));
    if let Some((field, message)) = wrong {
        return Some(refusal(row, field, message));
    }
    match row.id {
        "openai" => openai(row, request, &model),
        "mistral" => mistral(row, request),
        "moonshot" if !model.starts_with("moonshot-v1") => fixed_sampling(row, request),
        _ => None,
    }
}

pub(super) fn concerns(models: &[&str], model: &str) -> bool {
    models.is_empty() || models.iter().any(|beginning| model.starts_with(beginning))
}

fn refusal(row: &Row, field: &str, message: &str) -> Reply {
    let status = if row.id == "mistral" { 422 } else { 400 };
    fault(row, status, &format!("{field}: {message}"), Some(field))
}

/// Rules about values and combinations at the top level.
fn shape(row: &Row, request: &Request<'_>) -> Option<(&'static str, &'static str)> {
    let tools: serde_json::Value =
        request.get("tools").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    let list = tools.as_array().map(Vec::as_slice).unwrap_or_default();
    let other_than_one = |name: &str| request.get(name).is_some_and(|raw| raw != "1");
    if tools.is_array() && list.is_empty() {
        return Some(("tools", "must not be empty"));
    }
    if request.has("stream_options") && !request.is_true("stream") && row.id != "mistral" {
        return Some(("stream_options", "only allowed when stream is enabled"));
    }
    match row.id {
        "groq" if other_than_one("n") => Some(("n", "must be 1")),
        "xai" if holds_strictness(&tools) => Some(("tools", "strict schemas are not supported")),
        "deepseek" if list.iter().any(|tool| tool.get("type").is_none_or(|kind| kind != "function")) => {
            Some(("tools", "only functions are supported"))
        }
        "deepseek" if response_format_is(request, "json_schema") => {
            Some(("response_format", "this response_format type is unavailable now"))
        }
        "together_ai" if matches!(request.get("logprobs"), Some("true" | "false")) => {
            Some(("logprobs", "must be an integer"))
        }
        "fireworks_ai" if request.has("max_tokens") && request.has("max_completion_tokens") => {
            Some(("max_tokens", "exclusive with max_completion_tokens"))
        }
        "fireworks_ai" if request.has("thinking") && request.has("reasoning_effort") => {
            Some(("thinking", "exclusive with reasoning_effort"))
        }
        "mistral" if list.len() > 128 => Some(("tools", "at most 128")),
        _ => None,
    }
}

fn response_format_is(request: &Request<'_>, kind: &str) -> bool {
    let format: Option<Fields<'_>> =
        request.get("response_format").and_then(|raw| serde_json::from_str(raw).ok());
    format.is_some_and(|fields| get(&fields, "type").is_some_and(|raw| raw.trim_matches('"') == kind))
}

/// A function with `strict`, or a schema anywhere with `additionalProperties: false`.
fn holds_strictness(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().any(holds_strictness),
        serde_json::Value::Object(fields) => {
            fields.get("additionalProperties").is_some_and(|value| value == false)
                || (fields.contains_key("name") && fields.contains_key("strict"))
                || fields.values().any(holds_strictness)
        }
        _ => false,
    }
}

/// Rules about the messages.
fn message_shape(row: &Row, request: &Request<'_>) -> Option<(&'static str, &'static str)> {
    request.messages.iter().find_map(|message| {
        let role = get(message, "role").map_or("", |raw| raw.trim_matches('"'));
        let named = get(message, "name").is_some();
        let calls = get(message, "tool_calls");
        let empty = matches!(get(message, "content"), None | Some("\"\"" | "[]"));
        match row.id {
            _ if !matches!(role, "system" | "developer" | "user" | "assistant" | "tool") => {
                Some(("messages", "unknown role"))
            }
            _ if role == "developer" && row.id != "openai" => Some(("messages", "unknown role developer")),
            "groq" | "mistral" | "cerebras" if role == "assistant" && noted(message) => {
                Some(("messages", "a property of this message is unsupported"))
            }
            "groq" if named => Some(("messages", "name is not supported")),
            "mistral" if named && role != "tool" => Some(("messages", "name is only for tool messages")),
            "mistral" if role == "assistant" && empty && calls.is_none() => {
                Some(("messages", "an assistant message needs content or tool calls"))
            }
            "mistral" if !short_ids(message) => {
                Some(("messages", "tool call ids must be a-z, A-Z, 0-9, with a length of 9"))
            }
            "cerebras" if message.contains_key("reasoning_content") => {
                Some(("messages", "reasoning_content is not supported"))
            }
            _ => None,
        }
    })
}

const ORPHAN: &str = "messages with role 'tool' must be a response to a preceding message with 'tool_calls'";

/// Whether a tool message answers no call of the last assistant message before it.
fn result_without_its_call(request: &Request<'_>) -> bool {
    let mut open: Vec<String> = Vec::new();
    request.messages.iter().any(|message| {
        let id = |fields: &Fields<'_>, name: &str| get(fields, name).unwrap_or_default().to_owned();
        match get(message, "role") {
            Some("\"tool\"") => !open.contains(&id(message, "tool_call_id")),
            Some("\"assistant\"") => {
                let calls = get(message, "tool_calls").and_then(|raw| serde_json::from_str(raw).ok());
                let calls: Vec<Fields<'_>> = calls.unwrap_or_default();
                open = calls.iter().map(|call| id(call, "id")).collect();
                false
            }
            _ => false,
        }
    })
}

/// Whether a message contains members that only OpenAI writes into answers and accepts in requests, null or not.
fn noted(message: &Fields<'_>) -> bool {
    ["annotations", "refusal", "audio", "function_call", "thinking_blocks"]
        .iter()
        .any(|name| message.contains_key(*name))
}

/// Whether all ids of tool calls in a message are nine letters or digits.
fn short_ids(message: &Fields<'_>) -> bool {
    let short = |raw: &str| {
        let id = raw.trim_matches('"');
        id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let calls: Vec<Fields<'_>> =
        get(message, "tool_calls").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    get(message, "tool_call_id").is_none_or(short)
        && calls.iter().all(|call| get(call, "id").is_none_or(short))
}

/// Nothing about tools without tools. Reasoning models: fixed sampling while they reason, no tools on chat from 5.4 on, some only on Responses.
fn openai(row: &Row, request: &Request<'_>, model: &str) -> Option<Reply> {
    if model.ends_with("-pro") || model.contains("codex") {
        let message = "This is not a chat model and thus not supported in the v1/chat/completions endpoint.";
        return Some(fault(row, 404, message, Some("model")));
    }
    let about_tools = ["tool_choice", "parallel_tool_calls"];
    if let Some(field) = about_tools.into_iter().find(|name| request.has(name) && !request.has("tools")) {
        let message =
            format!("Invalid value for '{field}': '{field}' is only allowed when 'tools' are specified.");
        return Some(fault(row, 400, &message, Some(field)));
    }
    if !concerns(&["gpt-5", "gpt-6", "o1", "o3", "o4"], model) {
        return None;
    }
    let effort = request.get("reasoning_effort").map(|raw| raw.trim_matches('"'));
    if effort == Some("none") && must_reason(model) {
        return Some(refusal(row, "reasoning_effort", "none is not supported with this model"));
    }
    if !reasons(model, effort) {
        return None;
    }
    if has_functions(request) && concerns(&["gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6"], model) {
        let message = "Function tools with reasoning are not supported in v1/chat/completions.";
        return Some(fault(row, 400, message, Some("reasoning_effort")));
    }
    let field = ["temperature", "top_p"]
        .into_iter()
        .find(|name| !is_number(request.get(name), &[1.0]))
        .or_else(|| request.is_true("logprobs").then_some("logprobs"))
        .or_else(|| request.has("top_logprobs").then_some("top_logprobs"))?;
    Some(refusal(row, field, "not supported while the model reasons"))
}

/// Whether the model has no effort of none.
pub(super) fn must_reason(model: &str) -> bool {
    concerns(&["gpt-6-astra", "gpt-6.1-sol"], model)
}

/// Whether one of OpenAI's reasoning models reasons for this request.
pub(super) fn reasons(model: &str, effort: Option<&str>) -> bool {
    let by_default = if concerns(&["gpt-5.1", "gpt-5.2", "gpt-5.4"], model) { "none" } else { "medium" };
    concerns(&["gpt-5", "gpt-6", "o1", "o3", "o4"], model) && effort.unwrap_or(by_default) != "none"
}

/// Tools with a grammar may stay on chat.
fn has_functions(request: &Request<'_>) -> bool {
    let tools: Vec<Fields<'_>> =
        request.get("tools").and_then(|raw| serde_json::from_str(raw).ok()).unwrap_or_default();
    tools.iter().any(|tool| get(tool, "type").is_none_or(|kind| kind == "\"function\""))
}

fn mistral(row: &Row, request: &Request<'_>) -> Option<Reply> {
    let unknown = request.fields.keys().find(|name| !MISTRAL_FIELDS.contains(&name.as_str()))?;
    Some(fault(row, 422, "Extra inputs are not permitted", Some(unknown)))
}

/// Kimi k2 and later fix their sampling; only the fixed values pass.
fn fixed_sampling(row: &Row, request: &Request<'_>) -> Option<Reply> {
    const FIXED: &[(&str, &[f64])] = &[
        ("temperature", &[1.0, 0.6]),
        ("top_p", &[1.0, 0.95]),
        ("n", &[1.0]),
        ("frequency_penalty", &[0.0]),
        ("presence_penalty", &[0.0]),
    ];
    let (field, _) = FIXED.iter().find(|(name, values)| !is_number(request.get(name), values))?;
    Some(refusal(row, field, "only the fixed value is allowed for this model"))
}

/// Whether a value is absent or one of these numbers.
fn is_number(raw: Option<&str>, allowed: &[f64]) -> bool {
    raw.is_none_or(|raw| raw.parse().is_ok_and(|number: f64| allowed.contains(&number)))
}

#[cfg(test)]
mod tests {
    use super::{super::super::rows, *};

    fn status(provider: &str, model: &str, fields: &str) -> u16 {
        let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"x"}}]{fields}}}"#);
        let request = Request::parse(body.as_bytes()).expect(&body);
        first(rows::find(provider).expect(provider), &request).map_or(200, |reply| reply.status)
    }

    #[test]
    fn each_provider_refuses_what_its_documents_say() {
        for (provider, model, fields, expected) in [
            ("openai", "gpt-4o", r#","max_tokens":5,"stop":"a","temperature":0.2"#, 200),
            ("openai", "gpt-5", r#","max_tokens":5"#, 400),
            ("openai", "o3", r#","max_tokens":5"#, 400),
            ("openai", "gpt-5", r#","max_completion_tokens":5"#, 200),
            ("openai", "gpt-5", r#","temperature":0.2"#, 400),
            ("openai", "gpt-5.1", r#","temperature":0.2"#, 200),
            ("openai", "gpt-5.5", r#","tools":[{"type":"function"}]"#, 400),
            ("openai", "gpt-5.5", r#","tools":[{"type":"function"}],"reasoning_effort":"none""#, 200),
            ("openai", "gpt-6-astra", r#","reasoning_effort":"none""#, 400),
            ("openai", "gpt-5.4", r#","tools":[{"type":"function"}]"#, 200),
            ("openai", "gpt-5.4", r#","tools":[{"type":"function"}],"reasoning_effort":"low""#, 400),
            ("openai", "gpt-5.5", r#","tools":[{"type":"custom"}]"#, 200),
            ("openai", "gpt-6.1-sol", r#","tools":[{"type":"function"}]"#, 400),
            ("openai", "gpt-5.5-pro", "", 404),
            ("openai", "gpt-5.3-codex", "", 404),
            ("openai", "gpt-4o", r#","tools":[]"#, 400),
            ("openai", "gpt-4o", r#","tool_choice":"auto""#, 400),
            ("openai", "gpt-5", r#","parallel_tool_calls":false"#, 400),
            ("openai", "gpt-5", r#","parallel_tool_calls":false,"tools":[{"type":"function"}]"#, 200),
            ("openai", "gpt-4o", r#","stream_options":{"include_usage":true}"#, 400),
            ("mistral", "m", r#","stream":true,"stream_options":{"include_usage":true}"#, 422),
            ("mistral", "m", r#","max_completion_tokens":5"#, 422),
            ("mistral", "m", r#","random_seed":5,"max_tokens":5"#, 200),
            ("groq", "m", r#","n":2"#, 400),
            ("groq", "m", r#","logprobs":true"#, 400),
            ("xai", "grok-4.6", r#","stop":"a""#, 400),
            ("xai", "grok-3", r#","stop":"a""#, 200),
            ("xai", "g", r#","tools":[{"type":"function","function":{"name":"f","strict":true}}]"#, 400),
            ("deepseek", "d", r#","response_format":{"type":"json_schema"}"#, 400),
            ("deepseek", "d", r#","response_format":{"type":"json_object"}"#, 200),
            ("cerebras", "c", r#","logit_bias":{}"#, 400),
            ("together_ai", "t", r#","logprobs":true"#, 400),
            ("together_ai", "t", r#","logprobs":2"#, 200),
            ("fireworks_ai", "f", r#","max_tokens":1,"max_completion_tokens":1"#, 400),
            ("moonshot", "kimi-k2.6", r#","temperature":0.3"#, 400),
            ("moonshot", "moonshot-v1-8k", r#","temperature":0.3"#, 200),
        ] {
            assert_eq!(status(provider, model, fields), expected, "{provider} {model} {fields}");
        }
    }

    #[test]
    fn messages_are_judged_too() {
        for (provider, message, expected) in [
            ("groq", r#"{"role":"user","name":"a","content":"x"}"#, 400),
            ("openai", r#"{"role":"user","name":"a","content":"x"}"#, 200),
            ("openai", r#"{"role":"developer","content":"x"}"#, 200),
            ("groq", r#"{"role":"developer","content":"x"}"#, 400),
            ("mistral", r#"{"role":"user","name":"a","content":"x"}"#, 422),
            ("mistral", r#"{"role":"assistant","content":""}"#, 422),
            ("mistral", r#"{"role":"tool","tool_call_id":"call_abcdefg","content":"x"}"#, 422),
            ("mistral", r#"{"role":"tool","tool_call_id":"abcdefghi","content":"x"}"#, 422),
            (
                "mistral",
                r#"{"role":"assistant","tool_calls":[{"id":"abcdefghi"}]},{"role":"tool","tool_call_id":"abcdefghi","content":"x"}"#,
                200,
            ),
            ("openai", r#"{"role":"tool","tool_call_id":"a","content":"x"}"#, 400),
            (
                "openai",
                r#"{"role":"assistant","tool_calls":[{"id":"a"},{"id":"b"}]},{"role":"tool","tool_call_id":"b"},{"role":"tool","tool_call_id":"a"}"#,
                200,
            ),
            ("cerebras", r#"{"role":"assistant","content":"x","reasoning_content":"y"}"#, 400),
        ] {
            let body = format!(r#"{{"model":"m","messages":[{message}]}}"#);
            let request = Request::parse(body.as_bytes()).expect(&body);
            let refused = first(rows::find(provider).expect(provider), &request);
            assert_eq!(refused.map_or(200, |reply| reply.status), expected, "{provider} {message}");
        }
    }
}
