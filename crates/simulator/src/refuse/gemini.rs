//! What Google's generateContent refuses at the top of a request. What it refuses of the conversation is in
//! `turns`.

mod turns;

use super::{super::gemini::is_third_generation, Posted, Refused, Verdict, list, member, refuse_if, text};
use serde_json::Value;

const FIELDS: &[&str] = &[
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "serviceTier",
    "store",
];

const CONFIG_FIELDS: &[&str] = &[
    "stopSequences",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "candidateCount",
    "maxOutputTokens",
    "temperature",
    "topP",
    "topK",
    "seed",
    "presencePenalty",
    "frequencyPenalty",
    "responseLogprobs",
    "logprobs",
    "enableEnhancedCivicAnswers",
    "speechConfig",
    "thinkingConfig",
    "imageConfig",
    "mediaResolution",
];

const SCHEMA_FIELDS: &[&str] = &[
    "type",
    "format",
    "title",
    "description",
    "nullable",
    "enum",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "propertyOrdering",
    "anyOf",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "pattern",
    "default",
    "example",
];

pub(super) fn judge(posted: &Posted<'_>, body: &Value, model: &str) -> Verdict {
    if posted.counting {
        only(body, &["contents", "generateContentRequest"], "")?;
        return match member(body, "generateContentRequest") {
            Some(inner) => {
                let mut fields = vec!["model"];
                fields.extend(FIELDS);
                only(inner, &fields, "generateContentRequest")?;
                content(inner, model)
            }
            None => turns::judge(body, is_third_generation(model)),
        };
    }
    let streamed_as_array = posted.asked.streamed && !posted.query.split('&').any(|pair| pair == "alt=sse");
    refuse_if(streamed_as_array, "alt", "streams are simulated as server-sent events only")?;
    only(body, FIELDS, "")?;
    content(body, model)
}

fn content(body: &Value, model: &str) -> Verdict {
    let third = is_third_generation(model);
    if let Some(system) = member(body, "systemInstruction") {
        only(system, &["role", "parts"], "systemInstruction")?;
        let parts = list(system, "parts");
        let spoken = parts.iter().all(|part| member(part, "text").is_some());
        refuse_if(parts.is_empty() || !spoken, "systemInstruction.parts", "must be text and not empty")?;
    }
    tools(body, third)?;
    if let Some(config) = member(body, "generationConfig") {
        generation(config, model, third)?;
    }
    turns::judge(body, third)
}

fn generation(config: &Value, model: &str, third: bool) -> Verdict {
    only(config, CONFIG_FIELDS, "generationConfig")?;
    for name in ["presencePenalty", "frequencyPenalty"] {
        let refused = third && member(config, name).is_some();
        refuse_if(refused, &format!("generationConfig.{name}"), "Penalty is not enabled for this model")?;
    }
    let many = member(config, "candidateCount").is_some_and(|count| count != 1);
    refuse_if(many, "generationConfig.candidateCount", "Multiple candidates is not enabled for this model")?;
    let long = list(config, "stopSequences").len() > 5;
    refuse_if(long, "generationConfig.stopSequences", "at most 5")?;
    let warm =
        member(config, "temperature").and_then(Value::as_f64).is_some_and(|t| !(0.0..=2.0).contains(&t));
    refuse_if(warm, "generationConfig.temperature", "range: 0 to 2")?;
    let (subset, whole) = (member(config, "responseSchema"), member(config, "responseJsonSchema"));
    let both = subset.is_some() && whole.is_some();
    refuse_if(both, "generationConfig.responseSchema", "exclusive with responseJsonSchema")?;
    let plain = text(config, "responseMimeType") != "application/json";
    let any = subset.or(whole).is_some();
    refuse_if(any && plain, "generationConfig.responseMimeType", "must be application/json with a schema")?;
    if let Some(subset) = subset {
        schema(subset, "generationConfig.responseSchema", third)?;
    }
    let Some(thinking) = member(config, "thinkingConfig") else { return Ok(()) };
    let at = "generationConfig.thinkingConfig";
    only(thinking, &["thinkingLevel", "thinkingBudget", "includeThoughts"], at)?;
    let (level, budget) = (member(thinking, "thinkingLevel"), member(thinking, "thinkingBudget"));
    refuse_if(level.is_some() && budget.is_some(), at, "only one of thinking level and budget may be set")?;
    refuse_if(level.is_some() && !third, at, "Thinking level is not supported for this model.")?;
    let known = ["minimal", "low", "medium", "high", "xhigh"];
    let unknown = level.is_some_and(|level| {
        level.as_str().is_none_or(|level| !known.contains(&level.to_ascii_lowercase().as_str()))
    });
    refuse_if(unknown, at, "unknown thinking level")?;
    let low = budget.is_some_and(|budget| {
        budget
            .as_i64()
            .is_none_or(|budget| budget < -1 || (model.contains("2.5-pro") && (0..128).contains(&budget)))
    });
    refuse_if(low, at, "The thinking budget is invalid. Please choose a value in the model's range.")
}

