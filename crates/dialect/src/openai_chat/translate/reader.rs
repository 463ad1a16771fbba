//! The answer of any host of OpenAI's chat, whole or in chunks, as events. It tolerates typical errors of such hosts:
//! gaps, missing indexes, repeated names, parts instead of text, usage in unusual places, errors with a success status.
//! It keeps counters and ids, never text, and passes text and arguments on as they were written.

use super::calls::Calls;
use crate::{
    Reading, Unreadable,
    canonical::{Citation, Delta, Event, Finish, Json},
    json::{Cursor, DEPTH_LIMIT, Escaped, Kind, Member, Raw},
    openai_chat::usage,
    sse::Frame,
};
use std::borrow::Cow;

/// Where events go.
pub(super) type Emit<'e> = &'e mut dyn FnMut(Event<'_>);

/// Choices above this number are not read: no provider offers more.
const CHOICES_MAX: u64 = 128;
/// A longer name is not a service tier.
const TIER_BYTES_MAX: usize = 64;

/// Reads one answer.
pub struct Reader {
    reading: Reading,
    started: bool,
    /// Nothing more is read: the end or an error was emitted.
    ended: bool,
    service_tier: String,
    choices: Vec<Choice>,
}

#[derive(Default)]
struct Choice {
    calls: Calls,
    finished: bool,
    /// Content was emitted from deltas.
    delta_said: bool,
    /// Content was emitted from any place.
    has_said: bool,
    /// Its last frame had an empty finish reason.
    ended_empty: bool,
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self { reading, started: false, ended: false, service_tier: String::new(), choices: Vec::new() }
    }

    pub fn frame(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        let Some(data) = frame.data() else { return Ok(()) };
        let data = data.trim_ascii();
        if self.ended || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.finish_calls(emit);
            self.end(emit);
            return Ok(());
        }
        self.object(data, false, frame.event() == Some(b"error"), emit)
    }

    /// The stream has ended: open content is closed. A finish is never invented here.
    pub fn close(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if !self.ended {
            self.end(emit);
        }
    }

    pub fn body(&mut self, json: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        self.object(json, true, false, emit)?;
        if self.choices.is_empty() && !self.ended {
            return Err(Unreadable);
        }
        if !self.ended {
            // A whole answer is complete, whether or not the host states a finish reason.
            self.infer_finishes(emit);
            self.end(emit);
        }
        Ok(())
    }

    fn end(&mut self, emit: Emit<'_>) {
        for (number, choice) in (0..).zip(&mut self.choices) {
            choice.calls.close(number, &self.reading.seed, emit);
        }
        self.ended = true;
        emit(Event::End);
    }

    /// Finishes the choices of a whole answer without finish reasons.
    fn infer_finishes(&mut self, emit: Emit<'_>) {
        for (number, choice) in (0..).zip(&mut self.choices).filter(|(_, choice)| !choice.finished) {
            let reason = if choice.calls.any() { Finish::ToolCalls } else { Finish::Stop };
            choice.finish(number, reason, &self.reading.seed, emit);
        }
    }

    /// Finishes the choices that ended in complete calls and an empty reason. Without a reason an answer counts as cut
    /// off.
    fn finish_calls(&mut self, emit: Emit<'_>) {
        for (number, choice) in (0..).zip(&mut self.choices) {
            if choice.ended_empty && !choice.finished && choice.calls.are_whole() {
                choice.finish(number, Finish::ToolCalls, &self.reading.seed, emit);
            }
        }
    }

    fn fail(&mut self, error: Json<'_>, emit: Emit<'_>) {
        self.ended = true;
        emit(Event::Failed(error));
    }

    /// A body, or the data of a frame.
    fn object(
        &mut self,
        json: &[u8],
        whole: bool,
        named_error: bool,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let envelope = Envelope::of(parse(json)?);
        if let Some(error) = envelope.error(named_error) {
            self.fail(Json::of(error), emit);
            return Ok(());
        }
        if !self.started && envelope.id.or(envelope.model).is_some_and(|text| !text.is_idle()) {
            self.start(&envelope, emit);
        }
        self.tier(&envelope, emit);
        let mut reported = envelope.usage;
        for (position, raw) in envelope.choices.iter().enumerate() {
            let choice = ChoiceMembers::of(*raw);
            reported = reported.or(choice.usage);
            if let Some(error) = choice.failure() {
                self.fail(error, emit);
                return Ok(());
            }
            if !self.started && choice.says_anything() {
                self.start(&envelope, emit);
            }
            self.choice(position, &choice, whole, emit)?;
        }
        let outside = self.reading.reasoning_outside_output;
        if let Some(usage) = reported.and_then(|raw| usage::read(raw.get(), outside)) {
            emit(Event::Usage(usage));
        }
        Ok(())
    }

    fn start(&mut self, envelope: &Envelope<'_>, emit: Emit<'_>) {
        let text = |raw: Option<Raw<'_>>| {
            raw.and_then(Escaped::of).map_or_else(Escaped::default, Escaped::into_owned)
        };
        self.started = true;
        emit(Event::Start { id: text(envelope.id), model: text(envelope.model) });
    }

    fn tier(&mut self, envelope: &Envelope<'_>, emit: Emit<'_>) {
        let Some(tier) = envelope.service_tier.and_then(Raw::text) else { return };
        if tier != self.service_tier.as_str() && tier.len() <= TIER_BYTES_MAX {
            self.service_tier = tier.into_owned();
            emit(Event::ServiceTier(Cow::Borrowed(&self.service_tier)));
        }
    }

    fn choice(
        &mut self,
        position: usize,
        said: &ChoiceMembers<'_>,
        whole: bool,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let position = u64::try_from(position).unwrap_or(u64::MAX);
        let number = said.index.and_then(Raw::count).unwrap_or(position);
        let (Ok(index), Ok(choice)) = (usize::try_from(number), u32::try_from(number)) else { return Ok(()) };
        if number >= CHOICES_MAX {
            return Ok(());
        }
        while self.choices.len() <= index {
            self.choices.push(Choice::default());
        }
        let Some(state) = self.choices.get_mut(index) else { return Ok(()) };
        if let Some(spoken) = said.spoken(whole, state.delta_said) {
            state.delta_said |= said.delta == Some(spoken);
            state.has_said |= says_anything(spoken);
            let delta = spoken.members();
            say(&delta, choice, emit);
            let calls = last(&delta, "tool_calls").map(Raw::elements).unwrap_or_default();
            let several = calls.len() > 1;
            for (position, call) in calls.into_iter().enumerate() {
                let position = several.then_some(position);
                state.calls.take(call, position, choice, &self.reading.seed, emit)?;
            }
            if let Some(call) = last(&delta, "function_call") {
                state.calls.take_legacy(call, choice, &self.reading.seed, emit)?;
            }
        }
        if let Some(logprobs) = said.logprobs.and_then(logprobs) {
            emit(Event::Said { choice, delta: Delta::Logprobs(logprobs) });
        }
        if let Some(word) = said.finish_word() {
            let reason = reason(&word, state.calls.any(), state.has_said);
            state.finish(choice, reason, &self.reading.seed, emit);
        } else if self.reading.empty_finish_ends_calls {
            state.ended_empty = said.is_empty_finish();
        }
        Ok(())
    }
}

