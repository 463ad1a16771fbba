//! The rule: twice the input costs at most 2.2 times the work. It is checked by counting the steps of every reader,
//! writer and splitter, with the worst inputs for each. An input with more elements than a request may have must be
//! refused, at no more than linear cost.

use super::of;
use crate::{
    AnswerReader, ClientRequest, ClientWriter, Dialect, Limits, Reading, Target, WriterContext,
    canonical::Answer,
    sse::{Splitter, write_data},
    write_answer,
};
use kairosroute_domain::{provider::ProviderId, usage::Usage};

mod answers;
mod kinds;
mod requests;

/// Cost of twice the input, in tenths of the cost of the input, at the most.
const GROWTH_TENTHS_MAX: u64 = 22;

/// Fails unless `work` grows at most as the rule allows. `work` gets the size of its input.
fn check(case: &str, size: usize, mut work: impl FnMut(usize)) {
    let (once, ()) = of(|| work(size));
    let (twice, ()) = of(|| work(size * 2));
    assert!(once > 0, "{case}: nothing was counted");
    assert!(
        twice * 10 <= once * GROWTH_TENTHS_MAX,
        "{case}: {once} steps for {size}, {twice} steps for twice as many"
    );
}

/// `count` copies with their numbers in place of `#`, separated by `,`.
fn repeated(piece: &str, count: usize) -> String {
    let pieces: Vec<String> = (0..count).map(|number| piece.replace('#', &number.to_string())).collect();
    pieces.join(",")
}

#[test]
fn the_law_notices_a_scan_within_a_loop() {
    let quadratic = |size: usize| {
        for index in 0..size {
            super::step(index);
        }
    };
    let (once, ()) = of(|| quadratic(100));
    let (twice, ()) = of(|| quadratic(200));
    assert!(twice * 10 > once * GROWTH_TENTHS_MAX);
}

#[test]
fn the_splitter_searches_no_byte_twice() {
    #[allow(clippy::type_complexity)] // one table
    let streams: [(&str, fn(usize) -> Vec<u8>); 6] = [
        ("one unfinished line", |size| vec![b'x'; size]),
        ("a line of carriage returns' halves", |size| b"data: x\r".repeat(size / 8)),
        ("one frame of many lines", |size| b"data: x\n".repeat(size / 8)),
        ("many frames", |size| b"data: x\n\n".repeat(size / 9)),
        ("blank lines", |size| b"\n".repeat(size)),
        ("comments", |size| b": ping\r\n\r\n".repeat(size / 10)),
    ];
    for (name, stream) in streams {
        for bytes_a_read in [1, 7, 4096, usize::MAX] {
            check(&format!("{name}, {bytes_a_read} bytes a read"), 2048, |size| {
                let bytes = stream(size);
                let mut splitter = Splitter::new(usize::MAX - 1);
                let mut read = |frame: crate::sse::Frame<'_>| {
                    frame.data().map(|data| data.len());
                    frame.event().map(<[u8]>::len);
                };
                for piece in bytes.chunks(bytes_a_read.min(bytes.len())) {
                    splitter.feed(piece, &mut read).unwrap();
                }
                splitter.finish(&mut read);
            });
        }
    }
}

/// Every provider's dialect, with a model that takes most.
fn targets() -> Vec<Target<'static>> {
    [
        ("openai", "gpt-5.4", Dialect::Chat),
        ("mistral", "mistral-large-4", Dialect::Chat),
        ("deepseek", "deepseek-chat", Dialect::Chat),
        ("openai", "gpt-5.4", Dialect::Responses),
        ("openai", "davinci-002", Dialect::Completions),
        ("anthropic", "claude-sonnet-4-6", Dialect::Messages),
        ("anthropic", "claude-3-5-haiku-20241022", Dialect::Messages),
        ("google", "gemini-3.8-flash", Dialect::Gemini),
        ("google", "gemini-2.5-flash", Dialect::Gemini),
        ("cohere", "command-a-03-2025", Dialect::Cohere),
    ]
    .into_iter()
    .map(|(provider, upstream_model, dialect)| Target {
        provider: ProviderId::by_id(provider).unwrap(),
        upstream_model,
        dialect,
        flags: None,
        output_tokens_max: Some(4096),
        seed: "s1",
    })
    .collect()
}
