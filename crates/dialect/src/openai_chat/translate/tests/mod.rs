use crate::{
    Limits, Reading, Target, WriterContext,
    canonical::{Answer, Delta, Event, Request},
    openai_chat::{self, Reader, Writer, write_answer},
    sse::Splitter,
};
use kairosroute_domain::{
    provider::{Dialect, ProviderId},
    usage::Usage,
};

mod properties;
mod reader;
mod requests_in;
mod requests_out;
mod writer;

/// A file under `tests/golden/chat`.
macro_rules! golden {
    ($($name:literal),+) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/chat/", $($name),+))
    };
}
use golden;

fn target<'t>(provider: &str, upstream_model: &'t str) -> Target<'t> {
    Target {
        provider: ProviderId::by_id(provider).unwrap(),
        upstream_model,
        dialect: Dialect::Chat,
        flags: None,
        output_tokens_max: Some(4096),
        seed: "s1",
    }
}

fn writer_context(provider: &str, upstream_model: &str) -> WriterContext {
    WriterContext {
        seed: "s1".into(),
        created: 1_795_190_400,
        provider: ProviderId::by_id(provider).unwrap(),
        upstream_model: upstream_model.into(),
        include_usage: false,
        echo: String::new(),
    }
}

fn canonical(body: &str) -> Request<'_> {
    openai_chat::read(body.as_bytes(), &Limits::default()).unwrap().canonical().unwrap()
}

/// The field that no other dialect has.
fn unsupported(body: &str) -> String {
    let request = openai_chat::read(body.as_bytes(), &Limits::default()).unwrap();
    request.canonical().unwrap_err().field.into_owned()
}

/// One event in one line.
fn line(event: &Event<'_>) -> String {
    match event {
        Event::Start { id, model } => format!("start {} {}", id.inner(), model.inner()),
        Event::Finish { choice, reason, .. } => format!("{choice} finish {reason:?}"),
        Event::Prompt(u) => format!("prompt {}", u.prompt()),
        Event::Usage(u) => format!(
            "usage {} read {} written {} output {} reasoning {}",
            u.input, u.cache_read, u.cache_write, u.output, u.reasoning
        ),
        Event::ServiceTier(tier) => format!("tier {tier}"),
        Event::Failed(error) => format!("failed {}", error.get()),
        Event::Restart => "restart".into(),
        Event::End => "end".into(),
        Event::Said { choice, delta } => format!("{choice} {}", said(delta)),
    }
}

fn said(delta: &Delta<'_>) -> String {
    match delta {
        Delta::Text(text) => format!("text {}", text.inner()),
        Delta::Reasoning(text) => format!("reasoning {}", text.inner()),
        Delta::Signature(text) => format!("signature {}", text.inner()),
        Delta::Redacted(text) => format!("redacted {}", text.inner()),
        Delta::Refusal(text) => format!("refusal {}", text.inner()),
        Delta::ToolStart { tool, id, name, signature } => {
            let signature = signature.as_ref().map_or("-", |value| value.inner());
            format!("tool {tool} {} {} {signature}", id.inner(), name.inner())
        }
        Delta::ToolArguments { tool, piece } => format!("arguments {tool} {}", piece.inner()),
        Delta::ToolEnd { tool } => format!("tool end {tool}"),
        Delta::Citation(citation) => format!("{citation:?}"),
        Delta::Logprobs(json) => format!("logprobs {}", json.get()),
        Delta::Image { media_type, data } => format!("image {} {}", media_type.inner(), data.inner()),
    }
}

fn reading(provider: &str) -> Reading {
    let quirks = ProviderId::by_id(provider).unwrap().row().quirks;
    Reading {
        seed: "s1".into(),
        reasoning_outside_output: quirks.reasoning_outside_output,
        empty_finish_ends_calls: quirks.answers.empty_finish_ends_calls,
        ..Reading::default()
    }
}

/// The events of a stream that arrives in these pieces, a line each.
fn streamed(pieces: &[&[u8]], provider: &str) -> String {
    let mut lines = String::new();
    stream_events(pieces, provider, &mut |event| lines += &format!("{}\n", line(&event)));
    lines
}

fn stream_events(pieces: &[&[u8]], provider: &str, emit: &mut dyn FnMut(Event<'_>)) {
    let mut reader = Reader::new(reading(provider));
    let mut splitter = Splitter::new(1 << 20);
    for piece in pieces {
        splitter.feed(piece, |frame| reader.frame(frame, emit).unwrap()).unwrap();
    }
    splitter.finish(|frame| reader.frame(frame, emit).unwrap());
    reader.close(emit);
}

/// The events of a whole answer, a line each.
fn whole(body: &str, provider: &str) -> String {
    let mut lines = String::new();
    let mut emit = |event: Event<'_>| lines += &format!("{}\n", line(&event));
    Reader::new(reading(provider)).body(body.as_bytes(), &mut emit).unwrap();
    lines
}

/// The client's stream for these events.
fn written(events: &[Event<'_>], writer_context: WriterContext, billed: &Usage) -> String {
    let mut writer = Writer::new(writer_context);
    let mut out = Vec::new();
    for event in events {
        writer.event(event, &mut out);
    }
    writer.conclude(r#"{"provider":"x"}"#, billed, &mut out);
    String::from_utf8(out).unwrap()
}

/// The client's whole answer for these events.
fn written_whole(events: &[Event<'_>], writer_context: &WriterContext, billed: &Usage) -> String {
    let mut answer = Answer::default();
    for event in events {
        answer.absorb(event.clone());
    }
    String::from_utf8(write_answer(&answer, writer_context, r#"{"provider":"x"}"#, billed)).unwrap()
}
