//! Ids of tool calls in the form of this wire format. Other providers use other characters, and a conversation may
//! change its provider.

use crate::json::Escaped;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The longest id that the API accepts.
const CHARS_MAX: usize = 64;

/// Whether the API accepts it.
pub(super) fn is_accepted(id: &str) -> bool {
    let letters = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    letters && (1..=CHARS_MAX).contains(&id.len())
}

/// The id, or one derived from it: always the same, so that a call and its result still match.
pub(super) fn accepted(id: &Escaped<'_>) -> String {
    let id = id.decode();
    if is_accepted(&id) {
        return id.into_owned();
    }
    let mut made = String::from("toolu_");
    for byte in Sha256::digest(id.as_bytes()).iter().take(12) {
        // Writing into a string cannot fail.
        let _ = write!(made, "{byte:02x}");
    }
    made
}
