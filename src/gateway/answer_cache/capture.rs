//! Parses a streamed answer while it is relayed, so that it can be stored when it is complete. Used only for requests
//! that use the cache. An answer that grows too large is dropped.

use crate::dialect::{
    AnswerReader, Dialect, Reading,
    canonical::{Answer, Event},
    sse::Splitter,
};

pub(in crate::gateway) struct Capture {
    splitter: Splitter,
    reader: AnswerReader,
    answer: Answer,
    bytes: usize,
    bytes_max: usize,
    is_lost: bool,
}

impl Capture {
    pub fn new(dialect: Dialect, reading: Reading, frame_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            splitter: Splitter::new(frame_bytes_max),
            reader: AnswerReader::new(dialect, reading),
            answer: Answer::default(),
            bytes: 0,
            bytes_max,
            is_lost: false,
        }
    }

    /// Takes the provider's bytes.
    pub fn absorb(&mut self, bytes: &[u8]) {
        if self.is_lost {
            return;
        }
        let Self { splitter, reader, answer, bytes: size, bytes_max, is_lost } = self;
        let fed = splitter.feed(bytes, |frame| {
            let read = reader.frame(frame, &mut |event| {
                if let Event::Said { delta, .. } = &event {
                    *size = size.saturating_add(delta.size_bytes());
                }
                answer.absorb(event);
            });
            *is_lost |= read.is_err() || *size > *bytes_max;
        });
        self.is_lost |= fed.is_err();
        if self.is_lost {
            self.answer = Answer::default();
        }
    }

    /// Bytes that wait here.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes
    }

    /// The answer, if it was read completely.
    pub fn finish(mut self) -> Option<Answer> {
        let Self { splitter, reader, answer, is_lost, .. } = &mut self;
        splitter.finish(|frame| *is_lost |= reader.frame(frame, &mut |event| answer.absorb(event)).is_err());
        reader.close(&mut |event| answer.absorb(event));
        (!self.is_lost).then_some(self.answer)
    }
}
