use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(serde::Deserialize)]
struct Texts {
    text: Vec<Sample>,
}

#[derive(serde::Deserialize)]
struct Sample {
    name: String,
    text: String,
    counts: BTreeMap<String, u64>,
}

fn samples() -> Vec<Sample> {
    toml::from_str::<Texts>(include_str!("texts.toml")).unwrap().text
}

const ALL: &[Family] = &[
    Family::OpenAi,
    Family::OpenAiOld,
    Family::Mistral,
    Family::DeepSeek,
    Family::Qwen,
    Family::Llama3,
    Family::Llama4,
    Family::Claude,
    Family::Claude5,
    Family::Gemini,
    Family::Grok,
    Family::Kimi,
    Family::Glm,
    Family::Cohere,
    Family::Other,
];

#[test]
fn openai_counts_are_those_of_its_published_encodings() {
    // From OpenAI's tokenizer page and the examples of its cookbook.
    assert_eq!(Family::OpenAi.count(""), 0);
    assert_eq!(Family::OpenAi.count("antidisestablishmentarianism"), 6);
    assert_eq!(Family::OpenAiOld.count("antidisestablishmentarianism"), 6);
    assert_eq!(Family::OpenAi.count("2 + 2 = 4"), 7);
    assert_eq!(Family::OpenAiOld.count("2 + 2 = 4"), 7);
    assert_eq!(Family::OpenAi.count("お誕生日おめでとう"), 8);
    assert_eq!(Family::OpenAiOld.count("お誕生日おめでとう"), 9);
}

#[test]
fn stand_ins_stay_within_their_stated_bound_of_the_real_tokenizer() {
    for (name, family) in [
        ("mistral", Family::Mistral),
        ("deepseek", Family::DeepSeek),
        ("qwen", Family::Qwen),
        ("llama3", Family::Llama3),
        ("llama4", Family::Llama4),
    ] {
        let bound = u64::from(family.error_bound_percent());
        let (mut ours, mut theirs) = (0, 0);
        for sample in samples() {
            let (counted, real) = (family.count(&sample.text), sample.counts[name]);
            assert!(
                counted.abs_diff(real) * 100 <= real * bound,
                "{name} {}: {counted}, really {real}",
                sample.name
            );
            ours += counted;
            theirs += real;
        }
        assert!(ours.abs_diff(theirs) * 100 <= theirs * 3, "{name} in all: {ours}, really {theirs}");
    }
}

#[test]
fn no_count_exceeds_the_bytes() {
    for sample in samples() {
        for family in ALL {
            assert!(family.count(&sample.text) <= widened(sample.text.len()), "{family:?} {}", sample.name);
        }
    }
}

#[test]
fn families_are_told_by_name_before_host() {
    for (provider, model, expected) in [
        ("openai", "gpt-4o-mini", Family::OpenAi),
        ("openai", "gpt-4.1", Family::OpenAi),
        ("openai", "gpt-4-turbo", Family::OpenAiOld),
        ("openai", "o3", Family::OpenAi),
        ("groq", "openai/gpt-oss-120b", Family::OpenAi),
        ("groq", "llama-3.3-70b-versatile", Family::Llama3),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", Family::Llama4),
        ("together_ai", "deepseek-ai/DeepSeek-R1-Distill-Llama-70B", Family::Llama3),
        ("together_ai", "Qwen/Qwen2.5-72B-Instruct", Family::Qwen),
        ("together_ai", "Qwen/Qwen3-235B-A22B", Family::Qwen),
        ("cerebras", "qwen-3.8-27b", Family::Other),
        ("fireworks_ai", "accounts/fireworks/models/deepseek-v3p2", Family::DeepSeek),
        ("fireworks_ai", "accounts/fireworks/models/kimi-k2p5", Family::Kimi),
        ("anthropic", "claude-sonnet-4-5-20250929", Family::Claude),
        ("anthropic", "claude-3-5-haiku-20241022", Family::Claude),
        ("anthropic", "claude-sonnet-5", Family::Claude5),
        ("anthropic", "claude-opus-5-5", Family::Claude5),
        ("mistral", "open-mixtral-8x22b", Family::Other),
        ("mistral", "codestral-latest", Family::Mistral),
        ("google", "gemini-3-pro", Family::Gemini),
        ("perplexity", "anthropic/claude-sonnet-5", Family::Claude5),
        ("perplexity", "perplexity/sonar", Family::Other),
    ] {
        assert_eq!(family(ProviderId::by_id(provider).unwrap(), model), expected, "{model}");
    }
}

#[test]
fn a_prompt_bears_openais_overhead_per_message() {
    assert_eq!(count_prompt(Family::OpenAi, ["user", "hello"], 1), 2 + 3 + 3);
    assert_eq!(count_prompt(Family::OpenAi, [], 0), 3);
    assert_eq!(count_prompt(Family::OpenAi, [], u64::MAX), u64::MAX);
}

#[test]
fn one_cut_anywhere_moves_the_count_by_four_tokens_at_most() {
    for sample in samples() {
        let whole = Family::OpenAi.count(&sample.text);
        for (at, _) in sample.text.char_indices() {
            let (head, tail) = sample.text.split_at(at);
            let cut = Family::OpenAi.count(head) + Family::OpenAi.count(tail);
            assert!(cut.abs_diff(whole) <= 4, "{} at {at}: {cut}, whole {whole}", sample.name);
        }
    }
}

#[test]
fn long_repeats_are_counted_whole() {
    // Time is linear (docs/token-counting.md); a quadratic step would take minutes here.
    for unit in ["a", " ", " \n", "\n x", "🚀", "的", "\u{301}", "Aa", "ªB", "/\\", "0"] {
        let text = unit.repeat(200_000);
        let once = Family::Mistral.count(unit).max(1);
        assert!(Family::Mistral.count(&text) <= once * 200_000 * 2, "{unit:?}");
        assert!(Family::OpenAi.count(&text) > 0, "{unit:?}");
    }
}

#[test]
fn a_counter_holds_little_and_counts_words_as_the_whole_does() {
    let text = samples().iter().map(|sample| sample.text.as_str()).collect::<Vec<_>>().join("\n").repeat(4);
    let mut counter = Counter::new(Family::OpenAi);
    for piece in text.split_inclusive('e') {
        counter.push(piece);
        assert!(counter.held.len() <= HELD_BYTES_MAX + 1024);
    }
    assert_eq!(counter.total(), Family::OpenAi.count(&text));
    let mut counter = Counter::new(Family::OpenAi);
    for _ in 0..100_000 {
        counter.push("的");
    }
    assert!(counter.held.len() <= HELD_BYTES_MAX);
    assert!(counter.total().abs_diff(100_000) <= 100_000 * 3 / widened(HELD_BYTES_MAX) + 1);
}

proptest! {
    #[test]
    fn any_text_is_counted(text in any::<String>()) {
        for family in ALL {
            let count = family.count(&text);
            prop_assert_eq!(count == 0, text.is_empty());
            prop_assert!(count <= widened(text.len()));
        }
    }

    #[test]
    fn names_never_panic(name in any::<String>()) {
        for provider in ProviderId::all() {
            family(provider, &name);
        }
    }
}
