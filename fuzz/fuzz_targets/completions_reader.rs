//! Whatever a provider sends, the reader of its answers neither panics nor sees a difference in how the bytes were
//! split, and what it tells can be written for a client.
#![no_main]

use kairosroute::{
    dialect::{
        AnswerReader, ClientWriter, Dialect, Reading, Speaking, canonical::Answer, sse::Splitter,
        write_answer,
    },
    domain::{provider::ProviderId, usage::Usage},
};
use libfuzzer_sys::fuzz_target;

fn speaking() -> Option<Speaking> {
    Some(Speaking {
        seed: "s".into(),
        created: 0,
        provider: ProviderId::by_id("openai")?,
        upstream_model: "m".into(),
        include_usage: true,
        echo: String::new(),
    })
}

/// What the answer holds and how it is written on; `None` if a frame was too long.
fn read(pieces: &[&[u8]]) -> Option<(Answer, Vec<u8>)> {
    let mut reader = AnswerReader::new(Dialect::Completions, Reading::default());
    let mut writer = ClientWriter::new(Dialect::Completions, speaking()?)?;
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

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let mut answer = Answer::default();
    let _ = AnswerReader::new(Dialect::Completions, Reading::default())
        .body(bytes, &mut |event| answer.absorb(event));
    if let Some(speaking) = speaking() {
        write_answer(Dialect::Completions, &answer, &speaking, "{}", &Usage::default());
    }
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read(&[first, second]), read(&[bytes]));
});
