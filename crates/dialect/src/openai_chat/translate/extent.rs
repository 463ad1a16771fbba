//! Determines from the pieces of a call's arguments whether their JSON is complete, without keeping them.

/// Tracks brackets and strings through the pieces of one JSON text, each escaped as the inside of a JSON string.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Extent {
    depth: u32,
    in_string: bool,
    /// The last character of the text was a backslash that escapes the next.
    escaped: bool,
}

impl Extent {
    /// Takes the next piece.
    pub(crate) fn feed(&mut self, piece: &str) {
        let mut bytes = piece.bytes();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b'\\' => match bytes.next() {
                    Some(b'u') => unicode(&mut bytes),
                    Some(plain @ (b'"' | b'\\')) => plain,
                    // Spaces of several kinds, and a slash.
                    _ => b' ',
                },
                plain => plain,
            };
            self.take(byte);
        }
    }

    /// No bracket or string is open. Missing arguments are complete: a call may have none.
    pub(crate) fn is_whole(self) -> bool {
        self.depth == 0 && !self.in_string
    }

    fn take(&mut self, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = self.in_string,
            b'"' => self.in_string = !self.in_string,
            b'{' | b'[' if !self.in_string => self.depth = self.depth.saturating_add(1),
            b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// The ASCII character of four hexadecimal digits; others are like any letter here.
fn unicode(bytes: &mut std::str::Bytes<'_>) -> u8 {
    let code = bytes.by_ref().take(4).fold(0u32, |code, digit| {
        let digit = char::from(digit).to_digit(16).unwrap_or(0);
        code.saturating_mul(16).saturating_add(digit)
    });
    u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(b'x')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(pieces: &[&str]) -> bool {
        let mut extent = Extent::default();
        pieces.iter().for_each(|piece| extent.feed(piece));
        extent.is_whole()
    }

    #[test]
    fn whole_and_cut_arguments_are_told_apart() {
        for (pieces, whole) in [
            (&[][..], true),
            (&["{}"], true),
            (&[r#"{\"port\":\"Br"#], false),
            (&[r#"{\"port\":\"Br"#, r#"est\"}"#], true),
            (&[r#"{\"a\":\"}\""#], false),
            (&[r#"{\"a\":\"\\\"}\""#], false),
            (&[r#"{\"a\":\"\\\""#, r#"\"}"#], true),
            (&[r#"{\u0022a\u0022:[1,2]"#], false),
            (&[r#"\u007b\u007d"#], true),
        ] {
            assert_eq!(after(pieces), whole, "{pieces:?}");
        }
    }

    proptest! {
        #[test]
        fn an_object_is_whole_at_its_end_and_nowhere_before(
            key in any::<String>(),
            value in any::<String>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let json = serde_json::json!({ key: [value, {"b": 1}] }).to_string();
            let escaped = serde_json::to_string(&json).unwrap();
            let inner = &escaped[1..escaped.len() - 1];
            prop_assert!(after(&[inner]));
            let chars: Vec<char> = json.chars().collect();
            let cut = 1 + cut.index(chars.len() - 1);
            let begun: String = chars[..cut].iter().collect();
            let escaped = serde_json::to_string(&begun).unwrap();
            prop_assert!(!after(&[&escaped[1..escaped.len() - 1]]), "{begun}");
        }
    }
}
