//! Our counts against those of the `bpe-openai` crate.

use super::*;
use proptest::prelude::*;

/// Both encodings beside the crate's.
fn both() -> [(&'static Encoding, &'static bpe_openai::Tokenizer); 2] {
    [(o200k(), bpe_openai::o200k_base()), (cl100k(), bpe_openai::cl100k_base())]
}

fn assert_same(text: &str) {
    for (ours, theirs) in both() {
        let shown: String = text.chars().take(80).collect();
        assert_eq!(ours.count(text), theirs.count(text), "{} bytes: {shown:?}", text.len());
        assert!(ours.split(text).eq(theirs.split(text)), "{shown:?}");
    }
}

/// Texts of this repository in many languages, code and data.
const CORPUS: &[&str] = &[
    include_str!("../texts.toml"),
    include_str!("../../tokens.rs"),
    include_str!("../../catalog/models.toml"),
    include_str!("../../../../../README.md"),
    include_str!("../../../../../ARCHITECTURE.md"),
    include_str!("../../../../../Cargo.lock"),
];

#[test]
fn a_corpus_counts_as_the_crate_counts_it_whole_and_cut_anywhere() {
    for text in CORPUS {
        assert_same(text);
        for size in [61, 900] {
            let mut left = *text;
            while !left.is_empty() {
                let (part, rest) = left.split_at(left.floor_char_boundary(size));
                assert_same(part);
                left = rest;
            }
        }
    }
}

#[test]
fn every_token_is_one_token_and_the_patterns_compile() {
    for (ours, theirs) in both() {
        assert!(ours.words.is_some());
        let mut scratch = Scratch::default();
        for token in 0..u32::try_from(theirs.bpe.num_tokens()).unwrap() {
            let bytes = theirs.bpe.token_bytes(token);
            assert_eq!(ours.count_word(bytes, &mut scratch), 1, "{bytes:?}");
            if bytes.len() > 1 {
                assert_eq!(ours.count_long(bytes), 1, "{bytes:?}");
            }
        }
    }
}

#[test]
fn long_words_count_as_the_crate_counts_them() {
    let mixed = |length: usize, letters: &str| -> String {
        let letters: Vec<char> = letters.chars().collect();
        // A fixed sequence without a short period.
        let mut state = 12_345u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            letters[usize::try_from(state >> 33).unwrap() % letters.len()]
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    for length in [95, 96, 97, 98, 1_000, 4_000] {
        for text in [
            "a".repeat(length),
            " ".repeat(length),
            "=".repeat(length),
            "ab".repeat(length),
            "é".repeat(length),
            "的".repeat(length),
            "👍🏽".repeat(length),
            "\n".repeat(length),
            mixed(length, "abcdefghijklmnopqrstuvwxyz"),
            mixed(length, "aAbBeE0123456789+/="),
            mixed(length, "的一是不了人我在有他这为之大来以个中上们"),
            mixed(length, " \n\t\r\u{a0}\u{2003}"),
        ] {
            assert_same(&text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_text_counts_as_the_crate_counts_it(text in any_text()) {
        for (ours, theirs) in both() {
            prop_assert_eq!(ours.count(&text), theirs.count(&text));
        }
    }

    #[test]
    fn any_word_counts_alike_by_both_ways(word in prop::collection::vec(any::<u8>(), 2..300)) {
        for (ours, theirs) in both() {
            let expected = theirs.bpe.count(&word);
            prop_assert_eq!(ours.count_short(&word, &mut Scratch::default()), expected);
            prop_assert_eq!(ours.count_long(&word), expected);
        }
    }
}

/// Any characters, words of several scripts, and their mixtures.
fn any_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "[a-z]{1,12}",
        "[A-Za-z']{1,20}",
        "[ \t\r\n]{1,6}",
        "[0-9]{1,9}",
        "[а-яё]{1,10}",
        "[一-龥]{1,10}",
        "[ぁ-んァ-ヶ]{1,10}",
        "[가-힣]{1,8}",
        "[ء-ي]{1,8}",
        "[!-/:-@{-~]{1,8}",
        "\\PC{1,10}",
        Just("I'LL they're WE'VE don't".to_owned()),
        Just("\u{a0}\u{3000}\u{85} \u{2028}".to_owned()),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}
