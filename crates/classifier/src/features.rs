//! The numeric features of a text.

use super::{
    layout::{self, Layout},
    ngrams::{
        EDGE_BUCKETS_BITS, EDGE_WORDS, VOCABULARY_BUCKETS_BITS, Words, bigram_hash, bucket, characters,
        stem_hash,
    },
    shape::{self, Shape, WordFacts},
    window,
};

/// Features that depend on upper and lower case. The category does not use them, because people write in any case.
const CASED: [&str; 6] = [
    "upper_permille",
    "capitalized_words",
    "all_caps_words",
    "options_capital",
    "question_capitalized",
    "question_upper_words",
];

/// All features of a text.
pub struct Features {
    pub shape: Shape,
    pub layout: Layout,
    /// Buckets of words and pairs of the whole text.
    pub words: Vec<u16>,
    /// Buckets of the words of the whole text alone.
    pub vocabulary: Vec<u16>,
    /// Buckets of words, pairs, runs of three and stems near the beginning and the end.
    pub edges: Vec<u16>,
    /// Buckets of the words that begin sentences.
    pub starts: Vec<u16>,
}

impl Features {
    /// The positions in `shape` of numbers that depend on upper and lower case; the category model must not give them
    /// weight.
    pub fn cased() -> impl Iterator<Item = usize> {
        (0..shape::LEN).filter(|index| CASED.contains(&shape::name(*index).as_str()))
    }

    pub fn of(text: &str) -> Features {
        let (head, tail) = window::window(text);
        let parts = [head.as_bytes(), tail.as_bytes()];
        let facts = WordFacts::of(parts);
        let hashes = &facts.hashes;
        let mut words = Vec::with_capacity(2 * hashes.len());
        let mut vocabulary = Vec::with_capacity(hashes.len());
        let mut edges = Vec::with_capacity(8 * EDGE_WORDS);
        let mut edge = |hash: u32| edges.push(bucket(hash.rotate_left(11), EDGE_BUCKETS_BITS));
        let (mut previous, mut pair_before) = (None, None);
        for (place, hash) in hashes.iter().enumerate() {
            let pair = previous.map(|first| bigram_hash(first, *hash));
            words.push(bucket(*hash, 13));
            words.extend(pair.map(|pair| bucket(pair, 13)));
            vocabulary.push(bucket(hash.rotate_left(3), VOCABULARY_BUCKETS_BITS));
            if place < EDGE_WORDS || place + EDGE_WORDS >= hashes.len() {
                let triple = pair_before.map(|before| bigram_hash(before, *hash));
                [Some(*hash), pair, triple].into_iter().flatten().for_each(&mut edge);
            }
            previous = Some(*hash);
            pair_before = pair;
        }
        let count = hashes.len();
        for (place, word) in parts.into_iter().flat_map(Words::of).enumerate() {
            if place < EDGE_WORDS || place + EDGE_WORDS >= count {
                stem_hash(word).into_iter().for_each(&mut edge);
                characters(word, &mut edge);
            }
        }
        let (layout, starts) = layout::layout(parts);
        Features { shape: shape::shape(parts, &facts), layout, words, vocabulary, edges, starts }
    }
}
