mod answers;
mod inverse;
mod properties;
mod requests;

use super::*;
use crate::{
    Dialect, Reading, Target, Unreadable,
    canonical::{Answer, Event, Part, Request, Role, Turn},
    json::Escaped,
    sse::Splitter,
};
use kairosroute_domain::{
    catalog::{Flag, Flags},
    provider::ProviderId,
};

/// A model that the catalogue does not know.
fn target(model: &str) -> Target<'_> {
    Target {
        provider: ProviderId::by_id("google").unwrap(),
        upstream_model: model,
        dialect: Dialect::Gemini,
        flags: None,
        output_tokens_max: None,
        seed: "s33d",
    }
}

fn knowing<'t>(model: &'t str, flags: &[Flag]) -> Target<'t> {
    Target { flags: Some(flags.iter().copied().collect::<Flags>()), ..target(model) }
}

fn text(text: &str) -> Part<'static> {
    Part::Text { text: Escaped::from_text(text), cache: None }
}

fn turn(role: Role, parts: Vec<Part<'_>>) -> Turn<'_> {
    Turn { role, name: None, parts }
}

/// A request with the text `Hi`.
fn hi() -> Request<'static> {
    Request { turns: vec![turn(Role::User, vec![text("Hi")])], ..Request::default() }
}

fn reader() -> Reader {
    Reader::new(Reading { seed: "s33d".to_owned(), ..Reading::default() })
}

/// The events of a stream whose bytes arrive in these pieces, as `Debug` text.
fn told(pieces: &[&[u8]]) -> Result<Vec<String>, Unreadable> {
    let mut told = Vec::new();
    stream(pieces, &mut |event| told.push(format!("{event:?}")))?;
    Ok(told)
}

fn stream(pieces: &[&[u8]], emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
    let mut reader = reader();
    let mut splitter = Splitter::new(1 << 20);
    let mut outcome = Ok(());
    let mut each = |frame: crate::sse::Frame<'_>| {
        if outcome.is_ok() {
            outcome = reader.frame(frame, emit);
        }
    };
    for piece in pieces {
        splitter.feed(piece, &mut each).unwrap();
    }
    splitter.finish(&mut each);
    outcome?;
    reader.close(emit);
    Ok(())
}

fn streamed(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    stream(&[bytes], &mut |event| answer.absorb(event)).unwrap();
    answer
}

fn whole(bytes: &[u8]) -> Answer {
    let mut answer = Answer::default();
    reader().body(bytes, &mut |event| answer.absorb(event)).unwrap();
    answer
}
