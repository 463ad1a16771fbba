//! The `tool_choice` after the first answered turn. The first call satisfies a required call; if it were repeated, the
//! loop would never end. The other parts apply to every turn.

use crate::dialect::json::{Kind, ObjectWriter, Raw};

/// The same choice without the required call; `None` if nothing else is in it.
pub(super) fn undemanding(choice: Raw<'_>) -> Option<String> {
    let unchanged = || Some(choice.get().to_owned());
    if choice.kind() == Kind::String {
        let word = choice.text().unwrap_or_default();
        return matches!(word.as_ref(), "auto" | "none").then(unchanged).flatten();
    }
    match choice.member("type").and_then(Raw::text).unwrap_or_default().as_ref() {
        "auto" | "none" => unchanged(),
        "allowed_tools" => Some(match choice.member("allowed_tools") {
            Some(allowed) => with(choice, "allowed_tools", &with(allowed, "mode", AUTO)),
            None => with(choice, "mode", AUTO),
        }),
        // Anthropic's forms, which some clients send, may also limit a turn to one call.
        "any" | "tool" | "required" | "function" => {
            let single = choice.member("disable_parallel_tool_use").filter(|raw| raw.kind() == Kind::Bool)?;
            Some(format!(r#"{{"type":"auto","disable_parallel_tool_use":{}}}"#, single.get()))
        }
        _ => None,
    }
}

const AUTO: &str = "\"auto\"";

/// `object` with another value for `name`, if it has one.
fn with(object: Raw<'_>, name: &str, value: &str) -> String {
    let mut out = ObjectWriter::new();
    for member in object.members() {
        let value = if member.key == name { value } else { member.value.get() };
        out.raw_key(member.raw_key).extend(value.as_bytes());
    }
    String::from_utf8(out.end()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json::Cursor;

    #[test]
    fn the_demand_falls_away_and_the_restriction_stays() {
        let mode = |mode: &str| {
            format!(
                r#"{{"type":"allowed_tools","allowed_tools":{{ "tools":[{{"name": "a"}}],"mode":"{mode}"}}}}"#
            )
        };
        let auto = r#"{"type":"allowed_tools","allowed_tools":{"tools":[{"name":"a"}],"mode":"auto"}}"#;
        let flat = |mode: &str| format!(r#"{{"type":"allowed_tools","mode":"{mode}","tools":[]}}"#);
        let single = r#"{"type":"auto","disable_parallel_tool_use":true}"#;
        for (choice, left) in [
            (r#""auto""#, Some(r#""auto""#)),
            (r#""none""#, Some(r#""none""#)),
            (r#""required""#, None),
            (r#""any""#, None),
            (r#"{"type":"auto"}"#, Some(r#"{"type":"auto"}"#)),
            (r#"{"type":"none"}"#, Some(r#"{"type":"none"}"#)),
            (single, Some(single)),
            (r#"{"type":"any","disable_parallel_tool_use":true}"#, Some(single)),
            (r#"{"type":"tool","name":"a"}"#, None),
            (r#"{"type":"function","function":{"name":"a"}}"#, None),
            (&mode("required"), Some(auto)),
            (&mode("auto"), Some(auto)),
            (&flat("required"), Some(&flat("auto"))),
            ("{}", None),
        ] {
            let raw = Cursor::new(choice.as_bytes(), 9).unwrap().value().unwrap();
            let plain = |json: &str| json.replace(' ', "");
            assert_eq!(undemanding(raw).as_deref().map(plain), left.map(plain), "{choice}");
        }
    }
}
