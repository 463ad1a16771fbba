//! The abilities of a Gemini model: from the catalogue if it lists the model, otherwise from the model's name. A name
//! without a generation, such as `gemini-flash-latest`, counts as the newest.

use crate::Target;
use kairosroute_domain::catalog::Flag;

/// Major and minor number behind `gemini-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Generation(u32, u32);

/// How the reasoning effort of a model is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ThinkingForm {
    /// By level. `from_low`: the larger models have no level below `low`.
    Level { from_low: bool },
    /// By tokens, between two limits that the model enforces; 0 turns reasoning off where that is possible.
    Budget { can_be_off: bool, tokens_min: u64, tokens_max: u64 },
    /// Not at all.
    Absent,
}

/// A model, with the properties that the wire format needs.
#[derive(Clone, Copy)]
pub(super) struct Model<'t> {
    target: &'t Target<'t>,
    generation: Generation,
}

const NEWEST: Generation = Generation(u32::MAX, u32::MAX);
const SECOND_AND_A_HALF: Generation = Generation(2, 5);
const THIRD: Generation = Generation(3, 0);
/// From here on sampling settings have no effect.
const WITHOUT_SAMPLING: Generation = Generation(3, 6);

impl<'t> Model<'t> {
    pub(super) fn of(target: &'t Target<'t>) -> Self {
        Self { target, generation: Generation::of(target.upstream_model) }
    }

    /// Third generation or later: calls have ids and must include their signature, results may contain media, an output
    /// format may be combined with tools; penalties do not exist.
    pub(super) fn is_modern(&self) -> bool {
        self.generation >= THIRD
    }

    /// The catalogue states that the model cannot do this.
    pub(super) fn lacks(&self, flag: Flag) -> bool {
        self.target.flags.is_some() && !self.target.has(flag)
    }

    /// A tool call cannot be required.
    pub(super) fn refuses_force(&self) -> bool {
        self.target.has(Flag::NoForcedTool)
    }

    /// The conversation may not end with a turn of the model.
    pub(super) fn refuses_prefill(&self) -> bool {
        self.target.has(Flag::NoPrefill)
    }

    /// Whether temperature and related settings have an effect.
    pub(super) fn samples(&self) -> bool {
        match self.target.flags {
            Some(flags) => !flags.has(Flag::NoSampling),
            None => {
                self.generation < WITHOUT_SAMPLING
                    && !self.target.upstream_model.starts_with("gemini-3.5-flash-lite")
            }
        }
    }

    pub(super) fn thinking(&self) -> ThinkingForm {
        let is_called = |name: &str| self.target.upstream_model.split('-').any(|word| word == name);
        let is_pro = is_called("pro");
        if self.lacks(Flag::Reasoning) || self.generation < SECOND_AND_A_HALF {
            ThinkingForm::Absent
        } else if self.is_modern() {
            ThinkingForm::Level { from_low: is_pro }
        } else {
            let (tokens_min, tokens_max) = match () {
                () if is_pro => (128, 32_768),
                () if is_called("lite") => (512, 24_576),
                () => (1, 24_576),
            };
            ThinkingForm::Budget { can_be_off: !is_pro, tokens_min, tokens_max }
        }
    }
}

impl Generation {
    fn of(model: &str) -> Generation {
        let number = |text: &str| text.parse::<u32>().ok();
        let word = model.strip_prefix("gemini-").and_then(|rest| rest.split('-').next());
        let parsed = word.and_then(|word| match word.split_once('.') {
            Some((major, minor)) => Some(Generation(number(major)?, number(minor)?)),
            None => Some(Generation(number(word)?, 0)),
        });
        parsed.unwrap_or(NEWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_read_from_the_name_and_unknown_ones_are_the_newest() {
        for (name, expected) in [
            ("gemini-2.5-pro", Generation(2, 5)),
            ("gemini-3-flash-preview", THIRD),
            ("gemini-3.8-flash", Generation(3, 8)),
            ("gemini-4-argon", Generation(4, 0)),
            ("gemini-flash-latest", NEWEST),
            ("gemini-nano-banana-2.1", NEWEST),
            ("gemini-3.x-flash", NEWEST),
            ("gemini-", NEWEST),
            ("gemma-3-27b-it", NEWEST),
            ("", NEWEST),
        ] {
            assert_eq!(Generation::of(name), expected, "{name}");
        }
    }
}
