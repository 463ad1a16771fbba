use super::*;
use crate::{
    AnswerReader, ClientWriter, Dialect, Limits, Reading, Target, WriterContext,
    canonical::{Answer, Event},
    sse::Splitter,
};
use kairosroute_domain::provider::ProviderId;

mod answers;
mod encodes;
mod laws;
mod options;
mod reads;
mod speaks;
mod writes;

/// The text of a golden file.
macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/messages/", $name))
    };
}
use golden;

fn read_ok(body: &str) -> MessagesRequest<'_> {
    match read(body.as_bytes(), &Limits::default()) {
        Ok(request) => request,
        Err(invalid) => panic!("{invalid}: {body}"),
    }
}

fn target<'t>(provider: &str, upstream_model: &'t str) -> Target<'t> {
    let provider = ProviderId::by_id(provider).unwrap();
    Target {
        provider,
        upstream_model,
        dialect: Dialect::Messages,
        flags: None,
        output_tokens_max: Some(64_000),
        seed: "5eed",
    }
}

fn writer_context(provider: &str, upstream_model: &str) -> WriterContext {
    WriterContext {
        seed: "gw1".into(),
        created: 0,
        provider: ProviderId::by_id(provider).unwrap(),
        upstream_model: upstream_model.into(),
        include_usage: false,
        echo: String::new(),
    }
}

fn reader(reading: Reading) -> AnswerReader {
    AnswerReader::new(Dialect::Messages, reading)
}

fn owned(event: Event<'_>) -> Event<'static> {
    use crate::{
        canonical::{Citation, Delta},
        json::Escaped,
    };
    let own = Escaped::into_owned;
    match event {
        Event::Start { id, model } => Event::Start { id: own(id), model: own(model) },
        Event::Said { choice, delta } => Event::Said {
            choice,
            delta: match delta {
                Delta::Text(text) => Delta::Text(own(text)),
                Delta::Reasoning(text) => Delta::Reasoning(own(text)),
                Delta::Signature(text) => Delta::Signature(own(text)),
                Delta::Redacted(text) => Delta::Redacted(own(text)),
                Delta::Refusal(text) => Delta::Refusal(own(text)),
                Delta::ToolStart { tool, id, name, signature } => {
                    Delta::ToolStart { tool, id: own(id), name: own(name), signature: signature.map(own) }
                }
                Delta::ToolArguments { tool, piece } => Delta::ToolArguments { tool, piece: own(piece) },
                Delta::ToolEnd { tool } => Delta::ToolEnd { tool },
                Delta::Citation(Citation { url, title, span }) => {
                    Delta::Citation(Citation { url: own(url), title: title.map(own), span })
                }
                Delta::Logprobs(json) => Delta::Logprobs(json.into_owned()),
                Delta::Image { media_type, data } => {
                    Delta::Image { media_type: own(media_type), data: own(data) }
                }
            },
        },
        Event::Finish { choice, reason, stop_sequence } => {
            Event::Finish { choice, reason, stop_sequence: stop_sequence.map(own) }
        }
        Event::Prompt(usage) => Event::Prompt(usage),
        Event::Usage(usage) => Event::Usage(usage),
        Event::ServiceTier(tier) => Event::ServiceTier(tier.into_owned().into()),
        Event::Restart => Event::Restart,
        Event::Failed(error) => Event::Failed(error.into_owned()),
        Event::End => Event::End,
    }
}

/// The events of a stream that arrives in these pieces.
fn streamed(pieces: &[&[u8]], reading: Reading) -> Vec<Event<'static>> {
    let (mut reader, mut splitter, mut events) = (reader(reading), Splitter::new(1 << 20), Vec::new());
    for piece in pieces {
        splitter
            .feed(piece, |frame| reader.frame(frame, &mut |event| events.push(owned(event))).unwrap())
            .unwrap();
    }
    splitter.finish(|frame| reader.frame(frame, &mut |event| events.push(owned(event))).unwrap());
    reader.close(&mut |event| events.push(owned(event)));
    events
}

fn whole(body: &str, reading: Reading) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    reader(reading).body(body.as_bytes(), &mut |event| events.push(owned(event))).unwrap();
    events
}

fn gathered(events: Vec<Event<'_>>) -> Answer {
    let mut answer = Answer::default();
    events.into_iter().for_each(|event| answer.absorb(event));
    answer
}

/// The client's output for the events, with this usage.
fn spoken(
    events: &[Event<'_>],
    writer_context: WriterContext,
    billed: &kairosroute_domain::usage::Usage,
) -> String {
    let mut writer = ClientWriter::new(Dialect::Messages, writer_context).unwrap();
    let mut out = Vec::new();
    events.iter().for_each(|event| writer.event(event, &mut out));
    writer.conclude(r#"{"cost":"0.1"}"#, billed, &mut out);
    String::from_utf8(out).unwrap()
}
