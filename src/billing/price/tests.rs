use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::domain::catalog::Catalog;

/// A Friday, at DeepSeek's peak.
const AT: OffsetDateTime = datetime!(2026-11-20 02:00 UTC);

fn catalog() -> Catalog {
    Catalog::built_in().unwrap_or_else(|error| panic!("{error}"))
}

fn usage(input: u64, cache_read: u64, cache_write: u64, cache_write_1h: u64, output: u64) -> Usage {
    Usage { input, cache_read, cache_write, cache_write_1h, output, ..Usage::default() }
}

fn priced(id: &str, usage: &Usage, at: OffsetDateTime, tier: Option<&str>) -> Result<Priced, PriceError> {
    price(catalog().get(id).unwrap().prices.as_ref().unwrap(), usage, at, tier)
}

fn cost(id: &str, usage: Usage, at: OffsetDateTime, tier: Option<&str>) -> String {
    priced(id, &usage, at, tier).unwrap().cost.to_string()
}

#[test]
fn golden_vectors_of_real_models() {
    // Each worked by hand from the published price per million.
    let k = 1_000;
    for (id, tokens, dollars) in [
        // 1000 × 2.5 + 1000 × 1.25 + 500 × 10
        ("openai/gpt-4o", usage(k, k, 0, 0, 500), "0.00875"),
        // 1000 × 4 + 1000 × 0.4 + 1000 × 5 + 100 × 20: a cache write costs 1.25 inputs
        ("openai/gpt-5.6-sol", usage(k, k, k, 0, 100), "0.0114"),
        // at 272,000 still the base price, one token more and the whole request is more expensive
        ("openai/gpt-5.6-sol", usage(272 * k, 0, 0, 0, k), "1.108"),
        ("openai/gpt-5.6-sol", usage(272 * k, 1, 0, 0, k), "2.2060008"),
        // 100k × 3 + 10k × 0.3 + 10k × 3.75 + 10k × 6 + 1k × 15
        ("anthropic/claude-sonnet-4-6", usage(100 * k, 10 * k, 10 * k, 10 * k, k), "0.4155"),
        // five times everything over 100k, writes of both kinds included
        ("anthropic/claude-haiku-5-5", usage(100 * k, 0, 10 * k, 10 * k, k), "0.06875"),
        ("anthropic/claude-haiku-5-5", usage(80 * k, 0, 10 * k, 10 * k, k), "0.01175"),
        // xAI: exactly 200,000 already has the more expensive tier
        ("xai/grok-4.7", usage(199_999, 0, 0, 0, k), "0.405998"),
        ("xai/grok-4.7", usage(100 * k, 100 * k, 0, 0, k), "0.512"),
        // Google: exactly 200,000 is not
        ("google/gemini-2.5-pro", usage(200 * k, 0, 0, 0, k), "0.26"),
        ("google/gemini-2.5-pro", usage(200_001, 0, 0, 0, k), "0.5150025"),
        // Fireworks: no listed cache price, a cached token is half an input token
        ("fireworks_ai/llama-3.3-70b", usage(k, k, 0, 0, 0), "0.00135"),
        ("fireworks_ai/gpt-oss-20b", usage(0, k, 0, 0, 0), "0.000035"),
        // elsewhere it is a whole one
        ("together_ai/gpt-oss-120b", usage(0, k, k, k, 0), "0.00045"),
        ("moonshot/kimi-k3", usage(0, 0, k, k, 0), "0.009"),
        ("google/gemma-4-31b-it", usage(k, 0, 0, 0, k), "0"),
    ] {
        assert_eq!(cost(id, tokens, AT, None), dollars, "{id}");
    }
}

#[test]
fn off_peak_hours_halve_every_bucket() {
    let tokens = usage(1_000_000, 1_000_000, 0, 0, 1_000_000);
    assert_eq!(cost("deepseek/deepseek-flash", tokens, AT, None), "1.506");
    let evening = datetime!(2026-11-20 12:00 UTC);
    assert_eq!(cost("deepseek/deepseek-flash", tokens, evening, None), "0.753");
    let weekend = datetime!(2026-11-21 02:00 UTC);
    let off_peak = priced("deepseek/deepseek-v4-pro", &usage(1, 1, 0, 0, 1), weekend, None).unwrap();
    assert!(off_peak.variant.off_peak);
    assert_eq!(off_peak.lines[1].price, LinePrice::Tokens(NanoPerMillion(22_000_000)));
}

