//! What the cursor accepts a strict parser accepts too, but for half surrogates and what it limits.
#![no_main]

use kairosroute::dialect::json::{Cursor, DEPTH_LIMIT, check_depth, read_object, unescape, with_member};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    check_depth(bytes, 16);
    unescape(bytes);
    with_member(bytes, "x", "1");
    let accepted = Cursor::new(bytes, DEPTH_LIMIT).and_then(|mut cursor| {
        let value = cursor.value()?;
        cursor.end()?;
        Ok(value)
    });
    let strict = serde_json::from_slice::<&serde_json::value::RawValue>(bytes);
    if let Ok(value) = accepted {
        assert!(strict.is_ok(), "a strict parser refuses it");
        for member in value.members() {
            member.value.elements();
            member.value.text();
        }
    }
    if let Ok(members) = read_object(bytes, DEPTH_LIMIT, 64) {
        assert!(members.len() <= 64);
    }
});
