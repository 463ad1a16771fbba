//! Rewrites a schema for the model's schema mode and its strict tools. What the mode cannot express moves into the
//! description, where the model reads it, and is listed for the client. Objects are closed. A schema that the mode
//! cannot express at all (one that refers to itself, an open map) is reported, so that the caller can choose another
//! method.

use crate::{
    canonical::Json,
    json::{Escaped, Kind, ObjectWriter, Raw},
};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// A schema in the form of the mode.
pub(super) struct Closed {
    pub schema: Json<'static>,
    /// Keywords that moved into descriptions, each once.
    pub moved: Vec<&'static str>,
    /// The mode closes an object that the client left open deliberately.
    pub narrowed: bool,
}

/// Keywords that limit a value and that the mode refuses.
const MOVED: [&str; 24] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "prefixItems",
    "minProperties",
    "maxProperties",
    "patternProperties",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "not",
    "if",
    "then",
    "else",
];

/// String formats that the mode supports.
const FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6"];

/// Keywords without a meaning for the answer.
const SILENT: [&str; 5] = ["$schema", "$id", "$comment", "$anchor", "examples"];

/// The schema in the form of the mode; `None` if there is none.
pub(super) fn closed(schema: Raw<'_>) -> Option<Closed> {
    if schema.kind() != Kind::Object || refers_to_itself(schema) {
        return None;
    }
    let mut walk = Walk { moved: Vec::new(), narrowed: false };
    let written = walk.schema(schema)?;
    let schema = Json::trusted(String::from_utf8(written).ok()?);
    Some(Closed { schema, moved: walk.moved, narrowed: walk.narrowed })
}

struct Walk {
    moved: Vec<&'static str>,
    narrowed: bool,
}

impl Walk {
    /// The depth is limited by the nesting limit of a request.
    fn schema(&mut self, schema: Raw<'_>) -> Option<Vec<u8>> {
        if schema.kind() != Kind::Object {
            // `true` and `false` are schemas, too.
            return Some(schema.get().into());
        }
        let members = schema.members();
        let mut out = ObjectWriter::with_capacity(schema.len().saturating_add(32));
        let mut limits: Vec<String> = Vec::new();
        let mut description = None;
        let mut is_object = false;
        for member in &members {
            let value = member.value;
            match member.key.as_ref() {
                "description" => description = Escaped::of(value),
                "additionalProperties" => {
                    is_object = true;
                    self.narrowed |= value.get() != "false";
                }
                "properties" | "$defs" | "definitions" => {
                    is_object |= member.key == "properties";
                    let each = self.each_named(value)?;
                    out.raw_key(member.raw_key).extend(each);
                }
                "anyOf" | "allOf" => {
                    let list = self.list(value)?;
                    out.raw_key(member.raw_key).extend(list);
                }
                "oneOf" => {
                    let list = self.list(value)?;
                    out.key("anyOf").extend(list);
                }
                "items" => {
                    let items = self.schema(value)?;
                    out.raw_key(member.raw_key).extend(items);
                }
                "enum" if value.elements().iter().any(|entry| is_compound(*entry)) => return None,
                "const" if is_compound(value) => return None,
                "format" if !value.text().is_some_and(|format| FORMATS.contains(&&*format)) => {
                    self.limit("format", value, &mut limits);
                }
                "pattern" if !value.text().is_some_and(|pattern| is_plain(&pattern)) => {
                    self.limit("pattern", value, &mut limits);
                }
                "minItems" if matches!(value.get(), "0" | "1") => {
                    out.raw_key(member.raw_key).extend(value.get().as_bytes());
                }
                key if SILENT.contains(&key) => {}
                key => match MOVED.iter().find(|moved| **moved == key) {
                    Some(name) => self.limit(name, value, &mut limits),
                    None => {
                        is_object |= key == "type" && is_type_of_object(value);
                        out.raw_key(member.raw_key).extend(value.get().as_bytes());
                    }
                },
            }
        }
        if is_object {
            out.raw("additionalProperties", "false");
        }
        put_description(description, &limits, &mut out);
        Some(out.end())
    }

