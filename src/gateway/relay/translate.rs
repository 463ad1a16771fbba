//! Translates frames of one dialect into another.

use super::{BEGAN_ANEW, StreamState, UpstreamContext, error_event};
use crate::{
    dialect::{AnswerReader, ClientWriter, Dialect, Unreadable, WriterContext, canonical::Event, sse::Frame},
    domain::usage::Usage,
};

pub(super) struct Translate {
    client: Dialect,
    writer_context: WriterContext,
    reader: AnswerReader,
    writer: ClientWriter,
}

impl Translate {
    /// `None` if the bytes pass through.
    pub(super) fn new(context: &UpstreamContext) -> Option<Self> {
        let writer_context = context.writer_context.clone()?;
        let writer = ClientWriter::new(context.client, writer_context.clone())?;
        let reader = AnswerReader::new(context.upstream, context.reading.clone());
        Some(Self { client: context.client, writer_context, reader, writer })
    }

    pub(super) fn take(&mut self, frame: Frame<'_>, state: &mut StreamState) {
        let Self { client, writer_context, reader, writer } = self;
        let reading =
            reader.frame(frame, &mut |event| take_event(&event, (*client, writer_context), writer, state));
        if let Err(unreadable) = reading {
            state.fail(unreadable.to_string());
        }
        state.check_room(writer.held_bytes());
    }

    /// Takes a whole answer.
    pub(super) fn whole(&mut self, json: &[u8], state: &mut StreamState) -> Result<(), Unreadable> {
        let Self { client, writer_context, reader, writer } = self;
        reader.body(json, &mut |event| take_event(&event, (*client, writer_context), writer, state))
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.writer.held_bytes()
    }

    pub(super) fn close(&mut self, state: &mut StreamState) {
        let Self { client, writer_context, reader, writer } = self;
        reader.close(&mut |event| take_event(&event, (*client, writer_context), writer, state));
    }

    pub(super) fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        self.writer.conclude(note, billed, out);
    }

    pub(super) fn fail(&mut self, code: &str, message: &str, provider: Option<&str>, out: &mut Vec<u8>) {
        match &mut self.writer {
            // Its events are numbered.
            ClientWriter::Responses(writer) => writer.fail(code, message, out),
            _ => out.extend(error_event::error(self.client, code, message, provider)),
        }
    }
}

fn take_event(
    event: &Event<'_>,
    (client, writer_context): (Dialect, &WriterContext),
    writer: &mut ClientWriter,
    state: &mut StreamState,
) {
    if state.ended || state.failure.is_some() {
        return;
    }
    if matches!(event, Event::Restart) {
        if state.committed {
            return state.fail(BEGAN_ANEW.to_owned());
        }
        state.out.clear();
        if let Some(fresh) = ClientWriter::new(client, writer_context.clone()) {
            *writer = fresh;
        }
        return;
    }
    if state.note(event) {
        writer.event(event, &mut state.out);
    }
}
