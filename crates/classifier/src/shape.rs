//! Numbers that describe the shape of a text: sizes, punctuation, answer options, words by group. All are integers, so
//! that the same text gives the same numbers on every machine. Their order and meaning are part of the model.

use super::{
    lexicon::{self, FIRST_WORDS, GROUPS},
    ngrams::{self, EDGE_WORDS, Words, bigram_hash, word_hash},
};

const SIZES: [&str; 24] = [
    "bytes",
    "words",
    "lines",
    "blank_lines",
    "sentences",
    "word_length_x100",
    "longest_word",
    "long_words",
    "very_long_words",
    "long_word_permille",
    "short_word_permille",
    "unique_word_permille",
    "digit_permille",
    "numbers",
    "distinct_numbers",
    "longest_number",
    "decimals",
    "upper_permille",
    "capitalized_words",
    "all_caps_words",
    "non_ascii_permille",
    "words_per_sentence",
    "number_word_permille",
    "single_letters",
];

const PUNCTUATION: [(&str, u8); 31] = [
    ("question_marks", b'?'),
    ("exclamation_marks", b'!'),
    ("commas", b','),
    ("periods", b'.'),
    ("semicolons", b';'),
    ("colons", b':'),
    ("parentheses", b'('),
    ("brackets", b'['),
    ("braces", b'{'),
    ("less_signs", b'<'),
    ("greater_signs", b'>'),
    ("equals", b'='),
    ("pluses", b'+'),
    ("hyphens", b'-'),
    ("asterisks", b'*'),
    ("slashes", b'/'),
    ("carets", b'^'),
    ("underscores", b'_'),
    ("pipes", b'|'),
    ("backslashes", b'\\'),
    ("dollars", b'$'),
    ("percents", b'%'),
    ("ampersands", b'&'),
    ("hashes", b'#'),
    ("ats", b'@'),
    ("tildes", b'~'),
    ("backticks", b'`'),
    ("double_quotes", b'"'),
    ("apostrophes", b'\''),
    ("tabs", b'\t'),
    ("closing_parentheses", b')'),
];

const LINES: [&str; 9] = [
    "code_fences",
    "indented_lines",
    "statement_ends",
    "link_lines",
    "bullet_lines",
    "table_lines",
    "heading_lines",
    "last_line_bytes",
    "first_line_bytes",
];

const OPTIONS: [&str; 18] = [
    "options",
    "option_bytes_mean",
    "option_bytes_max",
    "option_bytes_min",
    "option_bytes_range",
    "options_with_digit",
    "options_capital",
    "options_with_period",
    "option_share_permille",
    "option_words_mean",
    "options_one_word",
    "options_number",
    "options_same_start",
    "options_all_or_none",
    "options_with_comma",
    "options_with_symbol",
    "option_longest_place",
    "options_repeated_words_permille",
];

const QUESTION: [&str; 10] = [
    "question_bytes",
    "question_words",
    "question_asks",
    "question_ends_colon",
    "question_open_end",
    "question_blank",
    "question_digits",
    "question_capitalized",
    "question_sentences",
    "question_upper_words",
];

/// The number of features.
pub const LEN: usize = SIZES.len()
    + PUNCTUATION.len()
    + LINES.len()
    + OPTIONS.len()
    + QUESTION.len()
    + FIRST_WORDS.len()
    + 2 * GROUPS.len();

/// The numbers of one text.
pub type Shape = [i32; LEN];

/// The name of a number.
pub fn name(index: usize) -> String {
    let plain = SIZES.iter().copied().chain(PUNCTUATION.iter().map(|(name, _)| *name));
    let plain = plain.chain(LINES).chain(OPTIONS).chain(QUESTION).map(str::to_owned);
    let first = FIRST_WORDS.iter().map(|(name, _)| format!("starts_with_{name}"));
    let groups = GROUPS.iter().map(|(name, _)| (*name).to_owned());
    let edges = GROUPS.iter().map(|(name, _)| format!("{name}_at_edge"));
    plain.chain(first).chain(groups).chain(edges).nth(index).unwrap_or_default()
}

/// Appends numbers in their order; a number that does not fit is lost, which the tests exclude.
struct Sheet {
    shape: Shape,
    at: usize,
}

impl Sheet {
    fn put(&mut self, value: usize) {
        if let Some(place) = self.shape.get_mut(self.at) {
            *place = i32::try_from(value).unwrap_or(i32::MAX);
        }
        self.at += 1;
    }
}

