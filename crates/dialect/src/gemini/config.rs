//! The `generationConfig` of a request: limits, sampling, reasoning, the output format.

use super::{
    model::{Model, ThinkingForm},
    request::{Dropped, push_list},
};
use crate::{
    Target, Unsupported,
    canonical::{Effort, Format, Request, Setting, What},
    json::ObjectWriter,
};
use kairosroute_domain::catalog::Flag;

/// The object, if it has any member. Lists the settings that are left out.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    model: &Model<'_>,
    dropped: &mut Dropped,
) -> Result<Option<Vec<u8>>, Unsupported> {
    let mut out = ObjectWriter::new();
    if let Some(limit) = request.output_limit {
        // A model refuses a limit above its longest answer, which it could not reach anyway.
        let limit = target.output_tokens_max.map_or(limit, |max| limit.min(max));
        out.raw("maxOutputTokens", &limit.to_string());
    }
    write_settings(&request.settings, model, &mut out, dropped);
    if !request.stop.is_empty() {
        push_list(out.key("stopSequences"), &request.stop);
    }
    if request.n > 1 {
        out.raw("candidateCount", &request.n.to_string());
    }
    if let Some(logprobs) = request.logprobs {
        out.raw("responseLogprobs", "true");
        if logprobs.top > 0 {
            out.raw("logprobs", &logprobs.top.to_string());
        }
    }
    write_format(request, model, &mut out, dropped)?;
    write_thinking(request, model, &mut out, dropped);
    let written = out.end();
    Ok((written != b"{}").then_some(written))
}

fn write_settings(
    settings: &[Setting<'_>],
    model: &Model<'_>,
    out: &mut ObjectWriter,
    dropped: &mut Dropped,
) {
    let mut said: Vec<What> = Vec::new();
    for setting in settings.iter().filter(|setting| !setting.value.raw().is_null()) {
        let name = match setting.what {
            What::Temperature => "temperature",
            What::TopP => "topP",
            What::TopK => "topK",
            What::Seed => "seed",
            What::FrequencyPenalty => "frequencyPenalty",
            What::PresencePenalty => "presencePenalty",
            // Written at the top of the body.
            What::ServiceTier => continue,
            What::LogitBias
            | What::User
            | What::Metadata
            | What::Store
            | What::PromptCacheKey
            | What::Verbosity
            | What::Native => "",
        };
        let is_taken = match setting.what {
            What::Temperature | What::TopP | What::TopK => model.samples(),
            What::FrequencyPenalty | What::PresencePenalty => !model.is_modern(),
            _ => !name.is_empty(),
        };
        if is_taken && !said.contains(&setting.what) {
            said.push(setting.what);
            out.raw(name, setting.value.get());
        } else {
            dropped.name(setting.name.clone().into_owned());
        }
    }
}

fn write_format(
    request: &Request<'_>,
    model: &Model<'_>,
    out: &mut ObjectWriter,
    dropped: &mut Dropped,
) -> Result<(), Unsupported> {
    if request.format == Format::Text {
        return Ok(());
    }
    if !request.tools.is_empty() && !model.is_modern() {
        return Err(Unsupported::because(
            "response_format",
            ": this model does not take it together with tools",
        ));
    }
    out.text("responseMimeType", "application/json");
    if let Format::JsonSchema { description, schema, .. } = &request.format {
        if model.lacks(Flag::JsonSchema) {
            return Err(Unsupported::field("response_format"));
        }
        // The schema is always strict here, and its name is only a label.
        if description.is_some() {
            dropped.name("response_format.json_schema.description");
        }
        out.raw("responseJsonSchema", schema.get());
    }
    Ok(())
}

fn write_thinking(request: &Request<'_>, model: &Model<'_>, out: &mut ObjectWriter, dropped: &mut Dropped) {
    let asked = request.thinking;
    let mut thinking = ObjectWriter::new();
    match model.thinking() {
        ThinkingForm::Absent => {
            if asked.effort.is_some_and(|effort| effort != Effort::None) {
                dropped.name("reasoning_effort");
            }
            if asked.budget_tokens.is_some_and(|tokens| tokens > 0) {
                dropped.name("thinking");
            }
            return;
        }
        ThinkingForm::Level { from_low } => {
            let level = asked.effort.or(asked.budget_tokens.map(Effort::of_budget));
            if let Some(level) = level.map(|effort| level_of(effort, from_low)) {
                thinking.text("thinkingLevel", level);
            }
        }
        ThinkingForm::Budget { can_be_off, tokens_min, tokens_max } => {
            let budget = asked.budget_tokens.or(asked.effort.map(Effort::budget_tokens));
            if let Some(budget) = budget {
                let is_off = budget == 0 && can_be_off;
                let budget = if is_off { 0 } else { budget.clamp(tokens_min, tokens_max) };
                thinking.raw("thinkingBudget", &budget.to_string());
            }
        }
    }
    if asked.visible == Some(true) {
        thinking.raw("includeThoughts", "true");
    }
    let written = thinking.end();
    if written != b"{}" {
        out.key("thinkingConfig").extend(written);
    }
}

/// Reasoning cannot be turned off in these models; the minimum is used for "none".
fn level_of(effort: Effort, from_low: bool) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal if !from_low => "minimal",
        Effort::None | Effort::Minimal | Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High | Effort::XHigh | Effort::Max => "high",
    }
}
