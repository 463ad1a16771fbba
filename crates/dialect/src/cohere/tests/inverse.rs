//! Reads a request as the provider would, for the properties: the content of the wire format in the canonical form.

use super::*;
use crate::{
    canonical::{
        Effort, Format, Json, Logprobs, Reasoning, Setting, Source, Thinking, Tool, ToolCall, ToolChoice,
        ToolKind, ToolResult, What,
    },
    json::{Cursor, DEPTH_LIMIT, Kind, Raw},
};

fn string(raw: Raw<'_>) -> Escaped<'static> {
    Escaped::of(raw).unwrap().into_owned()
}

fn json(raw: Raw<'_>) -> Json<'static> {
    Json::of(raw).into_owned()
}

/// Panics on anything that the provider would refuse.
pub(super) fn read(body: &[u8]) -> Request<'static> {
    let mut cursor = Cursor::new(body, DEPTH_LIMIT).unwrap();
    let body = cursor.value().unwrap();
    cursor.end().unwrap();
    let mut request = Request::default();
    for member in body.members() {
        let value = member.value;
        let mut set = |what| {
            request.settings.push(Setting { what, name: "x".into(), value: json(value) });
        };
        match &*member.key {
            "model" => assert_eq!(value.get(), "\"command-a-plus\""),
            "messages" => request.turns = value.elements().into_iter().map(message).collect(),
            "stream" => request.stream = value.get() == "true",
            "tools" => request.tools = value.elements().into_iter().map(tool).collect(),
            "tool_choice" => {
                request.tool_choice = Some(match value.get() {
                    "\"NONE\"" => ToolChoice::Never,
                    "\"REQUIRED\"" => ToolChoice::Required,
                    other => panic!("{other}"),
                });
            }
            "strict_tools" => request.tools.iter_mut().for_each(|tool| {
                if let ToolKind::Function { strict, .. } = &mut tool.kind {
                    *strict = Some(true);
                }
            }),
            "response_format" => {
                let schema = value.member("json_schema").map(json);
                request.format = schema.map_or(Format::JsonObject, |schema| Format::JsonSchema {
                    name: None,
                    description: None,
                    schema,
                    strict: None,
                });
            }
            "max_tokens" => request.output_limit = value.count(),
            "stop_sequences" => request.stop = value.elements().into_iter().map(string).collect(),
            "logprobs" => request.logprobs = Some(Logprobs { top: 0 }),
            "thinking" => request.thinking = thinking(value),
            "temperature" => set(What::Temperature),
            "p" => set(What::TopP),
            "k" => set(What::TopK),
            "seed" => set(What::Seed),
            "frequency_penalty" => set(What::FrequencyPenalty),
            "presence_penalty" => set(What::PresencePenalty),
            other => panic!("{other}"),
        }
    }
    request
}

fn thinking(value: Raw<'_>) -> Thinking {
    let budget_tokens = value.member("token_budget").and_then(Raw::count);
    let effort = match (&*value.member("type").unwrap().text().unwrap(), budget_tokens) {
        ("disabled", None) => Some(Effort::None),
        ("enabled", None) => Some(Effort::High),
        ("enabled", Some(_)) => None,
        other => panic!("{other:?}"),
    };
    Thinking { effort, budget_tokens, visible: None }
}

fn message(message: Raw<'_>) -> Turn<'static> {
    let content = message.member("content");
    let parts = match content.map(|content| (content.kind(), content)) {
        Some((Kind::String, content)) => vec![Part::Text { text: string(content), cache: None }],
        Some((_, content)) => content.elements().into_iter().map(part).collect(),
        None => Vec::new(),
    };
    match &*message.member("role").unwrap().text().unwrap() {
        "system" => turn(Role::System, parts),
        "user" => turn(Role::User, parts),
        "tool" => {
            let call_id = string(message.member("tool_call_id").unwrap());
            let result = ToolResult { call_id, content: parts, is_error: false, cache: None };
            turn(Role::User, vec![Part::ToolResult(result)])
        }
        "assistant" => {
            let calls = message.member("tool_calls").map(Raw::elements).unwrap_or_default();
            assert!(calls.is_empty() || parts.is_empty(), "a plan instead of content");
            let plan = message.member("tool_plan").map(|plan| thought(string(plan)));
            turn(Role::Assistant, plan.into_iter().chain(parts).chain(calls.into_iter().map(call)).collect())
        }
        other => panic!("{other}"),
    }
}

fn thought(text: Escaped<'static>) -> Part<'static> {
    Part::Reasoning(Reasoning { text, signature: None, redacted: false })
}

fn part(part: Raw<'_>) -> Part<'static> {
    match &*part.member("type").unwrap().text().unwrap() {
        "text" => Part::Text { text: string(part.member("text").unwrap()), cache: None },
        "thinking" => thought(string(part.member("thinking").unwrap())),
        "image_url" => {
            let image = part.member("image_url").unwrap();
            let url = string(image.member("url").unwrap());
            let source = match url.inner().strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"))
            {
                Some((media_type, data)) => Source::Data {
                    media_type: Escaped::from_inner(media_type.to_owned()),
                    data: Escaped::from_inner(data.to_owned()),
                },
                None => Source::Url(url),
            };
            Part::Image { source, detail: image.member("detail").map(string), cache: None }
        }
        other => panic!("{other}"),
    }
}

fn call(call: Raw<'_>) -> Part<'static> {
    assert_eq!(call.member("type").unwrap().get(), "\"function\"");
    let function = call.member("function").unwrap();
    Part::ToolCall(ToolCall {
        id: string(call.member("id").unwrap()),
        name: string(function.member("name").unwrap()),
        arguments: string(function.member("arguments").unwrap()),
        signature: None,
        cache: None,
    })
}

fn tool(tool: Raw<'_>) -> Tool<'static> {
    assert_eq!(tool.member("type").unwrap().get(), "\"function\"");
    let function = tool.member("function").unwrap();
    let kind = ToolKind::Function {
        name: string(function.member("name").unwrap()),
        description: function.member("description").map(string),
        parameters: Some(json(function.member("parameters").unwrap())),
        strict: None,
    };
    Tool { kind, cache: None }
}