fn permille(part: usize, whole: usize) -> usize {
    (part * 1_000).checked_div(whole).unwrap_or(0)
}

/// The result of one pass over the words.
pub struct WordFacts {
    /// Hashes of the words in order.
    pub hashes: Vec<u32>,
    groups: [u16; GROUPS.len()],
    edge_groups: [u16; GROUPS.len()],
    first: u64,
    bytes: usize,
    longest: usize,
    long: usize,
    very_long: usize,
    short: usize,
    unique: usize,
    numbers: usize,
    distinct_numbers: usize,
    longest_number: usize,
    capitalized: usize,
    all_caps: usize,
    single: usize,
}

impl WordFacts {
    pub fn of(parts: [&[u8]; 2]) -> WordFacts {
        let mut facts = WordFacts {
            hashes: Vec::with_capacity((parts[0].len() + parts[1].len()) / 5 + 8),
            groups: [0; GROUPS.len()],
            edge_groups: [0; GROUPS.len()],
            first: 0,
            bytes: 0,
            longest: 0,
            long: 0,
            very_long: 0,
            short: 0,
            unique: 0,
            numbers: 0,
            distinct_numbers: 0,
            longest_number: 0,
            capitalized: 0,
            all_caps: 0,
            single: 0,
        };
        let (mut seen, mut seen_numbers) = ([0_u64; 64], [0_u64; 8]);
        for word in parts.into_iter().flat_map(Words::of) {
            let hash = word_hash(word);
            facts.hashes.push(hash);
            facts.unique += usize::from(mark(&mut seen, ngrams::bucket(hash, 12)));
            facts.measure(word, &mut seen_numbers);
        }
        facts.find_groups();
        facts
    }

    fn measure(&mut self, word: &[u8], seen_numbers: &mut [u64; 8]) {
        let length = word.len();
        self.bytes += length;
        self.longest = self.longest.max(length);
        self.long += usize::from(length >= 7);
        self.very_long += usize::from(length >= 11);
        self.short += usize::from(length <= 3);
        self.single += usize::from(length == 1);
        let Some(first) = word.first() else { return };
        if first.is_ascii_digit() {
            self.numbers += 1;
            self.longest_number = self.longest_number.max(length);
            let value = word.iter().fold(7_u32, |sum, b| sum.wrapping_mul(31).wrapping_add(u32::from(*b)));
            self.distinct_numbers += usize::from(mark(seen_numbers, ngrams::bucket(value, 9)));
        } else if first.is_ascii_uppercase() {
            self.capitalized += 1;
            self.all_caps += usize::from(length >= 2 && word.iter().all(u8::is_ascii_uppercase));
        }
    }

    /// Counts the words and phrases of each group, in the whole text and near its beginning and end.
    fn find_groups(&mut self) {
        let count = self.hashes.len();
        self.first = self.hashes.first().map_or(0, |hash| lexicon::first_word_groups(*hash));
        let mut previous = None;
        for (place, hash) in self.hashes.iter().enumerate() {
            let phrase = previous.map_or(0, |first| lexicon::groups(bigram_hash(first, *hash)));
            previous = Some(*hash);
            let mut bits = lexicon::groups(*hash) | phrase;
            let at_edge = place < EDGE_WORDS || place + EDGE_WORDS >= count;
            while bits != 0 {
                let group = bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if let Some(number) = self.groups.get_mut(group) {
                    *number = number.saturating_add(1);
                }
                if let Some(number) = self.edge_groups.get_mut(group).filter(|_| at_edge) {
                    *number += 1;
                }
            }
        }
    }
}

/// Sets a bit; returns whether it was not set before.
fn mark<const N: usize>(bits: &mut [u64; N], index: u16) -> bool {
    let Some(word) = bits.get_mut(usize::from(index) / 64) else { return false };
    let bit = 1 << (index % 64);
    let is_new = *word & bit == 0;
    *word |= bit;
    is_new
}

