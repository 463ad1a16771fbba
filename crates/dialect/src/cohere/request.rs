//! Writes a request. A field that the model does not support is refused if it changes the answer, and otherwise left
//! out and listed; schemas, arguments and numbers keep their bytes.

use super::{messages, tools};
use crate::{
    Encoded, Reading, Target, Unsupported,
    canonical::{Effort, Format, Request, Setting, What},
    json::ObjectWriter,
};
use kairosroute_domain::catalog::Flag;
use std::borrow::Cow;

/// Names of fields that were left out, each once.
#[derive(Default)]
pub(super) struct Dropped(Vec<Cow<'static, str>>);

/// Writes `request` for the second version of chat.
pub fn write(request: &Request<'_>, target: &Target<'_>) -> Result<Encoded, Unsupported> {
    let mut dropped = Dropped::default();
    if request.n > 1 {
        return Err(Unsupported::because(
            "n",
            ": this provider returns one answer only; leave it out, or send the request several times",
        ));
    }
    let mut body = ObjectWriter::with_capacity(1024);
    body.text("model", target.upstream_model);
    body.key("messages").extend(messages::write(request, target, &mut dropped)?);
    if request.stream {
        body.raw("stream", "true");
    }
    tools::write(request, target, &mut body, &mut dropped)?;
    write_format(request, target, &mut body, &mut dropped)?;
    if let Some(limit) = request.output_limit {
        // A limit above the model's longest answer is refused, and could not be reached anyway.
        let limit = target.output_tokens_max.map_or(limit, |max| limit.min(max));
        body.raw("max_tokens", &limit.to_string());
    }
    if !request.stop.is_empty() {
        tools::push_list(body.key("stop_sequences"), &request.stop);
    }
    if let Some(logprobs) = request.logprobs {
        if logprobs.top > 0 {
            return Err(Unsupported::because("top_logprobs", ": this provider does not support it"));
        }
        body.raw("logprobs", "true");
    }
    write_settings(&request.settings, target, &mut body, &mut dropped);
    write_thinking(request, target, &mut body, &mut dropped);
    Ok(Encoded {
        path: None,
        body: body.end(),
        dropped: dropped.0,
        asked_for_usage: false,
        reading: Reading { seed: target.seed.to_owned(), ..Reading::default() },
    })
}

impl Dropped {
    pub(super) fn name(&mut self, name: impl Into<Cow<'static, str>>) {
        let name = name.into();
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }
}

/// The catalogue states that the model cannot do this.
pub(super) fn lacks(target: &Target<'_>, flag: Flag) -> bool {
    target.flags.is_some() && !target.has(flag)
}

fn write_format(
    request: &Request<'_>,
    target: &Target<'_>,
    body: &mut ObjectWriter,
    dropped: &mut Dropped,
) -> Result<(), Unsupported> {
    if request.format == Format::Text {
        return Ok(());
    }
    if !request.tools.is_empty() && is_older(target.upstream_model) {
        return Err(Unsupported::because(
            "response_format",
            ": this model does not take it together with tools",
        ));
    }
    let mut format = ObjectWriter::new();
    format.text("type", "json_object");
    if let Format::JsonSchema { description, schema, .. } = &request.format {
        if lacks(target, Flag::JsonSchema) {
            return Err(Unsupported::field("response_format"));
        }
        // The schema is always strict here, and its name is only a label.
        if description.is_some() {
            dropped.name("response_format.json_schema.description");
        }
        format.raw("json_schema", schema.get());
    }
    body.key("response_format").extend(format.end());
    Ok(())
}

/// The generation before Command A.
fn is_older(model: &str) -> bool {
    model.starts_with("command-r") || matches!(model, "command" | "command-light" | "command-nightly")
}

fn write_settings(
    settings: &[Setting<'_>],
    target: &Target<'_>,
    body: &mut ObjectWriter,
    dropped: &mut Dropped,
) {
    let mut said: Vec<What> = Vec::new();
    for setting in settings.iter().filter(|setting| !setting.value.raw().is_null()) {
        let name = match setting.what {
            What::Temperature if !target.has(Flag::NoSampling) => "temperature",
            What::TopP if !target.has(Flag::NoSampling) => "p",
            What::TopK if !target.has(Flag::NoSampling) => "k",
            What::FrequencyPenalty => "frequency_penalty",
            What::PresencePenalty => "presence_penalty",
            What::Seed => "seed",
            // The meaning of an absent value.
            What::ServiceTier
                if matches!(setting.value.raw().text().as_deref(), Some("auto" | "default")) =>
            {
                continue;
            }
            What::Temperature
            | What::TopP
            | What::TopK
            | What::ServiceTier
            | What::LogitBias
            | What::User
            | What::Metadata
            | What::Store
            | What::PromptCacheKey
            | What::Verbosity
            | What::Native => "",
        };
        if name.is_empty() || said.contains(&setting.what) {
            dropped.name(setting.name.clone().into_owned());
        } else {
            said.push(setting.what);
            body.raw(name, setting.value.get());
        }
    }
}

/// Reasoning is on, off, or limited to a number of tokens.
fn write_thinking(
    request: &Request<'_>,
    target: &Target<'_>,
    body: &mut ObjectWriter,
    dropped: &mut Dropped,
) {
    let asked = request.thinking;
    let budget = asked.budget_tokens.or(asked.effort.and_then(budget_of));
    let is_off = budget == Some(0) || (asked.budget_tokens.is_none() && asked.effort == Some(Effort::None));
    if asked.effort.is_none() && budget.is_none() {
        return;
    }
    if lacks(target, Flag::Reasoning) || is_older(target.upstream_model) {
        if !is_off {
            dropped.name(if asked.effort.is_some() { "reasoning_effort" } else { "thinking" });
        }
    } else if is_off {
        body.raw("thinking", r#"{"type":"disabled"}"#);
    } else if let Some(tokens) = budget {
        body.raw("thinking", &format!(r#"{{"type":"enabled","token_budget":{tokens}}}"#));
    } else {
        body.raw("thinking", r#"{"type":"enabled"}"#);
    }
}

/// Less than the model's full reasoning; from high effort on there is no limit.
fn budget_of(effort: Effort) -> Option<u64> {
    (effort > Effort::None && effort < Effort::High).then(|| effort.budget_tokens())
}
