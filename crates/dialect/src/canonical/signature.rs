//! Signatures: data that a provider requires back unchanged with reasoning or a tool call. In answers that we write in
//! another dialect, a signature has a tag of ours that names its provider and model, so that it is sent back only to
//! these.

use crate::{Dialect, json::Escaped};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kairosroute_domain::provider::ProviderId;

/// How a tagged signature begins.
pub const MARK: &str = "gw1.";

/// Separates the position in a tag; no model name contains it.
const PLACE: char = '~';
const AFTER_TEXT: char = 't';

/// The position of a block of reasoning in a turn, for dialects that separate such blocks from the content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// Number of calls before it.
    pub calls: usize,
    /// There was text before it.
    pub after_text: bool,
}

/// A signature in a client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature<'a> {
    value: Escaped<'a>,
    /// The dialect of an untagged one.
    dialect: Dialect,
}

impl<'a> Signature<'a> {
    /// As the client sent it, tagged or not; `dialect` is the dialect whose own signatures stand in that place without
    /// a tag.
    pub fn new(value: Escaped<'a>, dialect: Dialect) -> Self {
        Self { value, dialect }
    }

    /// The untagged value, if this provider and model made it. An untagged one counts as made by any provider of its
    /// dialect.
    pub fn bare(&self, provider: ProviderId, upstream_model: &str, dialect: Dialect) -> Option<Escaped<'_>> {
        match unmarked(self.value.inner()) {
            None => (self.dialect == dialect).then(|| self.value.borrowed()),
            Some((maker, model, bare)) => {
                let ours = maker == provider.as_str() && model == upstream_model;
                ours.then(|| Escaped::from_inner(bare))
            }
        }
    }

    /// As the client sent it.
    pub fn value(&self) -> &Escaped<'a> {
        &self.value
    }

    /// The position in its tag; the beginning of the turn if there is none.
    pub fn place(&self) -> Place {
        let mark = self.value.inner().strip_prefix(MARK).and_then(|rest| rest.split('.').nth(1));
        let Some((_, place)) = mark.and_then(|model| model.split_once(PLACE)) else {
            return Place::default();
        };
        let calls = place.strip_suffix(AFTER_TEXT).unwrap_or(place);
        Place { calls: calls.parse().unwrap_or(0), after_text: place.ends_with(AFTER_TEXT) }
    }

    /// The value with our tag and its position.
    pub fn mark_at(
        place: Place,
        provider: ProviderId,
        upstream_model: &str,
        bare: &Escaped<'_>,
    ) -> Escaped<'static> {
        if place == Place::default() {
            return Self::mark(provider, upstream_model, bare);
        }
        let mark = Self::mark_of(provider, upstream_model);
        let mark = mark.strip_suffix('.').unwrap_or(&mark);
        let after_text = if place.after_text { AFTER_TEXT.to_string() } else { String::new() };
        Escaped::from_inner(format!("{mark}{PLACE}{}{after_text}.{}", place.calls, bare.inner()))
    }

    /// The value with our tag.
    pub fn mark(provider: ProviderId, upstream_model: &str, bare: &Escaped<'_>) -> Escaped<'static> {
        Escaped::from_inner(Self::mark_of(provider, upstream_model) + bare.inner())
    }

    /// The prefix of every tagged signature of this provider and model.
    pub fn mark_of(provider: ProviderId, upstream_model: &str) -> String {
        format!("{MARK}{provider}.{}.", URL_SAFE_NO_PAD.encode(upstream_model))
    }
}

/// Provider, model and untagged value of a tagged signature.
fn unmarked(value: &str) -> Option<(&str, String, &str)> {
    let (provider, rest) = value.strip_prefix(MARK)?.split_once('.')?;
    let (model, bare) = rest.split_once('.')?;
    let model = model.split_once(PLACE).map_or(model, |(model, _)| model);
    let model = String::from_utf8(URL_SAFE_NO_PAD.decode(model).ok()?).ok()?;
    Some((provider, model, bare))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_signature_goes_back_to_its_maker_alone() {
        let google = ProviderId::by_id("google").unwrap();
        let openai = ProviderId::by_id("openai").unwrap();
        let bare = Escaped::from_inner("QUJD/+=.x");
        let marked = Signature::mark(google, "gemini-3.8-flash", &bare);
        let signature = Signature::new(marked, Dialect::Messages);
        assert_eq!(signature.bare(google, "gemini-3.8-flash", Dialect::Gemini), Some(bare));
        assert_eq!(signature.bare(google, "gemini-3.8-pro", Dialect::Gemini), None);
        assert_eq!(signature.bare(openai, "gemini-3.8-flash", Dialect::Responses), None);
        assert_eq!(signature.bare(openai, "gemini-3.8-flash", Dialect::Messages), None);
    }

    #[test]
    fn a_mark_may_name_a_place_and_the_maker_gets_the_bare_value() {
        let maker = ProviderId::by_id("anthropic").unwrap();
        let bare = Escaped::from_inner("c2ln~1.=");
        for place in [
            Place::default(),
            Place { calls: 1, after_text: false },
            Place { calls: 0, after_text: true },
            Place { calls: 12, after_text: true },
        ] {
            let marked = Signature::mark_at(place, maker, "claude-sonnet-4-6", &bare);
            let signature = Signature::new(marked, Dialect::Messages);
            assert_eq!(signature.place(), place);
            assert_eq!(signature.bare(maker, "claude-sonnet-4-6", Dialect::Messages), Some(bare.clone()));
        }
        assert_eq!(
            Signature::new(Escaped::from_inner("c2ln~1"), Dialect::Messages).place(),
            Place::default()
        );
    }

    #[test]
    fn an_unmarked_one_belongs_to_the_dialect_it_came_in() {
        let anthropic = ProviderId::by_id("anthropic").unwrap();
        let signature = Signature::new(Escaped::from_inner("EqQB"), Dialect::Messages);
        assert!(signature.bare(anthropic, "claude-sonnet-4-6", Dialect::Messages).is_some());
        assert!(signature.bare(anthropic, "claude-sonnet-4-6", Dialect::Responses).is_none());
    }
}
