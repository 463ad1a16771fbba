//! What a provider wants back unchanged with reasoning or a tool call, and whose it is. In answers that we wrote
//! in another dialect a signature travels under a mark of ours that names its maker, so that it goes back only to
//! that provider and model and never to another.

use crate::{Dialect, json::Escaped};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kairosroute_domain::provider::ProviderId;

/// How a marked signature begins.
pub const MARK: &str = "gw1.";

/// A signature as it stands in a client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature<'a> {
    value: Escaped<'a>,
    /// Whose words an unmarked one is in.
    dialect: Dialect,
}

impl<'a> Signature<'a> {
    /// As the client sent it, marked or not; `dialect` is whose own signatures stand in that place unmarked.
    pub fn new(value: Escaped<'a>, dialect: Dialect) -> Self {
        Self { value, dialect }
    }

    /// The bare value, if it was made by this provider and model. An unmarked one counts as made by any speaker
    /// of its dialect.
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

    /// The value under our mark.
    pub fn mark(provider: ProviderId, upstream_model: &str, bare: &Escaped<'_>) -> Escaped<'static> {
        Escaped::from_inner(Self::mark_of(provider, upstream_model) + bare.inner())
    }

    /// What stands before every signature of this maker's under our mark.
    pub fn mark_of(provider: ProviderId, upstream_model: &str) -> String {
        format!("{MARK}{provider}.{}.", URL_SAFE_NO_PAD.encode(upstream_model))
    }
}

/// Maker, model and bare value of a marked signature.
fn unmarked(value: &str) -> Option<(&str, String, &str)> {
    let (provider, rest) = value.strip_prefix(MARK)?.split_once('.')?;
    let (model, bare) = rest.split_once('.')?;
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
    fn an_unmarked_one_belongs_to_the_dialect_it_came_in() {
        let anthropic = ProviderId::by_id("anthropic").unwrap();
        let signature = Signature::new(Escaped::from_inner("EqQB"), Dialect::Messages);
        assert!(signature.bare(anthropic, "claude-sonnet-4-6", Dialect::Messages).is_some());
        assert!(signature.bare(anthropic, "claude-sonnet-4-6", Dialect::Responses).is_none());
    }
}
