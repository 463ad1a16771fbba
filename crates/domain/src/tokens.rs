//! Counts tokens of text if a provider reports no usage. Exact for OpenAI's models. For the others it is an
//! approximation: OpenAI's count, weighted by script with ratios measured against the real tokenizer if it is available
//! (docs/token-counting.md). Time grows linearly with any text. Never used if the provider's own figures are known.

mod encoding;

use crate::provider::ProviderId;
use encoding::Scratch;

/// Tokens that OpenAI adds for each message, and once for the head of the answer.
const PER_MESSAGE: u64 = 3;
const PER_PROMPT: u64 = 3;

/// Models whose tokenizers split text in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Family {
    /// o200k_base: gpt-4o and later, the o-series, gpt-oss. Exact.
    OpenAi,
    /// cl100k_base: gpt-4 and gpt-3.5. Exact.
    OpenAiOld,
    Mistral,
    DeepSeek,
    /// Qwen up to 3.
    Qwen,
    Llama3,
    Llama4,
    Claude,
    /// Claude from 5 on, whose tokenizer makes about 30 % more tokens.
    Claude5,
    Gemini,
    Grok,
    Kimi,
    Glm,
    Cohere,
    Other,
}

/// The family of a model, by its name at the provider, else by the provider.
pub fn family(provider: ProviderId, upstream_model: &str) -> Family {
    let name = upstream_model.to_ascii_lowercase();
    let named = NAMES.iter().find(|(part, _)| name.contains(part)).map(|(_, family)| *family);
    let family = named.unwrap_or(match provider.as_str() {
        "openai" if ["gpt-4-", "gpt-3.5"].iter().any(|old| name.contains(old)) || name == "gpt-4" => {
            Family::OpenAiOld
        }
        "openai" => Family::OpenAi,
        "anthropic" => Family::Claude,
        "google" => Family::Gemini,
        "xai" => Family::Grok,
        "mistral" => Family::Mistral,
        "deepseek" => Family::DeepSeek,
        "cohere" => Family::Cohere,
        "moonshot" => Family::Kimi,
        _ => Family::Other,
    });
    match family {
        Family::Claude if first_number(&name).is_some_and(|version| version >= (5, 0)) => Family::Claude5,
        Family::Llama3 if first_number(&name).is_some_and(|version| version >= (4, 0)) => Family::Llama4,
        Family::Qwen if first_number(&name).is_some_and(|version| version >= (3, 5)) => Family::Other,
        family => family,
    }
}

impl Family {
    /// Tokens of `text`.
    pub fn count(self, text: &str) -> u64 {
        match self {
            Family::OpenAi => widened(encoding::o200k().count(text)),
            Family::OpenAiOld => widened(encoding::cl100k().count(text)),
            _ => self.weights().count(text),
        }
    }

    /// How far [`Family::count`] may differ from the provider's own count on ordinary text of a few hundred bytes and
    /// more, in percent of the provider's. Measured or assumed: docs/token-counting.md.
    pub fn error_bound_percent(self) -> u32 {
        match self {
            Family::OpenAi | Family::OpenAiOld => 0,
            Family::Llama4 => 15,
            Family::DeepSeek | Family::Qwen => 20,
            Family::Mistral => 25,
            Family::Llama3 | Family::Grok | Family::Kimi | Family::Glm | Family::Gemini => 30,
            Family::Claude | Family::Claude5 | Family::Cohere | Family::Other => 40,
        }
    }

    fn weights(self) -> &'static Weights {
        WEIGHTS.iter().find(|(family, _)| *family == self).map_or(&EVEN, |(_, weights)| weights)
    }
}

/// Tokens of a prompt: its text in pieces, each counted separately, and OpenAI's overhead for this many messages. A cut
/// within a word changes the count by up to four tokens; pieces that end where a message or a part ends are exact.
pub fn count_prompt<'t>(family: Family, pieces: impl IntoIterator<Item = &'t str>, messages: u64) -> u64 {
    let text = pieces.into_iter().fold(0u64, |sum, piece| sum.saturating_add(family.count(piece)));
    text.saturating_add(messages.saturating_mul(PER_MESSAGE)).saturating_add(PER_PROMPT)
}