fn tools(body: &Value, third: bool) -> Verdict {
    const RUN_BY_GOOGLE: &[&str] =
        &["googleSearch", "codeExecution", "urlContext", "googleMaps", "computerUse", "fileSearch"];
    let mut declared = Vec::new();
    for (index, tool) in list(body, "tools").iter().enumerate() {
        let at = format!("tools[{index}]");
        let mut kinds = vec!["functionDeclarations"];
        kinds.extend(RUN_BY_GOOGLE);
        only(tool, &kinds, &at)?;
        for (number, function) in list(tool, "functionDeclarations").iter().enumerate() {
            declaration(function, &format!("{at}.function_declarations[{number}]"), third)?;
            declared.push(text(function, "name"));
        }
    }
    let mut sorted = declared.clone();
    sorted.sort_unstable();
    sorted.dedup();
    refuse_if(sorted.len() != declared.len(), "tools", "Duplicate function declaration found")?;
    let Some(config) = member(body, "toolConfig") else { return Ok(()) };
    only(
        config,
        &["functionCallingConfig", "retrievalConfig", "includeServerSideToolInvocations"],
        "toolConfig",
    )?;
    let Some(calling) = member(config, "functionCallingConfig") else { return Ok(()) };
    let at = "toolConfig.functionCallingConfig";
    only(calling, &["mode", "allowedFunctionNames"], at)?;
    let mode = text(calling, "mode");
    refuse_if(!["AUTO", "ANY", "NONE", "VALIDATED"].contains(&mode), at, "unknown mode")?;
    let names = list(calling, "allowedFunctionNames");
    let loose = !names.is_empty() && !["ANY", "VALIDATED"].contains(&mode);
    refuse_if(loose, at, "allowed_function_names should be set only with mode ANY or VALIDATED")?;
    let strange = names.iter().any(|name| !declared.iter().any(|known| name == *known));
    refuse_if(strange, at, "allowed_function_names must be declared")?;
    refuse_if(mode == "ANY" && declared.is_empty(), at, "mode ANY needs function declarations")
}

fn declaration(function: &Value, at: &str, third: bool) -> Verdict {
    let own = [
        "name",
        "description",
        "parameters",
        "parametersJsonSchema",
        "response",
        "responseJsonSchema",
        "behavior",
    ];
    only(function, &own, at)?;
    let name = text(function, "name");
    let opens = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte));
    refuse_if(!opens || !plain || name.len() > 64, at, "Invalid function name.")?;
    let Some(parameters) = member(function, "parameters") else { return Ok(()) };
    let both = member(function, "parametersJsonSchema").is_some();
    refuse_if(both, at, "parameters is exclusive with parameters_json_schema")?;
    let at = format!("{at}.parameters");
    let object = text(parameters, "type").eq_ignore_ascii_case("object");
    let empty =
        member(parameters, "properties").and_then(Value::as_object).is_none_or(serde_json::Map::is_empty);
    refuse_if(object && empty, &format!("{at}.properties"), "should be non-empty for OBJECT type")?;
    schema(parameters, &at, third)
}

/// A schema in Google's subset of OpenAPI.
fn schema(value: &Value, at: &str, third: bool) -> Verdict {
    let mut fields = SCHEMA_FIELDS.to_vec();
    if third {
        fields.extend(["$ref", "$defs", "additionalProperties"]);
    }
    only(value, &fields, at)?;
    if let Some(kind) = value.get("type") {
        let known = ["string", "number", "integer", "boolean", "array", "object", "null"];
        let strange = kind.as_str().is_none_or(|kind| !known.contains(&kind.to_ascii_lowercase().as_str()));
        refuse_if(
            strange,
            &format!("{at}.type"),
            "Proto field is not repeating, cannot start list, or unknown",
        )?;
    }
    let numbers = list(value, "enum").iter().any(|item| !item.is_string());
    refuse_if(numbers, &format!("{at}.enum"), "Invalid value (TYPE_STRING)")?;
    if let Some(items) = member(value, "items") {
        schema(items, &format!("{at}.items"), third)?;
    }
    for (index, variant) in list(value, "anyOf").iter().enumerate() {
        schema(variant, &format!("{at}.any_of[{index}]"), third)?;
    }
    let properties = member(value, "properties").and_then(Value::as_object);
    let defined = member(value, "$defs").and_then(Value::as_object);
    for (name, property) in properties.into_iter().chain(defined).flatten() {
        schema(property, &format!("{at}.properties[{name}]"), third)?;
    }
    Ok(())
}

fn only(value: &Value, allowed: &[&str], at: &str) -> Verdict {
    let Some(object) = value.as_object() else { return Err(Refused::new(at, "Invalid value")) };
    match super::unknown(object, allowed) {
        Some(name) => {
            let message =
                format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
            Err(Refused::new(if at.is_empty() { name } else { at }, &message))
        }
        None => Ok(()),
    }
}
