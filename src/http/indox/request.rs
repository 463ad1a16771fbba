//! Converts the differences of indoxhub's requests to OpenAI's format. A body that cannot be read is unchanged: the
//! reader after it reports the error.

use crate::{
    dialect::{
        Limits,
        json::{self, Kind as Json, Member, ObjectWriter},
        kinds::spread_list,
    },
    domain::kind::Kind,
};
use actix_web::web::Bytes;

/// A body in the format that the kind's reader knows.
pub(super) fn rewrite(kind: Kind, content_type: &str, body: Bytes) -> Bytes {
    let rewritten = match kind {
        Kind::Transcription => spread_list(content_type, &body, "timestamp_granularities"),
        Kind::Conversation(_) => without_stream_options(&body),
        _ => None,
    };
    rewritten.map_or(body, Bytes::from)
}

/// The client fails on the usage chunk, which has no choices: the gateway must not request it, wherever the option is.
fn without_stream_options(body: &[u8]) -> Option<Vec<u8>> {
    let limits = Limits::default();
    let members = json::read_object(body, json::DEPTH_LIMIT, limits.members_max).ok()?;
    if !members.iter().any(asks_usage) {
        return None;
    }
    let mut out = ObjectWriter::with_capacity(body.len());
    for member in members.iter().filter(|member| member.key != STREAM_OPTIONS) {
        match asks_usage(member) {
            false => out.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes()),
            true => {
                let mut inner = ObjectWriter::new();
                for member in member.value.members().iter().filter(|member| member.key != STREAM_OPTIONS) {
                    inner.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes());
                }
                out.raw_key(member.raw_key).extend_from_slice(&inner.end());
            }
        }
    }
    Some(out.end())
}

const STREAM_OPTIONS: &str = "stream_options";

fn asks_usage(member: &Member<'_>) -> bool {
    let is_wrapper = member.key == "additional_params" && member.value.kind() == Json::Object;
    member.key == STREAM_OPTIONS || is_wrapper && member.value.member(STREAM_OPTIONS).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::provider::Dialect;
    use proptest::prelude::*;

    const CHAT: Kind = Kind::Conversation(Dialect::Chat);

    fn rewritten(kind: Kind, content_type: &str, body: &str) -> String {
        let body = rewrite(kind, content_type, Bytes::copy_from_slice(body.as_bytes()));
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn the_usage_chunk_is_never_asked_for_and_all_else_stays_byte_for_byte() {
        for (sent, left) in [
            (r#"{"a" : 1.0,"stream_options":{"include_usage":true}}"#, r#"{"a":1.0}"#),
            (
                r#"{"additional_params":{"stream_options":{},"x":1e5,"\u0061":"\ud83d"},"b":[ ]}"#,
                r#"{"additional_params":{"x":1e5,"\u0061":"\ud83d"},"b":[ ]}"#,
            ),
            (r#"{ "additional_params" : {} }"#, r#"{ "additional_params" : {} }"#),
            (r#"{"additional_params":"stream_options"}"#, r#"{"additional_params":"stream_options"}"#),
            ("[not json", "[not json"),
        ] {
            assert_eq!(rewritten(CHAT, "application/json", sent), left);
        }
    }

    #[test]
    fn a_list_in_one_field_of_a_form_becomes_one_field_for_each() {
        let form = |fields: &str| {
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx\r\n{fields}--b--\r\n"
            )
        };
        let field = |name: &str, text: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
        };
        let name = "timestamp_granularities";
        let told = "multipart/form-data; boundary=b";
        let sent = form(&field(name, r#"["word", "segment"]"#));
        let each =
            format!("{}{}", field(&format!("{name}[]"), "word"), field(&format!("{name}[]"), "segment"));
        assert_eq!(rewritten(Kind::Transcription, told, &sent), form(&each));
        for kept in ["word", r#"["a\r\nb"]"#, "[1]"] {
            let sent = form(&field(name, kept));
            assert_eq!(rewritten(Kind::Transcription, told, &sent), sent);
        }
    }

    proptest! {
        #[test]
        fn any_body_is_rewritten_without_a_panic(body in ".{0,200}", form: bool) {
            let kind = if form { Kind::Transcription } else { CHAT };
            rewrite(kind, "multipart/form-data; boundary=b", Bytes::from(body));
        }
    }
}
