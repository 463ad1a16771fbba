//! The position of the instruction in a text: how its sentences begin, and how its lines and paragraphs are laid out. A
//! short line above or below a long block is an instruction about this block. Only the category uses these features.

use super::{
    lexicon::{self, FIRST_WORDS},
    ngrams::{START_BUCKETS_BITS, Words, bigram_hash, bucket, word_hash},
};

/// Sentences whose first words are examined, from the beginning and from the end.
const FIRST_SENTENCES: usize = 16;
const LAST_SENTENCES: usize = 8;
/// Words from the beginning of a sentence that count.
const START_WORDS: usize = 3;

const SIZES: [&str; 15] = [
    "sentence_starts",
    "first_sentence_words",
    "last_sentence_words",
    "first_line_words",
    "last_line_words",
    "paragraphs",
    "first_paragraph_bytes",
    "last_paragraph_bytes",
    "longest_paragraph_bytes",
    "longest_paragraph_permille",
    "longest_paragraph_place",
    "first_line_ends_colon",
    "last_line_ends_colon",
    "last_line_asks",
    "longest_line_bytes",
];

/// The number of features: sizes, how often each group of first words begins a sentence, and which of them begins the
/// last sentence.
pub const LEN: usize = SIZES.len() + 2 * FIRST_WORDS.len();

/// The numbers of one text.
pub type Layout = [i32; LEN];

/// The layout of a text in its two parts, and the buckets of the words that begin its sentences.
pub fn layout(parts: [&[u8]; 2]) -> (Layout, Vec<u16>) {
    let sentences = sentences(parts);
    let mut groups = [0_usize; 2 * FIRST_WORDS.len()];
    let mut starts = Vec::with_capacity((FIRST_SENTENCES + LAST_SENTENCES) * START_WORDS + START_WORDS);
    for (place, sentence) in sentences.iter().enumerate() {
        let is_last = place + 1 == sentences.len();
        if place < FIRST_SENTENCES || place + LAST_SENTENCES >= sentences.len() {
            let first = begin(sentence, place == 0, &mut starts);
            count_groups(&mut groups, first, is_last);
        }
    }
    let blocks = Blocks::of(parts);
    let words = |sentence: Option<&&[u8]>| sentence.map_or(0, |text| Words::of(text).take(200).count());
    let first = blocks.first_line;
    let last = blocks.last_line;
    let total: usize = parts.iter().map(|part| part.len()).sum();
    let sizes = [
        sentences.len(),
        words(sentences.first()),
        words(sentences.last()),
        words(Some(&first)),
        words(Some(&last)),
        blocks.count,
        blocks.first,
        blocks.last,
        blocks.longest,
        (blocks.longest * 1_000).checked_div(total).unwrap_or(0),
        blocks.longest_place,
        usize::from(first.ends_with(b":")),
        usize::from(last.ends_with(b":")),
        usize::from(last.ends_with(b"?")),
        blocks.longest_line,
    ];
    let mut layout = [0; LEN];
    for (place, value) in layout.iter_mut().zip(sizes.into_iter().chain(groups)) {
        *place = i32::try_from(value).unwrap_or(i32::MAX);
    }
    (layout, starts)
}

/// The sentences of a text: it is split at line ends, and after `.`, `?` and `!` before a space.
fn sentences(parts: [&[u8]; 2]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    for part in parts {
        let mut from = 0;
        let line_ends = memchr::memchr_iter(b'\n', part).map(|at| at + 1).chain([part.len()]);
        for end in line_ends {
            let line = part.get(from..end).unwrap_or_default();
            from = end;
            let mut start = 0;
            let marks = memchr::memchr3_iter(b'.', b'?', b'!', line).map(|at| at + 1);
            let cuts = marks.filter(|at| line.get(*at) == Some(&b' ')).chain([line.len()]);
            for cut in cuts {
                let sentence = line.get(start..cut).unwrap_or_default().trim_ascii();
                start = cut;
                if sentence.iter().any(|byte| byte.is_ascii_alphabetic() || !byte.is_ascii()) {
                    found.push(sentence);
                }
            }
        }
    }
    found
}

