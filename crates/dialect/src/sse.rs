//! Server-sent events (WHATWG HTML §9.2): splits a byte stream into frames. Every split of the bytes gives the same
//! frames; a frame above the limit is an error, so memory stays bounded. Never decodes text: a character or a surrogate
//! pair may be cut anywhere.

use crate::cost;
use memchr::{memchr, memchr2, memchr3};
use std::borrow::Cow;

/// A frame grew past the configured limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a server-sent event is longer than {0} bytes")]
pub struct FrameTooLong(pub usize);

/// Splits a stream into frames. Give it the bytes from the socket.
pub struct Splitter {
    /// The bytes of an unfinished frame.
    carry: Vec<u8>,
    /// How far `carry` was searched before.
    scanned: Scanned,
    frame_bytes_max: usize,
    at_start: bool,
}

/// The searched part of the bytes of an unfinished frame, counted from its first byte.
#[derive(Clone, Copy, Default)]
struct Scanned {
    /// Where its last line begins: all before are whole lines, none of them blank.
    line: usize,
    /// The end of the last line is not before this byte.
    searched: usize,
}

/// The lines of one event, without the blank line that ended it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a>(&'a [u8]);

impl Splitter {
    pub fn new(frame_bytes_max: usize) -> Self {
        Self { carry: Vec::new(), scanned: Scanned::default(), frame_bytes_max, at_start: true }
    }

    /// Bytes of a frame that has not ended yet.
    pub fn buffered_bytes(&self) -> usize {
        self.carry.len()
    }

    /// Takes the next bytes and passes every complete frame to `each`, in order.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(Frame<'_>)) -> Result<(), FrameTooLong> {
        if self.carry.is_empty() && !(self.at_start && bytes.first() == Some(&0xEF)) {
            if !bytes.is_empty() {
                self.at_start = false;
            }
            // The usual case: whole frames in one read, without a copy.
            let (used, scanned) = cut(bytes, Scanned::default(), self.frame_bytes_max, &mut each)?;
            self.carry.extend_from_slice(bytes.get(used..).unwrap_or_default());
            self.scanned = scanned;
        } else {
            self.carry.extend_from_slice(bytes);
            self.skip_byte_order_mark();
            if !self.at_start {
                let (used, scanned) = cut(&self.carry, self.scanned, self.frame_bytes_max, &mut each)?;
                self.carry.drain(..used);
                self.scanned = scanned;
            }
        }
        // The last byte may be half of the blank line that ends a frame just within the limit.
        if self.carry.len() > self.frame_bytes_max.saturating_add(1) {
            return Err(FrameTooLong(self.frame_bytes_max));
        }
        Ok(())
    }

    /// The stream has ended: the text that has no blank line after it. A lenient reader accepts it as a frame.
    pub fn finish(&mut self, mut each: impl FnMut(Frame<'_>)) {
        self.at_start = false;
        let rest = std::mem::take(&mut self.carry);
        let scanned = std::mem::take(&mut self.scanned);
        // The kept bytes are within the limit.
        let Ok((used, _)) = cut(&rest, scanned, usize::MAX, &mut each) else { return };
        let rest = rest.get(used..).unwrap_or_default();
        if rest.iter().any(|byte| !matches!(byte, b'\r' | b'\n')) {
            each(Frame(rest));
        }
    }

    fn skip_byte_order_mark(&mut self) {
        const MARK: &[u8] = &[0xEF, 0xBB, 0xBF];
        if self.at_start {
            if self.carry.len() < MARK.len() && MARK.starts_with(&self.carry) {
                return;
            }
            if self.carry.starts_with(MARK) {
                self.carry.drain(..MARK.len());
            }
            self.at_start = false;
        }
    }
}

