//! A digest over values in which no two different sequences of values are equal: the length of every text comes before
//! it. JSON is compared by its decoded content, not by its spaces and escapes; the order of members counts, because
//! models read schemas.

use crate::json::{Cursor, DEPTH_LIMIT, Escaped, JsonError, Kind, Raw};
use sha2::{Digest, Sha256};

pub(super) struct Hasher(Sha256);

impl Hasher {
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// The next value has this kind.
    pub fn tag(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    pub fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    pub fn flag(&mut self, flag: bool) {
        self.tag(u8::from(flag));
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.0.update(bytes);
    }

    pub fn text(&mut self, text: &Escaped<'_>) {
        // Half a surrogate pair keeps its escape, so that two different ones are not equal.
        self.bytes(text.decode_json().as_bytes());
    }

    pub fn option<T>(&mut self, value: Option<&T>, hash: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            hash(self, value);
        }
    }

    /// A value that was checked before.
    pub fn json(&mut self, raw: Raw<'_>) {
        // A checked value has no error; an invalid one is compared by its bytes.
        if self.value(&mut raw.cursor()).is_err() {
            self.bytes(raw.get().as_bytes());
        }
    }

    /// A text that may be JSON: as JSON where it is, else as it is.
    pub fn document(&mut self, text: &str) {
        let read = |text: &str| -> Result<(), JsonError> {
            let mut cursor = Cursor::new(text.as_bytes(), DEPTH_LIMIT)?;
            cursor.value()?;
            cursor.end()
        };
        match read(text).and_then(|()| Cursor::new(text.as_bytes(), DEPTH_LIMIT)) {
            Ok(mut cursor) => {
                self.tag(b'j');
                // Checked just now.
                let _ = self.value(&mut cursor);
            }
            Err(_) => {
                self.tag(b'p');
                self.bytes(text.as_bytes());
            }
        }
    }

    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }

    fn value(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        match cursor.kind()? {
            Kind::Null | Kind::Bool => {
                self.tag(b'w');
                self.bytes(cursor.value()?.get().as_bytes());
            }
            Kind::Number => {
                self.tag(b'n');
                self.bytes(plain_number(cursor.value()?.get()).as_bytes());
            }
            Kind::String => {
                self.tag(b's');
                let text = cursor.text()?;
                self.text(&Escaped::from(text));
            }
            Kind::Array => {
                self.tag(b'[');
                cursor.array(|cursor, _| self.value(cursor))?;
                self.tag(b']');
            }
            Kind::Object => {
                self.tag(b'{');
                cursor.object(|cursor, key| {
                    self.tag(b'k');
                    self.text(&Escaped::from(key));
                    self.value(cursor)
                })?;
                self.tag(b'}');
            }
        }
        Ok(())
    }
}

/// A number in one spelling: clients in different languages write `1`, `1.0` and `1e0`.
fn plain_number(text: &str) -> String {
    if let Ok(whole) = text.parse::<i128>() {
        return whole.to_string();
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => value.to_string(),
        _ => text.to_owned(),
    }
}
