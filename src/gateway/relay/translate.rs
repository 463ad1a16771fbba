//! Frames of one dialect, written in another.

use super::{BEGAN_ANEW, Exchange, Heard, terminal};
use crate::{
    dialect::{AnswerReader, ClientWriter, Dialect, Speaking, Unreadable, canonical::Event, sse::Frame},
    domain::usage::Usage,
};

pub(super) struct Translate {
    client: Dialect,
    speaking: Speaking,
    reader: AnswerReader,
    writer: ClientWriter,
}

impl Translate {
    /// `None` where the bytes pass.
    pub(super) fn new(exchange: &Exchange) -> Option<Self> {
        let speaking = exchange.speaking.clone()?;
        let writer = ClientWriter::new(exchange.client, speaking.clone())?;
        let reader = AnswerReader::new(exchange.upstream, exchange.reading.clone());
        Some(Self { client: exchange.client, speaking, reader, writer })
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, heard: &mut Heard) {
        let Self { client, speaking, reader, writer } = self;
        let reading =
            reader.frame(frame, &mut |event| take_event(&event, (*client, speaking), writer, heard));
        if let Err(unreadable) = reading {
            heard.fail(unreadable.to_string());
        }
        heard.check_room(writer.held_bytes());
    }

    /// Takes a whole answer.
    pub(super) fn whole(&mut self, json: &[u8], heard: &mut Heard) -> Result<(), Unreadable> {
        let Self { client, speaking, reader, writer } = self;
        reader.body(json, &mut |event| take_event(&event, (*client, speaking), writer, heard))
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.writer.held_bytes()
    }

    pub(super) fn close(&mut self, heard: &mut Heard) {
        let Self { client, speaking, reader, writer } = self;
        reader.close(&mut |event| take_event(&event, (*client, speaking), writer, heard));
    }

    pub(super) fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        self.writer.conclude(note, billed, out);
    }

    pub(super) fn fail(&mut self, code: &str, message: &str, provider: Option<&str>, out: &mut Vec<u8>) {
        match &mut self.writer {
            // Its events are numbered.
            ClientWriter::Responses(writer) => writer.fail(code, message, out),
            _ => out.extend(terminal::error(self.client, code, message, provider)),
        }
    }
}

fn take_event(
    event: &Event<'_>,
    (client, speaking): (Dialect, &Speaking),
    writer: &mut ClientWriter,
    heard: &mut Heard,
) {
    if heard.ended || heard.failure.is_some() {
        return;
    }
    if matches!(event, Event::Restart) {
        if heard.committed {
            return heard.fail(BEGAN_ANEW.to_owned());
        }
        heard.out.clear();
        if let Some(fresh) = ClientWriter::new(client, speaking.clone()) {
            *writer = fresh;
        }
        return;
    }
    if heard.note(event) {
        writer.event(event, &mut heard.out);
    }
}
