//! Whatever a provider sends, the reader of its answers neither panics nor sees a difference in how the bytes
//! were split.
#![no_main]

use kairosroute::dialect::{AnswerReader, Dialect, Reading, canonical::Answer, sse::Splitter};
use libfuzzer_sys::fuzz_target;

/// What the answer holds, and how many frames could not be read; `None` if one was too long.
fn read(pieces: &[&[u8]]) -> Option<(Answer, usize)> {
    let mut reader = AnswerReader::new(Dialect::Cohere, Reading::default());
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

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let _ = AnswerReader::new(Dialect::Cohere, Reading::default()).body(bytes, &mut |_| ());
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read(&[first, second]), read(&[bytes]));
});