#[test]
fn a_service_tier_scales_cache_and_prompt_tier_with_input() {
    let tokens = usage(1_000_000, 0, 0, 0, 1_000_000);
    assert_eq!(cost("openai/gpt-4o", tokens, AT, Some("priority")), "21.25");
    assert_eq!(cost("openai/gpt-4o", tokens, AT, Some("fast")), "21.25");
    for standard in [None, Some(""), Some("auto"), Some("default"), Some("standard")] {
        assert_eq!(cost("openai/gpt-4o", tokens, AT, standard), "12.5");
    }
    // 1.25 × 4.25 / 2.5 and 0.025 × 0.45 / 0.25: cached tokens grow as uncached ones do.
    assert_eq!(cost("openai/gpt-4o", usage(0, 1_000_000, 0, 0, 0), AT, Some("priority")), "2.125");
    assert_eq!(cost("openai/gpt-5-mini", usage(0, 1_000_000, 0, 0, 0), AT, Some("priority")), "0.045");
    // Half of the tier above 272,000: 5 + 22.5 becomes 2.5 + 11.25.
    assert_eq!(cost("openai/gpt-5.4", tokens, AT, Some("flex")), "13.75");
}

#[test]
fn what_has_no_price_is_an_error_and_never_free() {
    let some = usage(1, 0, 0, 0, 1);
    for (id, tier) in [
        ("openai/gpt-4o", Some("flex")),
        ("openai/gpt-4o", Some("scale")),
        ("openai/gpt-4o", Some("PRIORITY?")),
        ("openai/whisper-1", None),
        ("cohere/rerank-v3.5", None),
        ("mistral/codestral-embed", None),
        ("openai/gpt-image-2", Some("batch")),
    ] {
        assert_eq!(priced(id, &some, AT, tier), Err(PriceError::Unpriced), "{id} {tier:?}");
        let catalog = catalog();
        let bound = upper_bound(catalog.get(id).unwrap(), &some, AT, tier);
        assert_eq!(bound, Err(PriceError::Unpriced), "{id} {tier:?}");
    }
    let catalog = catalog();
    assert_eq!(
        upper_bound(catalog.get("groq/compound").unwrap(), &some, AT, None),
        Err(PriceError::Unpriced)
    );
    // An introductory price has an end; the price after it is unknown.
    let later = datetime!(2027-01-01 00:00 UTC);
    assert_eq!(priced("google/gemini-3.8-flash-tts", &some, later, None), Err(PriceError::Unpriced));
    // No output, no need for its price.
    assert_eq!(cost("mistral/codestral-embed", usage(1_000_000, 0, 0, 0, 0), AT, None), "0.15");
}

#[test]
fn the_bound_counts_the_dearest_bucket_tier_and_hour() {
    let catalog = catalog();
    let bound = |id: &str, prompt, output, at, tier| {
        upper_bound(catalog.get(id).unwrap(), &usage(prompt, 0, 0, 0, output), at, tier).unwrap().to_string()
    };
    assert_eq!(bound("anthropic/claude-sonnet-4-6", 1_000, 0, AT, None), "0.006", "all written for an hour");
    assert_eq!(bound("xai/grok-4.7", 199_999, 1_000, AT, None), "0.405998");
    assert_eq!(bound("xai/grok-4.7", 200_000, 1_000, AT, None), "0.812");
    let night = datetime!(2026-11-20 12:00 UTC);
    assert_eq!(bound("deepseek/deepseek-flash", 1_000_000, 0, night, None), "0.3", "peak, whatever the hour");
    assert_eq!(bound("openai/gpt-5.4", 1_000, 0, AT, Some("flex")), "0.0025", "it may be served at standard");
    assert_eq!(bound("openai/gpt-5.4", 1_000, 0, AT, Some("priority")), "0.005");
}

#[test]
fn the_output_bound_takes_the_clients_limit_then_the_models_then_a_constant() {
    let catalog = catalog();
    let gpt = catalog.get("openai/gpt-4o").unwrap();
    assert_eq!(output_bound(gpt, 2, Some(100)), 200);
    assert_eq!(output_bound(gpt, 3, None), 3 * 16_384);
    assert_eq!(output_bound(catalog.get("fireworks_ai/qwen3.8-max").unwrap(), 1, None), 32_768);
    assert_eq!(output_bound(gpt, u64::MAX, Some(2)), u64::MAX);
}

#[test]
fn amounts_out_of_range_are_an_error() {
    let huge = usage(u64::MAX, 0, 0, 0, u64::MAX);
    assert!(matches!(priced("openai/gpt-4o", &huge, AT, None), Err(PriceError::Money(_))));
    let bound = upper_bound(catalog().get("openai/gpt-4o").unwrap(), &huge, AT, None);
    assert!(matches!(bound, Err(PriceError::Money(_))));
}

