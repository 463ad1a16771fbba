//! Prices by other counts than text tokens.

use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::domain::catalog::Catalog;
use crate::domain::money::{self, Bps};

const AT: OffsetDateTime = datetime!(2026-11-20 02:00 UTC);

fn catalog() -> Catalog {
    Catalog::built_in().unwrap_or_else(|error| panic!("{error}"))
}

fn priced(id: &str, usage: &Usage) -> Result<Priced, PriceError> {
    price(catalog().get(id).unwrap().prices.as_ref().unwrap(), usage, AT, None)
}

fn cost(id: &str, usage: Usage) -> String {
    priced(id, &usage).unwrap_or_else(|error| panic!("{id}: {error}")).cost.to_string()
}

/// One model with these price fields.
fn model_of(fields: &str) -> Catalog {
    let text = format!("version = \"v\"\n[[model]]\nid = \"openai/m\"\n[[model.price]]\n{fields}\n");
    Catalog::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn priced_by(fields: &str, usage: &Usage, tier: Option<&str>) -> Result<Priced, PriceError> {
    price(model_of(fields).get("openai/m").unwrap().prices.as_ref().unwrap(), usage, AT, tier)
}

#[test]
fn golden_vectors_of_real_models() {
    let none = Usage::default();
    for (id, usage, dollars) in [
        // 100 × 2.5 + 1000 × 32 + 50 × 10 + 200 × 64, per million
        (
            "openai/gpt-audio-1.5",
            Usage { input: 100, audio_input: 1_000, output: 50, audio_output: 200, ..none },
            "0.04555",
        ),
        // 50 × 5 + 300 × 8 + 1056 × 30: the one image is in its tokens
        (
            "openai/gpt-image-2",
            Usage { input: 50, image_input: 300, image_output: 1_056, images: 1, ..none },
            "0.03433",
        ),
        ("xai/grok-imagine-image", Usage { images: 3, ..none }, "0.06"),
        ("openai/tts-1", Usage { characters: 1_234, ..none }, "0.01851"),
        ("openai/tts-1", Usage { characters: 1_234, audio_ms: 80_000, ..none }, "0.01851"),
        ("openai/whisper-1", Usage { audio_ms: 61_500, ..none }, "0.00615"),
        // A third of a millisecond's price is rounded once, up: 1 × 0.006 / 60000
        ("openai/whisper-1", Usage { audio_ms: 1, ..none }, "0.0000001"),
        ("xai/grok-voice-transcribe-2.0", Usage { audio_ms: 90_000, ..none }, "0.0025"),
        // 0.111 × 1000 / 3600000 = 30833.3 nano-dollars
        ("groq/whisper-large-v3", Usage { audio_ms: 1_000, ..none }, "0.000030834"),
        ("cohere/rerank-v4.0-pro", Usage { queries: 2, ..none }, "0.005"),
        // The model has no token price: what it also counts in tokens is not billed.
        ("cohere/rerank-v4.0-pro", Usage { queries: 2, input: 500, output: 3, ..none }, "0.005"),
        ("cohere/embed-english-v3.0", Usage { input_images: 4, ..none }, "0.0004"),
        (
            "google/gemini-embedding-2",
            Usage { input: 10, audio_input: 10, image_input: 10, ..none },
            "0.0000715",
        ),
        // 1000 × 1.25 / 10⁶ + 2 × 0.0025 of a Responses model with searches
        ("perplexity/sonar-agent", Usage { input: 1_000, output: 100, searches: 2, ..none }, "0.0055"),
        // Reasoning apart: 10 × 2 + 60 × 8 + 40 × 3 + a search
        (
            "perplexity/sonar-deep-research",
            Usage { input: 10, output: 100, reasoning: 40, searches: 1, ..none },
            "0.00562",
        ),
    ] {
        assert_eq!(cost(id, usage), dollars, "{id} {usage:?}");
    }
}

#[test]
fn what_is_counted_both_ways_is_billed_by_tokens_where_they_have_a_price() {
    let none = Usage::default();
    let transcribed = Usage { audio_input: 1_000, audio_ms: 60_000, output: 100, ..none };
    assert_eq!(cost("openai/gpt-4o-transcribe", transcribed), "0.0035", "1000 × 2.5 + 100 × 10");
    let by_time = Usage { audio_ms: 60_000, ..none };
    assert_eq!(cost("openai/gpt-4o-transcribe", by_time), "0.006", "no tokens were counted");
    let by_piece = Usage { input: 10, images: 1, ..none };
    assert_eq!(cost("google/gemini-3.1-flash-image", by_piece), "0.045005");
    let by_tokens = Usage { image_output: 1_000, ..by_piece };
    assert_eq!(cost("google/gemini-3.1-flash-image", by_tokens), "0.060005");
    // Image tokens read have no price there, images do.
    let read = Usage { input: 10, image_input: 560, input_images: 1, output: 1, ..none };
    assert_eq!(cost("google/gemini-3-pro-image", read), "0.001132");
    let text = Usage { input: 1_000_000, characters: 4_000_000, ..none };
    let both = "input = \"1\"\nother = [{ unit = \"million_characters\", price = \"15\" }]";
    assert_eq!(priced_by(both, &text, None).unwrap().cost.to_string(), "1");
    // Audio with a token price for one direction alone is billed by time when only the other was counted.
    let spoken = Usage { audio_output: 500, audio_ms: 2_000, input: 1, ..none };
    let fields = "input = \"0\"\nother = [{ unit = \"audio_input_million_tokens\", price = \"9\" }, { unit = \"output_second\", price = \"0.5\" }]";
    assert_eq!(priced_by(fields, &spoken, None).unwrap().cost.to_string(), "1");
}

#[test]
fn media_in_a_chat_prompt_without_a_price_of_their_own_are_ordinary_input() {
    let usage = Usage { input: 100, audio_input: 30, image_input: 20, output: 10, ..Usage::default() };
    let priced = priced("openai/gpt-4o", &usage).unwrap();
    assert_eq!(priced.cost.to_string(), "0.000475", "150 × 2.5 + 10 × 10");
    assert_eq!((priced.lines[0].bucket, priced.lines[0].quantity), ("input", 150));
}

#[test]
fn a_model_priced_by_tokens_alone_is_billed_by_tokens_alone() {
    let usage = Usage {
        input: 1_000_000,
        output: 1,
        images: 1,
        input_images: 2,
        characters: 3,
        audio_ms: 4,
        queries: 5,
        pages: 6,
        ..Usage::default()
    };
    assert_eq!(priced_by("input = \"2\"\noutput = \"0\"", &usage, None).unwrap().cost.to_string(), "2");
}

#[test]
fn a_count_without_any_price_is_an_error_and_never_free() {
    let none = Usage::default();
    for (id, usage) in [
        ("openai/gpt-4o", Usage { input: 1, output: 1, audio_output: 1, ..none }),
        ("openai/gpt-4o", Usage { input: 1, output: 1, image_output: 1, ..none }),
        ("openai/gpt-4o", Usage { input: 1, images: 1, ..none }),
        ("anthropic/claude-haiku-4-5", Usage { searches: 1, pages: 1, ..none }),
        ("together_ai/gpt-oss-120b", Usage { input: 1, output: 1, searches: 1, ..none }),
        // Its price is per image token, and none were reported.
        ("openai/gpt-image-2", Usage { input: 10, output: 10, images: 1, ..none }),
        // Its price is per spoken token.
        ("google/gemini-3.8-flash-tts", Usage { input: 10, audio_ms: 5_000, ..none }),
        ("openai/whisper-1", none),
        ("openai/whisper-1", Usage { input: 10, output: 10, ..none }),
        ("openai/whisper-1", Usage { characters: 10, audio_ms: 10, ..none }),
        // Priced by the size of the picture, which is not known here.
        ("openai/dall-e-3", Usage { images: 1, ..none }),
        // Searches priced by their depth, likewise.
        ("perplexity/sonar", Usage { input: 1, output: 1, searches: 1, ..none }),
        ("mistral/mistral-ocr-latest", Usage { queries: 1, ..none }),
    ] {
        let Some(model) = catalog().get(id).cloned() else { panic!("{id} is gone") };
        assert_eq!(priced(id, &usage), Err(PriceError::Unpriced), "{id} {usage:?}");
        assert_eq!(upper_bound(&model, &usage, AT, None), Err(PriceError::Unpriced), "{id} {usage:?}");
    }
    let heard = Usage { audio_ms: 1_000, ..none };
    let catalog = catalog();
    let whisper = catalog.get("openai/whisper-1").unwrap();
    let flex = price(whisper.prices.as_ref().unwrap(), &heard, AT, Some("flex"));
    assert_eq!(flex, Err(PriceError::Unpriced), "units have a standard price alone");
    assert_eq!(upper_bound(whisper, &heard, AT, Some("flex")), Err(PriceError::Unpriced));
}

#[test]
fn media_tokens_keep_their_proportion_to_text() {
    let fields = concat!(
        "input = \"1\"\noutput = \"4\"\nflex_input = \"0.5\"\nflex_output = \"1\"\n",
        "tier_above_tokens = 1000000\ntier_input = \"3\"\ntier_output = \"8\"\n",
        "other = [{ unit = \"audio_input_million_tokens\", price = \"10\" }, ",
        "{ unit = \"audio_output_million_tokens\", price = \"20\" }, { unit = \"web_search_call\", price = \"7\" }]",
    );
    let m = 1_000_000;
    let usage = Usage { audio_input: m, audio_output: m, searches: 1, ..Usage::default() };
    let cost = |usage, tier| priced_by(fields, &usage, tier).unwrap().cost.to_string();
    assert_eq!(cost(usage, None), "37");
    assert_eq!(cost(usage, Some("flex")), "17", "10 halves, 20 quarters, the fee stays");
    assert_eq!(
        cost(Usage { audio_input: 2 * m, ..usage }, None),
        "107",
        "2 × 30 + 40 + 7 in the prompt tier"
    );
    assert_eq!(
        cost(Usage { audio_input: 2 * m, ..usage }, Some("flex")),
        "47",
        "half of 60, a quarter of 40"
    );
    let no_flex_output = fields.replace("flex_output = \"1\"\n", "");
    assert_eq!(priced_by(&no_flex_output, &usage, Some("flex")), Err(PriceError::Unpriced));
    let off_peak = "input = \"1\"\noff_peak_percent = 50\npeak_utc = [\"Sun 01:00-04:00\"]\nother = [{ unit = \"audio_input_million_tokens\", price = \"10\" }]";
    let heard = Usage { audio_input: m, ..Usage::default() };
    assert_eq!(priced_by(off_peak, &heard, None).unwrap().cost.to_string(), "5");
    let free_text = "input = \"0\"\nflex_input = \"2\"\nother = [{ unit = \"audio_input_million_tokens\", price = \"10\" }]";
    assert_eq!(
        priced_by(free_text, &heard, Some("flex")).unwrap().cost.to_string(),
        "10",
        "no proportion to keep"
    );
}

#[test]
fn lines_name_the_unit_and_how_many_make_one() {
    let usage = Usage { input: 5, audio_ms: 90_000, ..Usage::default() };
    let fields = "input = \"2.5\"\nother = [{ unit = \"audio_minute\", price = \"0.006\" }]";
    assert_eq!(
        serde_json::to_string(&priced_by(fields, &usage, None).unwrap().lines).unwrap(),
        r#"[{"bucket":"input","tokens":5,"usd_per_million":"2.5"},{"bucket":"audio_ms","quantity":90000,"unit":"audio_minute","quantity_per_unit":60000,"usd_per_unit":"0.006"}]"#
    );
}

#[test]
fn the_bound_takes_the_dearer_way_of_counting() {
    let catalog = catalog();
    let bound = |id: &str, usage: Usage| upper_bound(catalog.get(id).unwrap(), &usage, AT, None);
    let none = Usage::default();
    let dollars = |text: &str| Ok(NanoUsd::parse(text).unwrap());
    let drawn = Usage { images: 1, image_output: 1_000, ..none };
    assert_eq!(bound("google/gemini-3.1-flash-image", drawn), dollars("0.06"), "tokens");
    let drawn = Usage { images: 2, ..drawn };
    assert_eq!(bound("google/gemini-3.1-flash-image", drawn), dollars("0.09"), "pieces");
    let heard = Usage { audio_input: 10_000, audio_ms: 60_000, ..none };
    assert_eq!(bound("openai/gpt-4o-transcribe", heard), dollars("0.025"));
    assert_eq!(bound("openai/gpt-4o-transcribe", Usage { audio_ms: 600_000, ..heard }), dollars("0.06"));
    // Tokens that may be text or audio are counted as the more expensive kind.
    let said = Usage { audio_output: 1_000, ..none };
    assert_eq!(bound("openai/gpt-audio-1.5", said), dollars("0.064"));
    assert_eq!(bound("google/gemini-2.0-flash", Usage { audio_input: 1_000, ..none }), dollars("0.0007"));
    assert_eq!(
        bound("openai/gpt-4o", Usage { audio_input: 1_000, image_input: 1_000, ..none }),
        dollars("0.005")
    );
}

/// Recomputes a cost as a reader of the receipt would, from its text alone: in parts of 10⁻⁹ dollar / 18,000,000.
fn recomputed(lines: &str) -> i128 {
    let nano = |value: &serde_json::Value| i128::from(NanoUsd::parse(value.as_str().unwrap()).unwrap().0);
    let lines: Vec<serde_json::Value> = serde_json::from_str(lines).unwrap();
    let sum: i128 = lines
        .iter()
        .map(|line| match line["tokens"].as_i64() {
            Some(tokens) => i128::from(tokens) * nano(&line["usd_per_million"]) * 18,
            None => {
                let per = i128::from(line["quantity_per_unit"].as_i64().unwrap());
                assert_eq!(18_000_000 % per, 0);
                i128::from(line["quantity"].as_i64().unwrap())
                    * nano(&line["usd_per_unit"])
                    * (18_000_000 / per)
            }
        })
        .sum();
    (sum + 17_999_999).div_euclid(18_000_000)
}

/// A model with some of all the prices there are.
fn drawn(prices: &[Option<u32>]) -> Option<Catalog> {
    let text = ["input", "output", "tier_input", "tier_output", "flex_input", "flex_output"];
    let units = Unit::ALL.map(Unit::as_str).into_iter().chain([
        "audio_input_million_tokens",
        "image_input_million_tokens",
        "audio_output_million_tokens",
        "image_output_million_tokens",
        "reasoning_million_tokens",
    ]);
    let mut toml = String::from("version = \"v\"\n[[model]]\nid = \"openai/m\"\n[[model.price]]\n");
    for (field, price) in text.iter().zip(prices) {
        if let Some(price) = price {
            toml.push_str(&format!("{field} = \"{}\"\n", NanoUsd(i64::from(*price))));
        }
    }
    toml.push_str("tier_above_tokens = 1000\nother = [");
    for (unit, price) in units.zip(prices.iter().skip(text.len())) {
        if let Some(price) = price {
            toml.push_str(&format!("{{ unit = \"{unit}\", price = \"{}\" }},", NanoUsd(i64::from(*price))));
        }
    }
    Catalog::parse(&(toml + "]\n")).ok().or_else(|| Catalog::parse(&without_text(prices)).ok())
}

/// The same prices of units alone, for draws whose token prices do not fit together.
fn without_text(prices: &[Option<u32>]) -> String {
    let mut toml = String::from("version = \"v\"\n[[model]]\nid = \"openai/m\"\n[[model.price]]\nother = [");
    for (unit, price) in Unit::ALL.iter().zip(prices.iter().skip(6)) {
        if let Some(price) = price {
            toml.push_str(&format!(
                "{{ unit = \"{}\", price = \"{}\" }},",
                unit.as_str(),
                NanoUsd(i64::from(*price))
            ));
        }
    }
    toml + "]\n"
}

fn prices() -> impl Strategy<Value = Vec<Option<u32>>> {
    // Text prices mostly together, so that most draws have tokens; each other one there or not.
    // No dearer than half a dollar, so that a billion of everything still fits a bill.
    (
        prop::collection::vec(0..500_000_000u32, 6),
        prop::collection::vec(prop::option::weighted(0.8, 0..500_000_000u32), 14),
        any::<bool>(),
    )
        .prop_map(|(text, other, with_text)| {
            text.into_iter().map(|price| with_text.then_some(price)).chain(other).collect()
        })
}

fn anything(most: u64) -> impl Strategy<Value = Usage> {
    prop::collection::vec(
        prop_oneof![3 => Just(0u64), 1 => Just(most), 1 => 0..most, 1 => 0..most.min(2_000)],
        17,
    )
    .prop_map(usage_of)
}

fn usage_of(counts: Vec<u64>) -> Usage {
    Usage {
        input: counts[0],
        cache_read: counts[1],
        cache_write: counts[2],
        cache_write_1h: counts[3],
        audio_input: counts[4],
        image_input: counts[5],
        output: counts[6],
        reasoning: counts[7].min(counts[6]),
        audio_output: counts[8],
        image_output: counts[9],
        images: counts[10],
        input_images: counts[11],
        characters: counts[12],
        audio_ms: counts[13],
        searches: counts[14],
        queries: counts[15],
        pages: counts[16],
        ..Usage::default()
    }
}

/// As much or more in every bucket; cached tokens as text.
fn at_most(used: &Usage, more: u64) -> Usage {
    Usage {
        input: used.input + used.cache_read + used.cache_write + used.cache_write_1h + more,
        audio_input: used.audio_input + more,
        image_input: used.image_input + more,
        output: used.output + more,
        audio_output: used.audio_output + more,
        image_output: used.image_output + more,
        images: used.images + more,
        input_images: used.input_images + more,
        characters: used.characters + more,
        audio_ms: used.audio_ms + more,
        searches: used.searches + more,
        queries: used.queries + more,
        pages: used.pages + more,
        ..Usage::default()
    }
}

proptest! {
    #[test]
    fn no_usage_within_the_bound_costs_more_than_it(
        prices in prices(), used in anything(5_000), more in prop_oneof![Just(0u64), 0..3_000u64],
        flex: bool,
    ) {
        let Some(catalog) = drawn(&prices) else { return Ok(()) };
        let model = catalog.get("openai/m").unwrap();
        let tier = flex.then_some("flex");
        let Ok(bound) = upper_bound(model, &at_most(&used, more), AT, tier) else { return Ok(()) };
        for served in [tier, None] {
            if let Ok(priced) = price(model.prices.as_ref().unwrap(), &used, AT, served) {
                prop_assert!(priced.cost <= bound, "{} > {bound}", priced.cost);
            }
        }
    }

    #[test]
    fn what_can_be_priced_can_be_bounded(prices in prices(), used in anything(5_000)) {
        let Some(catalog) = drawn(&prices) else { return Ok(()) };
        let model = catalog.get("openai/m").unwrap();
        if let Ok(priced) = price(model.prices.as_ref().unwrap(), &used, AT, None) {
            let bound = upper_bound(model, &at_most(&used, 0), AT, None);
            prop_assert!(priced.lines.is_empty() || bound.is_ok_and(|bound| priced.cost <= bound));
        }
    }

    #[test]
    fn the_cost_follows_from_the_receipts_lines_and_the_charge_from_the_cost(
        prices in prices(), used in anything(1_000_000_000),
    ) {
        let Some(catalog) = drawn(&prices) else { return Ok(()) };
        let model = catalog.get("openai/m").unwrap();
        match price(model.prices.as_ref().unwrap(), &used, AT, None) {
            Ok(priced) => {
                let lines = serde_json::to_string(&priced.lines).unwrap();
                prop_assert_eq!(recomputed(&lines), i128::from(priced.cost.0), "{}", lines);
                let charge = money::charge(priced.cost, Bps(500)).unwrap();
                let exact = i128::from(priced.cost.0) * 105;
                prop_assert_eq!(i128::from(charge.0), (exact + 99).div_euclid(100));
                prop_assert!(charge >= priced.cost);
            }
            Err(error) => prop_assert_eq!(error, PriceError::Unpriced),
        }
    }

    #[test]
    fn every_built_in_model_takes_a_billion_of_anything(used in anything(1_000_000_000)) {
        thread_local!(static CATALOG: Catalog = catalog());
        CATALOG.with(|catalog| {
            for model in catalog.models() {
                let Some(prices) = &model.prices else { continue };
                match price(prices, &used, AT, None) {
                    Ok(priced) => {
                        let lines = serde_json::to_string(&priced.lines).unwrap();
                        assert_eq!(recomputed(&lines), i128::from(priced.cost.0), "{}", model.id);
                    }
                    Err(error) => assert_eq!(error, PriceError::Unpriced, "{}", model.id),
                }
            }
        });
    }
}