/// Finds frames in `bytes`, which begin with a frame that was searched up to `scanned`. Returns how many bytes are
/// consumed and how far the rest was searched. A frame above the limit is refused even if it arrived in one read, so
/// the result does not depend on how the bytes were split. No byte is searched twice.
fn cut(
    bytes: &[u8],
    scanned: Scanned,
    frame_bytes_max: usize,
    each: &mut impl FnMut(Frame<'_>),
) -> Result<(usize, Scanned), FrameTooLong> {
    let Scanned { mut line, mut searched } = scanned;
    let mut start = 0usize;
    while let Some(rest) = bytes.get(searched..) {
        let Some(length) = memchr2(b'\n', b'\r', rest) else {
            cost::step(rest.len());
            searched = bytes.len();
            break;
        };
        cost::step(length.saturating_add(1));
        let end = searched + length;
        // A carriage return may be the first half of a CRLF that the next read completes.
        let next = match (bytes.get(end), bytes.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => end + 2,
            (Some(b'\r'), None) => {
                searched = end;
                break;
            }
            _ => end + 1,
        };
        if end == line {
            if let Some(lines) = bytes.get(start..line)
                && !lines.is_empty()
            {
                if lines.len() > frame_bytes_max {
                    return Err(FrameTooLong(frame_bytes_max));
                }
                each(Frame(lines));
            }
            start = next;
        }
        (line, searched) = (next, next);
    }
    Ok((start, Scanned { line: line - start, searched: searched.max(line) - start }))
}

impl<'a> Frame<'a> {
    /// The payload: the `data` lines joined by newlines. `None` if there is none (a comment, or only an event name).
    pub fn data(self) -> Option<Cow<'a, [u8]>> {
        let mut joined: Option<Cow<'a, [u8]>> = None;
        for value in self.fields(b"data") {
            joined = Some(match joined {
                None => Cow::Borrowed(value),
                Some(first) => {
                    let mut all = first.into_owned();
                    all.push(b'\n');
                    all.extend_from_slice(value);
                    Cow::Owned(all)
                }
            });
        }
        joined
    }

    /// The event's name, if it has one.
    pub fn event(self) -> Option<&'a [u8]> {
        self.fields(b"event").last()
    }

    /// The id that a reader sends to continue after this frame on another connection; never empty.
    pub fn id(self) -> Option<&'a [u8]> {
        self.fields(b"id").last().filter(|id| !id.is_empty() && !id.contains(&0))
    }

    /// How long a reader should wait before it connects again.
    pub fn retry_ms(self) -> Option<u64> {
        std::str::from_utf8(self.fields(b"retry").last()?).ok()?.parse().ok()
    }

    fn fields(self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        Lines(self.0).filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            match rest.first() {
                None => Some(rest),
                Some(b':') => {
                    let value = rest.get(1..).unwrap_or_default();
                    Some(value.strip_prefix(b" ").unwrap_or(value))
                }
                Some(_) => None,
            }
        })
    }
}

struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', self.0).unwrap_or(self.0.len());
        cost::step(end.saturating_add(1));
        let line = self.0.get(..end).unwrap_or_default();
        let rest = self.0.get(end..).unwrap_or_default();
        let skip = if rest.starts_with(b"\r\n") { 2 } else { 1 };
        self.0 = rest.get(skip..).unwrap_or_default();
        Some(line)
    }
}

/// Appends `data: {json}` and a blank line. Line separators that some clients' readers treat as line ends (U+2028,
/// U+2029, U+0085) are written as escapes; they occur only inside a JSON string, where the escape means the same
/// character. Line ends, which are white space between tokens, become spaces.
pub fn write_data(out: &mut Vec<u8>, json: &[u8]) {
    out.extend_from_slice(b"data: ");
    let mut rest = json;
    // Only embedded output of a model or a tool can contain one of these: frames were split at their own.
    while let Some(at) = memchr(b'\r', rest) {
        let (before, tail) = rest.split_at(at);
        write_escaped(out, before);
        out.push(b' ');
        rest = tail.get(1..).unwrap_or_default();
    }
    write_escaped(out, rest);
    out.extend_from_slice(b"\n\n");
}

