//! What generateContent refuses of a conversation.

use super::{Refused, Verdict, list, member, only, refuse_if, text};
use serde_json::Value;

/// How our gateway tags signatures that it made itself; no provider ever made one.
const GATEWAY_MARK: &str = "gw1.";

/// What a part may be; exactly one of them.
const KINDS: &[&str] = &[
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
];

pub(super) fn judge(body: &Value, third: bool) -> Verdict {
    let contents = list(body, "contents");
    refuse_if(contents.is_empty(), "contents", "contents is not specified")?;
    for (index, content) in contents.iter().enumerate() {
        let at = format!("contents[{index}]");
        only(content, &["role", "parts"], &at)?;
        let role = text(content, "role");
        refuse_if(!["", "user", "model"].contains(&role), &at, "Please use a valid role: user, model.")?;
        let parts = list(content, "parts");
        refuse_if(parts.is_empty(), &format!("{at}.parts"), "contents.parts must not be empty.")?;
        for (number, part) in parts.iter().enumerate() {
            one(part, &format!("{at}.parts[{number}]"), role, third)?;
        }
        let before = index.checked_sub(1).and_then(|before| contents.get(before));
        answers(parts, before, &at)?;
        calls(parts, contents.get(index + 1), &at, third)?;
    }
    Ok(())
}

fn one(part: &Value, at: &str, role: &str, third: bool) -> Verdict {
    let mut fields = vec!["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];
    fields.extend(KINDS);
    only(part, &fields, at)?;
    let kinds: Vec<&str> = KINDS.iter().copied().filter(|kind| member(part, kind).is_some()).collect();
    refuse_if(kinds.len() != 1, at, "required oneof field 'data' must have one initialized field")?;
    let signature = text(part, "thoughtSignature");
    refuse_if(signature.starts_with(GATEWAY_MARK), at, "Thought signature is not valid.")?;
    let named = |value: &Value| !text(value, "name").is_empty();
    if let Some(data) = member(part, "inlineData") {
        only(data, &["mimeType", "data", "displayName"], at)?;
        let bare = !text(data, "data").is_empty() && !text(data, "data").starts_with("data:");
        refuse_if(
            !bare || text(data, "mimeType").is_empty(),
            at,
            "inline_data needs a type and base64 data",
        )?;
    }
    if let Some(data) = member(part, "fileData") {
        only(data, &["mimeType", "fileUri", "displayName"], at)?;
        let uri = text(data, "fileUri");
        let own = uri.starts_with("files/")
            || uri.starts_with("gs://")
            || uri.starts_with("https://generativelanguage.googleapis.com/v1beta/files/")
            || uri.starts_with("https://www.youtube.com/watch?");
        refuse_if(!own, at, "Cannot fetch content from the provided URL.")?;
    }
    if let Some(call) = member(part, "functionCall") {
        only(call, if third { &["name", "args", "id"] } else { &["name", "args"] }, at)?;
        refuse_if(role != "model" || !named(call), at, "function_call needs a name and the role model")?;
        let object = member(call, "args").is_none_or(Value::is_object);
        refuse_if(!object, &format!("{at}.function_call.args"), "must be an object")?;
    }
    if let Some(answer) = member(part, "functionResponse") {
        let own: &[&str] = if third {
            &["name", "response", "id", "parts", "willContinue", "scheduling"]
        } else {
            &["name", "response"]
        };
        only(answer, own, at)?;
        refuse_if(role == "model" || !named(answer), at, "function_response needs a name and the role user")?;
        let object = member(answer, "response").is_some_and(Value::is_object);
        refuse_if(!object, &format!("{at}.function_response.response"), "must be an object")?;
    }
    Ok(())
}

/// The results of one turn stand alone, and are as many as its calls.
fn answers(parts: &[Value], before: Option<&Value>, at: &str) -> Verdict {
    let answers = of(parts, "functionResponse");
    if answers.is_empty() {
        return Ok(());
    }
    let mixed = answers.len() != parts.len();
    refuse_if(mixed, at, "function_response parts cannot be mixed with other kinds of parts")?;
    let mut open = before.map(|before| of(list(before, "parts"), "functionCall")).unwrap_or_default();
    for answer in answers {
        let fits = |call: &&Value| {
            let (asked, given) = (text(call, "id"), text(answer, "id"));
            text(call, "name") == text(answer, "name") && (given.is_empty() || asked == given)
        };
        let Some(place) = open.iter().position(fits) else {
            let message =
                "Please ensure that function response turn comes immediately after a function call turn.";
            return Err(Refused::new(at, message));
        };
        open.remove(place);
    }
    let message = "Please ensure that the number of function response parts is equal to the number of function \
                   call parts of the function call turn.";
    refuse_if(!open.is_empty(), at, message)
}

fn calls(parts: &[Value], after: Option<&Value>, at: &str, third: bool) -> Verdict {
    let Some(first) = parts.iter().find(|part| member(part, "functionCall").is_some()) else { return Ok(()) };
    let unsigned = third && text(first, "thoughtSignature").is_empty();
    refuse_if(unsigned, at, "Function call is missing a thought_signature in functionCall parts.")?;
    let answered = after.is_some_and(|after| !of(list(after, "parts"), "functionResponse").is_empty());
    refuse_if(!answered, at, "a function call turn must be followed by its function response turn")
}

fn of<'a>(parts: &'a [Value], kind: &str) -> Vec<&'a Value> {
    parts.iter().filter_map(|part| member(part, kind)).collect()
}
