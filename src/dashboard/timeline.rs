//! What happened during a request, on one axis from its arrival to the moment its charge was durable. A pure function of
//! the receipt.

use super::{explain, view};
use crate::billing::requests::Attempt;
use std::collections::BTreeMap;

/// Units of the axis.
const AXIS: u64 = 1_000;

/// When the parts of a request ended, in milliseconds after it arrived.
pub struct Moments {
    pub held_ms: Option<u64>,
    pub ttft_ms: Option<u64>,
    pub end_ms: u64,
    pub settled_ms: Option<u64>,
    pub is_answered: bool,
}

/// One line of the axis.
pub struct Span {
    pub name: String,
    pub note: String,
    pub began: String,
    pub took: String,
    pub class: &'static str,
    /// In parts of the axis, 0 to 1000.
    pub x: u64,
    pub width: u64,
}

struct Draft {
    name: String,
    note: String,
    from_ms: u64,
    to_ms: u64,
    class: &'static str,
}

/// The lines in the order of time, and the length of the axis in milliseconds. A receipt that does not say when a call
/// began shows the calls one after the other. `keys` are the names of stored provider keys.
pub fn spans(attempts: &[Attempt], moments: &Moments, keys: &BTreeMap<String, String>) -> (Vec<Span>, u64) {
    let mut drafts = Vec::new();
    let first_call = attempts.first().and_then(|attempt| attempt.started_ms);
    if let Some(planned) = moments.held_ms.or(first_call) {
        drafts.push(draft("Plan", "reads the request and orders the candidates", 0, planned, "s5"));
    }
    if let (Some(held), Some(called)) = (moments.held_ms, first_call) {
        drafts.push(draft(
            "Set aside",
            "credit for the dearest candidate ahead",
            held.min(called),
            called,
            "s3",
        ));
    }
    let mut at_ms = 0;
    for attempt in attempts {
        let from = attempt.started_ms.unwrap_or(at_ms);
        at_ms = from.saturating_add(attempt.latency_ms);
        drafts.push(Draft {
            name: format!("Call {}", attempt.model_id),
            note: format!("{}, {}", credential(attempt, keys), explain::cause(attempt)),
            from_ms: from,
            to_ms: at_ms,
            class: if attempt.error.is_some() { "fail" } else { "s0" },
        });
    }
    if let Some(first) = moments.ttft_ms.filter(|_| moments.is_answered) {
        drafts.push(draft("Answer", "from the first content to its end", first, moments.end_ms, "s1"));
    }
    if let Some(settled) = moments.settled_ms {
        let from = moments.end_ms.min(settled);
        drafts.push(draft("Settle", "until the charge is durable", from, settled, "s2"));
    }
    let total = drafts.iter().map(|draft| draft.to_ms).chain([moments.end_ms]).max().unwrap_or(0).max(1);
    (drafts.into_iter().map(|draft| span(draft, total)).collect(), total)
}

fn draft(name: &str, note: &str, from_ms: u64, to_ms: u64, class: &'static str) -> Draft {
    Draft { name: name.to_owned(), note: note.to_owned(), from_ms, to_ms, class }
}

fn span(draft: Draft, total_ms: u64) -> Span {
    let part = |ms: u64| (ms.min(total_ms).saturating_mul(AXIS) / total_ms).min(AXIS);
    let took = draft.to_ms.saturating_sub(draft.from_ms);
    let width = part(took).max(4);
    let x = part(draft.from_ms).min(AXIS - width);
    Span {
        name: draft.name,
        note: draft.note,
        began: view::duration(draft.from_ms),
        took: view::duration(took),
        class: draft.class,
        x,
        width,
    }
}

fn credential(attempt: &Attempt, keys: &BTreeMap<String, String>) -> String {
    match (attempt.credential.as_str(), &attempt.credential_id) {
        ("byok", Some(id)) => match keys.get(id) {
            Some(name) => format!("your key “{name}”"),
            None => format!("your key {id}, which is no longer stored"),
        },
        ("byok", None) => "a key sent with the request".to_owned(),
        _ => "the platform's key".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_lies_on_the_axis_in_the_order_of_time() {
        let attempt = |started_ms, latency_ms, error: Option<&str>| Attempt {
            model_id: "groq/x".to_owned(),
            credential: "byok".to_owned(),
            credential_id: Some("pk_1".to_owned()),
            error: error.map(str::to_owned),
            started_ms,
            latency_ms,
            ..Attempt::default()
        };
        let attempts = [attempt(Some(5), 20, Some("rate_limit")), attempt(Some(40), 160, None)];
        let moments = Moments {
            held_ms: Some(4),
            ttft_ms: Some(120),
            end_ms: 200,
            settled_ms: Some(210),
            is_answered: true,
        };
        let keys = BTreeMap::from([("pk_1".to_owned(), "team".to_owned())]);
        let (spans, total) = spans(&attempts, &moments, &keys);
        assert_eq!(total, 210);
        let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["Plan", "Set aside", "Call groq/x", "Call groq/x", "Answer", "Settle"]);
        assert!(spans.iter().all(|span| span.x + span.width <= AXIS && span.width > 0));
        assert!(spans.iter().any(|span| span.note.contains("your key “team”") && span.class == "fail"));
    }

    #[test]
    fn a_refusal_without_any_call_still_has_an_axis() {
        let moments =
            Moments { held_ms: None, ttft_ms: None, end_ms: 0, settled_ms: None, is_answered: false };
        let (spans, total) = spans(&[], &moments, &BTreeMap::new());
        assert!(spans.is_empty());
        assert_eq!(total, 1);
    }
}
