//! A reply as a list of steps that the server executes: the only output of a wire format.

use bytes::{Bytes, BytesMut};

pub(super) const JSON: &str = "application/json";
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Head and body of a reply, made before any of it is sent.
pub(super) struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(String, String)>,
    /// Booked with the head.
    pub prompt_tokens: u64,
    /// Sent with a length instead of in chunks.
    pub length: Option<u64>,
    pub steps: Vec<Step>,
}

pub(super) enum Step {
    Pause {
        ms: u64,
    },
    /// Lets the connection write what it holds before more is handed to it.
    Flush,
    Write {
        bytes: Bytes,
        /// Content chunks that are complete with these bytes, and their tokens.
        content_chunks: u64,
        tokens: u64,
    },
    /// Drops the connection.
    Cut,
}

impl Step {
    pub(super) fn plain(text: impl Into<Bytes>) -> Self {
        Step::Write { bytes: text.into(), content_chunks: 0, tokens: 0 }
    }
}

impl Reply {
    /// A JSON body that is free of charge: failures and key checks.
    pub(super) fn json(status: u16, body: String) -> Self {
        Self {
            status,
            content_type: JSON,
            headers: Vec::new(),
            prompt_tokens: 0,
            length: u64::try_from(body.len()).ok(),
            steps: vec![Step::plain(body)],
        }
    }

    pub(super) fn with_headers(mut self, headers: &[(String, String)]) -> Self {
        self.headers.extend_from_slice(headers);
        self
    }

    /// Writes the body in pieces of `size` bytes, across the borders of its frames.
    pub(super) fn split(mut self, size: Option<usize>) -> Self {
        if let Some(size) = size.filter(|size| *size > 0) {
            self.steps = split(self.steps, size);
        }
        self
    }
}

fn split(steps: Vec<Step>, size: usize) -> Vec<Step> {
    let mut pieces = Vec::new();
    let mut held = Held::default();
    for step in steps {
        match step {
            Step::Write { bytes, content_chunks, tokens } => {
                held.bytes.extend_from_slice(&bytes);
                held.counted.push((held.bytes.len(), content_chunks, tokens));
            }
            // Frames before a silence are sent before it.
            other => {
                std::mem::take(&mut held).cut_into(size, &mut pieces);
                pieces.push(other);
            }
        }
    }
    held.cut_into(size, &mut pieces);
    pieces
}

/// Frames without a silence between them.
#[derive(Default)]
struct Held {
    bytes: BytesMut,
    /// Where each frame ends, and what is counted there.
    counted: Vec<(usize, u64, u64)>,
}

impl Held {
    /// A frame counts with the piece that holds its last byte.
    fn cut_into(mut self, size: usize, pieces: &mut Vec<Step>) {
        let mut counted = self.counted.into_iter().peekable();
        let mut written = 0;
        while !self.bytes.is_empty() {
            let bytes = self.bytes.split_to(size.min(self.bytes.len())).freeze();
            written += bytes.len();
            let (mut content_chunks, mut tokens) = (0, 0);
            while let Some((_, chunks_here, tokens_here)) = counted.next_if(|(end, ..)| *end <= written) {
                content_chunks += chunks_here;
                tokens += tokens_here;
            }
            pieces.push(Step::Write { bytes, content_chunks, tokens });
            if !self.bytes.is_empty() {
                pieces.push(Step::Flush);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_body_keeps_its_bytes_and_counts_a_frame_with_its_last_byte() {
        let frame = |text: &'static str| Step::Write {
            bytes: Bytes::from_static(text.as_bytes()),
            content_chunks: 1,
            tokens: 2,
        };
        let pieces = split(vec![frame("abcd"), frame("ef"), Step::Pause { ms: 1 }, frame("g")], 3);
        let seen: Vec<(String, u64, u64)> = pieces
            .iter()
            .filter_map(|step| match step {
                Step::Write { bytes, content_chunks, tokens } => {
                    Some((String::from_utf8_lossy(bytes).into_owned(), *content_chunks, *tokens))
                }
                _ => None,
            })
            .collect();
        assert_eq!(seen, [("abc".into(), 0, 0), ("def".into(), 2, 4), ("g".into(), 1, 2)]);
    }
}