    fn limit(&mut self, name: &'static str, value: Raw<'_>, limits: &mut Vec<String>) {
        if !self.moved.contains(&name) {
            self.moved.push(name);
        }
        limits.push(format!("{name}: {}", value.get()));
    }

    /// Schemas by name.
    fn each_named(&mut self, named: Raw<'_>) -> Option<Vec<u8>> {
        let mut out = ObjectWriter::with_capacity(named.len());
        for member in named.members() {
            let schema = self.schema(member.value)?;
            out.raw_key(member.raw_key).extend(schema);
        }
        Some(out.end())
    }

    fn list(&mut self, list: Raw<'_>) -> Option<Vec<u8>> {
        let schemas: Option<Vec<Vec<u8>>> =
            list.elements().into_iter().map(|schema| self.schema(schema)).collect();
        let mut out = vec![b'['];
        out.extend(schemas?.join(&b','));
        out.push(b']');
        Some(out)
    }
}

/// The description, with the parts that the mode cannot express after it.
fn put_description(description: Option<Escaped<'_>>, limits: &[String], out: &mut ObjectWriter) {
    let mut text = description.unwrap_or_default();
    if !limits.is_empty() {
        let limits = format!("{{{}}}", limits.join(", "));
        if !text.is_empty() {
            text.push(&Escaped::from_inner("\\n\\n"));
        }
        text.push(&Escaped::from_text(&limits));
    }
    if !text.is_empty() {
        text.push_quoted(out.key("description"));
    }
}

fn is_compound(value: Raw<'_>) -> bool {
    matches!(value.kind(), Kind::Object | Kind::Array)
}

/// `"object"`, alone or among others.
fn is_type_of_object(value: Raw<'_>) -> bool {
    let is_object = |value: Raw<'_>| value.text().as_deref() == Some("object");
    is_object(value) || value.elements().into_iter().any(is_object)
}

/// Without look-ahead, look-behind and word boundaries, which the mode's expressions do not support.
fn is_plain(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('b' | 'B' | 'k' | 'p' | 'P') | None => return false,
                Some(digit) if digit.is_ascii_digit() => return false,
                Some(_) => {}
            },
            '(' if chars.peek() == Some(&'?') => return false,
            _ => {}
        }
    }
    true
}

/// Whether the schema refers to a place that contains it, or outside of itself: the mode supports neither.
fn refers_to_itself(schema: Raw<'_>) -> bool {
    let mut references: HashMap<Cow<'_, str>, Vec<Cow<'_, str>>> = HashMap::new();
    let mut of_root = Vec::new();
    for member in schema.members() {
        if !matches!(member.key.as_ref(), "$defs" | "definitions") {
            gather(member.key.as_ref(), member.value, &mut of_root);
            continue;
        }
        for definition in member.value.members() {
            let mut within = Vec::new();
            gather("", definition.value, &mut within);
            references.insert(format!("#/{}/{}", member.key, definition.key).into(), within);
        }
    }
    let all = of_root.iter().chain(references.values().flatten());
    if all.into_iter().any(|to| !references.contains_key(to)) {
        return true;
    }
    has_circle(&references)
}

/// The places that `$ref` names, wherever it stands.
fn gather<'a>(key: &str, value: Raw<'a>, found: &mut Vec<Cow<'a, str>>) {
    if key == "$ref"
        && let Some(to) = value.text()
    {
        found.push(to);
        return;
    }
    match value.kind() {
        Kind::Object => value.members().iter().for_each(|member| gather(&member.key, member.value, found)),
        Kind::Array => value.elements().into_iter().for_each(|element| gather("", element, found)),
        _ => {}
    }
}