impl Choice {
    fn finish(&mut self, choice: u32, reason: Finish, seed: &str, emit: Emit<'_>) {
        self.calls.close(choice, seed, emit);
        if !self.finished {
            self.finished = true;
            emit(Event::Finish { choice, reason, stop_sequence: None });
        }
    }
}

fn parse(json: &[u8]) -> Result<Raw<'_>, Unreadable> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).map_err(|_| Unreadable)?;
    let whole = cursor.value().map_err(|_| Unreadable)?;
    cursor.end().map_err(|_| Unreadable)?;
    if whole.kind() == Kind::Object { Ok(whole) } else { Err(Unreadable) }
}

/// The last member of that name that is not null.
pub(super) fn last<'a>(members: &[Member<'a>], key: &str) -> Option<Raw<'a>> {
    let value = members.iter().rev().find(|member| member.key == key)?.value;
    (!value.is_null()).then_some(value)
}

struct Envelope<'a> {
    whole: Raw<'a>,
    id: Option<Raw<'a>>,
    model: Option<Raw<'a>>,
    service_tier: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    choices: Vec<Raw<'a>>,
    has_choices: bool,
    /// A message at the top level, as in the errors of hosts without an envelope.
    message: Option<Raw<'a>>,
}

impl<'a> Envelope<'a> {
    fn of(whole: Raw<'a>) -> Self {
        let members = whole.members();
        let groq = last(&members, "x_groq").map(Raw::members).unwrap_or_default();
        let choices = last(&members, "choices");
        Self {
            whole,
            id: last(&members, "id"),
            model: last(&members, "model"),
            service_tier: last(&members, "service_tier"),
            error: last(&members, "error").or(last(&groq, "error")),
            usage: last(&members, "usage").or(last(&groq, "usage")),
            choices: choices.map(Raw::elements).unwrap_or_default(),
            has_choices: choices.is_some(),
            message: last(&members, "message").or(last(&members, "detail")),
        }
    }

