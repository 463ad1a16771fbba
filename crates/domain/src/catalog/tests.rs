//! The built-in file, loading and overlays.

use time::macros::{date, datetime};

use super::*;
use crate::money::NanoPerMillion;

fn built_in() -> Catalog {
    Catalog::built_in().unwrap_or_else(|error| panic!("{error}"))
}

fn problems(result: Result<Catalog, CatalogError>) -> Vec<String> {
    result.expect_err("must be refused").problems.iter().map(ToString::to_string).collect()
}

/// A catalogue of one model with this price table.
fn priced(price: &str) -> Result<Catalog, CatalogError> {
    Catalog::parse(&format!("version = \"v\"\n[[model]]\nid = \"openai/m\"\n[[model.price]]\n{price}"))
}

#[test]
fn the_built_in_catalogue_is_whole() {
    let catalog = built_in();
    assert_eq!(catalog.version, "2026-11-28");
    let count = |status| catalog.models().filter(|model| model.status == status).count();
    assert_eq!(catalog.models().count(), 282);
    assert_eq!(
        [Status::Active, Status::Deprecated, Status::Retired, Status::Unlisted].map(count),
        [182, 31, 58, 11]
    );
    let unpriced: Vec<&str> = catalog.list_unpriced(date!(2026 - 11 - 20)).map(|model| &*model.id).collect();
    assert_eq!(unpriced, ["groq/compound"]);
}

#[test]
fn every_row_of_the_built_in_catalogue_is_usable() {
    let catalog = built_in();
    for model in catalog.models() {
        assert_eq!(*model.id, format!("{}/{}", model.provider, model.name));
        assert!(std::ptr::eq(&**catalog.get(&model.id).unwrap(), &**model));
        if let Some(successor) = &model.successor {
            let successor = catalog.get(successor).unwrap();
            assert!(successor.is_live(date!(2026 - 11 - 20)), "{} leads to a dead model", model.id);
        }
        for period in model.prices.iter().flat_map(|prices| &prices.periods) {
            let Some(rates) = period.rates else {
                assert!(!period.other.is_empty(), "{}", model.id);
                continue;
            };
            let generates = matches!(model.mode, Mode::Chat | Mode::Responses | Mode::Completion);
            assert!(!generates || rates.output.is_some(), "{} gives its output away", model.id);
            assert!(rates.cache_read <= rates.input, "{}", model.id);
            if let Some(tier) = &period.tier {
                assert!(tier.rates.prompt_max() >= rates.prompt_max(), "{}", model.id);
                assert_eq!(tier.inclusive, model.provider.as_str() == "xai", "{}", model.id);
            }
        }
    }
}

#[test]
fn rows_of_one_name_are_one_group() {
    let catalog = built_in();
    let mut groups = std::collections::HashMap::new();
    for model in catalog.models() {
        let group = groups.entry(model.name.clone()).or_insert_with(|| model.group.clone());
        assert_eq!(*group, model.group, "{}", model.id);
    }
}

#[test]
fn fields_arrive_where_they_belong() {
    let catalog = built_in();
    let model = catalog.get("anthropic/claude-fable-5-1").unwrap();
    assert_eq!((model.context_tokens, model.output_tokens_max), (Some(1_000_000), Some(128_000)));
    assert!(model.flags.has(Flag::NoForcedTool) && model.flags.has(Flag::Tools));
    assert!(!model.flags.has(Flag::AudioIn));
    let groq = catalog.get("groq/gpt-oss-120b").unwrap();
    assert_eq!((&*groq.upstream, groq.group.as_deref()), ("openai/gpt-oss-120b", Some("gpt-oss-120b")));
    let dalle = catalog.get("openai/dall-e-3").unwrap();
    assert_eq!(dalle.mode, Mode::ImageGeneration);
    let period = &dalle.prices.as_ref().unwrap().periods[0];
    assert_eq!(
        (period.rates, period.other.len(), period.other[0].usd.to_string().as_str()),
        (None, 3, "0.04")
    );
    assert_eq!(Flag::ALL.into_iter().collect::<Flags>().iter().count(), Flag::ALL.len());
}

#[test]
fn a_deprecated_model_lives_until_its_shutdown_day() {
    let catalog = built_in();
    let model = catalog.get("anthropic/claude-sonnet-4-5-20250929").unwrap();
    assert!(model.is_live(date!(2026 - 11 - 29)));
    assert!(!model.is_live(date!(2026 - 11 - 30)));
    assert!(catalog.get("mistral/magistral-medium-latest").unwrap().is_live(date!(2030 - 01 - 01)));
    let unlisted = catalog.get("fireworks_ai/deepseek-v3.2").unwrap();
    assert!(!unlisted.is_live(date!(2026 - 11 - 20)) && unlisted.is_servable_by_name(date!(2026 - 11 - 20)));
}