/// Counts a text that arrives in pieces, cut anywhere, in bounded memory. Text without a word boundary in
/// [`HELD_BYTES_MAX`] is counted in pieces of that size, and each of these may differ by a few tokens.
pub struct Counter {
    family: Family,
    /// Not counted yet: it may end within a word.
    held: String,
    counted: u64,
}

/// Maximum bytes that a [`Counter`] keeps back before it counts.
pub const HELD_BYTES_MAX: usize = 8192;

impl Counter {
    pub fn new(family: Family) -> Self {
        Self { family, held: String::new(), counted: 0 }
    }

    pub fn push(&mut self, piece: &str) {
        self.held.push_str(piece);
        if self.held.len() < HELD_BYTES_MAX {
            return;
        }
        let end = boundary(&self.held).unwrap_or(self.held.len());
        let tail = self.held.split_off(end);
        self.counted = self.counted.saturating_add(self.family.count(&self.held));
        self.held = tail;
    }

    /// Tokens of everything so far.
    pub fn total(&self) -> u64 {
        self.counted.saturating_add(self.family.count(&self.held))
    }
}

/// The last position where a single space begins a word: in none of these tokenizers does a token cross it.
fn boundary(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    memchr::memrchr_iter(b' ', bytes).find(|at| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let after = at.checked_add(1).and_then(|at| bytes.get(at));
        before.is_some_and(|byte| byte.is_ascii_graphic()) && after.is_some_and(u8::is_ascii_alphabetic)
    })
}

/// Parts of names; the first that occurs decides.
const NAMES: &[(&str, Family)] = &[
    ("distill-llama", Family::Llama3),
    ("distill-qwen", Family::Qwen),
    ("gpt-oss", Family::OpenAi),
    ("mixtral", Family::Other),
    ("mistral-7b", Family::Other),
    ("mistral", Family::Mistral),
    ("ministral", Family::Mistral),
    ("magistral", Family::Mistral),
    ("codestral", Family::Mistral),
    ("devstral", Family::Mistral),
    ("pixtral", Family::Mistral),
    ("voxtral", Family::Mistral),
    ("deepseek", Family::DeepSeek),
    ("qwen", Family::Qwen),
    ("qwq", Family::Qwen),
    ("llama", Family::Llama3),
    ("kimi", Family::Kimi),
    ("moonshot", Family::Kimi),
    ("glm", Family::Glm),
    ("claude", Family::Claude),
    ("gemini", Family::Gemini),
    ("gemma", Family::Gemini),
    ("grok", Family::Grok),
    ("command-", Family::Cohere),
];

/// The script of a piece of text, as far as tokenizers differ by script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Script {
    Ascii,
    /// Latin beyond ASCII, and Greek.
    European,
    Cyrillic,
    /// Chinese characters and the punctuation that goes with them.
    Han,
    Kana,
    Hangul,
    Arabic,
    Devanagari,
    /// Other alphabets and syllabaries.
    Letters,
    Symbols,
}

/// Percent of OpenAI's count, by script.
struct Weights {
    ascii: u64,
    european: u64,
    cyrillic: u64,
    han: u64,
    kana: u64,
    hangul: u64,
    arabic: u64,
    devanagari: u64,
    letters: u64,
    symbols: u64,
    /// Each digit is a token; otherwise up to three digits together are one.
    single_digits: bool,
}

const EVEN: Weights = Weights::all(100, false);