    /// The error, if this is one instead of an answer.
    fn error(&self, named_error: bool) -> Option<Raw<'a>> {
        let bare = named_error || !self.has_choices && self.message.is_some();
        match self.error.filter(|error| !error.is_idle()) {
            // A plain text beside its code.
            Some(error) if error.kind() == Kind::String => Some(self.whole),
            Some(error) => Some(error),
            None => bare.then_some(self.whole),
        }
    }
}

#[derive(Default)]
struct ChoiceMembers<'a> {
    index: Option<Raw<'a>>,
    delta: Option<Raw<'a>>,
    message: Option<Raw<'a>>,
    finish_reason: Option<Raw<'a>>,
    logprobs: Option<Raw<'a>>,
    usage: Option<Raw<'a>>,
    error: Option<Raw<'a>>,
}

impl<'a> ChoiceMembers<'a> {
    fn of(raw: Raw<'a>) -> Self {
        let members = raw.members();
        Self {
            index: last(&members, "index"),
            delta: last(&members, "delta"),
            message: last(&members, "message"),
            finish_reason: last(&members, "finish_reason"),
            logprobs: last(&members, "logprobs"),
            usage: last(&members, "usage"),
            error: last(&members, "error"),
        }
    }

    /// Not empty, in lower case.
    fn finish_word(&self) -> Option<String> {
        let word = self.finish_reason.and_then(Raw::text)?.to_ascii_lowercase();
        (!word.is_empty()).then_some(word)
    }

    fn is_empty_finish(&self) -> bool {
        self.finish_reason.is_some_and(|reason| reason.get() == "\"\"")
    }

    /// The host failed while it answered.
    fn failure(&self) -> Option<Json<'a>> {
        let word = self.finish_word()?;
        if !matches!(word.as_str(), "error" | "insufficient_system_resource") {
            return None;
        }
        let made =
            || Json::trusted(format!(r#"{{"message":"the provider broke off its answer","code":"{word}"}}"#));
        Some(self.error.map_or_else(made, Json::of))
    }

    fn says_anything(&self) -> bool {
        self.finish_word().is_some() || [self.delta, self.message].into_iter().flatten().any(says_anything)
    }

    /// The content. Some hosts write a message beside the delta: the whole answer so far, or all of it at once.
    fn spoken(&self, whole: bool, delta_said: bool) -> Option<Raw<'a>> {
        let delta = self.delta.filter(|delta| says_anything(*delta));
        match (whole, delta_said) {
            (true, _) => self.message.filter(|message| says_anything(*message)).or(delta),
            (false, true) => delta,
            (false, false) => delta.or(self.message),
        }
    }
}

/// Whether a delta or message has more than its role.
fn says_anything(said: Raw<'_>) -> bool {
    said.members().iter().any(|member| member.key != "role" && !member.value.is_idle())
}

