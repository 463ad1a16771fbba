//! Reads answers. Every frame of a stream is a whole GenerateContentResponse whose parts are appended to the earlier
//! ones; a whole answer is one of them. There is no last frame: the end is the end of the stream. Keeps counts and at
//! most one unfinished call for each choice, never text.

use super::{choice::Choice, usage::Report};
use crate::{
    Reading, Unreadable,
    canonical::{Event, Finish, Json},
    json::{Cursor, DEPTH_LIMIT, Escaped, Kind, Raw},
    sse::Frame,
};
use kairosroute_domain::usage::Usage;

/// Reads one answer.
pub struct Reader {
    ids: Ids,
    has_started: bool,
    has_failed: bool,
    has_ended: bool,
    choices: Vec<Choice>,
    report: Report,
    /// The last usage report.
    told: Option<Usage>,
    /// The model is of the second generation, which bills one search for a prompt, for any number of queries.
    searches_by_prompt: bool,
}

/// Creates ids for calls without one.
pub(super) struct Ids {
    seed: String,
    made: u32,
}

/// Candidates above this number are not read: no model offers more.
const CHOICES_MAX: usize = 128;

impl Ids {
    pub(super) fn make(&mut self) -> Escaped<'static> {
        let id = format!("call_{}{}", self.seed, self.made);
        self.made = self.made.saturating_add(1);
        Escaped::from_text(&id)
    }
}

impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self {
            ids: Ids { seed: reading.seed, made: 0 },
            has_started: false,
            has_failed: false,
            has_ended: false,
            choices: Vec::new(),
            report: Report::default(),
            told: None,
            searches_by_prompt: false,
        }
    }

    pub fn frame(&mut self, frame: Frame<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        match frame.data() {
            Some(data) if !data.trim_ascii().is_empty() => self.responses(parse(&data)?, emit),
            _ => Ok(()),
        }
    }

    pub fn close(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if std::mem::replace(&mut self.has_ended, true) {
            return;
        }
        for (number, choice) in (0u32..).zip(&mut self.choices) {
            choice.end_call(&mut self.ids, &mut |delta| emit(Event::Said { choice: number, delta }));
        }
        self.tell_usage(emit);
        emit(Event::End);
    }

    pub fn body(&mut self, json: &[u8], emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        self.responses(parse(json)?, emit)?;
        if !self.has_started && !self.has_failed {
            return Err(Unreadable);
        }
        self.close(emit);
        Ok(())
    }

    /// One response, or an array of them: an error has this form if the answer was not requested as events.
    fn responses(&mut self, json: Raw<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        match json.kind() {
            Kind::Object => self.response(json, emit),
            Kind::Array => json.elements().into_iter().try_for_each(|element| match element.kind() {
                Kind::Object => self.response(element, emit),
                _ => Err(Unreadable),
            }),
            _ => Err(Unreadable),
        }
    }

    fn response(&mut self, json: Raw<'_>, emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        if self.has_failed || self.has_ended {
            return Ok(());
        }
        let response = Response::of(json);
        if response.error.is_some_and(|error| !error.is_null()) {
            self.has_failed = true;
            emit(Event::Failed(Json::of(json)));
            return Ok(());
        }
        if response.is_answer() {
            self.start(&response, emit);
        }
        if let Some(usage) = response.usage {
            self.report.absorb(usage);
            if let Some(tier) =
                usage.member("serviceTier").and_then(Raw::text).filter(|tier| !tier.is_empty())
            {
                emit(Event::ServiceTier(tier.to_ascii_lowercase().into()));
            }
        }
        let candidates = response.candidates.map(Raw::elements).unwrap_or_default();
        if candidates.is_empty() && response.blocked.is_some_and(|reason| !reason.is_idle()) {
            self.block(emit);
        }
        for (position, candidate) in candidates.into_iter().enumerate() {
            self.candidate(position, candidate, emit)?;
        }
        if self.choices.iter().any(Choice::has_finished) {
            self.tell_usage(emit);
        }
        Ok(())
    }

    fn start(&mut self, response: &Response<'_>, emit: &mut dyn FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.has_started, true) {
            let text = |value: Option<Raw<'_>>| {
                value.and_then(Escaped::of).map(Escaped::into_owned).unwrap_or_default()
            };
            let model = text(response.model);
            self.searches_by_prompt = model.inner().contains("gemini-2");
            emit(Event::Start { id: text(response.id), model });
        }
    }

    fn candidate(
        &mut self,
        position: usize,
        candidate: Raw<'_>,
        emit: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), Unreadable> {
        // The wire format omits a number of 0.
        let index = match candidate.member("index").and_then(Raw::count) {
            Some(index) => usize::try_from(index).map_err(|_| Unreadable)?,
            None => position,
        };
        let has_said = self.choices.iter().any(Choice::has_said);
        let Some(choice) = choice_at(&mut self.choices, index) else { return Ok(()) };
        let number = u32::try_from(index).map_err(|_| Unreadable)?;
        let end = choice.read(candidate, &mut self.ids, &mut |delta| {
            emit(Event::Said { choice: number, delta });
        })?;
        let Some(reason) = end else { return Ok(()) };
        if reason.is_fault && !has_said && !choice.has_said() {
            self.has_failed = true;
            emit(Event::Failed(reason.error(candidate)));
        } else if let Some(reason) = choice.finish(&reason) {
            emit(Event::Finish { choice: number, reason, stop_sequence: None });
        }
        Ok(())
    }

    /// The prompt was refused before a model read it.
    fn block(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        if let Some(choice) = choice_at(&mut self.choices, 0)
            && choice.block()
        {
            emit(Event::Finish { choice: 0, reason: Finish::ContentFilter, stop_sequence: None });
        }
    }

    fn tell_usage(&mut self, emit: &mut dyn FnMut(Event<'_>)) {
        let has_said = self.choices.iter().any(Choice::has_said);
        let queries = self.choices.iter().fold(0u64, |sum, choice| sum.saturating_add(choice.queries()));
        let searches = if self.searches_by_prompt { queries.min(1) } else { queries };
        let usage = self.report.usage(has_said).map(|usage| Usage { searches, ..usage });
        if let Some(usage) = usage
            && self.told != Some(usage)
        {
            self.told = Some(usage);
            emit(Event::Usage(usage));
        }
    }
}

