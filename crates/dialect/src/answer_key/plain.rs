//! Whether the canonical form holds everything in a request: all of its nested members are known. An unknown member may
//! change the answer and is not in the canonical form.

use crate::json::{Cursor, JsonError, Kind, Member, Raw};

/// Top-level members with a structure of their own.
const NESTED: [&str; 7] = ["messages", "system", "input", "tools", "functions", "response_format", "text"];

/// Members whose content belongs to the client and is kept unchanged in the canonical form.
const FREE: [&str; 5] = ["parameters", "input_schema", "schema", "arguments", "input"];

/// Members that no model reads: markers for the provider's cache, and notes on earlier answers.
const IGNORED: [&str; 6] =
    ["cache_control", "prompt_cache_breakpoint", "annotations", "status", "caller", "stop_reason"];

const KNOWN: [&str; 48] = [
    "call_id",
    "content",
    "data",
    "description",
    "detail",
    "encrypted_content",
    "extra_content",
    "file",
    "file_data",
    "file_url",
    "filename",
    "format",
    "function",
    "function_call",
    "google",
    "id",
    "image_url",
    "input_audio",
    "is_error",
    "json_schema",
    "media_type",
    "name",
    "namespace",
    "output",
    "reasoning",
    "reasoning_content",
    "refusal",
    "result",
    "role",
    "signature",
    "source",
    "strict",
    "summary",
    "text",
    "thinking",
    "thinking_blocks",
    "thought_signature",
    "title",
    "tool_call_id",
    "tool_calls",
    "tool_use_id",
    "type",
    "url",
    "verbosity",
    // Their content is checked like everything else; here for chat's parts, which are named by their type.
    "document",
    "image",
    "input_image",
    "input_file",
];

const TYPES: [&str; 28] = [
    "base64",
    "custom",
    "document",
    "file",
    "function",
    "function_call",
    "function_call_output",
    "image",
    "image_generation_call",
    "image_url",
    "input_audio",
    "input_file",
    "input_image",
    "input_text",
    "json_object",
    "json_schema",
    "message",
    "output_text",
    "reasoning",
    "reasoning_text",
    "redacted_thinking",
    "refusal",
    "summary_text",
    "text",
    "thinking",
    "tool_result",
    "tool_use",
    "url",
];

pub(super) fn is_plain(members: &[Member<'_>]) -> bool {
    let nested = members.iter().filter(|member| NESTED.contains(&member.key.as_ref()));
    nested.map(|member| member.value).all(is_known)
}

fn is_known(value: Raw<'_>) -> bool {
    let mut known = true;
    // The value was read before: it is complete and within the nesting limit.
    walk(&mut value.cursor(), &mut known).is_ok() && known
}

fn walk(cursor: &mut Cursor<'_>, known: &mut bool) -> Result<(), JsonError> {
    match cursor.kind()? {
        Kind::Array => cursor.array(|cursor, _| walk(cursor, known)),
        Kind::Object => cursor.object(|cursor, key| {
            let key = key.decode();
            let key = key.as_ref();
            if key == "type" {
                let typed = cursor.value()?.text();
                *known &= typed.is_some_and(|typed| TYPES.contains(&typed.as_ref()));
            } else if KNOWN.contains(&key) {
                return walk(cursor, known);
            } else {
                let is_idle = cursor.value()?.is_idle();
                *known &= is_idle || FREE.contains(&key) || IGNORED.contains(&key);
            }
            Ok(())
        }),
        _ => cursor.value().map(drop),
    }
}
