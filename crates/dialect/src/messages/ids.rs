//! Ids of tool calls as this wire takes them. Other providers make theirs from other letters, and a conversation
//! may change its provider.

use crate::json::Escaped;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The longest id the API takes.
const CHARS_MAX: usize = 64;

/// Whether the API takes it.
pub(super) fn is_accepted(id: &str) -> bool {
    let letters = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    letters && (1..=CHARS_MAX).contains(&id.len())
}

/// The id, or one made from it: always the same, so that a call and its result still meet.
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
