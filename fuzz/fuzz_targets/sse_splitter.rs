//! The same bytes give the same frames however they are split.
#![no_main]

use kairosroute::dialect::sse::{FrameTooLong, Splitter, write_data};
use libfuzzer_sys::fuzz_target;

type Seen = (Option<Vec<u8>>, Option<Vec<u8>>);

fn frames(pieces: &[&[u8]]) -> (Result<(), FrameTooLong>, Vec<Seen>) {
    let mut splitter = Splitter::new(64);
    let mut seen = Vec::new();
    for piece in pieces {
        let fed = splitter.feed(piece, |frame| {
            seen.push((frame.event().map(<[u8]>::to_vec), frame.data().map(|data| data.into_owned())));
        });
        if fed.is_err() {
            return (fed, seen);
        }
    }
    splitter.finish(|frame| {
        seen.push((frame.event().map(<[u8]>::to_vec), frame.data().map(|data| data.into_owned())));
    });
    (Ok(()), seen)
}

fuzz_target!(|input: (usize, &[u8])| {
    let (at, bytes) = input;
    let (first, second) = bytes.split_at(at % (bytes.len() + 1));
    let (whole, split) = (frames(&[bytes]), frames(&[first, second]));
    if whole.0.is_ok() && split.0.is_ok() {
        assert_eq!(whole.1, split.1);
    }
    write_data(&mut Vec::new(), bytes);
});