/// The first five are measured (docs/token-counting.md), the others assumed.
static WEIGHTS: &[(Family, Weights)] = &[
    (
        Family::Mistral,
        Weights {
            ascii: 104,
            european: 92,
            cyrillic: 104,
            han: 128,
            kana: 99,
            hangul: 86,
            arabic: 102,
            devanagari: 125,
            letters: 128,
            symbols: 177,
            single_digits: true,
        },
    ),
    (
        Family::DeepSeek,
        Weights {
            ascii: 104,
            european: 122,
            cyrillic: 124,
            han: 71,
            kana: 93,
            hangul: 121,
            arabic: 127,
            devanagari: 204,
            letters: 97,
            symbols: 102,
            single_digits: false,
        },
    ),
    (
        Family::Qwen,
        Weights {
            ascii: 102,
            european: 132,
            cyrillic: 140,
            han: 79,
            kana: 85,
            hangul: 118,
            arabic: 119,
            devanagari: 321,
            letters: 135,
            symbols: 95,
            single_digits: true,
        },
    ),
    (
        Family::Llama3,
        Weights {
            ascii: 100,
            european: 151,
            cyrillic: 104,
            han: 109,
            kana: 96,
            hangul: 100,
            arabic: 131,
            devanagari: 174,
            letters: 113,
            symbols: 129,
            single_digits: false,
        },
    ),
    (
        Family::Llama4,
        Weights {
            ascii: 100,
            european: 87,
            cyrillic: 91,
            han: 87,
            kana: 83,
            hangul: 88,
            arabic: 125,
            devanagari: 105,
            letters: 87,
            symbols: 98,
            single_digits: false,
        },
    ),
    (Family::Claude, Weights::all(118, false)),
    (Family::Claude5, Weights::all(153, false)),
    (Family::Gemini, Weights::all(100, true)),
    (Family::Grok, Weights::all(105, false)),
    (Family::Kimi, Weights::all(102, false)),
    (Family::Glm, Weights::all(102, false)),
    (Family::Cohere, Weights::all(100, true)),
    (Family::Other, Weights::all(110, false)),
];

impl Weights {
    const fn all(percent: u64, single_digits: bool) -> Weights {
        Weights {
            ascii: percent,
            european: percent,
            cyrillic: percent,
            han: percent,
            kana: percent,
            hangul: percent,
            arabic: percent,
            devanagari: percent,
            letters: percent,
            symbols: percent,
            single_digits,
        }
    }

    fn count(&self, text: &str) -> u64 {
        let (encoding, mut scratch) = (encoding::o200k(), Scratch::default());
        // In hundredths of a token.
        let mut sum = 0u64;
        for piece in encoding.split(text) {
            let script = script(piece);
            let tokens = if self.single_digits && piece.starts_with(|c: char| c.is_ascii_digit()) {
                piece.len()
            } else {
                encoding.count_word(piece.as_bytes(), &mut scratch)
            };
            sum = sum.saturating_add(widened(tokens).saturating_mul(self.percent(script)));
        }
        // A token stands for at least one byte; the size of a hold depends on this bound.
        sum.div_ceil(100).min(widened(text.len()))
    }

    fn percent(&self, script: Script) -> u64 {
        match script {
            Script::Ascii => self.ascii,
            Script::European => self.european,
            Script::Cyrillic => self.cyrillic,
            Script::Han => self.han,
            Script::Kana => self.kana,
            Script::Hangul => self.hangul,
            Script::Arabic => self.arabic,
            Script::Devanagari => self.devanagari,
            Script::Letters => self.letters,
            Script::Symbols => self.symbols,
        }
    }
}

/// By the first letter beyond ASCII, else by the first other character beyond it. Chinese characters together with kana
/// are Japanese.
fn script(piece: &str) -> Script {
    if piece.is_ascii() {
        return Script::Ascii;
    }
    if piece.contains(|c| matches!(c, '\u{3040}'..='\u{30ff}')) {
        return Script::Kana;
    }
    let mut beyond = piece.chars().filter(|c| !c.is_ascii());
    let first = beyond.clone().next().unwrap_or_default();
    match beyond.find(|c| c.is_alphabetic()).unwrap_or(first) {
        '\u{3000}'..='\u{303f}'
        | '\u{3400}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ffef}' => Script::Han,
        '\u{1100}'..='\u{11ff}' | '\u{ac00}'..='\u{d7a3}' => Script::Hangul,
        '\u{0600}'..='\u{06ff}' => Script::Arabic,
        '\u{0900}'..='\u{097f}' => Script::Devanagari,
        '\u{00c0}'..='\u{03ff}' => Script::European,
        '\u{0400}'..='\u{052f}' => Script::Cyrillic,
        letter if letter.is_alphabetic() => Script::Letters,
        _ => Script::Symbols,
    }
}

/// The first number in a name, with what follows it after a dot, dash or `p`: a model's version.
fn first_number(name: &str) -> Option<(u32, u32)> {
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let (major, rest) = digits(name.get(start..)?)?;
    let minor = rest.strip_prefix(['.', '-', 'p']).and_then(digits).map_or(0, |(minor, _)| minor);
    // A second number of three digits and more is a date or a size.
    Some((major, if minor < 100 { minor } else { 0 }))
}

fn digits(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

fn widened(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
