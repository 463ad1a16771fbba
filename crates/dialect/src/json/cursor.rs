//! The walk over a JSON text. It checks the grammar of every byte once, and keeps one bit for each open bracket instead
//! of recursing. It must never accept what a strict parser refuses.

use super::{DEPTH_LIMIT, JsonError, Kind, Raw, Text, is_space};
use crate::cost;

/// A position in a JSON text. Every step checks the grammar of what it passes.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
    depth_max: u32,
}

impl<'a> Cursor<'a> {
    /// At the start of `body`, which has to be UTF-8.
    pub fn new(body: &'a [u8], depth_max: u32) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| JsonError { what: "not UTF-8", at: error.valid_up_to() })?;
        Ok(Self { text, at: 0, depth: 0, depth_max: depth_max.min(DEPTH_LIMIT) })
    }

    /// At the start of a value that was checked before.
    pub(super) fn within(raw: Raw<'a>) -> Self {
        Self { text: raw.0, at: 0, depth: 0, depth_max: DEPTH_LIMIT }
    }

    /// The kind of the value that comes next.
    pub fn kind(&mut self) -> Result<Kind, JsonError> {
        self.skip_space();
        Kind::of(self.peek()).ok_or_else(|| self.error("no value"))
    }

    /// Walks the next object. `each` must consume exactly the member's value.
    pub fn object<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, Text<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'{')?;
        if self.close(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            each(self, key)?;
            if self.close(b'}') {
                return Ok(());
            }
            self.byte(b',', "no comma or bracket")?;
        }
    }

    /// Walks the next array. `each` gets the index and must consume exactly the element.
    pub fn array<E: From<JsonError>>(
        &mut self,
        mut each: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.open(b'[')?;
        if self.close(b']') {
            return Ok(());
        }
        for index in 0usize.. {
            each(self, index)?;
            if self.close(b']') {
                break;
            }
            self.byte(b',', "no comma or bracket")?;
        }
        Ok(())
    }

    /// The next string.
    pub fn text(&mut self) -> Result<Text<'a>, JsonError> {
        self.skip_space();
        let start = self.at;
        self.byte(b'"', "no string")?;
        let mut escaped = false;
        loop {
            let rest = self.rest();
            let hit = memchr::memchr2(b'"', b'\\', rest).ok_or_else(|| self.error("an open string"))?;
            let plain = rest.get(..hit).unwrap_or_default();
            if plain.iter().any(|byte| *byte < 0x20) {
                return Err(self.error("a control character"));
            }
            self.advance(hit.saturating_add(1));
            if rest.get(hit) == Some(&b'"') {
                return Ok(Text { quoted: self.since(start), escaped });
            }
            escaped = true;
            self.escape()?;
        }
    }

    /// The next value, of any kind.
    pub fn value(&mut self) -> Result<Raw<'a>, JsonError> {
        self.skip_space();
        let start = self.at;
        let outer = self.depth;
        // One bit for each open bracket of this value, the innermost lowest; set for an object.
        let mut objects: u128 = 0;
        loop {
            match self.kind()? {
                Kind::Object => {
                    self.open(b'{')?;
                    if !self.close(b'}') {
                        objects = (objects << 1) | 1;
                        self.key()?;
                        continue;
                    }
                }
                Kind::Array => {
                    self.open(b'[')?;
                    if !self.close(b']') {
                        objects <<= 1;
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            loop {
                if self.depth == outer {
                    return Ok(Raw(self.since(start)));
                }
                let in_object = objects & 1 == 1;
                if self.close(if in_object { b'}' } else { b']' }) {
                    objects >>= 1;
                    continue;
                }
                self.byte(b',', "no comma or bracket")?;
                if in_object {
                    self.key()?;
                }
                break;
            }
        }
    }

    /// Where the next value starts, for [`Cursor::taken`].
    pub fn mark(&mut self) -> usize {
        self.skip_space();
        self.at
    }

    /// The value that began at `mark` and has just been consumed completely.
    pub fn taken(&self, mark: usize) -> Raw<'a> {
        Raw(self.since(mark))
    }

    /// Only space may follow.
    pub fn end(&mut self) -> Result<(), JsonError> {
        self.skip_space();
        if self.at < self.text.len() { Err(self.error("text after the value")) } else { Ok(()) }
    }

    /// `what` is wrong here.
    pub fn error(&self, what: &'static str) -> JsonError {
        JsonError { what, at: self.at }
    }

    fn key(&mut self) -> Result<Text<'a>, JsonError> {
        let key = self.text()?;
        self.skip_space();
        self.byte(b':', "no colon")?;
        Ok(key)
    }

    fn open(&mut self, bracket: u8) -> Result<(), JsonError> {
        self.skip_space();
        self.byte(bracket, "no bracket")?;
        if self.depth >= self.depth_max {
            return Err(self.error("nested too deep"));
        }
        self.depth = self.depth.saturating_add(1);
        Ok(())
    }

    /// Steps over the closing bracket if it comes next.
    fn close(&mut self, bracket: u8) -> bool {
        self.skip_space();
        let closed = self.peek() == Some(bracket);
        if closed {
            self.advance(1);
            self.depth = self.depth.saturating_sub(1);
        }
        closed
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => self.text().map(|_| ()),
            Some(b'n') => self.word("null"),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &str) -> Result<(), JsonError> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.error("an unknown word"));
        }
        self.advance(word.len());
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        if self.peek() == Some(b'-') {
            self.advance(1);
        }
        if self.peek() == Some(b'0') {
            self.advance(1);
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.advance(1);
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.advance(1);
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.advance(1);
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.advance(count);
        if count == 0 { Err(self.error("no digit")) } else { Ok(()) }
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<(), JsonError> {
        let width = match self.rest() {
            [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 1,
            [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()) => 5,
            _ => return Err(self.error("an unknown escape")),
        };
        self.advance(width);
        Ok(())
    }

    fn byte(&mut self, wanted: u8, otherwise: &'static str) -> Result<(), JsonError> {
        if self.peek() != Some(wanted) {
            return Err(self.error(otherwise));
        }
        self.advance(1);
        Ok(())
    }

    fn advance(&mut self, bytes: usize) {
        cost::step(bytes);
        self.at = self.at.saturating_add(bytes);
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.advance(1);
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Starts and ends of values are ASCII, so this never cuts a character.
    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }
}
