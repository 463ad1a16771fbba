//! Anthropic's Messages, for clients and for providers: the client's request, passed through to providers that support
//! Messages or read into the canonical form; a canonical request written for a provider; answers read and written,
//! whole and streamed. Facts are those of the API reference and the SDKs, November 2026. Prompts and answers are never
//! logged.

mod abilities;
mod answer;
mod blocks;
mod encode;
mod fields;
mod ids;
mod object;
mod read;
mod reader;
mod turns;
mod usage;
mod write;
mod writer;

pub use answer::write_answer;
pub use read::{MessagesRequest, read, read_for_count};
pub use reader::Reader;
pub use write::write;
pub use writer::Writer;

use super::{json, sse};

/// Keeps a quiet stream open; readers skip it.
pub const PING: &[u8] = b"event: ping\ndata: {\"type\":\"ping\"}\n\n";

/// The frame that ends a stream which cannot continue; `kind` is one of the API's error types.
pub fn error_event(kind: &str, message: &str) -> Vec<u8> {
    let mut error = json::ObjectWriter::new();
    error.text("type", kind);
    error.text("message", message);
    let mut data = json::ObjectWriter::new();
    data.text("type", "error");
    data.key("error").extend(error.end());
    let mut out = Vec::new();
    write_event(&mut out, "error", &data.end());
    out
}

/// The answer to a request to count tokens.
pub fn write_count(tokens: u64) -> Vec<u8> {
    format!(r#"{{"input_tokens":{tokens}}}"#).into_bytes()
}

/// Appends one frame under its name.
fn write_event(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    sse::write_data(out, data);
}

#[cfg(test)]
mod tests;
