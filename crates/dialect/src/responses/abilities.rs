//! The abilities of the target's model, from the catalogue's flags or, for a model that it does not list, from its
//! name.

use crate::{
    Target,
    canonical::Effort,
    openai_chat::{Reasoning, Sampling, Traits},
};
use kairosroute_domain::{catalog::Flag, provider::ProviderId};

/// Abilities and limits of one model for one effort.
pub(super) struct Abilities {
    /// It can reason at all.
    pub can_reason: bool,
    /// It will reason for this request.
    pub reasons_now: bool,
    /// `temperature` and `top_p` may be chosen.
    pub samples: bool,
    /// Text may have the marker up to which the prompt is cached.
    pub cache_marks: bool,
    provider: ProviderId,
    version: Option<(u32, u32)>,
    /// Among OpenAI's models, those that cannot turn reasoning off.
    always: bool,
    /// No effort may be stated.
    no_effort: bool,
}

/// Whether it supports only input, instructions, tools, a limit and a schema of Responses.
pub(super) fn is_perplexity_subset(provider: ProviderId) -> bool {
    provider.as_str() == "perplexity"
}

impl Abilities {
    pub fn of(target: &Target<'_>, effort: Option<Effort>) -> Abilities {
        let traits = Traits::of(target.provider, target.upstream_model);
        let effort = effort.map(Effort::as_str);
        let openai = target.provider.as_str() == "openai";
        let can_reason = match target.flags {
            Some(_) => target.has(Flag::Reasoning),
            None if openai => traits.reasoning != Reasoning::Never,
            None => true,
        };
        let version = version(target.upstream_model);
        let fixed = match traits.sampling {
            Sampling::Fixed => true,
            _ => traits.fixes_sampling(effort),
        };
        Abilities {
            can_reason,
            reasons_now: traits.reasons(effort),
            samples: !fixed && !target.has(Flag::NoSampling) && !is_perplexity_subset(target.provider),
            cache_marks: openai && version.is_some_and(|version| version >= (5, 6)),
            provider: target.provider,
            version,
            always: ["gpt-6-astra", "gpt-6.1-sol"].iter().any(|name| target.upstream_model.starts_with(name)),
            no_effort: traits.no_effort,
        }
    }

    /// The closest effort; `None` if there is none.
    pub fn effort(&self, asked: Effort) -> Option<Effort> {
        if !self.can_reason || self.no_effort {
            return None;
        }
        if is_perplexity_subset(self.provider) {
            return match asked {
                Effort::None => None,
                Effort::Max => Some(Effort::XHigh),
                other => Some(other),
            };
        }
        if self.provider.as_str() != "openai" {
            return Some(asked);
        }
        // Models without a number of their own are the older o-series.
        let version = self.version.unwrap_or((0, 0));
        Some(match asked {
            Effort::None if version < (5, 0) || self.always => Effort::Low,
            Effort::None if version == (5, 0) => Effort::Minimal,
            Effort::Minimal if version != (5, 0) => Effort::Low,
            Effort::XHigh | Effort::Max if version < (5, 2) => Effort::High,
            other => other,
        })
    }
}

/// For a `gpt-` model: the two numbers of its version.
fn version(model: &str) -> Option<(u32, u32)> {
    let rest = model.strip_prefix("ft:").unwrap_or(model).strip_prefix("gpt-")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit() && c != '.').next()?.split('.');
    let major = numbers.next()?.parse().ok()?;
    Some((major, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dialect;

    fn abilities(provider: &str, model: &str, effort: Option<Effort>) -> Abilities {
        let target = Target {
            provider: ProviderId::by_id(provider).unwrap(),
            upstream_model: model,
            dialect: Dialect::Responses,
            flags: None,
            output_tokens_max: None,
            seed: "s",
        };
        Abilities::of(&target, effort)
    }

    #[test]
    fn an_effort_a_model_does_not_know_becomes_the_nearest() {
        use Effort::{High, Low, Max, Medium, Minimal, None as No, XHigh};
        for (model, asked, given) in [
            ("gpt-5", No, Some(Minimal)),
            ("gpt-5-mini", Minimal, Some(Minimal)),
            ("gpt-5.1", Minimal, Some(Low)),
            ("gpt-5.1", No, Some(No)),
            ("gpt-5.1", XHigh, Some(High)),
            ("gpt-5.4-pro", Max, Some(Max)),
            ("gpt-6-astra", No, Some(Low)),
            ("gpt-6.1-sol", No, Some(Low)),
            ("o3-pro", No, Some(Low)),
            ("o3-pro", Max, Some(High)),
            ("o3-pro", Medium, Some(Medium)),
            ("gpt-4o", High, None),
        ] {
            assert_eq!(abilities("openai", model, None).effort(asked), given, "{model} {asked:?}");
        }
        assert_eq!(abilities("perplexity", "perplexity/sonar", None).effort(Max), Some(XHigh));
        assert_eq!(abilities("perplexity", "perplexity/sonar", None).effort(No), None);
        assert_eq!(abilities("xai", "grok-4.20-multi-agent", None).effort(Max), None);
        assert_eq!(abilities("xai", "grok-5", None).effort(Max), Some(Max));
    }

    #[test]
    fn names_tell_what_reasons_and_samples() {
        assert!(!abilities("openai", "gpt-4.1", None).can_reason);
        assert!(abilities("openai", "gpt-5.4", None).samples);
        assert!(!abilities("openai", "gpt-5.4", Some(Effort::High)).samples);
        assert!(!abilities("openai", "gpt-5.4", None).cache_marks);
        assert!(abilities("openai", "gpt-5.6-sol", None).cache_marks);
        assert!(!abilities("perplexity", "perplexity/sonar", None).samples);
    }
}
