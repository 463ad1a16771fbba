//! Decides whether two requests with one idempotency key are the same. Pure.

use sha2::{Digest, Sha256};

/// The digest of a request: its method, its path with the query, and its body. A client that builds a form again for a
/// repeat chooses another boundary, so for a form only the content between the boundaries counts.
pub fn digest(method: &str, path: &str, content_type: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    part(method.as_bytes());
    part(path.as_bytes());
    match boundary(content_type) {
        Some(boundary) => {
            let delimiter = [b"--", boundary.as_bytes()].concat();
            let mut rest = body;
            for at in memchr::memmem::find_iter(body, &delimiter) {
                let from = body.len().saturating_sub(rest.len());
                let (before, after) = rest.split_at_checked(at.saturating_sub(from)).unwrap_or((rest, &[]));
                part(before);
                rest = after.get(delimiter.len()..).unwrap_or_default();
            }
            part(rest);
        }
        None => part(body),
    }
    hash.finalize().into()
}

/// The boundary of a form.
fn boundary(content_type: &str) -> Option<&str> {
    let mut parts = content_type.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let value = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    value.filter(|boundary| !boundary.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";

    fn form(boundary: &str, text: &str) -> ([u8; 32], String) {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{text}\r\n--{boundary}--\r\n"
        );
        let content_type = format!("multipart/form-data; boundary=\"{boundary}\"");
        (digest("POST", "/v1/audio/transcriptions", &content_type, body.as_bytes()), body)
    }

    #[test]
    fn every_part_of_a_request_counts() {
        let one = digest("POST", "/v1/a", JSON, b"{}");
        assert_eq!(one, digest("POST", "/v1/a", JSON, b"{}"));
        for other in [
            digest("PUT", "/v1/a", JSON, b"{}"),
            digest("POST", "/v1/b", JSON, b"{}"),
            digest("POST", "/v1/a", JSON, b"{ }"),
            // The parts are separated in the digest.
            digest("POST", "/v1/a{", JSON, b"}"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_form_is_the_same_under_another_boundary() {
        assert_eq!(form("aaa", "whisper-1").0, form("another-boundary", "whisper-1").0);
        assert_ne!(form("aaa", "whisper-1").0, form("aaa", "whisper-2").0);
        // A delimiter at a different position makes other parts.
        let moved =
            digest("POST", "/v1/audio/transcriptions", "multipart/form-data; boundary=aaa", b"x--aaay");
        let other =
            digest("POST", "/v1/audio/transcriptions", "multipart/form-data; boundary=aaa", b"xy--aaa");
        assert_ne!(moved, other);
    }

    #[test]
    fn a_form_without_a_boundary_counts_as_it_is() {
        let bare = |body: &[u8]| digest("POST", "/", "multipart/form-data", body);
        assert_ne!(bare(b"a"), bare(b"b"));
    }
}
