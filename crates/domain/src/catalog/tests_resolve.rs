//! Names that clients send, and names that they should not send.

use proptest::prelude::*;
use time::Date;
use time::macros::date;

use super::*;

const TODAY: Date = date!(2026 - 11 - 20);

fn built_in() -> Catalog {
    Catalog::built_in().unwrap_or_else(|error| panic!("{error}"))
}

fn outcome(resolved: Resolved) -> String {
    let ids = |models: Vec<Arc<Model>>| {
        models.iter().map(|model| model.id.to_string()).collect::<Vec<_>>().join(" ")
    };
    match resolved {
        Resolved::Listed(models) => ids(models),
        Resolved::Retired { models } => format!("retired {}", ids(models)),
        Resolved::Unlisted { provider, upstream } => format!("unlisted {provider} {upstream}"),
        Resolved::Unknown { prefix_known: true } => "unknown".to_owned(),
        Resolved::Unknown { prefix_known: false } => "unknown provider".to_owned(),
    }
}

fn check(catalog: &Catalog, today: Date, cases: &[(&str, &str)]) {
    for (name, expected) in cases {
        assert_eq!(outcome(catalog.resolve(name, today)), *expected, "{name:?}");
    }
}

#[test]
fn a_name_with_its_provider_pins_the_host() {
    check(
        &built_in(),
        TODAY,
        &[
            ("openai/gpt-4o", "openai/gpt-4o"),
            ("anthropic/claude-sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929"),
            ("anthropic/claude-haiku-4-5-20251001", "anthropic/claude-haiku-4-5"),
            ("groq/gpt-oss-120b", "groq/gpt-oss-120b"),
            ("groq/openai/gpt-oss-120b", "groq/gpt-oss-120b"),
            ("fireworks_ai/accounts/fireworks/models/kimi-k3", "fireworks_ai/kimi-k3"),
            ("fireworks/kimi-k3", "fireworks_ai/kimi-k3"),
            ("together/kimi-k3", "together_ai/kimi-k3"),
            ("Together AI/moonshotai/Kimi-K3", "together_ai/kimi-k3"),
            ("grok/grok-4.7", "xai/grok-4.7"),
            ("kimi/kimi-k3", "moonshot/kimi-k3"),
            ("perplexity/perplexity/sonar", "perplexity/sonar-agent"),
            ("perplexity/sonar", "retired perplexity/sonar"),
            ("fireworks_ai/deepseek-v3.2", "fireworks_ai/deepseek-v3.2"),
            ("openai/gpt-4", "retired openai/gpt-4"),
        ],
    );
}

#[test]
fn a_bare_name_roams_over_the_live_hosts_of_the_same_weights() {
    check(
        &built_in(),
        TODAY,
        &[
            ("gpt-4o", "openai/gpt-4o"),
            ("gpt-oss-120b", "groq/gpt-oss-120b cerebras/gpt-oss-120b together_ai/gpt-oss-120b"),
            ("openai/gpt-oss-120b", "groq/gpt-oss-120b cerebras/gpt-oss-120b together_ai/gpt-oss-120b"),
            ("kimi-k3", "perplexity/kimi-k3 together_ai/kimi-k3 fireworks_ai/kimi-k3 moonshot/kimi-k3"),
            ("accounts/fireworks/models/glm-5p2", "together_ai/glm-5.2"),
            ("moonshotai/Kimi-K2.6", "moonshot/kimi-k2.6"),
            (
                "deepseek-v4-flash",
                "mistral/deepseek-v4.1-flash deepseek/deepseek-flash together_ai/deepseek-v4.1-flash \
                 fireworks_ai/deepseek-v4.1-flash",
            ),
            ("gemma-4-31b", "google/gemma-4-31b-it"),
            ("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929"),
            ("gemini-3.1-pro-preview", "google/gemini-3.1-pro"),
        ],
    );
}

#[test]
fn unlisted_models_are_served_only_when_named_exactly() {
    check(
        &built_in(),
        TODAY,
        &[
            ("accounts/fireworks/models/deepseek-v3p2", "fireworks_ai/deepseek-v3.2"),
            ("deepseek-v3.2", "retired fireworks_ai/deepseek-v3.2"),
            ("llama-3.3-70b-versatile", "retired groq/llama-3.3-70b"),
            ("cerebras/gemma-4-31b", "cerebras/gemma-4-31b"),
        ],
    );
}