fn write_escaped(out: &mut Vec<u8>, json: &[u8]) {
    let mut rest = json;
    loop {
        // U+0085 is C2 85, U+2028 and U+2029 are E2 80 A8 and E2 80 A9; payloads joined from several lines
        // hold newlines, which are white space between tokens.
        let Some(at) = memchr3(0xC2, 0xE2, b'\n', rest) else {
            out.extend_from_slice(rest);
            return;
        };
        let (before, tail) = rest.split_at(at);
        out.extend_from_slice(before);
        let (escape, taken): (&[u8], usize) = match tail {
            [0xC2, 0x85, ..] => (b"\\u0085", 2),
            [0xE2, 0x80, 0xA8, ..] => (b"\\u2028", 3),
            [0xE2, 0x80, 0xA9, ..] => (b"\\u2029", 3),
            [b'\n', ..] => (b" ", 1),
            _ => (tail.get(..1).unwrap_or_default(), 1),
        };
        out.extend_from_slice(escape);
        rest = tail.get(taken..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_how_to_go_on_after_it() {
        let mut seen = Vec::new();
        let text = b"id: 1\nretry: 250\ndata: \n\nid:\nretry: x\n\n: c\n\nid: a\nid: b\n\n";
        Splitter::new(100)
            .feed(text, |frame| seen.push((frame.id().map(<[u8]>::to_vec), frame.retry_ms())))
            .unwrap();
        assert_eq!(
            seen,
            [(Some(b"1".to_vec()), Some(250)), (None, None), (None, None), (Some(b"b".to_vec()), None)]
        );
    }
    use proptest::prelude::*;

    /// Event name and data.
    type Seen = (Option<Vec<u8>>, Option<Vec<u8>>);

    fn frames(pieces: &[&[u8]]) -> Vec<Seen> {
        let mut splitter = Splitter::new(1 << 20);
        let mut seen = Vec::new();
        let mut note = |frame: Frame<'_>| {
            seen.push((frame.event().map(<[u8]>::to_vec), frame.data().map(Cow::into_owned)))
        };
        for piece in pieces {
            splitter.feed(piece, &mut note).unwrap();
        }
        splitter.finish(&mut note);
        seen
    }

    #[test]
    fn reads_names_comments_multi_line_data_and_every_line_end() {
        let text = b"\xEF\xBB\xBF: ping\n\nevent: a\ndata: 1\ndata:2\r\n\r\ndata\rdata:  x\r\rdatax: no\n\ndata: end";
        assert_eq!(
            frames(&[text]),
            vec![
                (None, None),
                (Some(b"a".to_vec()), Some(b"1\n2".to_vec())),
                (None, Some(b"\n x".to_vec())),
                (None, None),
                (None, Some(b"end".to_vec())),
            ]
        );
    }

    #[test]
    fn a_frame_past_the_limit_is_an_error() {
        let mut splitter = Splitter::new(8);
        assert_eq!(splitter.feed(b"data: 123456789", |_| ()), Err(FrameTooLong(8)));
    }

    #[test]
    fn the_limit_is_the_same_however_the_bytes_are_split() {
        for (text, fits) in
            [("data: 12\r\n\r\n", true), ("data: 123\r\n\r\n", false), ("data: 123\n\n", true)]
        {
            for at in 0..text.len() {
                let (first, second) = text.as_bytes().split_at(at);
                let (mut splitter, mut seen) = (Splitter::new(10), 0);
                let fed =
                    splitter.feed(first, |_| seen += 1).and_then(|()| splitter.feed(second, |_| seen += 1));
                assert_eq!((fed.is_ok(), seen), (fits, usize::from(fits)), "{text:?} at {at}");
            }
        }
    }

    #[test]
    fn line_separators_leave_as_escapes_and_all_else_as_it_came() {
        let mut out = Vec::new();
        write_data(&mut out, "{\"a\":\"\u{2028}é\u{85}\u{2029}€\u{a0}\"}".as_bytes());
        assert_eq!(out, "data: {\"a\":\"\\u2028é\\u0085\\u2029€\u{a0}\"}\n\n".as_bytes());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            text in "(data: [a-z]{0,4}|event: x|:c|\r|\n|\r\n|\n\n|\u{FEFF}){0,30}",
            cuts in prop::collection::vec(0usize..200, 0..20),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            pieces.push(&bytes[from..]);
            prop_assert_eq!(frames(&pieces), frames(&[bytes]));
        }

        /// For any JSON that a model or a tool wrote: every reader sees one frame, also readers that end lines at more
        /// than the standard's two characters, and the meaning is unchanged.
        #[test]
        fn a_frame_stays_one_frame(
            text in any::<String>(),
            space in "[ \t\r\n]{0,4}",
            raw in "[\u{7f}\u{85}\u{2028}\u{2029}é]{0,4}",
        ) {
            let quoted = serde_json::to_string(&text).unwrap();
            let json = format!("{{{space}\"a\"{space}:{space}[{quoted},{space}\"{raw}\"{space}]}}");
            let mut out = Vec::new();
            write_data(&mut out, json.as_bytes());
            let line = std::str::from_utf8(&out).unwrap().strip_suffix("\n\n").unwrap();
            let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!line.contains(ends), "{:?}", line);
            let read: serde_json::Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
            let meant: serde_json::Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(read, meant);
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            frames(&[&bytes]);
            write_data(&mut Vec::new(), &bytes);
        }
    }
}