fn parse(json: &[u8]) -> Result<Raw<'_>, Unreadable> {
    let mut cursor = Cursor::new(json, DEPTH_LIMIT).map_err(|_| Unreadable)?;
    let value = cursor.value().map_err(|_| Unreadable)?;
    cursor.end().map_err(|_| Unreadable)?;
    Ok(value)
}

fn choice_at(choices: &mut Vec<Choice>, index: usize) -> Option<&mut Choice> {
    if index >= CHOICES_MAX {
        return None;
    }
    while choices.len() <= index {
        choices.push(Choice::default());
    }
    choices.get_mut(index)
}

/// The members that are read; of a repeated name the last counts.
#[derive(Default)]
struct Response<'a> {
    error: Option<Raw<'a>>,
    candidates: Option<Raw<'a>>,
    /// `promptFeedback.blockReason`
    blocked: Option<Raw<'a>>,
    has_feedback: bool,
    usage: Option<Raw<'a>>,
    id: Option<Raw<'a>>,
    model: Option<Raw<'a>>,
}

impl<'a> Response<'a> {
    fn of(json: Raw<'a>) -> Self {
        let mut response = Response::default();
        for member in json.members() {
            match &*member.key {
                "error" => response.error = Some(member.value),
                "candidates" => response.candidates = Some(member.value),
                "promptFeedback" => {
                    response.has_feedback = true;
                    response.blocked = member.value.member("blockReason");
                }
                "usageMetadata" => response.usage = Some(member.value),
                "responseId" => response.id = Some(member.value),
                "modelVersion" => response.model = Some(member.value),
                _ => {}
            }
        }
        response
    }

    /// Whether it has any member of an answer.
    fn is_answer(&self) -> bool {
        self.candidates.is_some() || self.has_feedback || self.usage.is_some() || self.id.is_some()
    }
}
