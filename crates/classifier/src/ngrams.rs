//! Words of a text and their hashes. ASCII letters are compared without case; a number is a word of its length; other
//! characters are used as they are.

/// Buckets of the words and pairs of the whole text.
pub const WORD_BUCKETS: usize = 1 << 13;
/// Buckets of the words and pairs near the beginning and the end.
pub const EDGE_BUCKETS: usize = 1 << EDGE_BUCKETS_BITS;
pub const EDGE_BUCKETS_BITS: u32 = 13;
/// Buckets of the words of the whole text, without pairs.
pub const VOCABULARY_BUCKETS: usize = 1 << VOCABULARY_BUCKETS_BITS;
pub const VOCABULARY_BUCKETS_BITS: u32 = 14;
/// Buckets of the words that begin a sentence.
pub const START_BUCKETS: usize = 1 << START_BUCKETS_BITS;
pub const START_BUCKETS_BITS: u32 = 12;
/// Words from the beginning, and from the end, that count as near it.
pub const EDGE_WORDS: usize = 12;

const SEED: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// FNV-1a of a word in lower case.
pub fn word_hash(word: &[u8]) -> u32 {
    if word.iter().all(u8::is_ascii_digit) {
        return number_hash(word.len());
    }
    word.iter().fold(SEED, |hash, byte| (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(PRIME))
}

fn number_hash(digits: usize) -> u32 {
    0x5bd1_e995 ^ u32::try_from(digits.min(5)).unwrap_or(5)
}

/// The hash of two words in a row.
pub fn bigram_hash(first: u32, second: u32) -> u32 {
    (first.rotate_left(7) ^ second).wrapping_mul(0x85eb_ca6b) ^ 0x27d4_eb2f
}

/// Letters of a long word that stand for its stem.
const STEM_BYTES: usize = 5;
/// Characters of a script without spaces that are examined at each end of a run.
const RUN_CHARS: usize = 20;

/// The hash of the first letters of a long word, which other forms of the word share.
pub fn stem_hash(word: &[u8]) -> Option<u32> {
    let stem = word.get(..STEM_BYTES)?;
    let is_long = word.len() > STEM_BYTES && !word.iter().any(u8::is_ascii_digit);
    is_long.then(|| word_hash(stem).rotate_left(23))
}

/// Calls `each` with the hashes of the characters, and of pairs of them, of a word in a script that does not separate
/// words by spaces. Such a word is a whole sentence, which occurs only once.
pub fn characters(word: &[u8], mut each: impl FnMut(u32)) {
    if word.iter().filter(|byte| **byte >= 0xe3).count() < 2 {
        return;
    }
    let Ok(text) = std::str::from_utf8(word) else { return };
    let count = text.chars().count();
    let mut before = None;
    for (place, character) in text.chars().enumerate() {
        if place >= RUN_CHARS && place + RUN_CHARS < count {
            before = None;
            continue;
        }
        let hash = u32::from(character).wrapping_mul(PRIME) ^ SEED;
        each(hash);
        if let Some(first) = before.replace(hash) {
            each(bigram_hash(first, hash));
        }
    }
}

/// The bucket of a hash among `1 << bits`.
pub fn bucket(hash: u32, bits: u32) -> u16 {
    let mixed = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    u16::try_from(mixed >> (32 - bits)).unwrap_or(0)
}

/// Whether a byte belongs to a word.
pub fn is_word_byte(byte: u8) -> bool {
    WORD_BYTES.get(usize::from(byte)).is_some_and(|is_word| *is_word)
}

const WORD_BYTES: [bool; 256] = word_bytes();

/// Letters, digits, the apostrophe, and all characters that are not ASCII.
const fn word_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut bytes: &mut [bool] = &mut table;
    let mut byte = 0_u8;
    while let Some((first, rest)) = bytes.split_first_mut() {
        *first = byte.is_ascii_alphanumeric() || byte >= 0x80 || byte == b'\'';
        bytes = rest;
        byte = byte.wrapping_add(1);
    }
    table
}

/// The words of a text, in order. A `+` or `#` right after a letter belongs to the word (`c++`, `c#`).
pub struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.rest.iter().position(|byte| is_word_byte(*byte) && *byte != b'\'')?;
        let from = self.rest.get(start..)?;
        let mut end = from.iter().position(|byte| !is_word_byte(*byte)).unwrap_or(from.len());
        if end == 1 {
            end += from.get(1..).map_or(0, |rest| rest.iter().take(2).take_while(|b| **b == b'+').count());
        }
        let (word, rest) = from.split_at_checked(end)?;
        self.rest = rest;
        let kept = word.iter().rposition(|byte| *byte != b'\'').map_or(0, |last| last + 1);
        word.get(..kept)
    }
}