/// The numbers of a text in its two parts.
pub fn shape(parts: [&[u8]; 2], words: &WordFacts) -> Shape {
    let mut sheet = Sheet { shape: [0; LEN], at: 0 };
    let mut counts = [0_u32; 256];
    for byte in parts.into_iter().flatten() {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let count = |byte: u8| counts.get(usize::from(byte)).map_or(0, |count| *count as usize);
    let lines = LineFacts::of(parts);
    sizes(&mut sheet, parts, words, &count, &lines);
    PUNCTUATION.iter().for_each(|(_, byte)| sheet.put(count(*byte)));
    lines.put(&mut sheet);
    options(&mut sheet, parts, &lines);
    question(&mut sheet, lines.question);
    (0..FIRST_WORDS.len()).for_each(|bit| sheet.put(usize::from(words.first >> bit & 1 == 1)));
    words.groups.iter().chain(&words.edge_groups).for_each(|number| sheet.put(usize::from(*number)));
    debug_assert_eq!(sheet.at, LEN);
    sheet.shape
}

fn sizes(
    sheet: &mut Sheet,
    parts: [&[u8]; 2],
    words: &WordFacts,
    count: &dyn Fn(u8) -> usize,
    lines: &LineFacts<'_>,
) {
    let bytes = parts[0].len() + parts[1].len();
    let number = words.hashes.len();
    let sum = |range: std::ops::RangeInclusive<u8>| range.map(count).sum::<usize>();
    let sentences = parts.into_iter().map(sentences).sum::<usize>();
    let decimals = parts.into_iter().map(decimals).sum();
    let values = [
        bytes,
        number,
        lines.count,
        lines.blank,
        sentences,
        (words.bytes * 100).checked_div(number).unwrap_or(0),
        words.longest,
        words.long,
        words.very_long,
        permille(words.long, number),
        permille(words.short, number),
        permille(words.unique, number),
        permille(sum(b'0'..=b'9'), bytes),
        words.numbers,
        words.distinct_numbers,
        words.longest_number,
        decimals,
        permille(sum(b'A'..=b'Z'), bytes),
        words.capitalized,
        words.all_caps,
        permille(sum(0x80..=0xff), bytes),
        number / sentences.max(1),
        permille(words.numbers, number),
        words.single,
    ];
    values.into_iter().for_each(|value| sheet.put(value));
}

/// Sentence ends: a mark before white space or at the end.
fn sentences(text: &[u8]) -> usize {
    let ends = memchr::memchr3_iter(b'.', b'?', b'!', text);
    ends.filter(|at| text.get(at + 1).is_none_or(u8::is_ascii_whitespace)).count()
}

fn decimals(text: &[u8]) -> usize {
    let is_digit = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit);
    memchr::memchr_iter(b'.', text).filter(|at| is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))).count()
}

/// The result of one pass over the lines.
struct LineFacts<'a> {
    count: usize,
    blank: usize,
    fences: usize,
    indented: usize,
    statements: usize,
    links: usize,
    bullets: usize,
    tables: usize,
    headings: usize,
    last: usize,
    first: usize,
    /// Answer options, without their letters.
    options: Vec<&'a [u8]>,
    /// Everything before the first option.
    question: &'a [u8],
}

