//! Small tables in the published shapes against the built-in catalogue, and the overlay read back.

use super::*;
use crate::amount::Per;
use kairosroute_domain::{
    catalog::{Catalog, Mode, ServiceTier, Status},
    money::NanoPerMillion,
};
use proptest::prelude::*;
use serde_json::{json, value::RawValue};
use time::{Date, macros::date};

const TODAY: Date = date!(2026 - 11 - 29);

fn amount(text: &str, per: Per) -> Option<i64> {
    let raw = RawValue::from_string(text.to_owned()).unwrap();
    crate::amount::read(&raw, per).map(|price| price.0)
}

#[test]
fn amounts_are_read_by_their_digits() {
    for (text, per, nano) in [
        ("2.5e-06", Per::Token, Some(2_500_000_000)),
        ("7.5e-7", Per::Token, Some(750_000_000)),
        ("0.0000025", Per::Token, Some(2_500_000_000)),
        ("1.5000000000000002e-07", Per::Token, Some(150_000_000)),
        ("0", Per::Token, Some(0)),
        ("0.75", Per::MillionTokens, Some(750_000_000)),
        ("15", Per::MillionTokens, Some(15_000_000_000)),
        ("\"2.5\"", Per::MillionTokens, Some(2_500_000_000)),
        ("1e-40", Per::Token, Some(0)),
        ("1e30", Per::Token, None),
        ("-1", Per::Token, None),
        ("null", Per::Token, None),
        ("{}", Per::Token, None),
    ] {
        assert_eq!(amount(text, per), nano, "{text}");
    }
}

proptest! {
    #[test]
    fn an_amount_per_million_is_what_its_decimals_say(nano in 0_i64..1_000_000_000_000) {
        let text = kairosroute_domain::money::NanoUsd(nano).to_string();
        prop_assert_eq!(amount(&text, Per::MillionTokens), Some(nano));
        prop_assert_eq!(amount(&format!("{text}e-6"), Per::Token), Some(nano));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        for source in Source::ALL {
            let _ = read(source, &text);
        }
    }
}

fn row(input: &str, output: &str) -> serde_json::Value {
    json!({
        "litellm_provider": "openai", "mode": "chat", "max_input_tokens": 1000, "max_output_tokens": 100,
        "supports_function_calling": true,
        "input_cost_per_token": serde_json::from_str::<serde_json::Value>(input).unwrap(),
        "output_cost_per_token": serde_json::from_str::<serde_json::Value>(output).unwrap(),
    })
}

fn built_in() -> Catalog {
    Catalog::built_in().unwrap()
}

fn price(catalog: &Catalog, id: &str) -> (i64, Option<i64>) {
    let model = catalog.get(id).unwrap();
    let at = TODAY.with_time(time::Time::MIDNIGHT).assume_utc();
    let rates =
        model.prices.as_ref().unwrap().at(at).unwrap().peak_rates(ServiceTier::Standard, 0).unwrap().rates;
    (rates.input.0, rates.output.map(|price| price.0))
}

#[test]
fn a_new_model_of_each_table_becomes_a_row_with_its_price() {
    let tables = [
        (Source::LiteLlm, json!({ "gpt-99": row("2e-06", "8e-06") }).to_string()),
        (
            Source::ModelsDev,
            json!({ "openai": { "models": { "gpt-99": {
                "cost": { "input": 2, "output": 8 }, "limit": { "context": 1000, "output": 100 }, "tool_call": true,
            } } } })
            .to_string(),
        ),
        (
            Source::GenaiPrices,
            json!([{ "id": "openai", "models": [
                { "id": "gpt-99", "prices": { "input_mtok": 2, "output_mtok": 8 } }] }])
            .to_string(),
        ),
    ];
    for (source, text) in tables {
        let listed = read(source, &text).unwrap();
        let difference = compare(&built_in(), &listed, TODAY);
        assert_eq!(difference.new.len(), 1, "{source:?}");
        let overlay = write(&difference, source, TODAY, "v");
        let merged = built_in().overlaid(&overlay).unwrap_or_else(|error| panic!("{error:?}\n{overlay}"));
        assert_eq!(price(&merged, "openai/gpt-99"), (2_000_000_000, Some(8_000_000_000)), "{source:?}");
        assert_eq!(merged.get("openai/gpt-99").unwrap().mode, Mode::Chat);
    }
}