#[test]
fn a_model_past_its_shutdown_is_retired_by_the_clock() {
    let catalog = built_in();
    check(&catalog, date!(2026 - 11 - 29), &[("claude-sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929")]);
    check(
        &catalog,
        date!(2026 - 11 - 30),
        &[
            ("claude-sonnet-4-5", "retired anthropic/claude-sonnet-4-5-20250929"),
            ("anthropic/claude-sonnet-4-5-20250929", "retired anthropic/claude-sonnet-4-5-20250929"),
        ],
    );
}

#[test]
fn another_case_is_tried_after_the_exact_one() {
    check(
        &built_in(),
        TODAY,
        &[
            ("GPT-4o", "openai/gpt-4o"),
            ("OpenAI/GPT-4O", "openai/gpt-4o"),
            ("Claude-Sonnet-4-5", "anthropic/claude-sonnet-4-5-20250929"),
            ("Moonshot/Kimi-K3", "moonshot/kimi-k3"),
            // An upstream id is defined by the provider: its case is kept, so this is not Together's model.
            ("together/moonshotai/kimi-k3", "unlisted together_ai moonshotai/kimi-k3"),
        ],
    );
}

#[test]
fn what_the_catalogue_does_not_know_goes_to_its_provider_as_it_is() {
    check(
        &built_in(),
        TODAY,
        &[
            ("openai/gpt-99", "unlisted openai gpt-99"),
            ("together/some/New Model", "unlisted together_ai some/New Model"),
            ("openai/a/b/c", "unlisted openai a/b/c"),
            ("openai/100%25", "unlisted openai 100%25"),
            ("google/模型", "unlisted google 模型"),
        ],
    );
}

#[test]
fn hostile_names_are_unknown() {
    let long = "a".repeat(10_000);
    let long_pinned = format!("openai/{long}");
    check(
        &built_in(),
        TODAY,
        &[
            ("", "unknown"),
            ("/", "unknown provider"),
            ("//", "unknown provider"),
            (" ", "unknown"),
            ("openai/", "unknown"),
            ("openai", "unknown"),
            ("/gpt-4o", "unknown provider"),
            ("a/b/c", "unknown provider"),
            ("openai//gpt-4o", "unknown"),
            ("google/../../v1/files", "unknown"),
            ("google/./x", "unknown"),
            ("google/a/ .. /b", "unknown"),
            ("openai/gpt-4o\n", "unknown"),
            ("openai/x\u{0}y", "unknown"),
            ("%2e%2e", "unknown"),
            ("%", "unknown"),
            ("ÖPENAI/gpt-4o", "unknown provider"),
            ("ﬁ\u{301}", "unknown"),
            (&long, "unknown"),
            (&long_pinned, "unknown"),
        ],
    );
}

#[test]
fn a_near_miss_is_suggested_among_live_models() {
    check(
        &built_in(),
        TODAY,
        &[
            ("gpt4o", "unknown"),
            ("claude-sonet-4-6", "unknown"),
            ("azure/gpt-5.4", "unknown provider"),
            ("mixtral-of-experts", "unknown"),
        ],
    );
}

#[test]
fn a_provider_given_apart_never_roams() {
    let catalog = built_in();
    let together = ProviderId::by_id("together_ai").unwrap();
    for (name, expected) in [
        ("kimi-k3", "together_ai/kimi-k3"),
        ("KIMI-K3", "together_ai/kimi-k3"),
        ("moonshotai/Kimi-K3", "together_ai/kimi-k3"),
        ("gpt-4o", "unlisted together_ai gpt-4o"),
        ("glm-5.2", "together_ai/glm-5.2"),
        ("minimax-m3", "retired together_ai/minimax-m3"),
        ("..", "unknown"),
        ("", "unknown"),
    ] {
        assert_eq!(outcome(catalog.resolve_at(together, name, TODAY)), expected, "{name:?}");
    }
}

#[test]
fn the_order_of_resolution_holds_when_one_name_could_mean_several_models() {
    let catalog = Catalog::parse(
        r#"
        version = "v"
        [[model]]
        id = "openai/canonical"
        [[model]]
        id = "groq/one"
        aliases = ["openai/aliased", "shared"]
        [[model]]
        id = "openai/two"
        upstream = "aliased"
        [[model]]
        id = "together_ai/three"
        upstream = "openai/canonical"
        [[model]]
        id = "together_ai/four"
        upstream = "openai/rest"
        [[model]]
        id = "cerebras/shared"
        [[model]]
        id = "mistral/five"
        upstream = "shared"
    "#,
    )
    .unwrap();
    check(
        &catalog,
        TODAY,
        &[
            ("openai/canonical", "openai/canonical"),
            ("openai/aliased", "groq/one"),
            ("openai/rest", "together_ai/four"),
            ("shared", "cerebras/shared groq/one"),
            ("aliased", "openai/two"),
            ("mistral/shared", "mistral/five"),
        ],
    );
}

