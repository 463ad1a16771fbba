//! Writes a request. A field that the model does not support is refused if it changes the answer, and otherwise left
//! out and listed; schemas, arguments and numbers keep their bytes.

use super::{config, contents, model::Model};
use crate::{
    Encoded, Reading, Target, Unsupported,
    canonical::{Request, Tool, ToolChoice, ToolKind, WebSearch, What},
    json::{Escaped, ObjectWriter, push_text},
};
use kairosroute_domain::catalog::Flag;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::borrow::Cow;

/// Names of fields that were left out, each once.
#[derive(Default)]
pub(super) struct Dropped(Vec<Cow<'static, str>>);

/// All characters that a path segment cannot contain unescaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Writes `request` for generateContent, or streamGenerateContent when it streams. The model is in the path.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Result<Encoded, Unsupported> {
    let model = Model::of(target);
    let mut dropped = Dropped::default();
    let mut body = ObjectWriter::with_capacity(1024);
    let conversation = contents::write(request, target, &model, &mut dropped)?;
    body.key("contents").extend(conversation.contents);
    if let Some(system) = conversation.system {
        body.key("systemInstruction").extend(system);
    }
    write_tools(request, &model, &mut body, &mut dropped)?;
    if let Some(config) = config::write(request, target, &model, &mut dropped)? {
        body.key("generationConfig").extend(config);
    }
    write_tier(request, &mut body, &mut dropped);
    let method = if request.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let name = utf8_percent_encode(target.upstream_model, SEGMENT);
    Ok(Encoded {
        path: Some(format!("/models/{name}:{method}").into()),
        body: body.end(),
        dropped: dropped.0,
        asked_for_usage: false,
        reading: Reading { seed: target.seed.to_owned(), ..Reading::default() },
    })
}

impl Dropped {
    pub(super) fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

fn write_tools(
    request: &Request<'_>,
    model: &Model<'_>,
    body: &mut ObjectWriter,
    dropped: &mut Dropped,
) -> Result<(), Unsupported> {
    if request.parallel_tools.is_some() {
        dropped.name("parallel_tool_calls");
    }
    if request.tools.is_empty() {
        return match &request.tool_choice {
            None | Some(ToolChoice::Auto | ToolChoice::Never) => Ok(()),
            Some(_) => Err(Unsupported::because("tool_choice", ": the request declares no tools")),
        };
    }
    if model.lacks(Flag::Tools) {
        return Err(Unsupported::field("tools"));
    }
    let mut declared: Vec<Vec<u8>> = Vec::with_capacity(request.tools.len());
    let mut searches = false;
    for tool in &request.tools {
        match &tool.kind {
            ToolKind::WebSearch(search) => {
                note_search(search, dropped)?;
                searches = true;
            }
            _ => declared.push(declaration(tool, dropped)?),
        }
    }
    // Together they would need the provider's own steps in the history, which no client stores.
    if searches && !declared.is_empty() {
        return Err(Unsupported::because(
            "tools",
            ": this model searches the web or calls functions, not both; leave one of them out",
        ));
    }
    let out = body.key("tools");
    out.push(b'[');
    if !declared.is_empty() {
        out.extend_from_slice(b"{\"functionDeclarations\":[");
        out.extend(declared.join(&b','));
        out.extend_from_slice(b"]}");
    }
    if searches {
        out.extend_from_slice(b"{\"googleSearch\":{}}");
    }
    out.push(b']');
    if declared.is_empty() {
        // The choice is between functions.
        return match &request.tool_choice {
            Some(choice) if is_forced(choice) => {
                Err(Unsupported::because("tool_choice", ": there is no function to choose"))
            }
            _ => Ok(()),
        };
    }
    if let Some(choice) = &request.tool_choice {
        if is_forced(choice) && model.refuses_force() {
            return Err(Unsupported::because("tool_choice", ": this model cannot be made to call a tool"));
        }
        write_choice(choice, body);
    }
    Ok(())
}

/// Neither the sites nor the number of searches can be limited here.
fn note_search(search: &WebSearch<'_>, dropped: &mut Dropped) -> Result<(), Unsupported> {
    if search.allowed_sites().is_some() || search.blocks_sites() {
        return Err(Unsupported::because("tools", ": this provider cannot limit a search to sites"));
    }
    if search.uses_max().is_some() {
        dropped.name("tools[].max_uses");
    }
    search.lost(false).into_iter().for_each(|name| dropped.name(name));
    Ok(())
}

fn declaration(tool: &Tool<'_>, dropped: &mut Dropped) -> Result<Vec<u8>, Unsupported> {
    let ToolKind::Function { name, description, parameters, strict } = &tool.kind else {
        return Err(Unsupported::tool(&tool.kind));
    };
    if strict.is_some() {
        dropped.name("tools[].function.strict");
    }
    if tool.cache.is_some() {
        dropped.name("cache_control");
    }
    let mut out = ObjectWriter::new();
    name.push_quoted(out.key("name"));
    if let Some(description) = description {
        description.push_quoted(out.key("description"));
    }
    if let Some(parameters) = parameters {
        out.raw("parametersJsonSchema", parameters.get());
    }
    Ok(out.end())
}

fn is_forced(choice: &ToolChoice<'_>) -> bool {
    match choice {
        ToolChoice::Auto | ToolChoice::Never => false,
        ToolChoice::Required | ToolChoice::Named(_) => true,
        ToolChoice::Allowed { required, .. } => *required,
    }
}

/// A list of allowed names is possible only with the modes ANY and VALIDATED. The latter lets the model choose as AUTO
/// does, and enforces the schemas.
fn write_choice(choice: &ToolChoice<'_>, body: &mut ObjectWriter) {
    let (mode, names): (&str, &[Escaped<'_>]) = match choice {
        ToolChoice::Auto => ("AUTO", &[]),
        ToolChoice::Never => ("NONE", &[]),
        ToolChoice::Required => ("ANY", &[]),
        ToolChoice::Named(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::Allowed { names, required: true } => ("ANY", names),
        ToolChoice::Allowed { names, required: false } => ("VALIDATED", names),
    };
    let out = body.key("toolConfig");
    out.extend_from_slice(b"{\"functionCallingConfig\":{\"mode\":");
    push_text(out, mode);
    if !names.is_empty() {
        out.extend_from_slice(b",\"allowedFunctionNames\":");
        push_list(out, names);
    }
    out.extend_from_slice(b"}}");
}

/// Appends a list of strings.
pub(super) fn push_list(out: &mut Vec<u8>, texts: &[Escaped<'_>]) {
    out.push(b'[');
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        text.push_quoted(out);
    }
    out.push(b']');
}

/// The tiers have OpenAI's names, except the standard one; `auto` is the meaning of an absent value.
fn write_tier(request: &Request<'_>, body: &mut ObjectWriter, dropped: &mut Dropped) {
    let Some(setting) = request.setting(What::ServiceTier) else { return };
    match setting.value.raw().text().as_deref() {
        Some("auto") => {}
        Some("default" | "standard" | "standard_only") => body.text("serviceTier", "standard"),
        Some(tier @ ("flex" | "priority")) => body.text("serviceTier", tier),
        _ => dropped.name(setting.name.clone().into_owned()),
    }
}
