//! OpenAI's two published encodings, for counting only. A table of pairs, built at first use from a checked-in file,
//! states which two tokens merge into which; `examples/token_tables.rs` writes that file. Counts equal those of the
//! `bpe-openai` crate (a test compares them), with a tenth of its memory.

use regex_automata::{Anchored, Input, meta::Regex};
use std::{cmp::Reverse, collections::BinaryHeap, sync::LazyLock};

/// Tokens of one byte, which come first.
const BYTES: usize = 256;
/// Bytes of one pair in the file: two token numbers of 18 bits.
const PAIR_BYTES: usize = 5;
const TOKEN_BITS: u32 = 18;
const TOKEN_MASK: u64 = (1 << TOKEN_BITS) - 1;
/// Longest word whose merges are found by examining all of them each time; longer words use a heap.
const SHORT_MAX: usize = 96;
/// A longer text without a word boundary is counted in parts of this size, which bounds the memory for it.
const WORD_BYTES_MAX: usize = 1 << 20;
/// No token, or no position.
const NONE: u32 = u32::MAX;

/// One encoding.
pub(super) struct Encoding {
    /// The token of each byte.
    bytes: [u32; BYTES],
    pairs: Pairs,
    /// How a text is split into words; no token crosses a word boundary. `None` only if the pattern cannot be compiled,
    /// which a test excludes: then the text is one word.
    words: Option<Regex>,
}

/// Which pair of tokens merges into which token: a hash table with open addressing.
struct Pairs {
    /// The pair above the token; [`FREE`] where there is none.
    slots: Box<[u64]>,
    shift: u32,
}

const FREE: u64 = u64::MAX;

/// The second pattern ends with a character that is not part of the word: `regex-automata` has no look-ahead.
const LOOK_AHEAD: usize = 1;

static O200K: LazyLock<Encoding> = LazyLock::new(|| {
    let lower = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
    let upper = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?";
    let rest = r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+$";
    Encoding::new(include_bytes!("o200k_base.pairs"), &format!("{lower}|{upper}|{rest}"))
});

static CL100K: LazyLock<Encoding> = LazyLock::new(|| {
    let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+$";
    Encoding::new(include_bytes!("cl100k_base.pairs"), words)
});

/// gpt-4o and later.
pub(super) fn o200k() -> &'static Encoding {
    &O200K
}

/// gpt-4 and gpt-3.5.
pub(super) fn cl100k() -> &'static Encoding {
    &CL100K
}

impl Encoding {
    fn new(file: &[u8], words: &str) -> Self {
        let (singles, pairs) = file.split_at_checked(BYTES).unwrap_or((file, &[]));
        let mut bytes = [0; BYTES];
        for (token, byte) in (0..).zip(singles) {
            if let Some(place) = bytes.get_mut(usize::from(*byte)) {
                *place = token;
            }
        }
        Self { bytes, pairs: Pairs::read(pairs), words: Regex::new_many(&[words, r"\s+\s", r"\s+"]).ok() }
    }

    /// Tokens of a text.
    pub(super) fn count(&self, text: &str) -> usize {
        let mut scratch = Scratch::default();
        self.split(text).map(|word| self.count_word(word.as_bytes(), &mut scratch)).sum()
    }

    /// The words of a text; together they are the text.
    pub(super) fn split<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let mut left = text;
        std::iter::from_fn(move || {
            if left.is_empty() {
                return None;
            }
            let (word, rest) = left.split_at_checked(self.end_of_word(left)).unwrap_or((left, ""));
            left = rest;
            Some(word)
        })
    }

    /// The end of the first word of a text; never its start.
    fn end_of_word(&self, text: &str) -> usize {
        let found =
            self.words.as_ref().and_then(|words| words.find(Input::new(text).anchored(Anchored::Yes)));
        let Some(found) = found else { return text.len() };
        let beyond = match found.pattern().as_usize() {
            LOOK_AHEAD => text.get(..found.end()).and_then(|word| word.chars().next_back()),
            _ => None,
        };
        match found.end() - beyond.map_or(0, char::len_utf8) {
            0 => text.len(),
            end => end,
        }
    }

    /// Tokens of one word.
    pub(super) fn count_word(&self, word: &[u8], scratch: &mut Scratch) -> usize {
        match word.len() {
            0 | 1 => word.len(),
            2..=SHORT_MAX => self.count_short(word, scratch),
            _ => word.chunks(WORD_BYTES_MAX).map(|part| self.count_long(part)).sum(),
        }
    }

    fn token(&self, byte: u8) -> u32 {
        self.bytes.get(usize::from(byte)).copied().unwrap_or(NONE)
    }

    /// Merges the pair with the lowest token, the first of equal ones, until there is none.
    fn count_short(&self, word: &[u8], scratch: &mut Scratch) -> usize {
        let parts = &mut scratch.0;
        parts.clear();
        parts.extend(word.iter().map(|byte| Part { token: self.token(*byte), merged: NONE }));
        let mut next = NONE;
        for part in parts.iter_mut().rev() {
            part.merged = self.pairs.get(part.token, next);
            next = part.token;
        }
        while let Some((at, lowest)) =
            parts.iter().map(|part| part.merged).enumerate().min_by_key(|(_, merged)| *merged)
            && lowest != NONE
        {
            parts.remove(at + 1);
            let after = parts.get(at + 1).map_or(NONE, |part| part.token);
            if let Some(part) = parts.get_mut(at) {
                *part = Part { token: lowest, merged: self.pairs.get(lowest, after) };
            }
            if let Some(before) = at.checked_sub(1).and_then(|before| parts.get_mut(before)) {
                before.merged = self.pairs.get(before.token, lowest);
            }
        }
        parts.len()
    }

    /// The same in time that is almost linear in the word.
    fn count_long(&self, word: &[u8]) -> usize {
        let mut parts = Linked::new(word.iter().map(|byte| self.token(*byte)).collect());
        let mut waiting = BinaryHeap::with_capacity(word.len());
        let places = u32::try_from(word.len()).unwrap_or(NONE);
        for at in 0..places {
            waiting.extend(parts.pair(at, &self.pairs).map(|merged| Reverse((merged, at))));
        }
        let mut count = word.len();
        while let Some(Reverse((merged, at))) = waiting.pop() {
            // A pair does not exist any more if one of its parts was merged otherwise.
            if parts.pair(at, &self.pairs) != Some(merged) {
                continue;
            }
            count -= 1;
            let before = parts.merge(at, merged);
            for place in [before, Some(at)].into_iter().flatten() {
                waiting.extend(parts.pair(place, &self.pairs).map(|merged| Reverse((merged, place))));
            }
        }
        count
    }
}