impl<'a> LineFacts<'a> {
    fn of(parts: [&'a [u8]; 2]) -> Self {
        let mut facts = LineFacts {
            count: 0,
            blank: 0,
            fences: 0,
            indented: 0,
            statements: 0,
            links: 0,
            bullets: 0,
            tables: 0,
            headings: 0,
            last: 0,
            first: 0,
            options: Vec::new(),
            question: parts[0],
        };
        for (part, text) in parts.into_iter().enumerate() {
            let mut start = 0;
            let ends = memchr::memchr_iter(b'\n', text).chain((!text.is_empty()).then_some(text.len()));
            for end in ends {
                let line = text.get(start..end).unwrap_or_default();
                let before = if part == 0 { text.get(..start) } else { None };
                facts.line(line, before);
                start = end + 1;
            }
        }
        facts
    }

    fn line(&mut self, line: &'a [u8], before: Option<&'a [u8]>) {
        self.count += 1;
        let trimmed = line.trim_ascii();
        let (Some(&first), Some(&last)) = (trimmed.first(), trimmed.last()) else {
            self.blank += 1;
            return;
        };
        if self.first == 0 {
            self.first = trimmed.len();
        }
        self.last = trimmed.len();
        self.fences += usize::from(trimmed.starts_with(b"```"));
        self.indented += usize::from(line.starts_with(b"  ") || line.starts_with(b"\t"));
        self.statements += usize::from(matches!(last, b';' | b'{' | b'}'));
        self.links += usize::from(memchr::memmem::find(trimmed, b"://").is_some());
        self.bullets += usize::from(matches!(first, b'-' | b'*' | b'+'));
        self.tables += usize::from(first == b'|' || last == b'|');
        self.headings += usize::from(first == b'#');
        // `A. text`, in the order of the alphabet, so that prose is no option.
        let expected = u8::try_from(self.options.len()).ok().and_then(|place| b'A'.checked_add(place));
        let marked = trimmed.get(1).is_some_and(|mark| matches!(mark, b'.' | b')'));
        if marked && Some(first.to_ascii_uppercase()) == expected && self.options.len() < 12 {
            if self.options.is_empty()
                && let Some(before) = before
            {
                self.question = before.trim_ascii();
            }
            self.options.push(trimmed.get(2..).unwrap_or_default().trim_ascii());
        }
    }

    fn put(&self, sheet: &mut Sheet) {
        let values = [
            self.fences,
            self.indented,
            self.statements,
            self.links,
            self.bullets,
            self.tables,
            self.headings,
            self.last,
            self.first,
        ];
        values.into_iter().for_each(|value| sheet.put(value));
    }
}

fn options(sheet: &mut Sheet, parts: [&[u8]; 2], lines: &LineFacts<'_>) {
    let options = &lines.options;
    let number = options.len();
    let lengths: Vec<usize> = options.iter().map(|option| option.len()).collect();
    let (total, max) = (lengths.iter().sum::<usize>(), lengths.iter().max().copied().unwrap_or(0));
    let min = lengths.iter().min().copied().unwrap_or(0);
    let having = |test: &dyn Fn(&[u8]) -> bool| options.iter().filter(|option| test(option)).count();
    let words = |option: &[u8]| Words::of(option).count();
    let first_of = |option: &[u8]| Words::of(option).next().map(word_hash);
    let start = options.first().and_then(|option| first_of(option));
    let all_words: usize = options.iter().map(|option| words(option)).sum();
    let mut seen = [0_u64; 16];
    let unique = options
        .iter()
        .flat_map(|option| Words::of(option))
        .filter(|word| mark(&mut seen, ngrams::bucket(word_hash(word), 10)))
        .count();
    let all_or_none = |option: &[u8]| {
        let low = option.to_ascii_lowercase();
        low.starts_with(b"all of") || low.starts_with(b"none of") || low.starts_with(b"both ")
    };
    let is_symbol = |byte: &u8| matches!(byte, b'=' | b'+' | b'^' | b'/' | b'\\' | b'*' | b'<' | b'>');
    let values = [
        number,
        total.checked_div(number).unwrap_or(0),
        max,
        min,
        max - min,
        having(&|option| option.iter().any(u8::is_ascii_digit)),
        having(&|option| option.first().is_some_and(u8::is_ascii_uppercase)),
        having(&|option| option.last() == Some(&b'.')),
        permille(total, parts[0].len() + parts[1].len()),
        all_words.checked_div(number).unwrap_or(0),
        having(&|option| words(option) == 1),
        having(&|option| !option.is_empty() && option.iter().all(|b| !b.is_ascii_alphabetic())),
        having(&|option| start.is_some() && first_of(option) == start),
        having(&all_or_none),
        having(&|option| option.contains(&b',')),
        having(&|option| option.iter().any(is_symbol)),
        lengths.iter().position(|length| *length == max).map_or(0, |place| place + 1),
        permille(all_words - unique, all_words),
    ];
    values.into_iter().for_each(|value| sheet.put(value));
}

fn question(sheet: &mut Sheet, question: &[u8]) {
    let last = question.last().copied().unwrap_or(0);
    let (mut words, mut capital, mut upper) = (0, 0, 0);
    for word in Words::of(question) {
        words += 1;
        if word.first().is_some_and(u8::is_ascii_uppercase) {
            capital += 1;
            upper += usize::from(word.len() >= 2 && word.iter().all(u8::is_ascii_uppercase));
        }
    }
    let values = [
        question.len(),
        words,
        usize::from(last == b'?'),
        usize::from(last == b':'),
        usize::from(last.is_ascii_alphanumeric() || last == b','),
        usize::from(memchr::memmem::find(question, b"__").is_some()),
        question.iter().filter(|byte| byte.is_ascii_digit()).count(),
        capital,
        sentences(question),
        upper,
    ];
    values.into_iter().for_each(|value| sheet.put(value));
}
