//! A completion request: checked, measured, read into the canonical form, and written for hosts that have the endpoint.

use crate::{
    Dialect, Encoded, Head, Invalid, Limits, Reading, Target, Unsupported,
    canonical::{self, Json, Logprobs, Part, Role, Setting, Turn, What},
    json::{Escaped, Kind, Member, ObjectWriter, Raw, push_text},
    openai_chat::{fields::Rule, request::include_usage},
    responses::members::{self, Members, Takes},
    shared_account,
};
use kairosroute_domain::provider::{Field, Quirks};
use std::borrow::Cow;

/// OpenAI's API reference of November 2026, completions.
const FIELDS: &[(&str, Takes)] = &[
    ("model", Takes::Plain(Rule::Model)),
    ("prompt", Takes::Own),
    ("suffix", Takes::Plain(Rule::Text)),
    ("echo", Takes::Plain(Rule::Flag)),
    ("best_of", Takes::Plain(Rule::Count(0, 20))),
    ("n", Takes::Plain(Rule::Count(1, 128))),
    ("max_tokens", Takes::Plain(Rule::Count(0, u64::MAX))),
    ("temperature", Takes::Plain(Rule::Number(0, 2))),
    ("top_p", Takes::Plain(Rule::Number(0, 1))),
    ("stop", Takes::Plain(Rule::Stop)),
    ("seed", Takes::Plain(Rule::Integer)),
    ("frequency_penalty", Takes::Plain(Rule::Number(-2, 2))),
    ("presence_penalty", Takes::Plain(Rule::Number(-2, 2))),
    ("logit_bias", Takes::Plain(Rule::Object)),
    ("logprobs", Takes::Plain(Rule::Count(0, 20))),
    ("stream", Takes::Plain(Rule::Flag)),
    ("stream_options", Takes::Own),
    ("user", Takes::Plain(Rule::Text)),
];

/// What a provider adds around a prompt, in bytes, so that the bytes stay above the tokens.
const PROMPT_OVERHEAD_BYTES: usize = 8;

/// A parsed request.
pub struct CompletionsRequest<'a> {
    pub head: Head<'a>,
    canonical: canonical::Request<'a>,
    /// In the client's order; sent to a provider before its differences are applied.
    members: Vec<Member<'a>>,
    /// The first field that no conversation has, and the reason.
    native: Option<Native>,
    /// Of the body, for sizing what is written.
    size_bytes: usize,
}

#[derive(Clone, Copy)]
struct Native {
    field: &'static str,
    hint: &'static str,
}

/// Parses a completion request. An error means that it must not be sent to any provider.
pub fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<CompletionsRequest<'a>, Invalid> {
    let takes = |name: &str| FIELDS.iter().find(|(field, _)| *field == name).map(|(_, takes)| *takes);
    let Members { kept, own, models } = members::read(body, limits, takes)?;
    let mut request = CompletionsRequest {
        head: Head { own, models, ..Head::default() },
        canonical: canonical::Request::default(),
        members: Vec::new(),
        native: None,
        size_bytes: body.len(),
    };
    let mut prompts = 0;
    for member in &kept {
        if takes(&member.key).is_none() {
            request
                .head
                .note_account_field(|| shared_account::undocumented(member, shared_account::COMPLETIONS));
        }
        if member.key == "prompt" {
            prompts = request.prompt(member.value, limits)?;
        } else {
            request.member(member)?;
        }
    }
    if prompts == 0 {
        return Err(Invalid::at("prompt", "`prompt` is missing".into()));
    }
    request.head.n = request.canonical.n.max(1).saturating_mul(prompts);
    let best_of = kept.iter().find(|member| member.key == "best_of").and_then(|member| member.value.count());
    request.head.drafts = best_of.unwrap_or(0).saturating_mul(prompts);
    let asks = |member: &Member<'a>| !(member.key == "stop" && member.value.is_empty());
    request.members = kept.into_iter().filter(asks).collect();
    Ok(request)
}

