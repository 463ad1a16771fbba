//! Golden cases are in tests/golden/responses: a stream (`.sse`), its events (`.events`), and often the same answer
//! whole (`.json`).

use super::{Reader, ResponsesRequest, Writer, read, write, write_answer};
use crate::{
    Dialect, Limits, Reading, Target, Unreadable, WriterContext,
    canonical::{Answer, Citation, Delta, Event},
    json::Escaped,
    sse::Splitter,
};
use kairosroute_domain::{provider::ProviderId, usage::Usage};

mod answers;
mod client_tools;
mod read_answers;
mod requests;
mod translations;

macro_rules! golden {
    ($name:expr) => {
        include_str!(concat!("../../../tests/golden/responses/", $name))
    };
}
use golden;

fn target<'t>(provider: &str, model: &'t str) -> Target<'t> {
    Target {
        provider: ProviderId::by_id(provider).unwrap(),
        upstream_model: model,
        dialect: Dialect::Responses,
        flags: None,
        output_tokens_max: None,
        seed: "s1",
    }
}

fn request(body: &str) -> ResponsesRequest<'_> {
    read(body.as_bytes(), &Limits::default()).unwrap()
}

fn writer_context() -> WriterContext {
    WriterContext {
        seed: "s1".into(),
        created: 1_790_000_000,
        provider: ProviderId::by_id("google").unwrap(),
        upstream_model: "gemini-3.8-flash".into(),
        include_usage: false,
        echo: request(r#"{"model":"m","input":"x"}"#).echo(),
    }
}

/// One line for an event.
fn told(event: &Event<'_>) -> String {
    match event {
        Event::Said { choice: 0, delta } => said(delta),
        Event::Start { id, model } => format!("start {} {}", id.inner(), model.inner()),
        Event::Finish { reason, .. } => format!("finish {reason:?}"),
        Event::Usage(usage) => format!(
            "usage {} read {} written {} output {} reasoning {}",
            usage.input, usage.cache_read, usage.cache_write, usage.output, usage.reasoning
        ),
        Event::Failed(json) => format!("failed {}", json.get()),
        Event::ServiceTier(tier) => format!("tier {tier}"),
        other => format!("{other:?}"),
    }
}

fn said(delta: &Delta<'_>) -> String {
    match delta {
        Delta::Text(text) => format!("text {}", text.inner()),
        Delta::Reasoning(text) => format!("reasoning {}", text.inner()),
        Delta::Signature(text) => format!("signature {}", text.inner()),
        Delta::Refusal(text) => format!("refusal {}", text.inner()),
        Delta::ToolStart { tool, id, name, signature } => {
            let signature = signature.as_ref().map_or("-", Escaped::inner);
            format!("tool {tool} {} {} {signature}", id.inner(), name.inner())
        }
        Delta::ToolArguments { tool, piece } => format!("arguments {tool} {}", piece.inner()),
        Delta::ToolEnd { tool } => format!("tool end {tool}"),
        Delta::Citation(Citation { url, title, span }) => {
            format!("citation {} {:?} {span:?}", url.inner(), title.as_ref().map(Escaped::inner))
        }
        Delta::Logprobs(json) => format!("logprobs {}", json.get()),
        Delta::Image { media_type, data } => format!("image {} {}", media_type.inner(), data.inner()),
        Delta::Redacted(data) => format!("redacted {}", data.inner()),
    }
}

/// Reads a stream that arrives in these pieces.
fn stream(pieces: &[&[u8]], mut each: impl FnMut(Event<'_>)) -> Result<(), Unreadable> {
    let mut reader = Reader::new(Reading { seed: "s1".into(), ..Reading::default() });
    let mut splitter = Splitter::new(1 << 20);
    let mut outcome = Ok(());
    for piece in pieces {
        splitter
            .feed(piece, |frame| {
                if outcome.is_ok() {
                    outcome = reader.frame(frame, &mut each);
                }
            })
            .unwrap();
    }
    outcome?;
    reader.close(&mut each);
    Ok(())
}

fn whole(json: &str, mut each: impl FnMut(Event<'_>)) -> Result<(), Unreadable> {
    let mut reader = Reader::new(Reading { seed: "s1".into(), ..Reading::default() });
    reader.body(json.as_bytes(), &mut each)?;
    reader.close(&mut each);
    Ok(())
}

fn streamed_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    stream(&[text.as_bytes()], |event| lines.push(told(&event))).unwrap();
    lines
}

fn streamed_answer(text: &[u8]) -> Answer {
    let mut answer = Answer::default();
    stream(&[text], |event| answer.absorb(event)).unwrap();
    answer
}

fn whole_answer(json: &str) -> Answer {
    let mut answer = Answer::default();
    whole(json, |event| answer.absorb(event)).unwrap();
    answer
}

fn usage() -> Usage {
    Usage { input: 10, cache_read: 40, output: 20, reasoning: 6, ..Usage::default() }
}
