//! The turns in this wire format: system text separate, user and assistant alternating, the results of an assistant's
//! calls first in the message after it. An inconsistent history is refused, because the provider would refuse it.

use super::{
    super::ids,
    Writing,
    format::{self, Shape},
    in_user_turn, list, media, quoted, text_block,
};
use crate::{
    Dialect,
    canonical::{Cache, Part, Reasoning, Request, Role, ToolCall, ToolResult, Turn},
    json::{Escaped, ObjectWriter},
    target::Unsupported,
};
use std::collections::HashMap;

/// The user turn that is inserted at the beginning, which this wire format requires, if a conversation has none there.
const OPENING: &str = "(The conversation begins here.)";

/// The turns as sent.
pub(super) struct Conversation {
    system: Vec<Vec<u8>>,
    messages: Vec<Vec<u8>>,
    /// The history ends in tool results, and the calls that they answer come without the reasoning before them.
    pub bare_tool_loop: bool,
}

/// A message in progress.
struct Message {
    of_user: bool,
    /// For a user message: the blocks that go first.
    results: Vec<Vec<u8>>,
    blocks: Vec<Vec<u8>>,
    /// Ids of an assistant's calls, or of the calls a user's message answers.
    calls: Vec<String>,
    /// System text that follows a user's message.
    system: Vec<Vec<u8>>,
    begins_with_thinking: bool,
}

struct Turns<'r, 'w> {
    writing: &'r mut Writing<'w>,
    system: Vec<Vec<u8>>,
    messages: Vec<Message>,
    /// The message in progress, the last one.
    open: Option<Message>,
    /// System text after an assistant message; it is moved to the next user message.
    waiting: Vec<(Escaped<'r>, Option<Cache>)>,
}

pub(super) fn write<'r>(
    request: &'r Request<'_>,
    shape: &Shape<'_>,
    writing: &'r mut Writing<'_>,
) -> Result<Conversation, Unsupported> {
    let no_prefill = writing.abilities.no_prefill;
    let mut turns =
        Turns { writing, system: Vec::new(), messages: Vec::new(), open: None, waiting: Vec::new() };
    let last = request.turns.iter().rposition(|turn| !turn.parts.is_empty());
    for (index, turn) in request.turns.iter().enumerate() {
        if turn.name.is_some() {
            turns.writing.drop_named("messages[].name");
        }
        match turn.role {
            Role::System | Role::Developer => turns.instruct(turn)?,
            Role::User | Role::Assistant => turns.say(turn, last == Some(index))?,
        }
    }
    turns.seat_waiting();
    let Turns { mut system, mut messages, open, .. } = turns;
    messages.extend(open);
    if matches!(shape, Shape::Instruction) {
        system.push(text_block(&Escaped::from_text(format::INSTRUCTION)).end());
    }
    if messages.first().is_none_or(|first| !first.of_user) {
        let mut opening = Message::of(true);
        opening.blocks.push(text_block(&Escaped::from_text(OPENING)).end());
        messages.insert(0, opening);
    }
    check_calls(&messages)?;
    if no_prefill && messages.last().is_some_and(|last| !last.of_user) {
        return Err(Unsupported::because("messages", ": the last message must not be the assistant's"));
    }
    let bare_tool_loop = match messages.as_slice() {
        [.., calling, answering] => !answering.results.is_empty() && !calling.begins_with_thinking,
        _ => false,
    };
    let messages = messages.into_iter().flat_map(Message::end).collect();
    Ok(Conversation { system, messages, bare_tool_loop })
}

