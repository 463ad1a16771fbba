//! How much the model should reason, in the form of its generation.

use super::{Writing, format::Shape};
use crate::{
    canonical::{Effort, Thinking},
    json::ObjectWriter,
    messages::abilities::Thinks,
};

/// The minimum budget that is accepted.
const BUDGET_TOKENS_MIN: u64 = 1024;

/// The name of the option when it is left out, in any dialect.
const NAME: &str = "reasoning_effort";

/// The members about reasoning.
pub(super) struct Thought {
    thinking: Said,
    effort: Option<&'static str>,
    /// Whether the model's reasoning should be readable.
    display: Option<&'static str>,
}

#[derive(PartialEq, Eq)]
enum Said {
    Nothing,
    Off,
    BetweenTools,
    Adaptive,
    Budget(u64),
}

const NOTHING: Thought = Thought { thinking: Said::Nothing, effort: None, display: None };

/// `barred`: another part of the request excludes reasoning.
pub(super) fn plan(wish: &Thinking, barred: bool, limit: u64, writing: &mut Writing<'_>) -> Thought {
    let abilities = writing.abilities;
    let display = wish.visible.map(|visible| if visible { "summarized" } else { "omitted" });
    // No budget means no reasoning.
    let effort = wish.effort.or(wish.budget_tokens.filter(|tokens| *tokens == 0).map(Effort::of_budget));
    match (effort, wish.budget_tokens) {
        // It reasons in any case; the option only decides whether the reasoning can be read.
        (None, None) if abilities.thinks_always && display.is_some() && !barred => {
            Thought { thinking: Said::Adaptive, effort: None, display }
        }
        (None, None) => NOTHING,
        (Some(Effort::None), _) => match abilities.thinks {
            Thinks::Never => NOTHING,
            _ if !abilities.thinks_always => Thought { thinking: Said::Off, ..NOTHING },
            _ if abilities.between_tools => Thought { thinking: Said::BetweenTools, ..NOTHING },
            // The minimum.
            _ if barred => Thought { effort: Some("low"), ..NOTHING },
            _ => Thought { thinking: Said::Adaptive, effort: Some("low"), display },
        },
        _ if barred || abilities.thinks == Thinks::Never => {
            writing.drop_named(NAME);
            NOTHING
        }
        (effort, budget) if abilities.thinks == Thinks::Adaptive => {
            let effort = effort.or(budget.map(Effort::of_budget)).unwrap_or(Effort::High);
            let effort = if effort == Effort::Minimal { Effort::Low } else { effort };
            Thought { thinking: Said::Adaptive, effort: Some(effort.as_str()), display }
        }
        (effort, budget) => {
            let budget = budget.unwrap_or_else(|| effort.unwrap_or(Effort::High).budget_tokens());
            let budget = budget.max(BUDGET_TOKENS_MIN);
            let budget = budget.min(limit.saturating_sub(1));
            if budget < BUDGET_TOKENS_MIN {
                writing.drop_named(NAME);
                return NOTHING;
            }
            Thought { thinking: Said::Budget(budget), ..NOTHING }
        }
    }
}

impl Thought {
    /// The model reasons before it answers because the request asks for it.
    pub fn is_on(&self) -> bool {
        matches!(self.thinking, Said::Adaptive | Said::Budget(_))
    }

    pub fn put(&self, shape: &Shape<'_>, out: &mut ObjectWriter) {
        let mut thinking = ObjectWriter::new();
        match self.thinking {
            Said::Nothing => {}
            Said::Off => thinking.text("type", "disabled"),
            Said::BetweenTools => thinking.text("type", "between_tools"),
            Said::Adaptive => thinking.text("type", "adaptive"),
            Said::Budget(tokens) => {
                thinking.text("type", "enabled");
                thinking.raw("budget_tokens", &tokens.to_string());
            }
        }
        if let Some(display) = self.display {
            thinking.text("display", display);
        }
        if self.thinking != Said::Nothing {
            out.key("thinking").extend(thinking.end());
        }
        let mut config = ObjectWriter::new();
        if let Some(effort) = self.effort {
            config.text("effort", effort);
        }
        if let Some(schema) = shape.schema() {
            let mut format = ObjectWriter::new();
            format.text("type", "json_schema");
            format.raw("schema", schema.get());
            config.key("format").extend(format.end());
        }
        if self.effort.is_some() || shape.schema().is_some() {
            out.key("output_config").extend(config.end());
        }
    }
}
