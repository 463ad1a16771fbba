//! The documented fields of a Messages request and the kind of JSON of each. A field that is not in the table passes
//! through unchecked.

use crate::{
    json::{Cursor, Kind},
    request::Invalid,
};

/// The allowed values of a documented field. `null` always counts as absent and is not checked here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    Model,
    Messages,
    System,
    Tools,
    Flag,
    Text,
    /// A number from 0 to 1.
    Share,
    /// A whole number.
    Count,
    Object,
    Texts,
    TextOrObject,
}

/// The API reference and SDK of November 2026, `POST /v1/messages` including beta fields.
const FIELDS: &[(&str, Rule)] = &[
    ("model", Rule::Model),
    ("messages", Rule::Messages),
    ("max_tokens", Rule::Count),
    ("system", Rule::System),
    ("stream", Rule::Flag),
    ("temperature", Rule::Share),
    ("top_p", Rule::Share),
    ("top_k", Rule::Count),
    ("stop_sequences", Rule::Texts),
    ("tools", Rule::Tools),
    ("tool_choice", Rule::Object),
    ("thinking", Rule::Object),
    ("output_config", Rule::Object),
    ("output_format", Rule::Object),
    ("metadata", Rule::Object),
    ("service_tier", Rule::Text),
    ("cache_control", Rule::Object),
    ("container", Rule::TextOrObject),
    ("context_management", Rule::Object),
    ("inference_geo", Rule::Text),
    ("speed", Rule::Text),
];

/// More than any provider accepts.
const STOP_SEQUENCES_MAX: usize = 64;

pub(super) fn rule(name: &str) -> Option<Rule> {
    FIELDS.iter().find(|(field, _)| *field == name).map(|(_, rule)| *rule)
}

/// Whether the field counts towards what the model reads. Unknown fields do, because they may contain text. The content
/// of `messages` and `system` is counted where they are read.
pub(super) fn is_read_by_model(rule: Option<Rule>, name: &str) -> bool {
    matches!(rule, None | Some(Rule::Tools))
        || matches!(name, "output_config" | "output_format" | "context_management" | "container")
}

/// Consumes the value of a field whose rule needs no walk of its own.
pub(super) fn check(cursor: &mut Cursor<'_>, name: &str, rule: Rule) -> Result<(), Invalid> {
    let kind = cursor.kind()?;
    let fits = match rule {
        Rule::Flag => kind == Kind::Bool,
        Rule::Text => kind == Kind::String,
        Rule::Object => kind == Kind::Object,
        Rule::TextOrObject => matches!(kind, Kind::String | Kind::Object),
        Rule::Share | Rule::Count => kind == Kind::Number,
        Rule::Texts => kind == Kind::Array,
        Rule::Model | Rule::Messages | Rule::System | Rule::Tools => true,
    };
    if !fits {
        return Err(Invalid::kind(name, expected(rule).into(), kind));
    }
    if kind == Kind::Array {
        return texts(cursor, name);
    }
    let raw = cursor.value()?;
    let in_range = match rule {
        Rule::Share => raw.get().parse::<f64>().is_ok_and(|share| (0.0..=1.0).contains(&share)),
        Rule::Count => raw.count().is_some(),
        _ => true,
    };
    if in_range { Ok(()) } else { Err(Invalid::at(name, format!("`{name}` must be {}", expected(rule)))) }
}

/// Consumes a list of strings.
fn texts(cursor: &mut Cursor<'_>, name: &str) -> Result<(), Invalid> {
    cursor.array(|cursor, index| {
        if index >= STOP_SEQUENCES_MAX {
            return Err(Invalid::at(name, format!("`{name}` may have at most {STOP_SEQUENCES_MAX} entries")));
        }
        let kind = cursor.kind()?;
        if kind != Kind::String {
            return Err(Invalid::kind(&format!("{name}[{index}]"), "a string".into(), kind));
        }
        cursor.text()?;
        Ok(())
    })
}

fn expected(rule: Rule) -> &'static str {
    match rule {
        Rule::Model => "a string, or a list of strings that are tried in order",
        Rule::Messages => "an array of messages",
        Rule::System => "a string or an array of text blocks",
        Rule::Tools => "an array of objects",
        Rule::Flag => "a boolean",
        Rule::Text => "a string",
        Rule::Share => "a number from 0 to 1",
        Rule::Count => "a whole number of at least 0",
        Rule::Object => "an object",
        Rule::Texts => "an array of strings",
        Rule::TextOrObject => "a string or an object",
    }
}