proptest! {
    #[test]
    fn no_name_panics_and_results_are_never_empty(name in "(openai/|google/|together/|)[\\PC/%. ]{0,40}") {
        thread_local!(static CATALOG: Catalog = built_in());
        CATALOG.with(|catalog| match catalog.resolve(&name, TODAY) {
            Resolved::Listed(models) | Resolved::Retired { models } => assert!(!models.is_empty()),
            Resolved::Unlisted { upstream, .. } => assert!(name.ends_with(&upstream) && !upstream.is_empty()),
            Resolved::Unknown { .. } => {}
        });
    }

    #[test]
    fn every_spelling_of_a_row_leads_to_it(place in 0usize..257) {
        thread_local!(static CATALOG: Catalog = built_in());
        CATALOG.with(|catalog| {
            let model = catalog.models().nth(place).unwrap();
            let own = format!("{}/{}", model.provider, model.upstream);
            for name in [&*model.id, &own, &model.id.to_uppercase()] {
                let found = match catalog.resolve(name, TODAY) {
                    Resolved::Listed(models) | Resolved::Retired { models } => models,
                    other => panic!("{name} gave {other:?}"),
                };
                assert_eq!((found.len(), &found[0].id), (1, &model.id), "{name}");
            }
        });
    }
}

#[test]
fn the_nearest_names_are_found_with_and_without_a_provider() {
    let catalog = built_in();
    let nearest = |name: &str| -> Vec<String> {
        catalog.nearest(name, TODAY).iter().map(|model| model.id.to_string()).collect()
    };
    for (name, first) in [
        ("gpt4o", "openai/gpt-4o"),
        ("claude-sonet-4-6", "anthropic/claude-sonnet-4-6"),
        ("azure/gpt-5.4", "openai/gpt-5.4"),
        ("openai/gpt-5.4-turbo", "openai/gpt-5.4"),
        ("anthropic/claude-sonnet-4.6", "anthropic/claude-sonnet-4-6"),
        ("openai/claude-sonnet-4-6", "anthropic/claude-sonnet-4-6"),
    ] {
        let found = nearest(name);
        assert!(found.len() <= 3);
        assert_eq!(found.first().map(String::as_str), Some(first), "{name}: {found:?}");
    }
    // Where no name is near, models of the family.
    for (name, begins) in [
        ("gpt4", "openai/gpt-4"),
        ("o1", "openai/o3"),
        ("claude-3-5-sonnet-latest", "anthropic/claude-sonnet-"),
        ("azure/claude-next", "anthropic/claude-"),
    ] {
        let found = nearest(name);
        assert!(found.first().is_some_and(|id| id.starts_with(begins)), "{name}: {found:?}");
    }
    for name in ["mixtral-of-experts", "", "/", "openai/", &"a".repeat(10_000)] {
        assert_eq!(nearest(name), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_fixed_version_is_sent_as_named_and_billed_by_its_row() {
    let catalog = built_in();
    let today = date!(2026 - 11 - 29);
    for (name, id, upstream) in [
        ("gpt-4o-2024-08-06", "openai/gpt-4o", "gpt-4o-2024-08-06"),
        ("openai/gpt-5.4-2026-03-05", "openai/gpt-5.4", "gpt-5.4-2026-03-05"),
        ("anthropic/claude-opus-4-6-20260205", "anthropic/claude-opus-4-6", "claude-opus-4-6-20260205"),
        ("O3-2025-04-16", "openai/o3", "o3-2025-04-16"),
        ("mistral/codestral-embed-2505", "mistral/codestral-embed", "codestral-embed-2505"),
        ("openai/gpt-4o", "openai/gpt-4o", "gpt-4o"),
    ] {
        let Resolved::Listed(models) = catalog.resolve(name, today) else { panic!("{name}") };
        let [model] = models.as_slice() else { panic!("{name}: {models:?}") };
        assert_eq!((&*model.id, &*model.upstream), (id, upstream));
        assert_eq!(model.prices, catalog.get(id).unwrap().prices, "{name}");
    }
}
