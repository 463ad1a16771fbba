//! Frames of any dialect as the events they mean, for the gateway to act on before the client gets anything.

use super::{Exchange, Heard};
use crate::dialect::{AnswerReader, Speaking, canonical::Event, sse::Frame};

pub(super) struct Gather {
    reader: AnswerReader,
    speaking: Speaking,
    events: Vec<Event<'static>>,
}

impl Gather {
    /// `None` where the answer is for the client.
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        let speaking = exchange.speaking.clone().filter(|_| exchange.gathers)?;
        let reader = AnswerReader::new(exchange.upstream, exchange.reading.clone());
        Some(Self { reader, speaking, events: Vec::new() })
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, heard: &mut Heard) {
        let Self { reader, events, .. } = self;
        if let Err(unreadable) = reader.frame(frame, &mut |event| take_event(event, events, heard)) {
            heard.fail(unreadable.to_string());
        }
    }

    pub(super) fn close(&mut self, heard: &mut Heard) {
        let Self { reader, events, .. } = self;
        reader.close(&mut |event| take_event(event, events, heard));
    }

    pub(super) fn take_events(&mut self) -> Vec<Event<'static>> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn speaking(&self) -> &Speaking {
        &self.speaking
    }
}

fn take_event(event: Event<'_>, events: &mut Vec<Event<'static>>, heard: &mut Heard) {
    if heard.ended || heard.failure.is_some() {
        return;
    }
    if matches!(event, Event::Restart) {
        if heard.committed {
            return heard.fail("the provider began its answer anew".to_owned());
        }
        return events.clear();
    }
    if heard.note(&event) {
        events.push(event.into_owned());
    }
}