#[test]
fn lines_hold_only_what_was_used_and_write_decimal_text() {
    let priced = priced("openai/gpt-4o", &usage(1_000, 0, 0, 0, 500), AT, None).unwrap();
    assert_eq!(
        serde_json::to_string(&priced.lines).unwrap(),
        r#"[{"bucket":"input","tokens":1000,"usd_per_million":"2.5"},{"bucket":"output","tokens":500,"usd_per_million":"10"}]"#
    );
    assert_eq!(
        serde_json::to_string(&priced.variant).unwrap(),
        r#"{"service_tier":"standard","off_peak":false}"#
    );
}

/// A model with random prices, including tiers cheaper than the base.
fn drawn(prices: &[u32], above: u64, inclusive: bool) -> Catalog {
    let fields = [
        "input",
        "output",
        "cache_read",
        "cache_write",
        "cache_write_1h",
        "tier_input",
        "tier_output",
        "tier_cache_read",
        "tier_cache_write",
        "tier_cache_write_1h",
        "flex_input",
        "flex_output",
        "priority_input",
        "priority_output",
    ];
    let mut text = String::from("version = \"v\"\n[[model]]\nid = \"openai/m\"\n[[model.price]]\n");
    for (field, price) in fields.iter().zip(prices) {
        text.push_str(&format!("{field} = \"{}\"\n", NanoUsd(i64::from(*price))));
    }
    text.push_str(&format!("tier_above_tokens = {above}\ntier_inclusive = {inclusive}\n"));
    text.push_str("off_peak_percent = 33\npeak_utc = [\"Mon-Fri 01:00-04:00\"]\n");
    Catalog::parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn split() -> impl Strategy<Value = Usage> {
    let tokens = || prop_oneof![Just(0u64), 0..2_000u64, 0..400_000u64];
    (tokens(), tokens(), tokens(), tokens(), tokens()).prop_map(|(a, b, c, d, out)| usage(a, b, c, d, out))
}

fn tier() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![None, Some("auto"), Some("flex"), Some("priority"), Some("fast")])
}

proptest! {
    #[test]
    fn no_usage_within_the_bound_costs_more_than_it(
        prices in prop::collection::vec(prop_oneof![Just(0u32), any::<u32>()], 14),
        above in 0u64..400_000, inclusive: bool, used in split(),
        more_prompt in 0u64..300_000, more_output in 0u64..1_000, hour in 0i64..168, tier in tier(),
    ) {
        let catalog = drawn(&prices, above, inclusive);
        let model = catalog.get("openai/m").unwrap();
        let at = AT + time::Duration::hours(hour);
        let most = usage(used.prompt() + more_prompt, 0, 0, 0, used.output + more_output);
        let bound = upper_bound(model, &most, at, tier).unwrap();
        // At the requested tier, and at standard where the provider fell back to it.
        for served in [tier, None] {
            let cost = price(model.prices.as_ref().unwrap(), &used, at, served).unwrap().cost;
            prop_assert!(cost <= bound, "{cost} > {bound} at {served:?}");
        }
    }

    #[test]
    fn the_bound_holds_for_every_built_in_model(
        used in split(), more in 0u64..300_000, hour in 0i64..10_000, tier in tier(),
    ) {
        thread_local!(static CATALOG: Catalog = catalog());
        CATALOG.with(|catalog| {
            let at = AT + time::Duration::hours(hour);
            for model in catalog.models() {
                let Some(prices) = &model.prices else { continue };
                let most = usage(used.prompt() + more, 0, 0, 0, used.output);
                let bound = upper_bound(model, &most, at, tier);
                match price(prices, &used, at, tier) {
                    Ok(priced) => assert!(bound.is_ok_and(|bound| priced.cost <= bound), "{}", model.id),
                    Err(error) => assert_eq!(error, PriceError::Unpriced, "{}", model.id),
                }
            }
        });
    }
}

#[test]
fn only_the_kind_of_token_that_has_no_price_becomes_text() {
    let catalog = catalog();
    let prices = catalog.get("openai/gpt-4.1").unwrap().prices.as_ref().unwrap();
    let reported = Usage { audio_output: 1, ..usage(1_000, 99_000, 0, 0, 999) };
    assert_eq!(price(prices, &reported, AT, None), Err(PriceError::Unpriced));
    let text = unpriced_as_text(&reported, prices.at(AT).unwrap());
    assert_eq!((text.input, text.cache_read, text.output, text.audio_output), (1_000, 99_000, 1_000, 0));
    assert_eq!(price(prices, &text, AT, None).unwrap().cost.to_string(), "0.0595");
    // What has a price stays what it is.
    let prices = catalog.get("openai/gpt-audio-mini").unwrap().prices.as_ref().unwrap();
    assert_eq!(unpriced_as_text(&reported, prices.at(AT).unwrap()), reported);
}