#[test]
fn a_price_change_takes_hold_at_midnight_utc() {
    let catalog = built_in();
    let prices = catalog.get("google/gemini-4-argon").unwrap().prices.as_ref().unwrap();
    let input = |at| prices.at(at).unwrap().rates.unwrap().input;
    assert_eq!(input(datetime!(2026-11-30 23:59:59 UTC)), NanoPerMillion(2_000_000_000));
    assert_eq!(input(datetime!(2026-12-01 00:00 UTC)), NanoPerMillion(4_000_000_000));
    assert_eq!(input(datetime!(2026-12-01 05:00 +8)), NanoPerMillion(2_000_000_000), "still November in UTC");
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let text = r#"
        version = "v"
        colour = "red"
        [[model]]
        id = "nobody/m"
        [[model]]
        id = "plain"
        [[model]]
        id = "openai/a"
        upstream = "../admin"
        shutdown = "soon"
        successor = "openai/none"
        contxt_tokens = 1
        quality_permille = 1001
        [[model.price]]
        input = "-1"
        output = "1e3"
        inptu = "1"
        other = [{ unit = "per image", price = "x" }]
        [[model]]
        id = "openai/b"
        aliases = ["a", "b", "openai/a", "c"]
        [[model]]
        id = "openai/c"
        mode = "telepathy"
        [[model]]
        id = "openai/d"
        aliases = ["c2", "c2"]
        [[model]]
        id = "openai/d"
        [[model]]
        upstream = "x"
    "#;
    let found = problems(Catalog::parse(text)).join("\n");
    for expected in [
        "unknown field \"colour\"",
        "nobody/m: unknown provider \"nobody\"",
        "plain: id must be provider/model",
        "openai/a: upstream must",
        "openai/a: shutdown must be a date",
        "openai/a: successor \"openai/none\" does not exist",
        "openai/a: unknown field \"contxt_tokens\"",
        "openai/a: quality_permille",
        "openai/a: input must be a decimal",
        "openai/a: output must be a decimal",
        "openai/a: unknown field \"inptu\" in price",
        "openai/a: unit \"per image\"",
        "openai/b: alias \"a\" already leads to openai/a",
        "openai/b: alias \"b\" is stated twice or is its own name",
        "openai/b: alias \"openai/a\" is a canonical id",
        "openai/c: unknown variant `telepathy`",
        "openai/d: alias \"c2\" is stated twice",
        "openai/d: is listed twice",
        "[[model]] number 8: missing field `id`",
    ] {
        assert!(found.contains(expected), "{expected:?} is missing from:\n{found}");
    }
}

#[test]
fn prices_that_do_not_fit_together_are_refused() {
    for (price, expected) in [
        ("input = 2.5", "expected a string"),
        ("input = \"1.0000000001\"", "at most 9 decimals"),
        ("output = \"1\"", "no input"),
        ("", "states nothing"),
        ("input = \"1\"\ntier_above_tokens = 5", "lacks tier_input"),
        ("input = \"1\"\ntier_input = \"2\"", "without tier_above_tokens"),
        ("tier_above_tokens = 5\ntier_input = \"2\"", "tier_input is stated without input"),
        (
            "input = \"1\"\ncache_write = \"2\"\ntier_above_tokens = 5\ntier_input = \"2\"",
            "lacks tier_cache_write",
        ),
        ("input = \"1\"\nflex_output = \"2\"", "flex_output is stated without flex_input"),
        ("input = \"1\"\noff_peak_percent = 50", "go together"),
        ("input = \"1\"\noff_peak_percent = 101\npeak_utc = [\"Mon 01:00-02:00\"]", "go together"),
        ("input = \"1\"\noff_peak_percent = 50\npeak_utc = [\"Mon 1:00-2:00\"]", "needs spans"),
        ("input = \"1\"\noff_peak_percent = 50\npeak_utc = [\"Fri-Mon 01:00-02:00\"]", "needs spans"),
        ("input = \"1\"\noff_peak_percent = 50\npeak_utc = [\"Mon 01:00-24:01\"]", "needs spans"),
        ("input = \"1\"\nvalid_from = \"2026-02-30\"", "must be a date"),
        ("other = [{ unit = \"audio_input_million_tokens\", price = \"1\" }]", "needs an input price"),
        (
            "other = [{ unit = \"page\", price = \"1\" }, { unit = \"page\", price = \"2\" }]",
            "\"page\" is priced twice",
        ),
        ("input = \"1\"\nvalid_from = \"2026-02-02\"\nvalid_until = \"2026-02-01\"", "lies after"),
        ("input = \"1\"\nvalid_until = \"2026-02-02\"\n[[model.price]]\ninput = \"2\"", "overlap"),
    ] {
        let found = problems(priced(price)).join("\n");
        assert!(found.contains(expected), "{price:?} gave {found:?}");
    }
    assert!(priced("input = \"1\"\nvalid_until = \"2026-02-02\"\n[[model.price]]\nvalid_from = \"2026-02-03\"\ninput = \"2\"").is_ok());
}

