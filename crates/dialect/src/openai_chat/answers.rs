//! Converts answers of hosts with differences from chat into OpenAI's format for chat clients: content in parts, calls
//! without a number or a type, other finish reasons or service tiers. The host's row of differences states what it may
//! write; a frame without differences keeps its bytes.

use super::{
    reply::Seen,
    tier,
    translate::{Calls, content_of_parts},
};
use crate::json::{Cursor, DEPTH_LIMIT, Kind, Member, ObjectWriter, Raw, push_text};
use kairosroute_domain::provider::{Answers, ProviderId};

/// Choices above this number keep their bytes: no provider offers more.
const CHOICES_MAX: usize = 128;

/// Edits the frames of one answer, or one whole answer.
pub struct AnswerEdits {
    row: Answers,
    reasoning_outside_output: bool,
    choices: Vec<Calls>,
    /// A frame that finishes an answer which ended in complete calls and an empty reason, if no other frame does.
    pending: Option<Vec<u8>>,
}

impl AnswerEdits {
    /// `None` for a host whose answers have OpenAI's format.
    pub fn of(provider: ProviderId) -> Option<Self> {
        let quirks = &provider.row().quirks;
        let (row, outside) = (quirks.answers, quirks.reasoning_outside_output);
        let has_any = row != Answers::PLAIN || outside;
        has_any.then(|| Self { row, reasoning_outside_output: outside, choices: Vec::new(), pending: None })
    }

    /// Whether a frame or body may need an edit.
    pub fn needs(&self, seen: &Seen<'_>) -> bool {
        let (row, odd) = (&self.row, seen.odd);
        row.content_parts && odd.parts
            || (row.loose_calls || row.empty_finish_ends_calls) && odd.calls
            || !row.finish_words.is_empty() && odd.finish
            || row.empty_finish_ends_calls && (odd.empty_finish || odd.unfinished && odd.calls)
            || row.reasoning_by_another_name && odd.reasoning
            || row.other_tiers && seen.service_tier.is_some_and(|word| tier::of(word) != Some(word))
            || self.reasoning_outside_output && seen.usage.is_some()
    }

    /// A frame's data for a client; `None`: unchanged.
    pub fn chunk(&mut self, json: &[u8]) -> Option<Vec<u8>> {
        self.object(json, false)
    }

    /// A whole answer for a client; `None`: unchanged.
    pub fn body(&mut self, json: &[u8]) -> Option<Vec<u8>> {
        self.object(json, true)
    }

    /// The frame that is missing at the end of the stream.
    pub fn take_finish(&mut self) -> Option<Vec<u8>> {
        self.pending.take()
    }

    fn object(&mut self, json: &[u8], whole: bool) -> Option<Vec<u8>> {
        let mut cursor = Cursor::new(json, DEPTH_LIMIT).ok()?;
        let members = cursor.value().ok()?.members();
        let mut out = ObjectWriter::with_capacity(json.len().saturating_add(64));
        let mut changed = false;
        for member in &members {
            let edited = match member.key.as_ref() {
                "choices" => self.choices(member.value, &members, whole),
                "usage" if self.reasoning_outside_output => with_reasoning(member.value),
                "service_tier" if self.row.other_tiers => match self.tier(member.value) {
                    Tier::Kept => None,
                    Tier::Written(json) => Some(json),
                    Tier::Removed => {
                        changed = true;
                        continue;
                    }
                },
                _ => None,
            };
            changed |= edited.is_some();
            put(&mut out, member, edited);
        }
        changed.then(|| out.end())
    }

    fn tier(&self, value: Raw<'_>) -> Tier {
        let Some(word) = value.text() else { return Tier::Kept };
        match tier::of(&word) {
            Some(known) if known == word => Tier::Kept,
            Some(known) => Tier::Written(quoted(known)),
            None => Tier::Removed,
        }
    }

