//! The conversation: `contents` with alternating roles user and model, and the system text separate from them. Tool
//! results are in a separate content, all results of one turn together, with the function's name; signatures go back to
//! their position or are left out.

use super::{model::Model, parts, request::Dropped};
use crate::{
    Target, Unsupported,
    canonical::{Part, Request, Role, Signature, Source, ToolCall, ToolResult, Turn},
    json::Escaped,
};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// Both as JSON.
pub(super) struct Conversation {
    /// An array.
    pub contents: Vec<u8>,
    /// A content.
    pub system: Option<Vec<u8>>,
}

/// Replaces the signature of a call that another model made: base64 of `skip_thought_signature_validator`.
pub(super) const STAND_IN: &str = "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=";

struct Writer<'w, 'r> {
    target: &'w Target<'w>,
    model: &'w Model<'w>,
    dropped: &'w mut Dropped,
    /// The contents so far, without the brackets around them.
    out: Vec<u8>,
    /// The role of the open content at the end of `out`.
    open: Option<&'static str>,
    system: Vec<u8>,
    /// Number and name by call id, the latest call of an id counts.
    calls: HashMap<Cow<'r, str>, (usize, &'r Escaped<'r>)>,
    /// Number of calls, including those with a repeated id.
    called: usize,
    /// The user's content since the last model turn.
    results: Vec<Answered<'r>>,
    said: Vec<(Place, &'r Part<'r>)>,
}

/// A result, with the call that it answers.
struct Answered<'r> {
    turn: usize,
    call: usize,
    name: &'r Escaped<'r>,
    result: &'r ToolResult<'r>,
}

/// A place in the request, for error messages.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub turn: usize,
    pub part: usize,
}

impl Place {
    pub(super) fn refuse(self, hint: &'static str) -> Unsupported {
        Unsupported::because(format!("messages[{}].content[{}]", self.turn, self.part), hint)
    }
}