#[test]
fn an_overlay_changes_the_fields_it_states_and_adds_new_rows() {
    let base = built_in();
    let text = r#"
        [[model]]
        id = "openai/gpt-4o"
        shutdown = ""
        status = "active"
        quality_permille = 700
        [[model.price]]
        input = "3"
        output = "9"
        [[model]]
        id = "together_ai/house/tune"
        aliases = ["house"]
    "#;
    let laid = base.overlaid(text).unwrap();
    let model = laid.get("openai/gpt-4o").unwrap();
    assert_eq!((model.shutdown, model.status, model.quality_permille), (None, Status::Active, Some(700)));
    assert_eq!(model.context_tokens, Some(128_000), "what is not stated stays");
    let rates = model.prices.as_ref().unwrap().periods[0].rates.unwrap();
    assert_eq!(
        (rates.input, rates.cache_read),
        (NanoPerMillion(3_000_000_000), NanoPerMillion(3_000_000_000))
    );
    let tune = laid.get("together_ai/house/tune").unwrap();
    assert_eq!((&*tune.upstream, tune.mode, tune.prices.as_ref()), ("house/tune", Mode::Chat, None));
    assert_eq!(laid.models().count(), base.models().count() + 1);
    assert!(base.get("openai/gpt-4o").unwrap().shutdown.is_some(), "the snapshot beneath is untouched");
}

#[test]
fn the_version_of_an_overlay_is_a_function_of_its_text() {
    let base = built_in();
    let empty = base.overlaid("").unwrap();
    assert_eq!(empty.version, "2026-11-28+e3b0c442");
    let other = base.overlaid("# note\n").unwrap();
    assert_ne!(empty.version, other.version);
    assert_eq!(other.version, base.overlaid("# note\n").unwrap().version);
}

#[test]
fn a_bad_overlay_is_refused_and_names_its_rows() {
    let base = built_in();
    let twice = "[[model]]\nid = \"openai/gpt-4o\"\n[[model]]\nid = \"openai/gpt-4o\"\n";
    assert_eq!(problems(base.overlaid(twice)), ["openai/gpt-4o: is listed twice"]);
    let clash = "[[model]]\nid = \"openai/x\"\naliases = [\"gpt-5.6\"]\n";
    assert_eq!(
        problems(base.overlaid(clash)),
        ["openai/x: alias \"gpt-5.6\" already leads to openai/gpt-5.6-sol"]
    );
    assert!(problems(base.overlaid("model = 1"))[0].contains("[[model]]"));
    assert!(problems(base.overlaid("[[model"))[0].starts_with("not TOML"));
    assert!(problems(Catalog::parse(""))[0].contains("version is missing"));
    assert!(base.get("openai/gpt-4o").is_some());
}

#[test]
fn peak_hours_are_half_open_and_in_utc() {
    let catalog = built_in();
    let prices = catalog.get("deepseek/deepseek-flash").unwrap().prices.as_ref().unwrap();
    let rule = prices.periods[0].off_peak.as_ref().unwrap();
    for (at, peak) in [
        (datetime!(2026-11-20 00:59:59 UTC), false),
        (datetime!(2026-11-20 01:00 UTC), true),
        (datetime!(2026-11-20 03:59:59 UTC), true),
        (datetime!(2026-11-20 04:00 UTC), false),
        (datetime!(2026-11-20 06:00 UTC), true),
        (datetime!(2026-11-20 10:00 UTC), false),
        (datetime!(2026-11-21 02:00 UTC), false),
        (datetime!(2026-11-23 09:00 +8), true),
    ] {
        assert_eq!(rule.is_peak(at), peak, "{at}");
    }
}

#[test]
fn the_examples_of_the_manual_can_be_laid_over_the_built_in_catalogue() {
    let manual = include_str!("../../../../docs/catalogue.md");
    let examples: Vec<&str> =
        manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 3);
    for example in &examples {
        built_in().overlaid(example).unwrap_or_else(|error| panic!("{error}"));
    }
    let laid = built_in().overlaid(&examples.join("\n")).unwrap();
    let Resolved::Listed(hosts) = laid.resolve("kimi-k3", date!(2026 - 11 - 20)) else {
        panic!("kimi-k3 must be listed");
    };
    assert!(hosts.iter().any(|model| &*model.id == "groq/kimi-k3"));
}
