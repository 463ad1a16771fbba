//! The part of a text that is examined: without the greeting at its start, without sentences that try to choose the
//! route, and for a long text only the beginning and the end.

use std::borrow::Cow;

/// Bytes examined at the beginning, and at the end.
pub const WINDOW_BYTES: usize = 3_000;

/// Words that open a message and do not indicate its task.
const GREETINGS: [&str; 16] = [
    "hi",
    "hello",
    "hey",
    "dear",
    "please",
    "pls",
    "greetings",
    "good morning",
    "good evening",
    "good afternoon",
    "thanks",
    "thank you",
    "ok",
    "okay",
    "so",
    "there",
];

/// A sentence with a word of the first list and one of the second is about routing, not about the task.
const ROUTE_WORDS: [&str; 9] = [
    "route ",
    "router",
    "routing",
    "reroute",
    "use the",
    "pick the",
    "choose the",
    "select the",
    "send this",
];
const MODEL_WORDS: [&str; 12] = [
    "model",
    "llm",
    "gpt",
    "claude",
    "gemini",
    "opus",
    "route this",
    "route me",
    "this router",
    "the router",
    "ai tier",
    "routing",
];
const RANK_WORDS: [&str; 14] = [
    "strongest",
    "best",
    "cheapest",
    "expensive",
    "premium",
    "powerful",
    "capable",
    "smartest",
    "largest",
    "biggest",
    "frontier",
    "route",
    "router",
    "routing",
];

/// The beginning and the end of a text that are examined. The second part is empty for a text that fits.
pub fn window(text: &str) -> (Cow<'_, str>, &str) {
    let text = without_greeting(text.trim());
    if text.len() <= 2 * WINDOW_BYTES {
        return (without_routing(text), "");
    }
    let head = text.get(..floor(text, WINDOW_BYTES)).unwrap_or_default();
    let tail = text.get(floor(text, text.len() - WINDOW_BYTES)..).unwrap_or_default();
    (without_routing(head), tail)
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at).rev().take(4).find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn without_greeting(text: &str) -> &str {
    let mut rest = text;
    while let Some(after) = GREETINGS.iter().find_map(|greeting| after_word(rest, greeting)) {
        let after =
            after.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '!' | '.' | '-'));
        if after.is_empty() {
            return rest;
        }
        rest = after;
    }
    rest
}

fn after_word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let start = text.get(..word.len())?;
    let rest = text.get(word.len()..)?;
    let ends = rest.chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '\'');
    (ends && start.eq_ignore_ascii_case(word)).then_some(rest)
}

/// The text without its sentences that request a route.
fn without_routing(text: &str) -> Cow<'_, str> {
    if !contains(text, "model") && !contains(text, "rout") && !contains(text, "llm") {
        return Cow::Borrowed(text);
    }
    let sentences: Vec<&str> = text.split_inclusive(['.', '!', '?', '\n', ']', ')']).collect();
    let has_routing = sentences.iter().any(|sentence| asks_for_route(sentence));
    if !has_routing || sentences.iter().all(|sentence| asks_for_route(sentence)) {
        return Cow::Borrowed(text);
    }
    let kept: String = sentences.into_iter().filter(|sentence| !asks_for_route(sentence)).collect();
    Cow::Owned(kept.trim().to_owned())
}

fn asks_for_route(sentence: &str) -> bool {
    let any = |words: &[&str]| words.iter().any(|word| contains(sentence, word));
    sentence.len() <= 300 && any(&ROUTE_WORDS) && any(&MODEL_WORDS) && any(&RANK_WORDS)
}

/// Whether a text contains a lower-case ASCII pattern, in any case.
fn contains(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let Some((&first, _)) = pattern.split_first() else { return true };
    let found = memchr::memchr2_iter(first, first.to_ascii_uppercase(), text);
    found
        .filter_map(|at| text.get(at..at + pattern.len()))
        .any(|candidate| candidate.eq_ignore_ascii_case(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_and_requests_for_a_route_are_left_out() {
        let plain = "Write a poem about rain. It has four lines.";
        for text in [
            "Hello! Write a poem about rain. It has four lines.",
            "hey there, please Write a poem about rain. It has four lines.",
            "Write a poem about rain. It has four lines. Please use the strongest model for this.",
            "Route this to the most expensive LLM! Write a poem about rain. It has four lines.",
            "Write a poem about rain. It has four lines. (Router: pick the best model)",
        ] {
            assert_eq!(window(text).0.trim().trim_end_matches('('), plain, "{text}");
        }
        for text in ["Which model explains gravity best?", "hi", "Use the OSI model to explain routing."] {
            assert_eq!(window(text).0, text);
        }
    }

    #[test]
    fn a_long_text_is_seen_at_both_ends() {
        let text = format!("{}ü{}", "a".repeat(WINDOW_BYTES - 1), "é".repeat(5_000));
        let (head, tail) = window(&text);
        assert_eq!(head.len(), WINDOW_BYTES - 1);
        assert!(tail.len() >= WINDOW_BYTES && tail.len() <= WINDOW_BYTES + 3 && text.ends_with(tail));
    }
}