/// Refuses a second result of one call: the provider compares the number of results and calls.
fn check_once(results: &[Answered<'_>]) -> Result<(), Unsupported> {
    let mut answered = HashSet::with_capacity(results.len());
    match results.iter().all(|result| answered.insert(result.call)) {
        true => Ok(()),
        false => Err(Unsupported::because("messages", ": a tool call has more than one result")),
    }
}

/// Writes the turns.
pub(super) fn write(
    request: &Request<'_>,
    target: &Target<'_>,
    model: &Model<'_>,
    dropped: &mut Dropped,
) -> Result<Conversation, Unsupported> {
    let mut writer = Writer {
        target,
        model,
        dropped,
        out: vec![b'['],
        open: None,
        system: Vec::new(),
        calls: HashMap::new(),
        called: 0,
        results: Vec::new(),
        said: Vec::new(),
    };
    for (index, turn) in request.turns.iter().enumerate() {
        writer.turn(index, turn)?;
    }
    writer.end_user()?;
    if writer.open == Some("model") && model.refuses_prefill() {
        return Err(Unsupported::because("messages", ": this model does not continue an assistant message"));
    }
    writer.end_content();
    if writer.out.len() == 1 {
        return Err(Unsupported::because("messages", ": this provider requires a user message"));
    }
    writer.out.push(b']');
    let system = (!writer.system.is_empty()).then(|| [b"{\"parts\":[", &*writer.system, b"]}"].concat());
    Ok(Conversation { contents: writer.out, system })
}

impl<'r> Writer<'_, 'r> {
    fn turn(&mut self, index: usize, turn: &'r Turn<'r>) -> Result<(), Unsupported> {
        if turn.name.is_some() {
            self.dropped.name("messages[].name");
        }
        match turn.role {
            Role::System | Role::Developer => self.system(index, &turn.parts),
            Role::User => self.user(index, &turn.parts),
            Role::Assistant => {
                self.end_user()?;
                self.assistant(index, &turn.parts)
            }
        }
    }

    fn system(&mut self, turn: usize, parts: &'r [Part<'r>]) -> Result<(), Unsupported> {
        for (part, content) in parts.iter().enumerate() {
            let Part::Text { text, cache } = content else {
                return Err(Place { turn, part }.refuse(": system messages must be text"));
            };
            self.note_cache(cache.is_some());
            if !text.is_empty() {
                parts::separate(&mut self.system);
                parts::push_text(&mut self.system, text);
            }
        }
        Ok(())
    }

    fn user(&mut self, turn: usize, parts: &'r [Part<'r>]) -> Result<(), Unsupported> {
        for (part, content) in parts.iter().enumerate() {
            match content {
                Part::ToolResult(result) => {
                    let (call, name) =
                        *self.calls.get(&result.call_id.decode()).ok_or(Unsupported::because(
                            "messages",
                            ": a tool result answers no call of the conversation, and its function's name is needed",
                        ))?;
                    self.results.push(Answered { turn, call, name, result });
                }
                Part::ToolCall(_) | Part::Reasoning(_) => {
                    return Err(Place { turn, part }
                        .refuse(": a user message must not contain tool calls or reasoning"));
                }
                _ => self.said.push((Place { turn, part }, content)),
            }
        }
        Ok(())
    }

    /// Writes the user's content: results first, because they belong to the previous turn.
    fn end_user(&mut self) -> Result<(), Unsupported> {
        let mut results = std::mem::take(&mut self.results);
        check_once(&results)?;
        if !self.model.is_modern() {
            // Without ids, a result belongs to the call at its position.
            results.sort_by_key(|answered| answered.call);
        }
        let mut said = Vec::new();
        if !results.is_empty() {
            self.end_content();
            for Answered { turn, name, result, .. } in results {
                self.result(turn, name, result, &mut said)?;
            }
            self.end_content();
        }
        said.append(&mut self.said);
        for (place, part) in said {
            self.part("user", place, part)?;
        }
        Ok(())
    }

    /// Writes one result. Media that the model does not accept in it are added to `beside`.
    fn result(
        &mut self,
        turn: usize,
        name: &Escaped<'_>,
        result: &'r ToolResult<'r>,
        beside: &mut Vec<(Place, &'r Part<'r>)>,
    ) -> Result<(), Unsupported> {
        self.note_cache(result.cache.is_some());
        let mut text = Escaped::default();
        let mut media = Vec::new();
        for (part, content) in result.content.iter().enumerate() {
            let place = Place { turn, part };
            match content {
                Part::Text { text: more, cache } | Part::File { source: Source::Text(more), cache, .. } => {
                    self.note_cache(cache.is_some());
                    if !text.is_empty() {
                        text.push(&Escaped::from_inner("\\n"));
                    }
                    text.push(more);
                }
                _ if self.model.is_modern() => {
                    parts::separate(&mut media);
                    parts::write_media(content, place, self.target, self.model, self.dropped, &mut media)?;
                }
                _ => beside.push((place, content)),
            }
        }
        self.begin_part("user");
        self.out.extend_from_slice(b"{\"functionResponse\":{");
        if self.model.is_modern() && !result.call_id.is_empty() {
            self.out.extend_from_slice(b"\"id\":");
            result.call_id.push_quoted(&mut self.out);
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"\"name\":");
        name.push_quoted(&mut self.out);
        self.out.extend_from_slice(b",\"response\":");
        parts::push_response(&mut self.out, &text, result.is_error);
        if !media.is_empty() {
            self.out.extend_from_slice(b",\"parts\":[");
            self.out.append(&mut media);
            self.out.push(b']');
        }
        self.out.extend_from_slice(b"}}");
        Ok(())
    }

    fn assistant(&mut self, turn: usize, parts: &'r [Part<'r>]) -> Result<(), Unsupported> {
        let lent = self.find_lent(parts);
        let mut calls = 0usize;
        for (part, content) in parts.iter().enumerate() {
            let place = Place { turn, part };
            match content {
                Part::Reasoning(reasoning) => {
                    let own = reasoning.signature.as_ref().and_then(|signature| self.bare(signature));
                    let is_lent = lent.as_ref().is_some_and(|(from, _)| *from == part);
                    // Reasoning text without our signature is another model's.
                    let Some(own) = own.filter(|_| !(is_lent && reasoning.text.is_empty())) else { continue };
                    self.begin_part("model");
                    let signature = (!is_lent).then_some(&own);
                    parts::push_thought(&mut self.out, &reasoning.text, signature);
                }
                Part::ToolCall(call) => {
                    self.note_cache(call.cache.is_some());
                    let own = call.signature.as_ref().and_then(|signature| self.bare(signature));
                    let signature = match (own, &lent) {
                        (None, Some((_, lent))) if calls == 0 => Some(lent.borrowed()),
                        (None, None) if calls == 0 && self.model.is_modern() => {
                            Some(Escaped::from_inner(STAND_IN))
                        }
                        (own, _) => own,
                    };
                    self.call(turn, calls, call, signature.as_ref())?;
                    calls = calls.saturating_add(1);
                }
                Part::ToolResult(_) => {
                    return Err(place.refuse(": assistant messages must not contain tool results"));
                }
                _ => self.part("model", place, content)?,
            }
        }
        Ok(())
    }

    /// The signature that is missing on the turn's first call and present on the reasoning before it, with the position
    /// of that reasoning.
    fn find_lent(&self, parts: &'r [Part<'r>]) -> Option<(usize, Escaped<'r>)> {
        let first = parts.iter().position(|part| matches!(part, Part::ToolCall(_)))?;
        let Some(Part::ToolCall(call)) = parts.get(first) else { return None };
        if call.signature.as_ref().is_some_and(|signature| self.bare(signature).is_some()) {
            return None;
        }
        parts.iter().enumerate().take(first).rev().find_map(|(at, part)| match part {
            Part::Reasoning(reasoning) => Some((at, self.bare(reasoning.signature.as_ref()?)?)),
            _ => None,
        })
    }

    fn bare<'s>(&self, signature: &'s Signature<'_>) -> Option<Escaped<'s>> {
        let bare = signature.bare(self.target.provider, self.target.upstream_model, self.target.dialect);
        // The value under our tag may be empty: the model did not sign.
        bare.filter(|bare| !bare.is_empty())
    }

    fn call(
        &mut self,
        turn: usize,
        number: usize,
        call: &'r ToolCall<'r>,
        signature: Option<&Escaped<'_>>,
    ) -> Result<(), Unsupported> {
        let arguments = call.object().ok_or_else(|| {
            let path = format!("messages[{turn}].tool_calls[{number}].function.arguments");
            Unsupported::because(path, ": it is no JSON object")
        })?;
        self.called = self.called.saturating_add(1);
        self.calls.insert(call.id.decode(), (self.called, &call.name));
        self.begin_part("model");
        self.out.extend_from_slice(b"{\"functionCall\":{");
        if self.model.is_modern() && !call.id.is_empty() {
            self.out.extend_from_slice(b"\"id\":");
            call.id.push_quoted(&mut self.out);
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"\"name\":");
        call.name.push_quoted(&mut self.out);
        self.out.extend_from_slice(b",\"args\":");
        self.out.extend_from_slice(arguments.get().as_bytes());
        self.out.push(b'}');
        if let Some(signature) = signature {
            self.out.extend_from_slice(b",\"thoughtSignature\":");
            signature.push_quoted(&mut self.out);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Writes text or a medium. An empty text is not written.
    fn part(&mut self, role: &'static str, place: Place, part: &Part<'_>) -> Result<(), Unsupported> {
        match part {
            Part::Text { text, cache } => {
                self.note_cache(cache.is_some());
                if !text.is_empty() {
                    self.begin_part(role);
                    parts::push_text(&mut self.out, text);
                }
            }
            Part::Refusal(text) if text.is_empty() => {}
            Part::Refusal(text) => {
                self.begin_part(role);
                parts::push_text(&mut self.out, text);
            }
            _ => {
                self.begin_part(role);
                parts::write_media(part, place, self.target, self.model, self.dropped, &mut self.out)?;
            }
        }
        Ok(())
    }

    /// Starts a part of this role, in the open content if it has the same role.
    fn begin_part(&mut self, role: &'static str) {
        if self.open == Some(role) {
            self.out.push(b',');
            return;
        }
        self.end_content();
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"{\"role\":\"");
        self.out.extend_from_slice(role.as_bytes());
        self.out.extend_from_slice(b"\",\"parts\":[");
        self.open = Some(role);
    }

    fn end_content(&mut self) {
        if self.open.take().is_some() {
            self.out.extend_from_slice(b"]}");
        }
    }

    fn note_cache(&mut self, is_marked: bool) {
        if is_marked {
            self.dropped.name("cache_control");
        }
    }
}
