//! The abilities of a model on this wire format: from the catalogue if it lists the model, otherwise from the
//! provider's migration notes of November 2026 about the model's family and version, detected from its name. A name
//! without a version counts as the newest. It does not read the request.

use crate::Target;
use kairosroute_domain::catalog::Flag;

/// How reasoning is requested from a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Thinks {
    Never,
    /// By a budget of tokens.
    Budget,
    /// The model decides; an effort level guides it.
    Adaptive,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Abilities {
    pub thinks: Thinks,
    /// Reasoning cannot be turned off.
    pub thinks_always: bool,
    /// Reasoning can be limited to the time between tool calls.
    pub between_tools: bool,
    /// `temperature` and `top_p` are refused.
    pub no_sampling: bool,
    /// `temperature` and `top_p` are refused together.
    pub one_sampling: bool,
    /// `tool_choice` of `any` and `tool` is refused.
    pub no_forced_tool: bool,
    /// The last message may not be an assistant message.
    pub no_prefill: bool,
    /// Supports `output_config.format`, and `strict` tools.
    pub json_schema: bool,
    /// Accepts messages of role `system` after a user message.
    pub system_turns: bool,
    pub images: bool,
    pub pdf: bool,
}

/// Major and minor.
type Version = (u32, u32);

const NEWEST: Version = (u32::MAX, 0);

impl Abilities {
    pub fn of(target: &Target<'_>) -> Abilities {
        let name = target.upstream_model;
        let Some(at) = name.find("claude") else { return Self::of_stranger(target) };
        let words: Vec<&str> = name.get(at..).unwrap_or_default().split(['-', '.', '@', ':', '_']).collect();
        let version = version(&words);
        let is = |family: &str| words.contains(&family);
        let big = !is("haiku");
        let listed = |flag: Flag, by_name: bool| match target.flags {
            Some(_) => target.has(flag),
            None => by_name,
        };
        Abilities {
            thinks: match version {
                _ if !listed(Flag::Reasoning, version >= (3, 7)) => Thinks::Never,
                (..=3, _) | (4, ..=5) => Thinks::Budget,
                _ => Thinks::Adaptive,
            },
            thinks_always: listed(Flag::ThinkAlways, big && version >= (5, 5) || is("fable") || is("mythos")),
            between_tools: is("sonnet") && version >= (5, 5),
            no_sampling: listed(Flag::NoSampling, version >= (4, 7)),
            one_sampling: version >= (4, 1),
            no_forced_tool: listed(
                Flag::NoForcedTool,
                big && version >= (5, 5) || (is("fable") || is("mythos")) && version >= (5, 1),
            ),
            no_prefill: listed(Flag::NoPrefill, version >= (4, 6)),
            // The catalogue also lists this for models that only follow a forced tool.
            json_schema: version >= (4, 5) && listed(Flag::JsonSchema, true),
            system_turns: is("opus") && version >= (4, 8)
                || (is("fable") || is("mythos")) && version >= (5, 0),
            images: listed(Flag::Vision, true),
            pdf: listed(Flag::Pdf, true),
        }
    }

    /// Whether a turn that continues after tool calls must begin with its own reasoning while reasoning is on.
    pub fn needs_thinking_back(&self) -> bool {
        self.thinks == Thinks::Budget
    }

    /// Another company's model on this wire format: it accepts what the reference of the format states.
    fn of_stranger(target: &Target<'_>) -> Abilities {
        let listed = |flag: Flag| target.flags.is_none() || target.has(flag);
        Abilities {
            thinks: if listed(Flag::Reasoning) { Thinks::Budget } else { Thinks::Never },
            thinks_always: target.has(Flag::ThinkAlways),
            between_tools: false,
            no_sampling: target.has(Flag::NoSampling),
            one_sampling: false,
            no_forced_tool: target.has(Flag::NoForcedTool),
            no_prefill: target.has(Flag::NoPrefill),
            json_schema: false,
            system_turns: false,
            images: listed(Flag::Vision),
            pdf: listed(Flag::Pdf),
        }
    }
}

/// The first number that is not a date, and the one directly after it: `claude-3-5-haiku-20241022`,
/// `claude-sonnet-4-6`, `claude-opus-5`.
fn version(words: &[&str]) -> Version {
    let number = |word: &&str| word.parse::<u32>().ok().filter(|number| *number < 100);
    let Some((at, major)) = words.iter().enumerate().find_map(|(at, word)| Some((at, number(word)?))) else {
        return NEWEST;
    };
    (major, words.get(at.saturating_add(1)).and_then(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kairosroute_domain::{
        catalog::Flags,
        provider::{Dialect, ProviderId},
    };

    fn of(model: &str, flags: Option<Flags>) -> Abilities {
        Abilities::of(&Target {
            provider: ProviderId::by_id("anthropic").unwrap(),
            upstream_model: model,
            dialect: Dialect::Messages,
            flags,
            output_tokens_max: None,
            seed: "1",
        })
    }

    #[test]
    fn versions_are_told_from_names() {
        for (name, expected) in [
            ("claude-3-5-haiku-20241022", (3, 5)),
            ("claude-3-opus-20240229", (3, 0)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-opus-4-1-20250805", (4, 1)),
            ("claude-fable-5-1", (5, 1)),
            ("claude-opus-5", (5, 0)),
            ("claude-mythos-preview", NEWEST),
        ] {
            assert_eq!(version(&name.split('-').collect::<Vec<_>>()), expected, "{name}");
        }
    }

    #[test]
    fn the_catalogue_and_the_names_agree_on_the_families() {
        let catalog = kairosroute_domain::catalog::Catalog::built_in().unwrap();
        let mut seen = 0;
        for model in catalog.models().filter(|model| model.provider.as_str() == "anthropic") {
            let name = model.upstream.as_ref();
            let (by_flags, by_name) = (of(name, Some(model.flags)), of(name, None));
            // The catalogue lists no reasoning for some old models that never had it, and abilities that a name does
            // not show.
            let by_name = Abilities { images: by_flags.images, pdf: by_flags.pdf, ..by_name };
            assert_eq!(by_flags, by_name, "{name}");
            seen += 1;
        }
        assert!(seen > 10);
    }
}