    fn choices(&mut self, list: Raw<'_>, envelope: &[Member<'_>], whole: bool) -> Option<Vec<u8>> {
        let elements = list.elements();
        if !elements.is_empty() {
            self.pending = None;
        }
        let mut out = vec![b'['];
        let mut changed = false;
        for (position, choice) in elements.into_iter().enumerate() {
            if out.len() > 1 {
                out.push(b',');
            }
            match self.choice(choice, position, envelope, whole) {
                Some(edited) => {
                    changed = true;
                    out.extend(edited);
                }
                None => out.extend_from_slice(choice.get().as_bytes()),
            }
        }
        out.push(b']');
        changed.then_some(out)
    }

    fn choice(
        &mut self,
        choice: Raw<'_>,
        position: usize,
        envelope: &[Member<'_>],
        whole: bool,
    ) -> Option<Vec<u8>> {
        let members = choice.members();
        let number =
            choice.member("index").and_then(Raw::count).and_then(|number| usize::try_from(number).ok());
        let number = number.unwrap_or(position);
        if number >= CHOICES_MAX {
            return None;
        }
        while self.choices.len() <= number {
            self.choices.push(Calls::default());
        }
        let said = if whole { "message" } else { "delta" };
        let says_calls = choice.member(said).and_then(|said| said.member("tool_calls"));
        let says_calls = says_calls.is_some_and(|calls| !calls.is_idle());
        let mut out = ObjectWriter::with_capacity(choice.len().saturating_add(64));
        let mut changed = false;
        // The content comes first, in any order: the reason depends on it.
        let spoken = choice.member(said).and_then(|spoken| self.spoken(spoken, number, whole));
        let mut finish = choice.member("finish_reason").and_then(|reason| self.finish(reason, number, whole));
        if finish.is_some() && says_calls && !whole && choice.member("finish_reason").is_some_and(is_blank) {
            // More pieces may follow. If none does, this is the end.
            finish = None;
            self.pending = Some(finishing(envelope, number));
        }
        for member in &members {
            let edited = match member.key.as_ref() {
                key if key == said => spoken.clone(),
                "finish_reason" => finish.clone(),
                _ => None,
            };
            changed |= edited.is_some();
            put(&mut out, member, edited);
        }
        changed.then(|| out.end())
    }

    fn finish(&self, reason: Raw<'_>, number: usize, whole: bool) -> Option<Vec<u8>> {
        let word = match reason.is_null() {
            true if whole => "".into(),
            _ => reason.text()?,
        };
        if !word.is_empty() {
            let known = self.row.finish_words.iter().find(|(theirs, _)| *theirs == word)?;
            return Some(quoted(known.1));
        }
        if !self.row.empty_finish_ends_calls {
            return None;
        }
        let calls = self.choices.get(number)?;
        match calls.are_whole() {
            true => Some(quoted("tool_calls")),
            false => (whole && !calls.any()).then(|| quoted("stop")),
        }
    }

    /// A delta or message.
    fn spoken(&mut self, said: Raw<'_>, number: usize, whole: bool) -> Option<Vec<u8>> {
        let members = said.members();
        let has = |key: &str| members.iter().any(|member| member.key == key && !member.value.is_null());
        let mut out = ObjectWriter::with_capacity(said.len().saturating_add(64));
        let mut changed = false;
        for member in &members {
            match member.key.as_ref() {
                "content" if self.row.content_parts && member.value.kind() == Kind::Array => {
                    changed = true;
                    let (text, thought) = content_of_parts(member.value);
                    if whole || !text.is_empty() || thought.is_empty() {
                        let nothing = whole && text.is_empty() && has("tool_calls");
                        match nothing {
                            true => out.raw("content", "null"),
                            false => text.push_quoted(out.key("content")),
                        }
                    }
                    if !thought.is_empty() && !has("reasoning_content") {
                        thought.push_quoted(out.key("reasoning_content"));
                    }
                }
                "reasoning" if self.row.reasoning_by_another_name => {
                    put(&mut out, member, None);
                    // Clients read one of the two names.
                    if member.value.kind() == Kind::String && !has("reasoning_content") {
                        changed = true;
                        out.raw("reasoning_content", member.value.get());
                    }
                }
                "tool_calls" => {
                    let edited = self.calls(member.value, number, whole).filter(|_| self.row.loose_calls);
                    changed |= edited.is_some();
                    put(&mut out, member, edited);
                }
                _ => put(&mut out, member, None),
            }
        }
        changed.then(|| out.end())
    }

    fn calls(&mut self, list: Raw<'_>, number: usize, whole: bool) -> Option<Vec<u8>> {
        let calls = self.choices.get_mut(number)?;
        let elements = list.elements();
        let several = elements.len() > 1;
        let mut out = vec![b'['];
        let mut changed = false;
        for (position, element) in elements.into_iter().enumerate() {
            if out.len() > 1 {
                out.push(b',');
            }
            let place = calls.place(element, several.then_some(position))?;
            match call(element, place.number, place.began, whole) {
                Some(edited) => {
                    changed = true;
                    out.extend(edited);
                }
                None => out.extend_from_slice(element.get().as_bytes()),
            }
        }
        out.push(b']');
        changed.then_some(out)
    }
}

