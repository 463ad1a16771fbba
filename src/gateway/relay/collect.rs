//! Converts frames of any dialect to events, which the gateway processes before the client receives anything.

use super::{StreamState, UpstreamContext};
use crate::dialect::{
    AnswerReader, Unreadable, WriterContext,
    canonical::{AnswerPart, Delta, Event},
    sse::Frame,
};
use std::mem::{Discriminant, discriminant, size_of};

pub(super) struct Gather {
    reader: AnswerReader,
    writer_context: WriterContext,
    gathered: Gathered,
}

/// Events that were not taken yet, and the memory for the whole answer: it is collected until it ends, so it may not be
/// larger than an answer in one body.
#[derive(Default)]
struct Gathered {
    events: Vec<Event<'static>>,
    kept_bytes: usize,
    /// The last part. A following part of the same kind is joined to it.
    last: Option<Discriminant<Delta<'static>>>,
}

impl Gather {
    /// `None` if the answer is for the client.
    pub(super) fn new(context: &UpstreamContext) -> Option<Self> {
        let writer_context = context.writer_context.clone().filter(|_| context.gathers)?;
        let reader = AnswerReader::new(context.upstream, context.reading.clone());
        Some(Self { reader, writer_context, gathered: Gathered::default() })
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, state: &mut StreamState) {
        let Self { reader, gathered, .. } = self;
        if let Err(unreadable) = reader.frame(frame, &mut |event| gathered.take(event, state)) {
            state.fail(unreadable.to_string());
        }
    }

    /// Takes a whole answer.
    pub(super) fn whole(&mut self, json: &[u8], state: &mut StreamState) -> Result<(), Unreadable> {
        let Self { reader, gathered, .. } = self;
        reader.body(json, &mut |event| gathered.take(event, state))
    }

    pub(super) fn close(&mut self, state: &mut StreamState) {
        let Self { reader, gathered, .. } = self;
        reader.close(&mut |event| gathered.take(event, state));
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.gathered.kept_bytes
    }

    pub(super) fn take_events(&mut self) -> Vec<Event<'static>> {
        std::mem::take(&mut self.gathered.events)
    }

    pub(super) fn writer_context(&self) -> &WriterContext {
        &self.writer_context
    }
}

impl Gathered {
    fn take(&mut self, event: Event<'_>, state: &mut StreamState) {
        if state.ended || state.failure.is_some() {
            return;
        }
        if matches!(event, Event::Restart) {
            if state.committed {
                return state.fail("the provider began its answer anew".to_owned());
            }
            return *self = Self::default();
        }
        if !state.note(&event) {
            return;
        }
        let event = event.into_owned();
        if let Event::Said { delta, .. } = &event {
            self.keep(delta);
        }
        self.events.push(event);
        let waiting = self.events.len().saturating_mul(size_of::<Event<'_>>());
        if self.kept_bytes.saturating_add(waiting) > state.bytes_max {
            state.fail("the provider's answer is too large".to_owned());
        }
    }

    /// A separate part costs more than its text.
    fn keep(&mut self, delta: &Delta<'static>) {
        let kind = Some(discriminant(delta));
        let goes_on = match delta {
            Delta::Text(_) | Delta::Reasoning(_) | Delta::Refusal(_) => self.last == kind,
            Delta::ToolArguments { .. } | Delta::ToolEnd { .. } => true,
            _ => false,
        };
        let part = if goes_on { 0 } else { size_of::<AnswerPart>() };
        self.kept_bytes = self.kept_bytes.saturating_add(part).saturating_add(delta.size_bytes());
        self.last = kind;
    }
}