/// The content of a delta or message except its calls.
fn say(delta: &[Member<'_>], choice: u32, emit: Emit<'_>) {
    let mut tell = |delta: Delta<'_>| emit(Event::Said { choice, delta });
    let text = |key: &str| last(delta, key).and_then(Escaped::of).filter(|text| !text.is_empty());
    // Hosts that use both names write the same under both.
    if let Some(reasoning) = text("reasoning_content").or_else(|| text("reasoning")) {
        tell(Delta::Reasoning(reasoning));
    }
    if let Some(said) = text("content") {
        tell(Delta::Text(said));
    }
    for part in last(delta, "content").map(Raw::elements).unwrap_or_default() {
        say_part(&part.members(), &mut tell);
    }
    if let Some(refusal) = text("refusal") {
        tell(Delta::Refusal(refusal));
    }
    let annotations = last(delta, "annotations").map(Raw::elements).unwrap_or_default();
    for citation in annotations.into_iter().filter_map(citation) {
        tell(Delta::Citation(citation));
    }
    for image in last(delta, "images").map(Raw::elements).unwrap_or_default() {
        say_part(&image.members(), &mut tell);
    }
}

/// The text of a list of parts, and the reasoning in it.
pub(in super::super) fn content_of_parts(parts: Raw<'_>) -> (Escaped<'static>, Escaped<'static>) {
    let (mut text, mut thought) = (Escaped::default(), Escaped::default());
    for part in parts.elements() {
        say_part(&part.members(), &mut |delta| match delta {
            Delta::Text(piece) => text.push(&piece),
            Delta::Reasoning(piece) => thought.push(&piece),
            _ => {}
        });
    }
    (text.into_owned(), thought.into_owned())
}

/// A part of a list of content.
fn say_part(part: &[Member<'_>], tell: &mut dyn FnMut(Delta<'_>)) {
    if let Some(thought) = last(part, "thinking") {
        let inner = thought.elements().into_iter().filter_map(|part| part.member("text"));
        for text in Escaped::of(thought).into_iter().chain(inner.filter_map(Escaped::of)) {
            if !text.is_empty() {
                tell(Delta::Reasoning(text));
            }
        }
    }
    if let Some(text) = last(part, "text").and_then(Escaped::of).filter(|text| !text.is_empty()) {
        tell(Delta::Text(text));
    }
    let url = last(part, "image_url").and_then(|image| image.member("url").or(Some(image)));
    let url = url.and_then(|raw| raw.get().strip_prefix("\"data:")?.strip_suffix('"'));
    if let Some((media_type, data)) = url.and_then(|url| url.split_once(";base64,")) {
        tell(Delta::Image { media_type: Escaped::from_inner(media_type), data: Escaped::from_inner(data) });
    }
}

fn citation(raw: Raw<'_>) -> Option<Citation<'_>> {
    let citation = raw.member("url_citation").unwrap_or(raw).members();
    let count = |key: &str| last(&citation, key).and_then(Raw::count);
    Some(Citation {
        url: last(&citation, "url").and_then(Escaped::of)?,
        title: last(&citation, "title").and_then(Escaped::of),
        span: count("start_index").zip(count("end_index")),
    })
}

/// In OpenAI's format; parallel lists of tokens and numbers are converted to it.
fn logprobs(raw: Raw<'_>) -> Option<Json<'_>> {
    let members = raw.members();
    let filled = |key: &str| last(&members, key).filter(|list| !list.is_empty());
    if filled("content").or(filled("refusal")).is_some() {
        return Some(Json::of(raw));
    }
    let (tokens, numbers) = (filled("tokens")?.elements(), filled("token_logprobs")?.elements());
    let pairs = tokens.into_iter().zip(numbers).filter(|(token, _)| token.kind() == Kind::String);
    let entries: Vec<String> = pairs
        .map(|(token, number)| {
            let (token, number) = (token.get(), number.get());
            format!(r#"{{"token":{token},"logprob":{number},"bytes":null,"top_logprobs":[]}}"#)
        })
        .collect();
    Some(Json::trusted(format!(r#"{{"content":[{}]}}"#, entries.join(","))))
}

/// The finish reason. After a call the answer ended for the call, although some hosts state "stop". An unknown reason
/// is an ordinary end only if some content was emitted.
fn reason(word: &str, calls: bool, has_said: bool) -> Finish {
    match word {
        "length" | "model_length" | "max_tokens" => Finish::Length,
        "content_filter" => Finish::ContentFilter,
        "tool_calls" | "function_call" | "tool_use" => Finish::ToolCalls,
        _ if calls => Finish::ToolCalls,
        "stop" | "eos" | "end_turn" | "complete" | "stop_sequence" => Finish::Stop,
        _ if has_said => Finish::Stop,
        _ => Finish::ContentFilter,
    }
}
