use super::*;
use proptest::prelude::*;

fn accepts(text: &[u8]) -> bool {
    Cursor::new(text, DEPTH_LIMIT).and_then(|mut cursor| {
        cursor.value()?;
        cursor.end()
    }) == Ok(())
}

#[test]
fn members_keep_the_bytes_of_their_values() {
    let body = br#" { "a" : 1.0 , "\u0062":[ 1e5, "\ud83d" ],"c":{"x" : null} } "#;
    let members = read_object(body, 8, 8).unwrap();
    let seen: Vec<_> = members.iter().map(|m| (m.key.as_ref(), m.raw_key, m.value.get())).collect();
    assert_eq!(
        seen,
        [
            ("a", "\"a\"", "1.0"),
            ("b", "\"\\u0062\"", "[ 1e5, \"\\ud83d\" ]"),
            ("c", "\"c\"", "{\"x\" : null}")
        ]
    );
}

#[test]
fn what_is_not_one_plain_object_is_refused() {
    for body in [
        &b"[]"[..],
        b"",
        b"{",
        b"{}x",
        b"{} {}",
        b"{\"a\":1,}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{\"a\":01}",
        b"{\"a\":1,\"\\u0061\":2}",
        b"{\"a\":\"\xff\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"a\":\"\\ud8\"}",
        b"{\"a\":[1}]",
        b"{\"a\":[}",
    ] {
        assert!(read_object(body, 8, 8).is_err(), "{}", String::from_utf8_lossy(body));
    }
    assert!(read_object(b"{\"a\":1,\"b\":2}", 8, 1).is_err());
}

#[test]
fn nesting_is_bounded_and_brackets_in_strings_do_not_count() {
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(read_object(deep(7).as_bytes(), 8, 8).is_ok());
    assert!(read_object(deep(8).as_bytes(), 8, 8).is_err());
    assert!(check_depth(deep(7).as_bytes(), 8));
    assert!(!check_depth(deep(8).as_bytes(), 8));
    assert!(check_depth(br#"{"a":"[[[[[[\"[[[[\\"}"#, 2));
    assert!(!check_depth(&b"[".repeat(1 << 20), 64));
    assert!(read_object(&b"{\"a\":".repeat(1 << 18), u32::MAX, 8).is_err());
}

#[test]
fn debug_output_shows_no_content() {
    let members = read_object(br#"{"a":"secret"}"#, 8, 8).unwrap();
    assert!(!format!("{members:?}").contains("secret"));
}

#[test]
fn idle_values_are_told_from_those_that_ask_for_something() {
    let body = br#"{"a":null,"b":false,"c":0,"d":"","e":[ ],"f":{},"g":0.0,"A":true,"B":1,"C":"x","D":[[]],"E":{"x":1},"F":"[]"}"#;
    for member in read_object(body, 8, 16).unwrap() {
        assert_eq!(member.value.is_idle(), member.key.chars().all(char::is_lowercase), "{}", member.key);
    }
}

proptest! {
    /// Texts made of the bytes that matter to the grammar, judged by another strict parser.
    #[test]
    fn the_grammar_is_that_of_a_strict_parser(text in r#"([\[\]\{\},:"\\0-9eE+.\- \nuadtrfn]|true|false|null|"[a-z]*"|"[a-z]":){0,24}"#) {
        prop_assert_eq!(accepts(text.as_bytes()), serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), depth in 0u32..200) {
        let _ = read_object(&bytes, depth, 64);
        check_depth(&bytes, depth);
    }

    #[test]
    fn written_text_reads_back(text in any::<String>()) {
        let mut out = Vec::new();
        push_text(&mut out, &text);
        let mut cursor = Cursor::new(&out, 4).unwrap();
        let read = cursor.text().unwrap();
        prop_assert_eq!(read.decode(), text);
        prop_assert!(cursor.end().is_ok());
    }
}
