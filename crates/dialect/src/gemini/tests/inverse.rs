//! Reads a request as the provider would, for the properties: the content of the wire format in the canonical form.

use super::*;
use crate::{
    canonical::{
        Effort, Format, Json, Logprobs, Reasoning, Setting, Signature, Source, Thinking, Tool, ToolCall,
        ToolChoice, ToolKind, ToolResult, What,
    },
    json::{Cursor, DEPTH_LIMIT, Raw},
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
        match &*member.key {
            "contents" => request.turns.extend(value.elements().into_iter().map(content)),
            "systemInstruction" => {
                let parts = value.member("parts").unwrap().elements().into_iter().map(part).collect();
                request.turns.insert(0, turn(Role::System, parts));
            }
            "tools" => {
                let groups = value.elements();
                assert_eq!(groups.len(), 1);
                let functions = groups[0].member("functionDeclarations").unwrap().elements();
                request.tools = functions.into_iter().map(tool).collect();
            }
            "toolConfig" => {
                request.tool_choice = Some(choice(value.member("functionCallingConfig").unwrap()))
            }
            "generationConfig" => config(value, &mut request),
            "serviceTier" => setting(What::ServiceTier, value, &mut request),
            other => panic!("{other}"),
        }
    }
    request
}

fn content(content: Raw<'_>) -> Turn<'static> {
    let role = match &*content.member("role").unwrap().text().unwrap() {
        "user" => Role::User,
        "model" => Role::Assistant,
        other => panic!("{other}"),
    };
    let parts: Vec<_> = content.member("parts").unwrap().elements().into_iter().map(part).collect();
    assert!(!parts.is_empty());
    let results = parts.iter().filter(|part| matches!(part, Part::ToolResult(_))).count();
    assert!(results == 0 || results == parts.len(), "results stand alone");
    turn(role, parts)
}

fn part(part: Raw<'_>) -> Part<'static> {
    let signature = part.member("thoughtSignature").map(|raw| Signature::new(string(raw), Dialect::Gemini));
    if let Some(call) = part.member("functionCall") {
        return Part::ToolCall(ToolCall {
            id: call.member("id").map(string).unwrap_or_default(),
            name: string(call.member("name").unwrap()),
            arguments: Escaped::from_text(call.member("args").unwrap().get()),
            signature,
            cache: None,
        });
    }
    if let Some(response) = part.member("functionResponse") {
        return Part::ToolResult(result(response));
    }
    if let Some(data) = part.member("inlineData") {
        return media(data);
    }
    let text = string(part.member("text").unwrap());
    if signature.is_some() || part.member("thought").is_some() {
        return Part::Reasoning(Reasoning { text, signature, redacted: false });
    }
    Part::Text { text, cache: None }
}

fn media(inline: Raw<'_>) -> Part<'static> {
    let (media_type, data) =
        (string(inline.member("mimeType").unwrap()), string(inline.member("data").unwrap()));
    if let Some(format) = media_type.inner().strip_prefix("audio/") {
        return Part::Audio { data, format: Escaped::from_text(format) };
    }
    let is_image = media_type.inner().starts_with("image/");
    let source = Source::Data { media_type, data };
    match is_image {
        true => Part::Image { source, detail: None, cache: None },
        false => Part::File { source, name: None, cache: None },
    }
}

fn result(response: Raw<'_>) -> ToolResult<'static> {
    assert!(response.member("name").is_some());
    let wrapped = response.member("response").unwrap();
    let (text, is_error) = match (wrapped.member("result"), wrapped.member("error")) {
        (Some(text), _) => (string(text), false),
        (_, Some(text)) => (string(text), true),
        _ => (Escaped::from_text(wrapped.get()), false),
    };
    let mut content = vec![Part::Text { text, cache: None }];
    content.extend(response.member("parts").map(Raw::elements).unwrap_or_default().into_iter().map(part));
    let call_id = response.member("id").map(string).unwrap_or_default();
    ToolResult { call_id, content, is_error, cache: None }
}

fn tool(tool: Raw<'_>) -> Tool<'static> {
    let kind = ToolKind::Function {
        name: string(tool.member("name").unwrap()),
        description: tool.member("description").map(string),
        parameters: tool.member("parametersJsonSchema").map(json),
        strict: None,
    };
    Tool { kind, cache: None }
}

fn choice(config: Raw<'_>) -> ToolChoice<'static> {
    let names: Vec<_> = config.member("allowedFunctionNames").map(Raw::elements).unwrap_or_default();
    let mut names: Vec<_> = names.into_iter().map(string).collect();
    match (&*config.member("mode").unwrap().text().unwrap(), names.len()) {
        ("AUTO", 0) => ToolChoice::Auto,
        ("NONE", 0) => ToolChoice::Never,
        ("ANY", 0) => ToolChoice::Required,
        ("ANY", 1) => ToolChoice::Named(names.remove(0)),
        ("ANY", _) => ToolChoice::Allowed { names, required: true },
        ("VALIDATED", _) => ToolChoice::Allowed { names, required: false },
        other => panic!("{other:?}"),
    }
}

fn config(config: Raw<'_>, request: &mut Request<'static>) {
    for member in config.members() {
        let value = member.value;
        match &*member.key {
            "maxOutputTokens" => request.output_limit = value.count(),
            "stopSequences" => request.stop = value.elements().into_iter().map(string).collect(),
            "candidateCount" => request.n = value.count().unwrap(),
            "responseLogprobs" => request.logprobs = Some(Logprobs { top: 0 }),
            "logprobs" => request.logprobs = Some(Logprobs { top: value.count().unwrap() }),
            "responseMimeType" => request.format = Format::JsonObject,
            "responseJsonSchema" => {
                let schema = json(value);
                request.format = Format::JsonSchema { name: None, description: None, schema, strict: None };
            }
            "thinkingConfig" => {
                let level = value.member("thinkingLevel").and_then(Raw::text);
                request.thinking = Thinking {
                    effort: level.map(|level| Effort::by_name(&level).unwrap()),
                    budget_tokens: value.member("thinkingBudget").and_then(Raw::count),
                    visible: value.member("includeThoughts").map(|shown| shown.get() == "true"),
                };
            }
            "temperature" => setting(What::Temperature, value, request),
            "topP" => setting(What::TopP, value, request),
            "topK" => setting(What::TopK, value, request),
            "seed" => setting(What::Seed, value, request),
            other => panic!("{other}"),
        }
    }
}

fn setting(what: What, value: Raw<'_>, request: &mut Request<'static>) {
    request.settings.push(Setting { what, name: "x".into(), value: json(value) });
}
