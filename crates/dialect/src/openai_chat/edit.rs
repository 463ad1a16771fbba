//! Writes a chat request for one provider: the bytes of every kept value as the client sent them, with the model's name
//! replaced and the differences in the provider's row applied. A hint that the provider refuses is removed and listed;
//! a field that changes the answer is never removed: then the request is not sent to this provider.

use super::{
    fields,
    request::ChatRequest,
    rewrite,
    traits::{Sampling, Traits},
};
use crate::{
    json::{self, Kind, Member, ObjectWriter, Raw},
    target::{Encoded, Reading, Target, Unsupported},
};
use kairosroute_domain::provider::{Field, Quirks};

const GUARDRAILS: &str = "guardrails";

/// The result for one member.
enum Verdict {
    Keep,
    Rename(&'static str),
    /// Another name and value.
    Write(&'static str, Vec<u8>),
    /// Another value.
    Replace(Vec<u8>),
    /// Removed; it requested the default behaviour, or is stated elsewhere.
    Skip,
    /// Removed, and listed for the client.
    Drop(&'static str),
}

/// The facts that decide about all members.
struct Rules<'r, 'a> {
    request: &'r ChatRequest<'a>,
    target: &'r Target<'r>,
    quirks: Quirks,
    traits: Traits,
    /// The model will reason for this request.
    reasons: bool,
    fixed_sampling: bool,
}

impl ChatRequest<'_> {
    /// The body for `target`.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        let traits = Traits::of(target.provider, target.upstream_model);
        let effort = self.reasoning_effort.as_deref();
        let rules = Rules {
            request: self,
            target,
            quirks: target.provider.row().quirks,
            traits,
            reasons: traits.reasons(effort),
            fixed_sampling: traits.fixes_sampling(effort),
        };
        let mut out = ObjectWriter::with_capacity(self.size_bytes.saturating_add(128));
        let mut dropped = Vec::new();
        for member in &self.members {
            match rules.judge(member)? {
                Verdict::Keep => out.raw_key(member.raw_key).extend(member.value.get().as_bytes()),
                Verdict::Rename(name) => out.key(name).extend(member.value.get().as_bytes()),
                Verdict::Write(name, value) => out.key(name).extend(value),
                Verdict::Replace(value) => out.raw_key(member.raw_key).extend(value),
                Verdict::Skip => {}
                Verdict::Drop(name) => dropped.push(name.into()),
            }
        }
        if rules.puts_schema_in_prompt() {
            dropped.push("response_format.json_schema".into());
        }
        if rules.removes_names() {
            dropped.push("messages[].name".into());
        }
        let asked_for_usage = rules.asks_for_usage();
        self.complete(&rules, target, asked_for_usage, &mut out);
        let reading = Reading {
            reasoning_outside_output: rules.quirks.reasoning_outside_output,
            empty_finish_ends_calls: rules.quirks.answers.empty_finish_ends_calls,
            ..Reading::default()
        };
        Ok(Encoded { path: None, body: out.end(), dropped, asked_for_usage, reading })
    }

    /// Adds members that the client did not send and the provider needs.
    fn complete(
        &self,
        rules: &Rules<'_, '_>,
        target: &Target<'_>,
        asks_for_usage: bool,
        out: &mut ObjectWriter,
    ) {
        if self.member("model").is_none() {
            json::push_text(out.key("model"), target.upstream_model);
        }
        if asks_for_usage && self.member("stream_options").is_none() {
            out.key("stream_options").extend(br#"{"include_usage":true}"#);
        }
        if let Some(limit) = target.output_tokens_max
            && rules.quirks.wants_output_limit
            && self.head.output_limit.is_none()
        {
            out.key("max_completion_tokens").extend(limit.to_string().bytes());
        }
    }
}

impl Rules<'_, '_> {
    fn judge(&self, member: &Member<'_>) -> Result<Verdict, Unsupported> {
        let (key, value) = (member.key.as_ref(), member.value);
        if let Some(name) = self.quirks.dropped.iter().find(|name| **name == key) {
            return Ok(Verdict::Drop(name));
        }
        if let Some(name) = self.quirks.refused.iter().find(|name| **name == key) {
            return refuse(name, value);
        }
        if key == GUARDRAILS && !self.quirks.guardrails {
            return refuse(GUARDRAILS, value);
        }
        let Some(name) = fields::static_name(key) else { return Ok(Verdict::Keep) };
        match name {
            "model" => Ok(Verdict::Replace(text(self.target.upstream_model))),
            "messages" => Ok(self.messages(value)),
            "tools" => Ok(self.tools(value)),
            "tool_choice" if self.request.flat_tools => {
                Ok(rewrite::nested_choice(value).map_or(Verdict::Keep, Verdict::Replace))
            }
            "stream_options" => Ok(self.stream_options(value)),
            "max_tokens" | "max_completion_tokens" => Ok(self.output_limit(name)),
            "seed" => Ok(self.renamed(name, self.quirks.seed)),
            "user" => Ok(self.renamed(name, self.quirks.user)),
            "n" if self.request.head.n > 1 && (self.quirks.single_choice || self.traits.single_choice) => {
                Err(Unsupported::field(name))
            }
            "response_format" if self.puts_schema_in_prompt() => match self.schema() {
                Some(_) => Ok(Verdict::Replace(br#"{"type":"json_object"}"#.into())),
                None => Err(Unsupported::field(name)),
            },
            "stop" if self.traits.no_stop => Err(Unsupported::field(name)),
            "audio" | "modalities" if self.traits.no_audio => refuse(name, value),
            "temperature" | "top_p" | "frequency_penalty" | "presence_penalty" | "logit_bias"
            | "prediction" => Ok(self.hint(name, value)),
            "logprobs" | "top_logprobs" => self.logprobs(name, value),
            "reasoning_effort" => Ok(self.effort(name)),
            _ => Ok(Verdict::Keep),
        }
    }

    fn messages(&self, value: Raw<'_>) -> Verdict {
        let edited = rewrite::messages(value, self.target, &self.request.traces);
        let Some(schema) = self.schema().filter(|_| self.puts_schema_in_prompt()) else {
            return edited.map_or(Verdict::Keep, Verdict::Replace);
        };
        let messages = edited.as_deref().unwrap_or(value.get().as_bytes());
        Verdict::Replace(rewrite::with_schema(messages, schema))
    }

    /// The provider supports JSON output, but no schema for it.
    fn puts_schema_in_prompt(&self) -> bool {
        self.quirks.no_json_schema && self.request.head.facts.json_schema
    }

    /// The schema of the requested answer.
    fn schema(&self) -> Option<Raw<'_>> {
        let format = self.request.member("response_format")?.value;
        format.member("json_schema")?.member("schema").filter(|schema| schema.kind() == Kind::Object)
    }

    fn tools(&self, value: Raw<'_>) -> Verdict {
        let nested = self.request.flat_tools.then(|| rewrite::nested_tools(value));
        let nested_raw = nested.as_deref().map(Raw::trimmed);
        let loose = self.quirks.loose_tool_schemas.then(|| rewrite::loose_tools(nested_raw.unwrap_or(value)));
        match (loose.flatten(), nested) {
            (Some(tools), _) => Verdict::Replace(tools),
            (None, Some(tools)) => Verdict::Replace(tools.into_bytes()),
            (None, None) => Verdict::Keep,
        }
    }

    fn hint(&self, name: &'static str, value: Raw<'_>) -> Verdict {
        let refused = match name {
            "temperature" | "top_p" => {
                // Reasoning models accept their default value; other fixed values are the model's own.
                let usual = value.get().parse() == Ok(1.0_f64) && self.traits.sampling != Sampling::Fixed;
                self.fixed_sampling && !usual
            }
            "logit_bias" | "prediction" => self.traits.no_bias,
            _ => self.traits.no_penalties,
        };
        if refused { Verdict::Drop(name) } else { Verdict::Keep }
    }

    fn logprobs(&self, name: &'static str, value: Raw<'_>) -> Result<Verdict, Unsupported> {
        if self.reasons {
            return refuse(name, value);
        }
        if !self.quirks.logprobs_as_count {
            return Ok(Verdict::Keep);
        }
        if name == "top_logprobs" || value.is_idle() {
            return Ok(Verdict::Skip);
        }
        let wanted = self.request.member("top_logprobs").filter(|member| !member.value.is_idle());
        Ok(Verdict::Replace(wanted.map_or("1", |member| member.value.get()).into()))
    }

    fn effort(&self, name: &'static str) -> Verdict {
        // A number or a switch is a format of some hosts, which check it themselves.
        let effort = self.request.reasoning_effort.as_deref();
        if self.traits.no_effort {
            return Verdict::Drop(name);
        }
        if self.quirks.effort_none_as_thinking && effort == Some("none") {
            return match self.request.member("thinking") {
                Some(_) => Verdict::Skip,
                None => Verdict::Write("thinking", br#"{"type":"disabled"}"#.into()),
            };
        }
        let unknown = effort.is_some_and(|effort| !self.quirks.efforts.contains(&effort));
        if unknown && !self.quirks.efforts.is_empty() { Verdict::Drop(name) } else { Verdict::Keep }
    }

    /// Two limits that may not both be sent become one, the smaller, at the place of the first.
    fn output_limit(&self, name: &'static str) -> Verdict {
        let sent_as = |name: &'static str| match name {
            "max_tokens" if self.traits.needs_max_completion_tokens => "max_completion_tokens",
            "max_tokens" => renamed(name, self.quirks.max_tokens),
            _ => renamed(name, self.quirks.max_completion_tokens),
        };
        let limits = ["max_tokens", "max_completion_tokens"];
        let mut present = self
            .request
            .members
            .iter()
            .filter_map(|member| limits.into_iter().find(|name| *name == member.key));
        let (first, second) = (present.next(), present.next());
        let own = sent_as(name);
        let one_only =
            second.is_some() && (self.quirks.one_output_limit || sent_as(limits[0]) == sent_as(limits[1]));
        match self.request.head.output_limit {
            Some(smaller) if one_only => {
                if first == Some(name) {
                    Verdict::Write(own, smaller.to_string().into_bytes())
                } else {
                    Verdict::Skip
                }
            }
            _ if own == name => Verdict::Keep,
            _ => Verdict::Rename(own),
        }
    }

    fn renamed(&self, name: &'static str, field: Field) -> Verdict {
        match field {
            Field::Keep => Verdict::Keep,
            Field::Drop => Verdict::Drop(name),
            // The client already uses the provider's name for it.
            Field::Rename(other) if self.request.member(other).is_some() => Verdict::Skip,
            Field::Rename(other) => Verdict::Rename(other),
        }
    }

    fn asks_for_usage(&self) -> bool {
        self.request.head.stream && !self.request.head.include_usage && self.quirks.stream_options
    }

    fn stream_options(&self, value: Raw<'_>) -> Verdict {
        if !self.quirks.stream_options {
            return Verdict::Skip;
        }
        if !self.asks_for_usage() {
            return Verdict::Keep;
        }
        let mut options = ObjectWriter::new();
        for member in value.members().iter().filter(|member| member.key != "include_usage") {
            options.raw_key(member.raw_key).extend(member.value.get().as_bytes());
        }
        options.key("include_usage").extend(b"true");
        Verdict::Replace(options.end())
    }

    fn removes_names(&self) -> bool {
        rewrite::removes_names(&self.quirks, &self.request.traces)
    }
}

/// A field that changes the answer, unless it requests the default behaviour.
fn refuse(field: &'static str, value: Raw<'_>) -> Result<Verdict, Unsupported> {
    let text_only = || {
        field == "modalities"
            && value.elements().into_iter().all(|modality| modality.text().is_some_and(|text| text == "text"))
    };
    if value.is_idle() || text_only() { Ok(Verdict::Skip) } else { Err(Unsupported::field(field)) }
}

fn renamed(name: &'static str, field: Field) -> &'static str {
    match field {
        Field::Rename(other) => other,
        Field::Keep | Field::Drop => name,
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(2));
    json::push_text(&mut out, text);
    out
}
