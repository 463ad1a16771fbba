//! Differences between models of one host in chat, detected from their names: hosts publish these rules by model
//! family, and for a model that is not in the catalogue only the name is known.

use kairosroute_domain::provider::ProviderId;

/// When a model reasons.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reasoning {
    /// Never, or without effect on other fields.
    #[default]
    Never,
    /// Only if `reasoning_effort` requests it.
    OnRequest,
    /// Unless `reasoning_effort` is `none`.
    ByDefault,
}

/// Whether `temperature` and `top_p` may be chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sampling {
    #[default]
    Free,
    /// While the model does not reason.
    FreeWithoutReasoning,
    Fixed,
}

/// Differences of one model from the others of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traits {
    pub reasoning: Reasoning,
    pub sampling: Sampling,
    /// `max_tokens` is refused: send `max_completion_tokens`.
    pub needs_max_completion_tokens: bool,
    /// Penalties are refused.
    pub no_penalties: bool,
    /// `logit_bias` and `prediction` are refused.
    pub no_bias: bool,
    /// `stop` is refused.
    pub no_stop: bool,
    /// Audio output is refused.
    pub no_audio: bool,
    /// `n` above 1 is refused.
    pub single_choice: bool,
    /// `reasoning_effort` is refused.
    pub no_effort: bool,
}

impl Traits {
    /// By the model's name at the provider.
    pub fn of(provider: ProviderId, upstream_model: &str) -> Traits {
        match provider.as_str() {
            "openai" => openai(upstream_model.strip_prefix("ft:").unwrap_or(upstream_model)),
            "xai" => xai(upstream_model),
            "moonshot" if upstream_model.starts_with("kimi-") => Traits {
                sampling: Sampling::Fixed,
                no_penalties: true,
                single_choice: true,
                ..Traits::default()
            },
            _ => Traits::default(),
        }
    }

    /// Whether the model reasons when asked with this effort.
    pub fn reasons(&self, effort: Option<&str>) -> bool {
        match self.reasoning {
            Reasoning::Never => false,
            Reasoning::OnRequest => effort.is_some_and(|effort| effort != "none"),
            Reasoning::ByDefault => effort != Some("none"),
        }
    }

    /// Whether `temperature` and `top_p` must not be sent.
    pub fn fixes_sampling(&self, effort: Option<&str>) -> bool {
        match self.sampling {
            Sampling::Free => false,
            Sampling::FreeWithoutReasoning => self.reasons(effort),
            Sampling::Fixed => true,
        }
    }
}

/// Whether a request to a model of OpenAI's own host must be sent as Responses: models without a chat endpoint, and
/// from gpt-5.4 on function tools while the model reasons, which chat refuses. gpt-5.4 reasons only if requested, later
/// ones unless turned off, and two of them always.
pub fn needs_responses(upstream_model: &str, has_tools: bool, effort: Option<&str>) -> bool {
    let model = upstream_model.strip_prefix("ft:").unwrap_or(upstream_model);
    if only_on_responses(model) {
        return true;
    }
    let Some((major, rest)) = model.strip_prefix("gpt-").and_then(number) else { return false };
    let minor = rest.strip_prefix('.').and_then(number).map_or(0, |(minor, _)| minor);
    let refuses = has_tools && (major, minor) >= (5, 4);
    let always = model.starts_with("gpt-6-astra") || model.starts_with("gpt-6.1-sol");
    refuses && (always || openai(model).reasons(effort))
}

/// Models for long-running work. They have no chat endpoint and no effort `none`.
fn only_on_responses(model: &str) -> bool {
    model.contains("-pro") || model.contains("codex")
}

