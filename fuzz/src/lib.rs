//! What several targets share.

use kairosroute::{
    dialect::{
        AnswerReader, ClientWriter, Dialect, Reading, WriterContext, canonical::Answer, sse::Splitter,
        write_answer,
    },
    domain::{provider::ProviderId, usage::Usage},
};

fn writer_context() -> Option<WriterContext> {
    Some(WriterContext {
        seed: "s".into(),
        created: 0,
        provider: ProviderId::by_id("openai")?,
        upstream_model: "m".into(),
        include_usage: true,
        echo: String::new(),
    })
}

/// What the answer holds and how it is written on; `None` if a frame was too long.
fn read(dialect: Dialect, pieces: &[&[u8]]) -> Option<(Answer, Vec<u8>)> {
    let mut reader = AnswerReader::new(dialect, Reading::default());
    let mut writer = ClientWriter::new(dialect, writer_context()?)?;
    let mut splitter = Splitter::new(1 << 16);
    let (mut answer, mut out) = (Answer::default(), Vec::new());
    for piece in pieces {
        let fed = splitter.feed(piece, |frame| {
            // A frame that cannot be read changes nothing.
            let _ = reader.frame(frame, &mut |event| {
                writer.event(&event, &mut out);
                answer.absorb(event);
            });
        });
        fed.ok()?;
    }
    writer.conclude("{}", &Usage::default(), &mut out);
    Some((answer, out))
}

/// Whatever a provider sends, the reader of its answers neither panics nor sees a difference in how the bytes were split
/// at `at`, and what it tells can be written for a client of the same dialect.
pub fn read_and_written(dialect: Dialect, at: u16, bytes: &[u8]) {
    let mut answer = Answer::default();
    let _ = AnswerReader::new(dialect, Reading::default()).body(bytes, &mut |event| answer.absorb(event));
    if let Some(writer_context) = writer_context() {
        write_answer(dialect, &answer, &writer_context, "{}", &Usage::default());
    }
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read(dialect, &[first, second]), read(dialect, &[bytes]));
}

/// What the answer holds, and how many frames could not be read; `None` if one was too long.
fn heard(dialect: Dialect, pieces: &[&[u8]]) -> Option<(Answer, usize)> {
    let mut reader = AnswerReader::new(dialect, Reading::default());
    let mut splitter = Splitter::new(1 << 16);
    let (mut answer, mut unreadable) = (Answer::default(), 0);
    for piece in pieces {
        let fed = splitter.feed(piece, |frame| {
            unreadable += usize::from(reader.frame(frame, &mut |event| answer.absorb(event)).is_err());
        });
        fed.ok()?;
    }
    reader.close(&mut |event| answer.absorb(event));
    Some((answer, unreadable))
}

/// Whatever a provider sends, the reader of its answers neither panics nor sees a difference in how the bytes were split
/// at `at`.
pub fn read_only(dialect: Dialect, at: u16, bytes: &[u8]) {
    let _ = AnswerReader::new(dialect, Reading::default()).body(bytes, &mut |_| ());
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(heard(dialect, &[first, second]), heard(dialect, &[bytes]));
}
