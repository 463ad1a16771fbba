//! An answer as stored for repeats: status, headers and body in one sequence of bytes. Pure.

use serde::{Deserialize, Serialize};

/// A whole answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    status: u16,
    headers: Vec<(String, String)>,
}

impl Answer {
    /// The length of the head (4 bytes, big endian), the head as JSON, the body.
    pub fn to_bytes(&self) -> Vec<u8> {
        let head = Head { status: self.status, headers: self.headers.clone() };
        let head = serde_json::to_vec(&head).unwrap_or_default();
        let length = u32::try_from(head.len()).unwrap_or(u32::MAX);
        [&length.to_be_bytes()[..], &head, &self.body].concat()
    }

    /// `None` for bytes that [`Answer::to_bytes`] did not write.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (head, body) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let Head { status, headers } = serde_json::from_slice(head).ok()?;
        Some(Self { status, headers, body: body.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            status in 200_u16..300,
            headers in prop::collection::vec(("[a-z-]{1,20}", "[ -~]{0,40}"), 0..8),
            body in prop::collection::vec(any::<u8>(), 0..500),
        ) {
            let answer = Answer { status, headers, body };
            prop_assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        }

        #[test]
        fn any_other_bytes_are_refused_or_read_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let _ = Answer::from_bytes(&bytes);
        }
    }
}