impl<'r> Turns<'r, '_> {
    /// System text: at the beginning, else at its place if the model accepts that, else inside the user turn.
    fn instruct(&mut self, turn: &'r Turn<'_>) -> Result<(), Unsupported> {
        for part in &turn.parts {
            let Part::Text { text, cache } = part else {
                return Err(Unsupported::because("messages", ": a system message must be text"));
            };
            if text.is_blank() {
                continue;
            }
            let as_turn = self.writing.abilities.system_turns;
            match &mut self.open {
                None => self.system.push(marked_text(text, *cache, self.writing)),
                Some(open) if open.of_user => seat(text, *cache, as_turn, self.writing, open),
                Some(_) => self.waiting.push((text.borrowed(), *cache)),
            }
        }
        Ok(())
    }

    fn say(&mut self, turn: &'r Turn<'_>, is_last: bool) -> Result<(), Unsupported> {
        for (index, part) in turn.parts.iter().enumerate() {
            // The provider refuses white space at the end of the text that it should continue.
            let ends = is_last && turn.role == Role::Assistant && index.saturating_add(1) == turn.parts.len();
            match part {
                Part::Text { text, cache } => self.text(turn.role, text, *cache, ends),
                Part::Refusal(text) => self.text(turn.role, text, None, ends),
                Part::Image { source, detail, cache } => {
                    if detail.as_ref().is_some_and(|detail| detail.decode() != "auto") {
                        self.writing.drop_named("detail");
                    }
                    let block = media::image(source, *cache, self.writing)?;
                    self.last(turn.role).blocks.push(block);
                }
                Part::File { source, name, cache } => {
                    let block = media::document(source, name.as_ref(), *cache, self.writing)?;
                    self.last(turn.role).blocks.push(block);
                }
                Part::Audio { .. } => {
                    return Err(Unsupported::because("messages", ": audio is not taken"));
                }
                Part::Reasoning(reasoning) => self.reasoning(reasoning),
                Part::ToolCall(call) => self.call(call)?,
                Part::ToolResult(result) => self.result(result)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, role: Role, text: &Escaped<'_>, cache: Option<Cache>, ends: bool) {
        if text.is_blank() {
            return;
        }
        let text = if ends { without_trailing_space(text) } else { text.borrowed() };
        let block = marked_text(&text, cache, self.writing);
        self.last(role).blocks.push(block);
    }

    /// Only reasoning that this provider and model signed is sent back; they refuse any other.
    fn reasoning(&mut self, reasoning: &Reasoning<'_>) {
        let target = self.writing.target;
        let signature = reasoning.signature.as_ref();
        let bare =
            signature.and_then(|it| it.bare(target.provider, target.upstream_model, Dialect::Messages));
        let Some(bare) = bare.filter(|bare| !bare.is_empty()) else { return };
        let mut block = ObjectWriter::new();
        if reasoning.redacted {
            block.text("type", "redacted_thinking");
            bare.push_quoted(block.key("data"));
        } else {
            block.text("type", "thinking");
            reasoning.text.push_quoted(block.key("thinking"));
            bare.push_quoted(block.key("signature"));
        }
        let message = self.last(Role::Assistant);
        message.begins_with_thinking |= message.blocks.is_empty();
        message.blocks.push(block.end());
    }

    fn call(&mut self, call: &ToolCall<'_>) -> Result<(), Unsupported> {
        let input = call
            .object()
            .ok_or(Unsupported::because("messages", ": a tool call's arguments must be a JSON object"))?;
        let id = ids::accepted(&call.id);
        let mut block = ObjectWriter::new();
        block.text("type", "tool_use");
        block.text("id", &id);
        call.name.push_quoted(block.key("name"));
        block.raw("input", input.get());
        put_cache(call.cache, self.writing, &mut block);
        let message = self.last(Role::Assistant);
        message.calls.push(id);
        message.blocks.push(block.end());
        Ok(())
    }

    fn result(&mut self, result: &ToolResult<'_>) -> Result<(), Unsupported> {
        let id = ids::accepted(&result.call_id);
        let mut block = ObjectWriter::new();
        block.text("type", "tool_result");
        block.text("tool_use_id", &id);
        if let [Part::Text { text, cache: None }] = result.content.as_slice() {
            if !text.is_empty() {
                block.key("content").extend(quoted(text));
            }
        } else if !result.content.is_empty() {
            let mut blocks = Vec::with_capacity(result.content.len());
            for part in &result.content {
                blocks.extend(self.result_block(part)?);
            }
            list(&blocks, block.key("content"));
        }
        if result.is_error {
            block.raw("is_error", "true");
        }
        put_cache(result.cache, self.writing, &mut block);
        let message = self.last(Role::User);
        message.calls.push(id);
        message.results.push(block.end());
        Ok(())
    }

    fn result_block(&mut self, part: &Part<'_>) -> Result<Option<Vec<u8>>, Unsupported> {
        Ok(Some(match part {
            Part::Text { text, .. } if text.is_blank() => return Ok(None),
            Part::Text { text, cache } => marked_text(text, *cache, self.writing),
            Part::Image { source, cache, .. } => media::image(source, *cache, self.writing)?,
            Part::File { source, name, cache } => {
                media::document(source, name.as_ref(), *cache, self.writing)?
            }
            _ => {
                return Err(Unsupported::because(
                    "messages",
                    ": a tool's result must be text, images or files",
                ));
            }
        }))
    }

    /// The message for the next block of this role.
    fn last(&mut self, role: Role) -> &mut Message {
        let of_user = role != Role::Assistant;
        if self.open.as_ref().is_some_and(|open| open.of_user != of_user) {
            self.messages.extend(self.open.take());
        }
        self.open.get_or_insert_with(|| {
            let mut message = Message::of(of_user);
            if of_user {
                let as_turn = self.writing.abilities.system_turns;
                for (text, cache) in self.waiting.drain(..) {
                    seat(&text, cache, as_turn, self.writing, &mut message);
                }
            }
            message
        })
    }

    /// System text after the last user message becomes a user turn itself.
    fn seat_waiting(&mut self) {
        if !self.waiting.is_empty() {
            let mut message = Message::of(true);
            for (text, cache) in self.waiting.drain(..) {
                seat(&text, cache, false, self.writing, &mut message);
            }
            self.messages.extend(self.open.replace(message));
        }
    }
}

/// Moves later system text to where the model accepts it: after the user message, or marked inside it.
fn seat(
    text: &Escaped<'_>,
    cache: Option<Cache>,
    as_turn: bool,
    writing: &mut Writing<'_>,
    message: &mut Message,
) {
    if as_turn {
        message.system.push(marked_text(text, cache, writing));
    } else {
        message.blocks.push(marked_text(&in_user_turn(text), cache, writing));
    }
}

/// A text block, with its cache marker.
fn marked_text(text: &Escaped<'_>, cache: Option<Cache>, writing: &mut Writing<'_>) -> Vec<u8> {
    let mut block = text_block(text);
    put_cache(cache, writing, &mut block);
    block.end()
}

impl Message {
    fn of(of_user: bool) -> Message {
        Message {
            of_user,
            results: Vec::new(),
            blocks: Vec::new(),
            calls: Vec::new(),
            system: Vec::new(),
            begins_with_thinking: false,
        }
    }

    /// As one or two messages.
    fn end(self) -> impl Iterator<Item = Vec<u8>> {
        let mut blocks = self.results;
        blocks.extend(self.blocks);
        let first = message(if self.of_user { "user" } else { "assistant" }, &blocks);
        let second = (!self.system.is_empty()).then(|| message("system", &self.system));
        std::iter::once(first).chain(second)
    }
}

fn message(role: &str, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut out = ObjectWriter::new();
    out.text("role", role);
    list(blocks, out.key("content"));
    out.end()
}

/// Every call must have one result in the message after it, and every result a call in the message before it.
fn check_calls(messages: &[Message]) -> Result<(), Unsupported> {
    for (index, message) in messages.iter().enumerate() {
        let neighbour = if message.of_user { index.checked_sub(1) } else { index.checked_add(1) };
        let neighbour = neighbour.and_then(|at| messages.get(at));
        let mut theirs: HashMap<&String, usize> = HashMap::new();
        for id in neighbour.iter().flat_map(|other| &other.calls) {
            let count = theirs.entry(id).or_default();
            *count = count.saturating_add(1);
        }
        let known = message.calls.iter().all(|id| theirs.contains_key(id));
        let mut unmatched = message.calls.iter().filter(|id| match theirs.get_mut(id) {
            Some(count) if *count > 0 => {
                *count = count.saturating_sub(1);
                false
            }
            _ => true,
        });
        if unmatched.next().is_none() {
            continue;
        }
        return Err(Unsupported::because(
            "messages",
            match (message.of_user, known) {
                (true, true) => ": a tool call has more than one result",
                (true, false) => ": a tool result does not answer a call of the message before it",
                (false, _) => ": a tool call has no result in the message after it",
            },
        ));
    }
    Ok(())
}

fn without_trailing_space<'t>(text: &'t Escaped<'_>) -> Escaped<'t> {
    let mut inner = text.inner();
    loop {
        let trimmed = inner.trim_end();
        let escape = ["\\n", "\\r", "\\t"].into_iter().find_map(|escape| trimmed.strip_suffix(escape));
        // After an escaped backslash there is a letter.
        let backslashes = |text: &str| text.len().saturating_sub(text.trim_end_matches('\\').len());
        match escape {
            Some(rest) if backslashes(rest) % 2 == 0 => inner = rest,
            _ => return Escaped::from_inner(trimmed),
        }
    }
}

/// Marks a block for the cache, if the request may have more markers.
pub(super) fn put_cache(cache: Option<Cache>, writing: &mut Writing<'_>, block: &mut ObjectWriter) {
    let Some(cache) = cache else { return };
    if writing.cache_marks >= super::CACHE_MARKS_MAX {
        writing.drop_named("cache_control");
        return;
    }
    writing.cache_marks = writing.cache_marks.saturating_add(1);
    block.raw(
        "cache_control",
        match cache {
            Cache::Short => r#"{"type":"ephemeral"}"#,
            Cache::Hour => r#"{"type":"ephemeral","ttl":"1h"}"#,
        },
    );
}

impl Conversation {
    pub fn put(&self, out: &mut ObjectWriter) {
        if !self.system.is_empty() {
            list(&self.system, out.key("system"));
        }
        list(&self.messages, out.key("messages"));
    }

    /// Approximate bytes.
    pub fn size(&self) -> usize {
        self.system.iter().chain(&self.messages).map(|json| json.len().saturating_add(1)).sum()
    }
}
