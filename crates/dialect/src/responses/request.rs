//! A client's Responses request: checked, measured and read into the canonical form in one pass. The members keep their
//! bytes for [`ResponsesRequest::encode`]. Members that only Responses can express are recorded, so that such a request
//! is never translated.

use super::{
    fields,
    items::Conversation,
    members::{self, Members},
    tools::{self, Offered},
};
use crate::{
    Dialect, Head, Invalid, Limits, Unsupported,
    canonical::{self, Effort, Format, Json, Logprobs, Part, Role, Setting, Turn, What},
    json::{Escaped, Kind, Member, Raw},
    shared_account,
};
use std::borrow::Cow;

/// A parsed request.
pub struct ResponsesRequest<'a> {
    pub head: Head<'a>,
    pub(super) canonical: canonical::Request<'a>,
    /// In the client's order; sent to a provider before its differences are applied.
    pub(super) members: Vec<Member<'a>>,
    /// The first field without a meaning in other wire formats.
    pub(super) native: Option<Cow<'static, str>>,
    /// Of the body, for sizing what is written.
    pub(super) size_bytes: usize,
}

/// Parses a Responses request. An error means that it must not be sent to any provider.
pub fn read<'a>(body: &'a [u8], limits: &Limits) -> Result<ResponsesRequest<'a>, Invalid> {
    let Members { kept, own, models } = members::read(body, limits, fields::takes)?;
    let mut reading = Reading {
        head: Head { own, models, ..Head::default() },
        canonical: canonical::Request::default(),
        conversation: Conversation::default(),
        offered: Offered::default(),
        lists_tools: false,
        instructions: None,
        native: None,
    };
    for member in &kept {
        reading.head.note_account_field(|| match fields::takes(&member.key) {
            None => shared_account::undocumented(member, shared_account::RESPONSES),
            Some(_) => shared_account::stores(member),
        });
        reading.member(member, limits)?;
    }
    reading.finish(kept, body.len())
}

impl<'a> ResponsesRequest<'a> {
    /// In the client's order.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The request for other wire formats; an error if it contains what they cannot express.
    pub fn canonical(&self) -> Result<&canonical::Request<'a>, Unsupported> {
        match &self.native {
            None => Ok(&self.canonical),
            Some(field) => {
                Err(Unsupported::because(field.clone(), ": only a provider of Responses understands it"))
            }
        }
    }

    /// The members that an answer repeats.
    pub fn echo(&self) -> String {
        echoed(|key| {
            let member = self.members.iter().find(|member| member.key == key)?;
            match key {
                "tools" => Some(tools::complete(member.value)),
                _ => Some(Cow::Borrowed(member.value.get())),
            }
        })
    }
}

/// The members that an answer repeats, for a request of which nothing is known.
pub(super) fn nothing_echoed() -> String {
    echoed(|_| None)
}

fn echoed<'a>(said: impl Fn(&str) -> Option<Cow<'a, str>>) -> String {
    let mut out = String::with_capacity(256);
    for (name, otherwise) in ECHOED {
        if !out.is_empty() {
            out.push(',');
        }
        let value = said(name);
        out.push_str(&format!("\"{name}\":{}", value.as_deref().unwrap_or(otherwise)));
    }
    out
}

