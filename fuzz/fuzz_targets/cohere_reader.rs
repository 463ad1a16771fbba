//! Whatever a provider sends, the reader of its answers neither panics nor sees a difference in how the bytes
//! were split.
#![no_main]

use kairosroute::dialect::{AnswerReader, Dialect, Reading, sse::Splitter};
use libfuzzer_sys::fuzz_target;

fn told(pieces: &[&[u8]]) -> Vec<String> {
    let mut reader = AnswerReader::new(Dialect::Cohere, Reading::default());
    let mut splitter = Splitter::new(1 << 16);
    let mut told = Vec::new();
    for piece in pieces {
        let fed = splitter.feed(piece, |frame| {
            let mut said = Vec::new();
            if reader.frame(frame, &mut |event| said.push(format!("{event:?}"))).is_err() {
                said.push("unreadable".to_owned());
            }
            told.append(&mut said);
        });
        if fed.is_err() {
            told.push("too long".to_owned());
            return told;
        }
    }
    reader.close(&mut |event| told.push(format!("{event:?}")));
    told
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let _ = AnswerReader::new(Dialect::Cohere, Reading::default()).body(bytes, &mut |_| ());
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(told(&[first, second]), told(&[bytes]));
});
