//! Determines whether two requests belong to one conversation: hosts cache the prompts of a conversation.

use super::{
    Dialect,
    json::{Raw, read_object},
    request::Limits,
};
use std::borrow::Cow;

/// Bytes of the opening that are compared; two conversations rarely share so long a beginning.
const OPENING_BYTES_MAX: usize = 8_192;
/// Messages among which the first user message is searched.
const MESSAGES_MAX: usize = 8;
/// Bytes of an id that are compared.
const ID_BYTES_MAX: usize = 512;

/// The identity of a conversation.
#[derive(Debug, PartialEq, Eq)]
pub struct Session<'a> {
    /// The client's own name for it: `prompt_cache_key`, `session_id`, else the end user.
    pub id: Option<Cow<'a, str>>,
    /// The JSON text of the instructions and the messages up to the first user message: equal in every request of a
    /// conversation.
    pub opening: Vec<&'a str>,
}

/// Reads them from a parsed request; `None` if it is not a conversation.
pub fn session<'a>(dialect: Dialect, body: &'a [u8], limits: &Limits) -> Option<Session<'a>> {
    let members = read_object(body, limits.depth_max, limits.members_max).ok()?;
    // The last of several members of one name counts, as everywhere.
    let member =
        |name: &str| members.iter().rev().find(|member| member.key == name).map(|member| member.value);
    let id = |name: &str| member(name).and_then(Raw::text).filter(|id| !id.is_empty());
    let end_user = || {
        let metadata = member("metadata").filter(|_| dialect == Dialect::Messages);
        id("user")
            .or_else(|| id("safety_identifier"))
            .or_else(|| metadata?.member("user_id").and_then(Raw::text).filter(|id| !id.is_empty()))
    };
    let id = id("prompt_cache_key").or_else(|| id("session_id")).or_else(end_user).map(cut);
    let mut opening = Vec::new();
    let instructions = match dialect {
        Dialect::Messages => member("system"),
        Dialect::Responses => member("instructions"),
        _ => None,
    };
    opening.extend(instructions.map(Raw::get));
    let turns = match dialect {
        Dialect::Responses => member("input"),
        Dialect::Completions => member("prompt"),
        _ => member("messages"),
    };
    match turns.map(|turns| (turns, turns.elements())) {
        Some((turns, elements)) if elements.is_empty() => opening.push(turns.get()),
        Some((_, elements)) => {
            for turn in elements.into_iter().take(MESSAGES_MAX) {
                opening.push(turn.get());
                if turn.member("role").and_then(Raw::text).as_deref() == Some("user") {
                    break;
                }
            }
        }
        None => return None,
    }
    let mut left = OPENING_BYTES_MAX;
    for piece in &mut opening {
        let most = piece.len().min(left);
        *piece = piece.get(..floor_char_boundary(piece, most)).unwrap_or_default();
        left -= piece.len();
    }
    Some(Session { id, opening })
}

fn cut(id: Cow<'_, str>) -> Cow<'_, str> {
    if id.len() <= ID_BYTES_MAX {
        return id;
    }
    let end = floor_char_boundary(&id, ID_BYTES_MAX);
    Cow::Owned(id.get(..end).unwrap_or_default().to_owned())
}

fn floor_char_boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dialect: Dialect, body: &str) -> Session<'_> {
        session(dialect, body.as_bytes(), &Limits::default()).unwrap()
    }

    #[test]
    fn the_opening_stays_the_same_while_a_conversation_grows() {
        let chat = [
            r#"{"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":"Hi"}],"temperature":1}"#,
            r#"{"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":"Hi"},
                {"role":"assistant","content":"Hello"},{"role":"user","content":"And now?"}]}"#,
        ];
        assert_eq!(read(Dialect::Chat, chat[0]), read(Dialect::Chat, chat[1]));
        let messages = [
            r#"{"system":"S","messages":[{"role":"user","content":"Hi"}]}"#,
            r#"{"system":"S","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"x"}]}"#,
        ];
        assert_eq!(read(Dialect::Messages, messages[0]), read(Dialect::Messages, messages[1]));
        let other = r#"{"system":"T","messages":[{"role":"user","content":"Hi"}]}"#;
        assert_ne!(read(Dialect::Messages, messages[0]), read(Dialect::Messages, other));
        let responses = r#"{"instructions":"S","input":"Hi","prompt_cache_key":"k"}"#;
        let found = read(Dialect::Responses, responses);
        assert_eq!((found.id.as_deref(), found.opening), (Some("k"), vec![r#""S""#, r#""Hi""#]));
    }

    #[test]
    fn the_clients_names_go_in_their_order() {
        for (body, id) in [
            (r#"{"messages":[],"user":"u","session_id":"s","prompt_cache_key":"k"}"#, Some("k")),
            (r#"{"messages":[],"user":"u","session_id":"s"}"#, Some("s")),
            (r#"{"messages":[],"user":"u","safety_identifier":"i"}"#, Some("u")),
            (r#"{"messages":[],"safety_identifier":"i","session_id":""}"#, Some("i")),
            (r#"{"messages":[],"session_id":7}"#, None),
        ] {
            assert_eq!(read(Dialect::Chat, body).id.as_deref(), id, "{body}");
        }
        let metadata = r#"{"messages":[],"metadata":{"user_id":"m"}}"#;
        assert_eq!(read(Dialect::Messages, metadata).id.as_deref(), Some("m"));
        assert_eq!(read(Dialect::Chat, metadata).id, None);
    }

    #[test]
    fn long_openings_and_names_are_cut_at_a_character() {
        let body = format!(
            r#"{{"user":"{}","messages":[{{"role":"user","content":"{}"}}]}}"#,
            "é".repeat(900),
            "é".repeat(9_000)
        );
        let found = read(Dialect::Chat, &body);
        assert_eq!(found.id.unwrap().len(), ID_BYTES_MAX);
        assert!(found.opening[0].len() <= OPENING_BYTES_MAX);
        assert!(session(Dialect::Chat, b"{}", &Limits::default()).is_none());
    }
}