impl<'a> CompletionsRequest<'a> {
    /// In the client's order.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The request as one turn of a conversation; an error if it needs something that no conversation has.
    pub fn canonical(&self) -> Result<&canonical::Request<'a>, Unsupported> {
        match self.native {
            None => Ok(&self.canonical),
            Some(Native { field, hint }) => Err(Unsupported::because(field, hint)),
        }
    }

    /// The body for `target`, which also supports completions.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        let quirks = target.provider.row().quirks;
        let mut out = ObjectWriter::with_capacity(self.size_bytes.saturating_add(64));
        let mut dropped: Vec<Cow<'static, str>> = Vec::new();
        let asked_for_usage = self.head.stream && !self.head.include_usage && quirks.stream_options;
        for Member { key, raw_key, value } in &self.members {
            let name = match key.as_ref() {
                "seed" => renamed("seed", quirks.seed),
                "user" => renamed("user", quirks.user),
                other => hint(other, &quirks).map_or(Some(other), |_| None),
            };
            match name {
                None => dropped.push(key.clone().into_owned().into()),
                Some("model") => push_text(out.raw_key(raw_key), target.upstream_model),
                Some("stream_options") if asked_for_usage || !quirks.stream_options => {}
                Some("prompt") if quirks.one_prompt => {
                    let prompt = single(*value).ok_or(ONE_PROMPT)?;
                    out.raw_key(raw_key).extend(prompt.get().as_bytes());
                }
                Some(same) if same == key => out.raw_key(raw_key).extend(value.get().as_bytes()),
                Some(other) => out.raw(other, value.get()),
            }
        }
        self.complete(target, asked_for_usage, &mut out);
        let reading = Reading {
            seed: target.seed.to_owned(),
            reasoning_outside_output: quirks.reasoning_outside_output,
            ..Reading::default()
        };
        let path = target.provider.path(Dialect::Completions).map(Cow::Borrowed);
        Ok(Encoded { path, body: out.end(), dropped, asked_for_usage, reading })
    }

    /// Adds members that the client did not send and the provider or billing needs.
    fn complete(&self, target: &Target<'_>, asks_for_usage: bool, out: &mut ObjectWriter) {
        if !self.members.iter().any(|member| member.key == "model") {
            push_text(out.key("model"), target.upstream_model);
        }
        if asks_for_usage {
            let said = self.members.iter().find(|member| member.key == "stream_options");
            let mut options = ObjectWriter::new();
            for member in said.map(|member| member.value.members()).unwrap_or_default() {
                if member.key != "include_usage" {
                    options.raw_key(member.raw_key).extend(member.value.get().as_bytes());
                }
            }
            options.raw("include_usage", "true");
            out.key("stream_options").extend(options.end());
        }
        if let Some(limit) = target.output_tokens_max
            && target.provider.row().quirks.wants_output_limit
            && self.head.output_limit.is_none()
        {
            out.key("max_tokens").extend(limit.to_string().bytes());
        }
    }

    /// Reads the prompt; returns the number of prompts.
    fn prompt(&mut self, prompt: Raw<'a>, limits: &Limits) -> Result<u64, Invalid> {
        self.head.facts.add_bytes(prompt.len().saturating_add(PROMPT_OVERHEAD_BYTES));
        self.head.facts.messages = 1;
        let text = match prompt.kind() {
            Kind::String => prompt,
            Kind::Array => match self.prompts(prompt, limits)? {
                (1, Some(text)) => text,
                (count, _) => return Ok(count),
            },
            kind => return Err(Invalid::kind("prompt", "a string or an array".into(), kind)),
        };
        let text = Escaped::of(text).unwrap_or_default();
        let parts = vec![Part::Text { text, cache: None }];
        self.canonical.turns.push(Turn { role: Role::User, name: None, parts });
        Ok(1)
    }

    /// Texts, one prompt as tokens, or several of those; returns the only text if there is one.
    fn prompts(&mut self, list: Raw<'a>, limits: &Limits) -> Result<(u64, Option<Raw<'a>>), Invalid> {
        let elements = list.elements();
        let first = elements.first().copied();
        let kind = first.map_or(Kind::Null, Raw::kind);
        let fits = matches!(kind, Kind::String | Kind::Number | Kind::Array);
        let other = elements.iter().position(|element| element.kind() != kind);
        if let Some(at) = other.or((!fits).then_some(0)) {
            let param = if first.is_none() { "prompt".to_owned() } else { format!("prompt[{at}]") };
            let message = format!("`{param}` must be text, or tokens throughout, and at least one");
            return Err(Invalid::at(&param, message));
        }
        if kind != Kind::String {
            self.only_here("prompt", ": token ids belong to one model, send text");
        }
        let count = if kind == Kind::Number { 1 } else { elements.len() };
        if kind == Kind::String && count > 1 {
            self.only_here("prompt", ONE_PROMPT_HINT);
        }
        if count > limits.messages_max {
            let most = limits.messages_max;
            return Err(Invalid::at("prompt", format!("`prompt` may have at most {most} entries")));
        }
        Ok((u64::try_from(count).unwrap_or(u64::MAX), first.filter(|_| kind == Kind::String)))
    }

    fn member(&mut self, member: &Member<'a>) -> Result<(), Invalid> {
        let value = member.value;
        let (head, canonical) = (&mut self.head, &mut self.canonical);
        match member.key.as_ref() {
            "model" => {}
            "suffix" => {
                head.facts.add_bytes(value.len());
                if !value.is_idle() {
                    self.only_here("suffix", ": only the completions endpoint takes it");
                }
            }
            "echo" if value.get() == "true" => {
                self.only_here("echo", ": only the completions endpoint takes it")
            }
            "best_of" if value.count().unwrap_or(0) > 1 => {
                self.only_here("best_of", ": only the completions endpoint takes it");
            }
            "echo" | "best_of" => {}
            "n" => canonical.n = value.count().unwrap_or(1),
            "max_tokens" => {
                head.output_limit = value.count();
                canonical.output_limit = value.count();
            }
            "stop" => {
                let list = if value.kind() == Kind::Array { value.elements() } else { vec![value] };
                canonical.stop = list.into_iter().filter_map(Escaped::of).collect();
            }
            "logprobs" => {
                head.facts.wants_logprobs = true;
                canonical.logprobs = value.count().map(|top| Logprobs { top });
            }
            "stream" => {
                head.stream = value.get() == "true";
                canonical.stream = head.stream;
            }
            "stream_options" => head.include_usage = include_usage(&mut value.cursor())?,
            "service_tier" => {
                head.service_tier = value.text();
                self.setting(What::ServiceTier, member);
            }
            "temperature" => self.setting(What::Temperature, member),
            "top_p" => self.setting(What::TopP, member),
            "top_k" => self.setting(What::TopK, member),
            "frequency_penalty" => self.setting(What::FrequencyPenalty, member),
            "presence_penalty" => self.setting(What::PresencePenalty, member),
            "seed" => self.setting(What::Seed, member),
            "logit_bias" => self.setting(What::LogitBias, member),
            "user" => self.setting(What::User, member),
            _ => {
                head.facts.add_bytes(value.len());
                self.setting(What::Native, member);
            }
        }
        Ok(())
    }

    fn setting(&mut self, what: What, member: &Member<'a>) {
        let setting = Setting { what, name: member.key.clone(), value: Json::of(member.value) };
        self.canonical.settings.push(setting);
    }

    fn only_here(&mut self, field: &'static str, hint: &'static str) {
        self.native.get_or_insert(Native { field, hint });
    }
}

const ONE_PROMPT_HINT: &str = ": it takes one prompt";
const ONE_PROMPT: Unsupported =
    Unsupported { field: Cow::Borrowed("prompt"), hint: Cow::Borrowed(ONE_PROMPT_HINT), tool_type: None };

/// The only text of a prompt.
fn single(prompt: Raw<'_>) -> Option<Raw<'_>> {
    if prompt.kind() == Kind::String {
        return Some(prompt);
    }
    match prompt.elements().as_slice() {
        [one] if one.kind() == Kind::String => Some(*one),
        _ => None,
    }
}

/// The provider's name for a field; `None` if it does not support it.
fn renamed(name: &'static str, field: Field) -> Option<&'static str> {
    match field {
        Field::Keep => Some(name),
        Field::Rename(other) => Some(other),
        Field::Drop => None,
    }
}

/// Whether the provider refuses this hint.
fn hint<'q>(name: &str, quirks: &Quirks) -> Option<&'q str> {
    quirks.dropped.iter().find(|dropped| **dropped == name).copied()
}
