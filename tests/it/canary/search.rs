//! Searches for secrets in bytes, in any spelling. A part from the middle of a secret is enough: its last four
//! characters may be shown.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// A secret to look for.
pub struct Canary {
    kind: String,
    needles: Vec<Vec<u8>>,
}

/// A secret that was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: String,
    pub place: String,
    /// The text around it.
    pub near: String,
}

impl Canary {
    pub fn new(kind: &str, secret: &[u8]) -> Self {
        let edge = (secret.len() - 16) / 2;
        let middle = &secret[edge..edge + 16];
        let mut needles = vec![middle.to_vec(), hex(middle, false), hex(middle, true)];
        for skipped in 0..3 {
            // Of the Base64 characters, those count that do not depend on a neighbouring byte.
            let part = &middle[skipped..];
            let whole = &part[..part.len() / 3 * 3];
            needles.push(STANDARD_NO_PAD.encode(whole).into_bytes());
            needles.push(URL_SAFE_NO_PAD.encode(whole).into_bytes());
        }
        needles.extend(escapes(middle).into_iter().map(|(_, needle)| needle));
        needles.push(middle.to_ascii_uppercase());
        needles.dedup();
        Self { kind: kind.to_owned(), needles }
    }
}

/// Each byte escaped in one of the usual ways, by name.
fn escapes(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let each =
        |write: fn(u8) -> String| secret.iter().map(|byte| write(*byte)).collect::<String>().into_bytes();
    vec![
        ("percent", each(|byte| format!("%{byte:02X}"))),
        ("lower-case percent", each(|byte| format!("%{byte:02x}"))),
        ("HTML", each(|byte| format!("&#{byte};"))),
        ("HTML in hex", each(|byte| format!("&#x{byte:x};"))),
        ("JSON by number", each(|byte| format!("\\u{byte:04x}"))),
        ("spaced", each(|byte| format!("{} ", char::from(byte)))),
    ]
}

/// The possible spellings of a secret, by name.
pub fn spellings(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let shifted = [b"x".as_slice(), secret].concat();
    let as_bytea = [b"\\x".to_vec(), hex(secret, false)].concat();
    let encoded_bytea = [b"\\x".to_vec(), hex(STANDARD_NO_PAD.encode(secret).as_bytes(), false)].concat();
    let mut spellings = vec![
        ("itself", secret.to_vec()),
        ("a part", secret[4..secret.len() - 4].to_vec()),
        ("hex", hex(secret, false)),
        ("upper-case hex", hex(secret, true)),
        ("base64", STANDARD_NO_PAD.encode(secret).into_bytes()),
        ("url-safe base64", URL_SAFE_NO_PAD.encode(secret).into_bytes()),
        ("base64 in something longer", STANDARD_NO_PAD.encode(shifted).into_bytes()),
        ("a bytea", as_bytea),
        ("base64 in a bytea", encoded_bytea),
        ("upper case", secret.to_ascii_uppercase()),
    ];
    spellings.extend(escapes(secret));
    spellings
}

/// Every secret that occurs anywhere in the observed bytes.
pub fn search(canaries: &[Canary], seen: &[(String, Vec<u8>)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (place, bytes) in seen {
        for bytes in [bytes.clone(), bytea_contents(bytes)] {
            for canary in canaries {
                let at = canary.needles.iter().find_map(|needle| memchr::memmem::find(&bytes, needle));
                if let Some(at) = at {
                    let near = &bytes[at.saturating_sub(80)..bytes.len().min(at + 100)];
                    found.push(Finding {
                        kind: canary.kind.clone(),
                        place: place.clone(),
                        near: String::from_utf8_lossy(near).into_owned(),
                    });
                }
            }
        }
    }
    found
}

fn hex(bytes: &[u8], upper: bool) -> Vec<u8> {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if upper { digits.to_uppercase().into_bytes() } else { digits.into_bytes() }
}

/// The content of the `\x…` literals of a dump, one after the other.
fn bytea_contents(dump: &[u8]) -> Vec<u8> {
    let mut contents = Vec::new();
    for start in memchr::memmem::find_iter(dump, b"\\x") {
        let digits: Vec<u8> = dump[start + 2..].iter().copied().take_while(u8::is_ascii_hexdigit).collect();
        for pair in digits.chunks_exact(2) {
            let pair = std::str::from_utf8(pair).unwrap();
            contents.push(u8::from_str_radix(pair, 16).unwrap());
        }
        contents.push(b'\n');
    }
    contents
}
