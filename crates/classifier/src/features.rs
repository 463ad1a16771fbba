//! The numbers a text is judged by.

use super::{
    ngrams::{EDGE_WORDS, bigram_hash, bucket},
    shape::{self, Shape, WordFacts},
    window,
};

/// Everything the model sees of a text.
pub struct Features {
    pub shape: Shape,
    /// Buckets of words and pairs of the whole text.
    pub words: Vec<u16>,
    /// Buckets of words and pairs near the beginning and the end.
    pub edges: Vec<u16>,
}

impl Features {
    pub fn of(text: &str) -> Features {
        let (head, tail) = window::window(text);
        let parts = [head.as_bytes(), tail.as_bytes()];
        let facts = WordFacts::of(parts);
        let hashes = &facts.hashes;
        let mut words = Vec::with_capacity(2 * hashes.len());
        let mut edges = Vec::with_capacity(4 * EDGE_WORDS);
        let mut previous = None;
        for (place, hash) in hashes.iter().enumerate() {
            let pair = previous.map(|first| bigram_hash(first, *hash));
            previous = Some(*hash);
            words.push(bucket(*hash, 13));
            words.extend(pair.map(|pair| bucket(pair, 13)));
            if place < EDGE_WORDS || place + EDGE_WORDS >= hashes.len() {
                edges.push(bucket(hash.rotate_left(11), 12));
                edges.extend(pair.map(|pair| bucket(pair.rotate_left(11), 12)));
            }
        }
        Features { shape: shape::shape(parts, &facts), words, edges }
    }
}