/// OpenAI's reasoning models: the o-series, and gpt-5 and later.
fn openai(model: &str) -> Traits {
    let reasoner = Traits {
        reasoning: Reasoning::ByDefault,
        sampling: Sampling::FreeWithoutReasoning,
        needs_max_completion_tokens: true,
        no_penalties: true,
        no_bias: true,
        no_stop: true,
        no_audio: true,
        ..Traits::default()
    };
    if let Some(rest) = model.strip_prefix('o') {
        return match number(rest) {
            Some((1, _)) => Traits { no_stop: false, ..reasoner },
            Some(_) => reasoner,
            None => Traits::default(),
        };
    }
    let Some((major, rest)) = model.strip_prefix("gpt-").and_then(number) else {
        return Traits::default();
    };
    if major < 5 {
        return Traits::default();
    }
    let minor = rest.strip_prefix('.').and_then(number).map_or(0, |(minor, _)| minor);
    let reasoning = if model.contains("-chat") {
        Reasoning::Never
    } else if major == 5 && matches!(minor, 1..=4) && !only_on_responses(model) {
        Reasoning::OnRequest
    } else {
        Reasoning::ByDefault
    };
    Traits { reasoning, ..reasoner }
}

/// xAI's, from grok-4 on.
fn xai(model: &str) -> Traits {
    let version = model.strip_prefix("grok-").and_then(number);
    let modern = version.is_some_and(|(major, _)| major >= 4) || model.starts_with("grok-build");
    Traits {
        no_penalties: modern,
        no_stop: modern,
        no_effort: model.starts_with("grok-4.20"),
        ..Traits::default()
    }
}

/// The whole number a text starts with, and the rest.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traits(provider: &str, model: &str) -> Traits {
        Traits::of(ProviderId::by_id(provider).unwrap(), model)
    }

    #[test]
    fn reasoning_models_of_openai_are_told_by_name() {
        for model in
            ["gpt-4o", "gpt-4.1-mini", "gpt-3.5-turbo", "omni-moderation-latest", "gpt-oss-120b", "gpt-", "o"]
        {
            assert_eq!(traits("openai", model), Traits::default(), "{model}");
        }
        for model in [
            "o1",
            "o3-mini",
            "o4-mini",
            "gpt-5",
            "gpt-5-mini",
            "gpt-5.4",
            "gpt-6-astra",
            "gpt-6.1-sol",
            "ft:gpt-5:x",
        ] {
            assert!(traits("openai", model).needs_max_completion_tokens, "{model}");
        }
        assert_eq!(traits("groq", "o3"), Traits::default());
    }

    #[test]
    fn chat_is_left_where_it_refuses_tools_or_the_model() {
        for (model, tools, effort, needed) in [
            ("gpt-4o", true, None, false),
            ("gpt-5.2", true, Some("high"), false),
            ("gpt-5.4-mini", true, None, false),
            ("gpt-5.4-mini", true, Some("low"), true),
            ("gpt-5.5", true, None, true),
            ("gpt-5.5", true, Some("none"), false),
            ("gpt-5.5", false, Some("high"), false),
            ("gpt-5.5-chat-latest", true, None, false),
            ("gpt-6-astra", true, Some("none"), true),
            ("gpt-6.1-sol", false, None, false),
            ("gpt-5.4-pro", false, None, true),
            ("gpt-5.3-codex", false, Some("none"), true),
            ("o3", true, None, false),
        ] {
            assert_eq!(needs_responses(model, tools, effort), needed, "{model} {tools} {effort:?}");
        }
    }

    #[test]
    fn sampling_is_free_while_a_model_does_not_reason() {
        for (model, effort, fixed) in [
            ("gpt-5", None, true),
            ("gpt-5.1", None, false),
            ("gpt-5.2", Some("high"), true),
            ("gpt-5.4-mini", Some("none"), false),
            ("gpt-5.5", None, true),
            ("gpt-5.5", Some("none"), false),
            ("gpt-5-chat-latest", None, false),
            ("gpt-6-astra", None, true),
            ("o3", None, true),
        ] {
            assert_eq!(traits("openai", model).fixes_sampling(effort), fixed, "{model} {effort:?}");
        }
        assert!(traits("moonshot", "kimi-k2.5").fixes_sampling(None));
        assert!(!traits("moonshot", "moonshot-v1-8k").fixes_sampling(None));
    }

    #[test]
    fn newer_grok_models_refuse_stop_and_penalties() {
        assert!(traits("xai", "grok-4.20-fast").no_stop);
        assert!(traits("xai", "grok-4.20-fast").no_effort);
        assert!(traits("xai", "grok-4-1-fast").no_penalties);
        assert!(!traits("xai", "grok-3").no_stop);
    }
}