/// Repeatedly removes what refers only to removed places, until nothing is left or only cycles are.
fn has_circle(references: &HashMap<Cow<'_, str>, Vec<Cow<'_, str>>>) -> bool {
    let mut open: HashMap<&str, usize> = references.iter().map(|(name, to)| (&**name, to.len())).collect();
    let mut from: HashMap<&str, Vec<&str>> = HashMap::new();
    for (name, to) in references {
        to.iter().for_each(|to| from.entry(&**to).or_default().push(&**name));
    }
    let mut done: Vec<&str> = open.iter().filter(|(_, left)| **left == 0).map(|(name, _)| *name).collect();
    let mut closed: HashSet<&str> = HashSet::new();
    while let Some(name) = done.pop() {
        closed.insert(name);
        for referrer in from.get(name).into_iter().flatten() {
            if let Some(left) = open.get_mut(referrer) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    done.push(referrer);
                }
            }
        }
    }
    closed.len() < references.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(schema: &str) -> Option<(String, Vec<&'static str>, bool)> {
        let json = Json::parse(schema.to_owned()).unwrap();
        super::closed(json.raw()).map(|it| (it.schema.get().to_owned(), it.moved, it.narrowed))
    }

    #[test]
    fn limits_move_into_the_description_and_objects_are_closed_everywhere() {
        for (schema, expected, moved) in [
            (
                r#"{"type":"object","properties":{"n":{"type":"integer","minimum":0,"maximum":9,"description":"N"}}}"#,
                r#"{"type":"object","properties":{"n":{"type":"integer","description":"N\n\n{minimum: 0, maximum: 9}"}},"additionalProperties":false}"#,
                vec!["minimum", "maximum"],
            ),
            (
                r##"{"$defs":{"A":{"type":"object","properties":{}}},"anyOf":[{"$ref":"#/$defs/A"},{"type":["object","null"]}]}"##,
                r##"{"$defs":{"A":{"type":"object","properties":{},"additionalProperties":false}},"anyOf":[{"$ref":"#/$defs/A"},{"type":["object","null"],"additionalProperties":false}]}"##,
                vec![],
            ),
            (
                r#"{"type":"array","minItems":1,"maxItems":3,"items":{"properties":{"a":{"const":1}}}}"#,
                r#"{"type":"array","minItems":1,"items":{"properties":{"a":{"const":1}},"additionalProperties":false},"description":"{maxItems: 3}"}"#,
                vec!["maxItems"],
            ),
            (
                r#"{"$schema":"x","oneOf":[{"type":"string","format":"date"},{"type":"string","format":"phone","pattern":"(?=a)"}]}"#,
                r#"{"anyOf":[{"type":"string","format":"date"},{"type":"string","description":"{format: \"phone\", pattern: \"(?=a)\"}"}]}"#,
                vec!["format", "pattern"],
            ),
            // A property may have the same name as a keyword.
            (
                r#"{"type":"object","properties":{"minimum":{"type":"string"}},"additionalProperties":false}"#,
                r#"{"type":"object","properties":{"minimum":{"type":"string"}},"additionalProperties":false}"#,
                vec![],
            ),
        ] {
            assert_eq!(closed(schema), Some((expected.to_owned(), moved, false)), "{schema}");
        }
    }

    #[test]
    fn an_open_map_is_told() {
        for open in ["true", "{}", r#"{"type":"string"}"#] {
            let schema = format!(r#"{{"type":"object","additionalProperties":{open}}}"#);
            let (closed, _, narrowed) = closed(&schema).unwrap();
            assert_eq!(
                (closed.as_str(), narrowed),
                (r#"{"type":"object","additionalProperties":false}"#, true)
            );
        }
    }

    #[test]
    fn what_the_mode_cannot_express_has_no_form() {
        for schema in [
            r##"{"$defs":{"A":{"properties":{"a":{"$ref":"#/$defs/A"}}}},"$ref":"#/$defs/A"}"##,
            r##"{"$defs":{"A":{"$ref":"#/$defs/B"},"B":{"items":{"$ref":"#/$defs/A"}}},"$ref":"#/$defs/A"}"##,
            r##"{"properties":{"a":{"$ref":"#"}}}"##,
            r##"{"$ref":"https://example.com/schema"}"##,
            r#"{"enum":[{"a":1}]}"#,
            "true",
        ] {
            assert_eq!(closed(schema), None, "{schema}");
        }
    }
}