/// Buffers for the parts of one word, reused for the next.
#[derive(Default)]
pub(super) struct Scratch(Vec<Part>);

#[derive(Clone, Copy)]
struct Part {
    token: u32,
    /// The token that this part and the next merge into.
    merged: u32,
}

/// The parts of a long word, each at the position of its first byte.
struct Linked {
    tokens: Vec<u32>,
    next: Vec<u32>,
    before: Vec<u32>,
}

impl Linked {
    fn new(tokens: Vec<u32>) -> Self {
        let places = u32::try_from(tokens.len()).unwrap_or(NONE);
        let next = (1..=places).map(|at| if at == places { NONE } else { at }).collect();
        let before = (0..places).map(|at| at.checked_sub(1).unwrap_or(NONE)).collect();
        Self { tokens, next, before }
    }

    /// The token that the part at a position and the next one merge into.
    fn pair(&self, at: u32, pairs: &Pairs) -> Option<u32> {
        let (left, right) = (get(&self.tokens, at), get(&self.tokens, get(&self.next, at)));
        Some(pairs.get(left, right)).filter(|merged| *merged != NONE)
    }

    /// Merges the part at a position with the next one; returns the position of the previous one.
    fn merge(&mut self, at: u32, merged: u32) -> Option<u32> {
        let gone = get(&self.next, at);
        let after = get(&self.next, gone);
        set(&mut self.tokens, gone, NONE);
        set(&mut self.tokens, at, merged);
        set(&mut self.next, at, after);
        set(&mut self.before, after, at);
        Some(get(&self.before, at)).filter(|before| *before != NONE)
    }
}

fn get(list: &[u32], at: u32) -> u32 {
    usize::try_from(at).ok().and_then(|at| list.get(at)).copied().unwrap_or(NONE)
}

fn set(list: &mut [u32], at: u32, value: u32) {
    if let Some(place) = usize::try_from(at).ok().and_then(|at| list.get_mut(at)) {
        *place = value;
    }
}

impl Pairs {
    /// Reads the file's pairs: those of the first token after the single bytes come first.
    fn read(file: &[u8]) -> Self {
        let (pairs, _) = file.as_chunks::<PAIR_BYTES>();
        // At most half full: most look-ups find nothing, and end early.
        let slots = pairs.len().saturating_mul(2).next_power_of_two().max(2);
        let mut table = Self { slots: vec![FREE; slots].into(), shift: 64 - slots.trailing_zeros() };
        for (token, pair) in (256u64..).zip(pairs) {
            let [a, b, c, d, e] = pair.map(u64::from);
            table.insert(a | b << 8 | c << 16 | d << 24 | e << 32, token);
        }
        table
    }

    fn insert(&mut self, pair: u64, token: u64) {
        let mut at = self.start(pair);
        while self.slots.get(at).is_some_and(|slot| *slot != FREE) {
            at = self.following(at);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = pair << TOKEN_BITS | token;
        }
    }

    /// The token that two tokens merge into, or [`NONE`].
    fn get(&self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return NONE;
        }
        let pair = u64::from(left) << TOKEN_BITS | u64::from(right);
        let mut at = self.start(pair);
        loop {
            match self.slots.get(at) {
                Some(slot) if *slot != FREE => {
                    if slot >> TOKEN_BITS == pair {
                        return u32::try_from(slot & TOKEN_MASK).unwrap_or(NONE);
                    }
                    at = self.following(at);
                }
                _ => return NONE,
            }
        }
    }

    fn start(&self, pair: u64) -> usize {
        let hash = pair.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift;
        usize::try_from(hash).unwrap_or(0)
    }

    fn following(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests;