/// A live model whose price is the four numbers alone.
fn plain() -> (String, String) {
    let catalog = built_in();
    let one = catalog.models().find(|model| {
        let listed = Listed {
            provider: model.provider,
            upstream: model.upstream.to_string(),
            mode: None,
            context_tokens: None,
            output_tokens_max: None,
            flags: Vec::new(),
            input: Some(NanoPerMillion(123)),
            output: Some(NanoPerMillion(456)),
            cache_read: None,
            cache_write: None,
            shutdown: None,
        };
        let found = compare(&catalog, &[listed], TODAY);
        model.is_live(TODAY)
            && model.mode == Mode::Chat
            && found.changed.first().is_some_and(|change| change.whole.is_some())
            && model.provider.as_str() == "groq"
    });
    let one = one.unwrap();
    (one.id.to_string(), one.upstream.to_string())
}

#[test]
fn a_changed_price_becomes_a_row_that_changes_it_and_nothing_else() {
    let (id, upstream) = plain();
    let text = json!({ "groq": { "models": { (upstream): { "cost": { "input": 0.5, "output": 0.75 } } } } });
    let listed = read(Source::ModelsDev, &text.to_string()).unwrap();
    let difference = compare(&built_in(), &listed, TODAY);
    assert_eq!(difference.changed.len(), 1);
    let overlay = write(&difference, Source::ModelsDev, TODAY, "v");
    assert!(overlay.contains("here, 0.5 there"), "{overlay}");
    let merged = built_in().overlaid(&overlay).unwrap();
    assert_eq!(price(&merged, &id), (500_000_000, Some(750_000_000)));
    assert_eq!(merged.get(&id).unwrap().flags, built_in().get(&id).unwrap().flags);
}

#[test]
fn a_row_with_service_tiers_is_left_to_a_person() {
    let text = json!({ "gpt-5.5": row("1e-06", "2e-06") }).to_string();
    let difference = compare(&built_in(), &read(Source::LiteLlm, &text).unwrap(), TODAY);
    let change = difference.changed.iter().find(|change| &*change.model.id == "openai/gpt-5.5").unwrap();
    assert!(change.whole.is_none());
    let overlay = write(&difference, Source::LiteLlm, TODAY, "v");
    assert!(overlay.contains("change it by hand"), "{overlay}");
    assert!(!overlay.contains("id = \"openai/gpt-5.5\"\n[[model.price]]"), "{overlay}");
}

#[test]
fn what_a_covered_provider_no_longer_lists_is_gone_and_others_are_not_judged() {
    let text = json!({ "gpt-5.5": row("5e-06", "30e-06") }).to_string();
    let difference = compare(&built_in(), &read(Source::LiteLlm, &text).unwrap(), TODAY);
    assert!(difference.gone.iter().any(|model| &*model.id == "openai/gpt-5.4-mini"));
    assert!(difference.gone.iter().all(|model| model.provider.as_str() == "openai"));
    assert!(!difference.excess(Limits::default()).is_empty(), "so much is gone that a person must say so");
    let merged = built_in().overlaid(&write(&difference, Source::LiteLlm, TODAY, "v")).unwrap();
    assert_eq!(merged.get("openai/gpt-5.4-mini").unwrap().status, Status::Unlisted);
}

#[test]
fn a_table_of_another_shape_is_refused() {
    for source in Source::ALL {
        assert!(read(source, "[1, 2").is_err());
        assert!(read(source, "{}").is_err());
    }
    assert!(read(Source::GenaiPrices, "[]").is_err());
}

#[test]
fn a_day_of_ending_becomes_a_deprecation() {
    let mut row = row("0.75e-06", "4.5e-06");
    row["deprecation_date"] = json!("2027-03-01");
    let text = json!({ "gpt-5.4-mini": row }).to_string();
    let difference = compare(&built_in(), &read(Source::LiteLlm, &text).unwrap(), TODAY);
    assert_eq!(difference.ending.len(), 1);
    let merged = built_in().overlaid(&write(&difference, Source::LiteLlm, TODAY, "v")).unwrap();
    let model = merged.get("openai/gpt-5.4-mini").unwrap();
    assert_eq!((model.status, model.shutdown), (Status::Deprecated, Some(date!(2027 - 03 - 01))));
}
