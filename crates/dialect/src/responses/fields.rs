//! The documented fields of a Responses request and the kind of JSON each takes. A field that is not in the table
//! passes through unchecked.

use super::members::Takes;
use crate::openai_chat::fields::Rule;

/// OpenAI's API reference of November 2026, Responses.
const FIELDS: &[(&str, Takes)] = &[
    ("model", Takes::Plain(Rule::Model)),
    ("input", Takes::Own),
    ("instructions", Takes::Plain(Rule::Text)),
    ("tools", Takes::Own),
    ("tool_choice", Takes::Own),
    ("text", Takes::Own),
    ("reasoning", Takes::Own),
    ("include", Takes::Plain(Rule::Texts)),
    ("stream", Takes::Plain(Rule::Flag)),
    ("stream_options", Takes::Plain(Rule::Object)),
    ("max_output_tokens", Takes::Plain(Rule::Count(1, u64::MAX))),
    ("max_tool_calls", Takes::Plain(Rule::Count(0, u64::MAX))),
    ("temperature", Takes::Plain(Rule::Number(0, 2))),
    ("top_p", Takes::Plain(Rule::Number(0, 1))),
    ("top_logprobs", Takes::Plain(Rule::Count(0, 20))),
    ("parallel_tool_calls", Takes::Plain(Rule::Flag)),
    ("store", Takes::Plain(Rule::Flag)),
    ("background", Takes::Plain(Rule::Flag)),
    ("metadata", Takes::Plain(Rule::Object)),
    ("user", Takes::Plain(Rule::Text)),
    ("safety_identifier", Takes::Plain(Rule::Text)),
    ("prompt_cache_key", Takes::Plain(Rule::Text)),
    ("prompt_cache_retention", Takes::Plain(Rule::Text)),
    ("prompt_cache_options", Takes::Plain(Rule::Object)),
    ("service_tier", Takes::Plain(Rule::Text)),
    ("truncation", Takes::Plain(Rule::Text)),
    ("previous_response_id", Takes::Plain(Rule::Text)),
    ("conversation", Takes::Plain(Rule::TextOrObject)),
    ("prompt", Takes::Plain(Rule::Object)),
    ("moderation", Takes::Plain(Rule::Object)),
    ("context_management", Takes::Own),
];

pub(super) fn takes(name: &str) -> Option<Takes> {
    FIELDS.iter().find(|(field, _)| *field == name).map(|(_, takes)| *takes)
}
