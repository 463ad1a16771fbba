//! Which host served a conversation last. A host that caches prompts charges less for the part that it has cached, so a
//! change of host costs that part again. In memory, bounded, of this process only; nothing depends on it.

use crate::{dialect::Session, domain::ids::OrgId};
use moka::sync::Cache;
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

/// Maximum conversations.
const SESSIONS_MAX: u64 = 100_000;
/// How long providers cache prompts at least, by their documents: 5 minutes since the last use.
const KEPT: Duration = Duration::from_secs(300);
/// No provider that documents its cache caches prompts below this length.
const CACHED_TOKENS_MIN: u64 = 1_024;

/// Two numbers that identify a conversation: its name, and its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionKey {
    name: u64,
    opening: u64,
}

#[derive(Clone)]
struct LastTurn {
    model: Arc<str>,
    opening: u64,
    prompt_tokens: u64,
}

/// The known facts about the conversation that a request continues.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KnownSession {
    /// The model, with its provider, that served the last turn.
    pub model: Arc<str>,
    /// Tokens of the prompt that the host has cached and may charge less for.
    pub cached_tokens: u64,
}

/// The last turns of conversations.
pub struct Sessions {
    turns: Cache<u64, LastTurn>,
    hasher: RandomState,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            turns: Cache::builder().max_capacity(SESSIONS_MAX).time_to_idle(KEPT).build(),
            hasher: RandomState::new(),
        }
    }
}

impl Sessions {
    /// The key of a conversation of an organization.
    pub fn key(&self, org: OrgId, session: &Session<'_>) -> SessionKey {
        let opening = self.hasher.hash_one((org, &session.opening));
        let name = match &session.id {
            Some(id) => self.hasher.hash_one((org, id.as_ref())),
            None => opening,
        };
        SessionKey { name, opening }
    }

    /// The known facts about the conversation.
    pub fn get(&self, key: SessionKey) -> Option<KnownSession> {
        let last = self.turns.get(&key.name)?;
        // A client may use one name for several conversations: then the host has not cached this prompt.
        let is_read = last.opening == key.opening && last.prompt_tokens >= CACHED_TOKENS_MIN;
        // No host caches a short prompt: then only a client that names its conversation wants the same host.
        let has_name = key.name != key.opening;
        let cached_tokens = if is_read { last.prompt_tokens } else { 0 };
        (is_read || has_name).then_some(KnownSession { model: last.model, cached_tokens })
    }

    /// This model answered a turn.
    pub fn record(&self, key: SessionKey, model: Arc<str>, prompt_tokens: u64) {
        self.turns.insert(key.name, LastTurn { model, opening: key.opening, prompt_tokens });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn session(id: Option<&'static str>, opening: &'static str) -> Session<'static> {
        Session { id: id.map(Into::into), opening: vec![opening] }
    }

    #[test]
    fn the_last_turn_of_a_conversation_is_known_and_nobody_elses() {
        let sessions = Sessions::default();
        let (one, two) = (OrgId(Uuid::from_u128(1)), OrgId(Uuid::from_u128(2)));
        let key = sessions.key(one, &session(None, "hello"));
        assert_eq!(sessions.get(key), None);
        sessions.record(key, "groq/m".into(), 5_000);
        let known = KnownSession { model: "groq/m".into(), cached_tokens: 5_000 };
        assert_eq!(sessions.get(key), Some(known));
        assert_eq!(sessions.get(sessions.key(one, &session(None, "good bye"))), None);
        let short = sessions.key(one, &session(None, "hm"));
        sessions.record(short, "groq/m".into(), 5);
        assert_eq!(sessions.get(short), None, "nothing is kept of so little");
        assert_eq!(sessions.get(sessions.key(two, &session(None, "hello"))), None);
    }

    #[test]
    fn a_name_used_for_another_conversation_keeps_the_host_and_promises_no_cached_prompt() {
        let sessions = Sessions::default();
        let org = OrgId(Uuid::from_u128(1));
        sessions.record(sessions.key(org, &session(Some("s"), "hello")), "groq/m".into(), 5_000);
        let other = sessions.get(sessions.key(org, &session(Some("s"), "good bye"))).unwrap();
        assert_eq!((&*other.model, other.cached_tokens), ("groq/m", 0));
        sessions.record(sessions.key(org, &session(Some("t"), "hello")), "groq/m".into(), 1_000);
        assert_eq!(sessions.get(sessions.key(org, &session(Some("t"), "hello"))).unwrap().cached_tokens, 0);
    }
}
