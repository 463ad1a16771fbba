//! The service tier of a response that passes through, with OpenAI's names: clients generated from its documents refuse
//! others.

use crate::{
    json::{Cursor, DEPTH_LIMIT, Kind, Member, ObjectWriter, Raw},
    openai_chat::tier,
};

const NAME: &str = "service_tier";

/// The response, or the event that contains one, with a tier that OpenAI knows; `None`: unchanged.
pub fn with_known_tier(json: &[u8]) -> Option<Vec<u8>> {
    memchr::memmem::find(json, NAME.as_bytes())?;
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).ok()?;
    edited(cursor.value().ok()?, true)
}

fn edited(object: Raw<'_>, may_hold_response: bool) -> Option<Vec<u8>> {
    let members = object.members();
    let known = |member: &Member<'_>| match member.key.as_ref() {
        NAME => {
            let word = member.value.text()?;
            let known = tier::of(&word).unwrap_or("default");
            (known != word).then(|| format!("\"{known}\"").into_bytes())
        }
        "response" if may_hold_response && member.value.kind() == Kind::Object => edited(member.value, false),
        _ => None,
    };
    let edits: Vec<Option<Vec<u8>>> = members.iter().map(known).collect();
    if edits.iter().all(Option::is_none) {
        return None;
    }
    let mut out = ObjectWriter::with_capacity(object.len().saturating_add(16));
    for (member, edit) in members.iter().zip(edits) {
        let place = out.raw_key(member.raw_key);
        match edit {
            Some(edit) => place.extend(edit),
            None => place.extend_from_slice(member.value.get().as_bytes()),
        }
    }
    Some(out.end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_put_into_openais_words_where_it_is_no_word_of_its_own() {
        for (json, expected) in [
            (r#"{"id":"r", "service_tier": "on_demand"}"#, Some(r#"{"id":"r","service_tier":"default"}"#)),
            (
                r#"{"type":"response.completed","response":{"n":1.0,"service_tier":"odd"}}"#,
                Some(r#"{"type":"response.completed","response":{"n":1.0,"service_tier":"default"}}"#),
            ),
            (r#"{"response":{"service_tier":"flex"}}"#, None),
            (r#"{"service_tier":null}"#, None),
            (r#"{"output":[{"text":"service_tier"}],"metadata":{"service_tier":"on_demand"}}"#, None),
        ] {
            let edited = with_known_tier(json.as_bytes());
            assert_eq!(edited.map(|bytes| String::from_utf8(bytes).unwrap()).as_deref(), expected, "{json}");
        }
    }
}
