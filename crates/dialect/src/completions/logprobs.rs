//! Converts logprobs between the format of completions (parallel lists) and that of chat (a list of tokens); numbers
//! and tokens stay as they were written.

use crate::{
    canonical::Json,
    json::{Escaped, Kind, ObjectWriter, Raw},
};

/// From a completion's lists; `None` if they are empty.
pub(super) fn read(logprobs: Raw<'_>) -> Option<Json<'static>> {
    let list = |key: &str| logprobs.member(key).map(Raw::elements).unwrap_or_default();
    let (numbers, tops) = (list("token_logprobs"), list("top_logprobs"));
    let mut content: Vec<Vec<u8>> = Vec::new();
    for (at, token) in list("tokens").into_iter().enumerate() {
        if token.kind() != Kind::String {
            continue;
        }
        let mut entry = ObjectWriter::new();
        entry.raw("token", token.get());
        entry.raw("logprob", numbers.get(at).map_or("null", |number| number.get()));
        let mut top: Vec<Vec<u8>> = Vec::new();
        for member in tops.get(at).map(|top| top.members()).unwrap_or_default() {
            let mut other = ObjectWriter::new();
            other.raw("token", member.raw_key);
            other.raw("logprob", member.value.get());
            top.push(other.end());
        }
        let list = entry.key("top_logprobs");
        list.push(b'[');
        list.extend(top.join(&b','));
        list.push(b']');
        content.push(entry.end());
    }
    if content.is_empty() {
        return None;
    }
    let content = String::from_utf8(content.join(&b',')).ok()?;
    Some(Json::trusted(format!(r#"{{"content":[{content}]}}"#)))
}

/// As a completion's lists, from pieces in chat's shape; `null` when they hold nothing. `offset` is where the text that
/// they belong to begins, in characters, and is moved behind it.
pub(super) fn write<'l>(pieces: impl IntoIterator<Item = &'l Json<'l>>, offset: &mut u64) -> Vec<u8> {
    let (mut tokens, mut numbers, mut tops, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        for entry in piece.raw().member("content").map(Raw::elements).unwrap_or_default() {
            let Some(token) = entry.member("token").filter(|token| token.kind() == Kind::String) else {
                continue;
            };
            tokens.push(token.get().as_bytes().to_vec());
            numbers.push(entry.member("logprob").map_or("null", Raw::get).as_bytes().to_vec());
            let mut top = ObjectWriter::new();
            for other in entry.member("top_logprobs").map(Raw::elements).unwrap_or_default() {
                if let (Some(token), Some(number)) = (other.member("token"), other.member("logprob"))
                    && token.kind() == Kind::String
                {
                    top.raw_key(token.get()).extend(number.get().as_bytes());
                }
            }
            tops.push(top.end());
            offsets.push(offset.to_string().into_bytes());
            let chars = Escaped::of(token).map_or(0, |text| text.decode().chars().count());
            *offset = offset.saturating_add(u64::try_from(chars).unwrap_or(0));
        }
    }
    if tokens.is_empty() {
        return b"null".to_vec();
    }
    let mut out = ObjectWriter::new();
    let lists =
        [("tokens", tokens), ("token_logprobs", numbers), ("top_logprobs", tops), ("text_offset", offsets)];
    for (key, entries) in lists {
        let list = out.key(key);
        list.push(b'[');
        list.extend(entries.join(&b','));
        list.push(b']');
    }
    out.end()
}