enum Tier {
    Kept,
    Written(Vec<u8>),
    Removed,
}

/// An answer, whole or a frame, whose choices state that they end with calls that they do not have: they get an
/// ordinary end. Clients would wait for such calls.
pub fn without_phantom_calls(json: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).ok()?;
    let mut out = ObjectWriter::with_capacity(json.len());
    for member in &cursor.value().ok()?.members() {
        let choices = (member.key == "choices").then(|| ended_plainly(member.value));
        put(&mut out, member, choices);
    }
    Some(out.end())
}

fn ended_plainly(list: Raw<'_>) -> Vec<u8> {
    let mut out = vec![b'['];
    for choice in list.elements() {
        if out.len() > 1 {
            out.push(b',');
        }
        let mut written = ObjectWriter::with_capacity(choice.len());
        for member in &choice.members() {
            let ends_for_calls = member.key == "finish_reason"
                && member
                    .value
                    .text()
                    .is_some_and(|word| matches!(word.as_ref(), "tool_calls" | "function_call"));
            put(&mut written, member, ends_for_calls.then(|| quoted("stop")));
        }
        out.extend(written.end());
    }
    out.push(b']');
    out
}

/// A call with its number in a stream, with its type at its beginning, and without an empty name in later pieces.
fn call(call: Raw<'_>, number: u64, began: bool, whole: bool) -> Option<Vec<u8>> {
    let members = call.members();
    let has = |key: &str| members.iter().any(|member| member.key == key && !member.value.is_null());
    let is_numbered = call.member("index").and_then(Raw::count) == Some(number);
    let numbers = !whole && !is_numbered;
    let types = (whole || began) && !has("type");
    let unnamed = |function: &Raw<'_>| !began && function.member("name").is_some_and(|name| name.is_idle());
    let bare = call.member("function").filter(unnamed).map(|function| {
        let mut out = ObjectWriter::new();
        for member in function.members().iter().filter(|member| member.key != "name") {
            put(&mut out, member, None);
        }
        out.end()
    });
    if !numbers && !types && bare.is_none() {
        return None;
    }
    let mut out = ObjectWriter::with_capacity(call.len().saturating_add(32));
    if numbers {
        out.raw("index", &number.to_string());
    }
    for member in &members {
        match member.key.as_ref() {
            "index" if numbers => {}
            "type" if types => {}
            "function" => put(&mut out, member, bare.clone()),
            _ => put(&mut out, member, None),
        }
    }
    if types {
        out.text("type", "function");
    }
    Some(out.end())
}

/// The reported output, which does not include reasoning, plus the reasoning.
fn with_reasoning(usage: Raw<'_>) -> Option<Vec<u8>> {
    let reasoning = usage.member("completion_tokens_details")?.member("reasoning_tokens")?.count()?;
    let written = usage.member("completion_tokens")?.count()?;
    if reasoning == 0 {
        return None;
    }
    let mut out = ObjectWriter::with_capacity(usage.len().saturating_add(16));
    for member in &usage.members() {
        let sum = (member.key == "completion_tokens")
            .then(|| written.saturating_add(reasoning).to_string().into_bytes());
        put(&mut out, member, sum);
    }
    Some(out.end())
}

/// A frame of the same answer that only states that the choice ended for its calls.
fn finishing(envelope: &[Member<'_>], number: usize) -> Vec<u8> {
    let mut out = ObjectWriter::new();
    for member in envelope.iter().filter(|member| member.key != "usage") {
        let finish = (member.key == "choices").then(|| {
            format!(r#"[{{"index":{number},"delta":{{}},"finish_reason":"tool_calls"}}]"#).into_bytes()
        });
        put(&mut out, member, finish);
    }
    out.end()
}

fn is_blank(reason: Raw<'_>) -> bool {
    reason.get() == "\"\""
}

fn put(out: &mut ObjectWriter, member: &Member<'_>, edited: Option<Vec<u8>>) {
    let place = out.raw_key(member.raw_key);
    match edited {
        Some(edited) => place.extend(edited),
        None => place.extend_from_slice(member.value.get().as_bytes()),
    }
}

fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(2));
    push_text(&mut out, text);
    out
}

#[cfg(test)]
mod tests;
