//! Writing JSON objects member by member, bytes as given.

use super::push_text;

/// An object that is being written.
pub struct ObjectWriter {
    body: Vec<u8>,
}

impl Default for ObjectWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl ObjectWriter {
    pub fn new() -> Self {
        Self { body: Vec::new() }
    }

    /// With room for this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { body: Vec::with_capacity(bytes) }
    }

    /// Starts a member with this key as given; the caller writes the value.
    pub fn raw_key(&mut self, quoted: &str) -> &mut Vec<u8> {
        self.body.push(if self.body.is_empty() { b'{' } else { b',' });
        self.body.extend(quoted.as_bytes());
        self.body.push(b':');
        &mut self.body
    }

    /// Starts a member; the caller writes the value.
    pub fn key(&mut self, name: &str) -> &mut Vec<u8> {
        self.body.push(if self.body.is_empty() { b'{' } else { b',' });
        push_text(&mut self.body, name);
        self.body.push(b':');
        &mut self.body
    }

    /// A member that is a string.
    pub fn text(&mut self, name: &str, text: &str) {
        push_text(self.key(name), text);
    }

    /// A member whose value is JSON already.
    pub fn raw(&mut self, name: &str, json: &str) {
        self.key(name).extend_from_slice(json.as_bytes());
    }

    pub fn end(mut self) -> Vec<u8> {
        if self.body.is_empty() {
            self.body.push(b'{');
        }
        self.body.push(b'}');
        self.body
    }
}
