//! The annotation of an answer that was served on a `byok_api_key`: a member of the body and a cost of zero, which
//! clients of that field read. The rest of the answer is unchanged.

use crate::dialect::json::{self, Kind, Member, ObjectWriter, Raw};

/// How many members of an answer are read.
const MEMBERS_MAX: usize = 1_024;

/// A receipt member followed by the annotation, valid at any position in an object. For streams: their usage, if any,
/// has no cost.
pub fn annotate_receipt_member(mut note: String) -> String {
    note.push_str(r#","byok_api_key":true"#);
    note
}

/// The body with the annotation; unchanged if it is not an object.
pub fn annotate_body(body: Vec<u8>) -> Vec<u8> {
    let Ok(members) = json::read_object(&body, json::DEPTH_LIMIT, MEMBERS_MAX) else { return body };
    let mut out = ObjectWriter::with_capacity(body.len().saturating_add(64));
    let mut usage = false;
    for Member { key, raw_key, value } in &members {
        match key.as_ref() {
            "usage" => {
                usage = true;
                out.raw_key(raw_key).extend(costless(*value));
            }
            "byok_api_key" => {}
            _ => out.raw_key(raw_key).extend_from_slice(value.get().as_bytes()),
        }
    }
    if !usage {
        out.raw("usage", r#"{"cost":0}"#);
    }
    out.raw("byok_api_key", "true");
    out.end()
}

fn costless(usage: Raw<'_>) -> Vec<u8> {
    let mut out = ObjectWriter::with_capacity(usage.len().saturating_add(16));
    if usage.kind() == Kind::Object {
        for Member { key, raw_key, value } in usage.members() {
            if key != "cost" {
                out.raw_key(raw_key).extend_from_slice(value.get().as_bytes());
            }
        }
    }
    out.raw("cost", "0");
    out.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_marked_and_otherwise_as_it_was() {
        for (body, expected) in [
            (
                r#"{"a":"\ud83d","usage":{"t":1.0},"b":1e5}"#,
                r#"{"a":"\ud83d","usage":{"t":1.0,"cost":0},"b":1e5,"byok_api_key":true}"#,
            ),
            (
                r#"{"usage":{"cost":{"total":0.5},"t":1},"byok_api_key":"echo"}"#,
                r#"{"usage":{"t":1,"cost":0},"byok_api_key":true}"#,
            ),
            (r#"{"data":[],"usage":null}"#, r#"{"data":[],"usage":{"cost":0},"byok_api_key":true}"#),
            (r#"{"text":"a"}"#, r#"{"text":"a","usage":{"cost":0},"byok_api_key":true}"#),
            ("just text", "just text"),
            ("[1]", "[1]"),
        ] {
            assert_eq!(String::from_utf8(annotate_body(body.as_bytes().to_vec())).unwrap(), expected);
        }
    }
}
