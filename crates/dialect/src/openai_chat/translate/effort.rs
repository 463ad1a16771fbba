//! The reasoning effort of a request in the levels that a model accepts. Hosts publish the levels by model family; an
//! unknown model counts as the newest of its family. From the providers' API references, November 2026.

use super::super::traits::{Reasoning, Traits};
use crate::{
    Target,
    canonical::{Effort, Thinking},
};
use kairosroute_domain::catalog::Flag;

/// The members about reasoning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Say {
    Nothing,
    /// `reasoning_effort`.
    Word(&'static str),
    /// `thinking`, on or off.
    Switch(bool),
    /// The model does not support it; it is listed for the client.
    Dropped,
}

/// The members for the target's model.
pub(super) fn say(thinking: Thinking, target: &Target<'_>) -> Say {
    let by_budget = thinking.budget_tokens.map(Effort::of_budget);
    let Some(effort) = thinking.effort.or(by_budget) else { return Say::Nothing };
    let model = target.upstream_model;
    if !reasons(target) {
        return if effort == Effort::None { Say::Nothing } else { Say::Dropped };
    }
    let words: &[Effort] = match target.provider.as_str() {
        "openai" => openai(model),
        "groq" | "cerebras" if model.contains("gpt-oss") => &[Effort::Low, Effort::Medium, Effort::High],
        "cerebras" => &[Effort::None, Effort::Low, Effort::Medium, Effort::High],
        "mistral" => &[Effort::None, Effort::High],
        "moonshot" if model.starts_with("kimi-k2") => return Say::Switch(effort != Effort::None),
        "moonshot" => &[Effort::Low, Effort::High, Effort::Max],
        _ => return Say::Word(effort.as_str()),
    };
    let words = words.iter().filter(|word| **word != Effort::None || !target.has(Flag::ThinkAlways));
    nearest(effort, words).map_or(Say::Dropped, |word| Say::Word(word.as_str()))
}

/// Whether the model reasons at all: from the catalogue, else from its name.
fn reasons(target: &Target<'_>) -> bool {
    let traits = Traits::of(target.provider, target.upstream_model);
    if traits.no_effort {
        return false;
    }
    match target.provider.as_str() {
        "openai" => traits.reasoning != Reasoning::Never,
        _ => target.flags.is_none_or(|flags| flags.has(Flag::Reasoning)),
    }
}

/// OpenAI's levels changed from version to version of gpt-5.
fn openai(model: &str) -> &'static [Effort] {
    use Effort::{High, Low, Medium, Minimal, None, XHigh};
    match gpt_version(model) {
        Option::None => &[Low, Medium, High],
        Some((5, 0)) => &[Minimal, Low, Medium, High],
        Some((5, 1)) => &[None, Low, Medium, High],
        _ if model.contains("gpt-6-astra") || model.contains("gpt-6.1-sol") => &[Low, Medium, High, XHigh],
        _ => &[None, Low, Medium, High, XHigh],
    }
}

/// `(5, 4)` of `gpt-5.4-mini`.
pub(super) fn gpt_version(model: &str) -> Option<(u32, u32)> {
    let rest = model.strip_prefix("ft:").unwrap_or(model).strip_prefix("gpt-")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (major, minor) = rest.get(..end)?.split_once('.').unwrap_or((rest.get(..end)?, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The level closest to the requested effort, the lower one of two equally close. An effort is never mapped to none,
/// and none is the minimum.
fn nearest<'w>(effort: Effort, words: impl Iterator<Item = &'w Effort>) -> Option<Effort> {
    let rank = |effort: Effort| effort as i8;
    words
        .copied()
        .filter(|word| *word != Effort::None || effort == Effort::None)
        .min_by_key(|word| (rank(*word) - rank(effort)).abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kairosroute_domain::provider::{Dialect, ProviderId};

    fn said(provider: &str, model: &str, effort: Effort) -> Say {
        let thinking = Thinking { effort: Some(effort), ..Thinking::default() };
        say(thinking, &target(provider, model))
    }

    fn target<'t>(provider: &str, upstream_model: &'t str) -> Target<'t> {
        Target {
            provider: ProviderId::by_id(provider).unwrap(),
            upstream_model,
            dialect: Dialect::Chat,
            flags: None,
            output_tokens_max: None,
            seed: "1",
        }
    }

    #[test]
    fn every_family_gets_the_nearest_word_it_takes() {
        for (provider, model, effort, expected) in [
            ("openai", "gpt-5", Effort::None, Say::Word("minimal")),
            ("openai", "gpt-5-mini", Effort::Max, Say::Word("high")),
            ("openai", "gpt-5.1", Effort::Minimal, Say::Word("low")),
            ("openai", "gpt-5.4", Effort::None, Say::Word("none")),
            ("openai", "gpt-5.4", Effort::Max, Say::Word("xhigh")),
            ("openai", "gpt-6-astra", Effort::None, Say::Word("low")),
            ("openai", "o3", Effort::Minimal, Say::Word("low")),
            ("openai", "gpt-4o", Effort::High, Say::Dropped),
            ("openai", "gpt-4o", Effort::None, Say::Nothing),
            ("mistral", "mistral-small-latest", Effort::Low, Say::Word("high")),
            ("deepseek", "deepseek-v4-pro", Effort::Medium, Say::Word("medium")),
            ("moonshot", "kimi-k2.6", Effort::Low, Say::Switch(true)),
            ("moonshot", "kimi-k3", Effort::None, Say::Word("low")),
            ("groq", "openai/gpt-oss-120b", Effort::None, Say::Word("low")),
            ("xai", "grok-4.20-fast", Effort::High, Say::Dropped),
            ("together_ai", "any", Effort::XHigh, Say::Word("xhigh")),
        ] {
            assert_eq!(said(provider, model, effort), expected, "{provider} {model} {effort:?}");
        }
    }

    #[test]
    fn a_budget_becomes_an_effort() {
        for (tokens, word) in
            [(512, "low"), (1024, "low"), (1025, "medium"), (8192, "medium"), (8193, "high")]
        {
            let thinking = Thinking { budget_tokens: Some(tokens), ..Thinking::default() };
            assert_eq!(say(thinking, &target("openai", "gpt-5.4")), Say::Word(word), "{tokens}");
        }
        assert_eq!(say(Thinking::default(), &target("openai", "gpt-5.4")), Say::Nothing);
    }

    #[test]
    fn versions_are_read_from_names() {
        for (model, version) in [
            ("gpt-5", Some((5, 0))),
            ("gpt-5.6-mini", Some((5, 6))),
            ("ft:gpt-6.1-sol", Some((6, 1))),
            ("gpt-4o", Some((4, 0))),
            ("o3", None),
            ("gpt-oss", None),
        ] {
            assert_eq!(gpt_version(model), version, "{model}");
        }
    }
}