/// The members that a response object repeats from its request, and the value of a field that was not sent.
const ECHOED: &[(&str, &str)] = &[
    ("background", "false"),
    ("frequency_penalty", "0"),
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0"),
    ("previous_response_id", "null"),
    ("prompt_cache_key", "null"),
    ("reasoning", r#"{"effort":null,"summary":null}"#),
    ("safety_identifier", "null"),
    ("store", "false"),
    ("temperature", "1"),
    ("text", r#"{"format":{"type":"text"}}"#),
    ("tool_choice", "\"auto\""),
    ("tools", "[]"),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

struct Reading<'a> {
    head: Head<'a>,
    canonical: canonical::Request<'a>,
    conversation: Conversation<'a>,
    offered: Offered<'a>,
    /// `tools` names at least one.
    lists_tools: bool,
    instructions: Option<Escaped<'a>>,
    native: Option<Cow<'static, str>>,
}

impl<'a> Reading<'a> {
    fn member(&mut self, member: &Member<'a>, limits: &Limits) -> Result<(), Invalid> {
        let value = member.value;
        let (head, canonical) = (&mut self.head, &mut self.canonical);
        match member.key.as_ref() {
            "model" => {}
            "input" => self.conversation.read(value, limits, &mut head.facts)?,
            "instructions" => {
                self.instructions = Escaped::of(value);
                head.facts.add_bytes(value.len());
            }
            "stream" => {
                head.stream = value.get() == "true";
                canonical.stream = head.stream;
            }
            "max_output_tokens" => {
                head.output_limit = value.count();
                canonical.output_limit = value.count();
            }
            "parallel_tool_calls" => canonical.parallel_tools = Some(value.get() == "true"),
            "tools" => {
                head.facts.add_bytes(value.len());
                self.offered.read(value, "tools", limits, &mut head.facts)?;
                self.lists_tools = !value.is_empty();
            }
            "tool_choice" => {
                let (choice, forced) = tools::choice(value)?;
                head.facts.forced_tool = forced;
                canonical.tool_choice = choice;
                if canonical.tool_choice.is_none() {
                    self.refuse_elsewhere("tool_choice");
                }
            }
            "text" => {
                head.facts.add_bytes(value.len());
                self.text(value, limits)?;
            }
            "reasoning" => self.reasoning(value, limits)?,
            "include" => self.include(value),
            "top_logprobs" => {
                let top = value.count().unwrap_or(0);
                if top > 0 {
                    canonical.logprobs = Some(Logprobs { top });
                }
            }
            // Nobody could fetch the answer later, and it could not be billed.
            "background" if value.get() == "true" => {
                let message =
                    "`background` is not supported: an answer is given in the call that asks for it";
                return Err(Invalid::at("background", message.into()));
            }
            "background" => {}
            "previous_response_id" | "conversation" | "prompt" => {
                head.needs_state = true;
                head.note_account_field(|| Some(member.key.to_string()));
                head.facts.add_bytes(value.len());
                self.refuse_elsewhere(match member.key.as_ref() {
                    "conversation" => "conversation",
                    "prompt" => "prompt",
                    _ => "previous_response_id",
                });
            }
            _ => self.setting(member),
        }
        Ok(())
    }

    /// Members that other wire formats may support or not.
    fn setting(&mut self, member: &Member<'a>) {
        let what = match member.key.as_ref() {
            "temperature" => What::Temperature,
            "top_p" => What::TopP,
            "user" | "safety_identifier" => What::User,
            "service_tier" => {
                self.head.service_tier = member.value.text();
                What::ServiceTier
            }
            "metadata" if member.value.is_empty() => return,
            "metadata" => What::Metadata,
            // The default behaviour when nothing is stored, and the padding of streams, request nothing elsewhere.
            "store" if member.value.get() == "false" => return,
            "truncation" if member.value.get() == "\"disabled\"" => return,
            "stream_options" => return,
            "store" => What::Store,
            "prompt_cache_key" => What::PromptCacheKey,
            "max_tool_calls" => {
                self.head.facts.note_search(member.value.count());
                What::Native
            }
            "truncation" | "prompt_cache_retention" | "prompt_cache_options" | "moderation" => What::Native,
            // Searches, further steps and other companies' models, at fees that no answer reports.
            "preset" | "skills" | "max_steps" | "search_parameters" | "web_search_options" => {
                self.head.facts.unpriced_tools = true;
                self.head.fees.add(&member.key, &member.key);
                What::Native
            }
            "context_management" => {
                self.head.facts.note_context_management(member.value);
                What::Native
            }
            _ => {
                self.head.facts.add_bytes(member.value.len());
                What::Native
            }
        };
        self.push(what, member.key.clone(), member.value);
    }

    fn push(&mut self, what: What, name: impl Into<Cow<'a, str>>, value: Raw<'a>) {
        self.canonical.settings.push(Setting { what, name: name.into(), value: Json::of(value) });
    }

    fn text(&mut self, text: Raw<'a>, limits: &Limits) -> Result<(), Invalid> {
        for member in members_of(text, "text", limits)?.into_iter().filter(|member| !member.value.is_null()) {
            match member.key.as_ref() {
                "format" => match tools::format(member.value)? {
                    Some(format) => {
                        self.head.facts.json_schema = matches!(format, Format::JsonSchema { .. });
                        self.canonical.format = format;
                    }
                    None => self.refuse_elsewhere("text.format"),
                },
                "verbosity" => {
                    members::expect(member.value, Kind::String, "text.verbosity")?;
                    self.push(What::Verbosity, "text.verbosity", member.value);
                }
                other => self.push(What::Native, format!("text.{other}"), member.value),
            }
        }
        Ok(())
    }

    fn reasoning(&mut self, reasoning: Raw<'a>, limits: &Limits) -> Result<(), Invalid> {
        for member in
            members_of(reasoning, "reasoning", limits)?.into_iter().filter(|member| !member.value.is_null())
        {
            let name = format!("reasoning.{}", member.key);
            match member.key.as_ref() {
                "effort" => {
                    members::expect(member.value, Kind::String, &name)?;
                    match member.value.text().and_then(|effort| Effort::by_name(&effort)) {
                        Some(effort) => self.canonical.thinking.effort = Some(effort),
                        None => self.push(What::Native, name, member.value),
                    }
                }
                "summary" | "generate_summary" => {
                    members::expect(member.value, Kind::String, &name)?;
                    self.canonical.thinking.visible = Some(true);
                    // Only this dialect has the length of a summary.
                    if member.value.get() != "\"auto\"" {
                        self.push(What::Native, name, member.value);
                    }
                }
                _ => self.push(What::Native, name, member.value),
            }
        }
        Ok(())
    }

    fn include(&mut self, include: Raw<'a>) {
        let mut known = true;
        for wanted in include.elements() {
            match wanted.text().unwrap_or_default().as_ref() {
                // Returned by default.
                "reasoning.encrypted_content" => {}
                "message.output_text.logprobs" => {
                    self.canonical.logprobs.get_or_insert(Logprobs { top: 0 });
                }
                _ => known = false,
            }
        }
        if !known {
            self.push(What::Native, "include", include);
        }
    }

    fn refuse_elsewhere(&mut self, field: &'static str) {
        self.native.get_or_insert(Cow::Borrowed(field));
    }

    fn finish(
        self,
        mut members: Vec<Member<'a>>,
        size_bytes: usize,
    ) -> Result<ResponsesRequest<'a>, Invalid> {
        let Self { mut head, mut canonical, conversation, offered, lists_tools, instructions, native } = self;
        let Conversation {
            turns, native: foreign, needs_state, account_field, offered: added, notes, ..
        } = conversation;
        let has_input = head.facts.messages > 0;
        if !has_input && !head.needs_state {
            let there = members.iter().any(|member| member.key == "input");
            let what = if there { "must not be empty" } else { "is missing" };
            return Err(Invalid::at("input", format!("`input` {what}")));
        }
        head.needs_state |= needs_state;
        head.note_account_field(|| account_field.map(str::to_owned));
        head.facts.wants_logprobs = canonical.logprobs.is_some();
        canonical.turns = turns;
        head.facts.references_stored_objects |= canonical.references_stored_objects();
        head.fees.extend(offered.fees);
        head.fees.extend(added.fees);
        head.facts.unpriced_tools |= !head.fees.is_empty();
        canonical.tools = offered.tools;
        tools::add(&mut canonical.tools, added.tools);
        canonical.settings.extend(notes.into_settings());
        if !lists_tools {
            members.retain(|member| member.key != "tools");
        }
        if let Some(text) = instructions {
            let parts = vec![Part::Text { text, cache: None }];
            canonical.turns.insert(0, Turn { role: Role::System, name: None, parts });
        }
        let native = native.or_else(|| foreign.map(Cow::Owned));
        Ok(ResponsesRequest { head, canonical, members, native, size_bytes })
    }
}

/// The members of an object, up to the maximum.
fn members_of<'a>(object: Raw<'a>, path: &str, limits: &Limits) -> Result<Vec<Member<'a>>, Invalid> {
    members::expect(object, Kind::Object, path)?;
    let members = object.members();
    let most = limits.members_max;
    if members.len() > most {
        return Err(Invalid::at(path, format!("`{path}` may have at most {most} members")));
    }
    Ok(members)
}

/// The dialect of content that only providers of Responses know.
pub(super) const OWN_DIALECT: Dialect = Dialect::Responses;