/// Adds the buckets of the words that begin a sentence, numbers left out; returns the hash of the first.
fn begin(sentence: &[u8], is_first: bool, starts: &mut Vec<u16>) -> u32 {
    let words = Words::of(sentence).filter(|word| !word.iter().all(u8::is_ascii_digit));
    let (mut first, mut run) = (0, None);
    for word in words.take(START_WORDS) {
        let hash = word_hash(word);
        first = if run.is_none() { hash } else { first };
        let joined = run.map_or(hash, |before| bigram_hash(before, hash));
        run = Some(joined);
        starts.push(bucket(joined.rotate_left(5), START_BUCKETS_BITS));
        if is_first {
            starts.push(bucket(joined.rotate_left(17), START_BUCKETS_BITS));
        }
    }
    first
}

fn count_groups(groups: &mut [usize; 2 * FIRST_WORDS.len()], first: u32, is_last: bool) {
    let bits = lexicon::first_word_groups(first);
    let (all, last) = groups.split_at_mut(FIRST_WORDS.len());
    for (bit, (all, last)) in all.iter_mut().zip(last).enumerate() {
        let has = usize::from(bits >> bit & 1 == 1);
        *all += has;
        *last += has * usize::from(is_last);
    }
}

/// Lines and paragraphs; a blank line ends a paragraph.
#[derive(Default)]
struct Blocks<'a> {
    count: usize,
    first: usize,
    last: usize,
    longest: usize,
    /// 1 for the first paragraph, 2 for one in the middle, 3 for the last of several.
    longest_place: usize,
    longest_line: usize,
    first_line: &'a [u8],
    last_line: &'a [u8],
}

impl<'a> Blocks<'a> {
    fn of(parts: [&'a [u8]; 2]) -> Self {
        let mut blocks = Blocks::default();
        let mut longest_at = 0;
        let mut size = 0;
        for part in parts {
            let mut from = 0;
            for end in memchr::memchr_iter(b'\n', part).chain([part.len()]) {
                let line = part.get(from..end).unwrap_or_default().trim_ascii();
                from = end + 1;
                if line.is_empty() {
                    size = 0;
                    continue;
                }
                blocks.count += usize::from(size == 0);
                size += line.len();
                blocks.longest_line = blocks.longest_line.max(line.len());
                if blocks.first_line.is_empty() {
                    blocks.first_line = line;
                }
                blocks.last_line = line;
                blocks.last = size;
                if blocks.count == 1 {
                    blocks.first = size;
                }
                if size > blocks.longest {
                    blocks.longest = size;
                    longest_at = blocks.count;
                }
            }
        }
        blocks.longest_place = match longest_at {
            0 | 1 => longest_at,
            at if at == blocks.count => 3,
            _ => 2,
        };
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str, name: &str) -> i32 {
        let (layout, _) = layout([text.as_bytes(), b""]);
        layout[SIZES.iter().position(|one| *one == name).unwrap()]
    }

    #[test]
    fn an_instruction_after_a_block_is_seen_apart_from_the_block() {
        let text = "A long text about trams. It has two sentences.\n\nSummarize this?";
        assert_eq!(number(text, "paragraphs"), 2);
        assert_eq!(number(text, "longest_paragraph_place"), 1);
        assert_eq!(number(text, "last_line_words"), 2);
        assert_eq!(number(text, "last_line_asks"), 1);
        assert_eq!(number(text, "sentence_starts"), 3);
        let (_, starts) = layout([text.as_bytes(), b""]);
        let (_, alone) = layout([b"Other. Summarize this?", b""]);
        let shared = starts.iter().filter(|start| alone.contains(start)).count();
        assert!(shared >= 2, "{starts:?} {alone:?}");
    }

    #[test]
    fn numbers_and_marks_are_no_sentences() {
        for text in ["", "...", "12. 13. 14", "\n\n"] {
            assert_eq!(number(text, "sentence_starts"), 0, "{text}");
        }
        assert_eq!(number("1. Write it\n2. Run it", "sentence_starts"), 2);
    }
}
