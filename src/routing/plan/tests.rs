//! Properties of the choice among all models, over the built-in catalogue.

use super::*;
use crate::{domain::catalog::Flag, routing::quality};
use kairosroute_classifier::{Context, classify};
use proptest::{prelude::*, strategy::Strategy};
use std::sync::LazyLock;
use time::macros::datetime;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| Catalog::built_in().unwrap());
const AT: OffsetDateTime = datetime!(2026-11-29 10:00 UTC);
const PROMPTS: [&str; 4] = [
    "Prove that there are infinitely many primes and explain every step of the proof",
    "Write a Python function that merges two sorted lists and test it",
    "Summarize the following text in one sentence: the cat sat on the mat",
    "hm",
];

#[derive(Clone, Debug)]
struct Case {
    prompt: usize,
    facts: Facts,
    output_limit: Option<u64>,
    floor: u16,
    platform: Vec<bool>,
    excluded: Vec<ProviderId>,
    ignored: Vec<ProviderId>,
    max_price: Option<i64>,
    removed: Option<Arc<str>>,
}

fn case() -> impl Strategy<Value = Case> {
    let providers = ProviderId::all().count();
    let some = |max| prop::collection::vec(0..providers, 0..max);
    let ids = |indexes: Vec<usize>| {
        indexes.into_iter().filter_map(|index| ProviderId::all().nth(index)).collect::<Vec<_>>()
    };
    let facts = (0_u64..2_000_000, any::<bool>(), 0_u32..2, any::<bool>());
    (
        0..PROMPTS.len(),
        facts,
        prop::option::of(1_u64..200_000),
        0_u16..1_200,
        prop::collection::vec(any::<bool>(), providers),
        some(3),
        some(3),
        prop::option::of(0_i64..20),
    )
        .prop_map(move |(prompt, facts, output_limit, floor, platform, excluded, ignored, max_price)| {
            Case {
                prompt,
                facts: Facts {
                    text_bytes: facts.0,
                    has_tools: facts.1,
                    images: facts.2,
                    json_schema: facts.3,
                    ..Facts::default()
                },
                output_limit,
                floor: floor.min(1_000),
                platform,
                excluded: ids(excluded),
                ignored: ids(ignored),
                max_price: max_price.map(|usd| usd * 1_000_000_000),
                removed: None,
            }
        })
}

fn planned(case: &Case) -> Result<Plan, RoutingError> {
    let preferences = Preferences {
        ignore: case.ignored.clone(),
        max_completion_price: case.max_price.map(crate::domain::money::NanoPerMillion),
        ..Preferences::default()
    };
    let reference = CATALOG.get("openai/gpt-5.5").unwrap();
    let automatic = Automatic {
        classification: classify(PROMPTS[case.prompt], Context { has_tools: case.facts.has_tools }),
        effort: None,
        floor_permille: case.floor,
        is_strict: false,
        table: quality::built_in(),
        reference: Some(reference),
    };
    let request = RouteRequest {
        names: &[Cow::Borrowed("auto")],
        facts: &case.facts,
        output_limit: case.output_limit,
        service_tier: None,
        kind: Kind::Conversation(crate::domain::provider::Dialect::Chat),
        needs_state: false,
        pin: None,
        strategy: None,
        preferences: &preferences,
        measured: &|_| HostStats::default(),
        session: &|| None,
        at: AT,
        automatic: Some(automatic),
        embedding: None,
    };
    let allowed = case.removed.as_ref().map(|removed| {
        let others = CATALOG.models().filter(|model| model.id != *removed);
        others.map(|model| model.id.to_string()).collect()
    });
    let policy = KeyPolicy {
        excluded_providers: case.excluded.clone(),
        allowed_models: allowed,
        ..KeyPolicy::default()
    };
    let keys = CredentialLookup {
        own: &|_, _| false,
        platform: &|provider| case.platform.get(provider.index()).copied().unwrap_or(false),
    };
    plan(&CATALOG, &request, &policy, &keys)
}

fn ids(plan: &Plan) -> Vec<Arc<str>> {
    plan.candidates.iter().map(|candidate| candidate.id.clone()).collect()
}

/// Cost, score and whether it reaches the floor, of each candidate in order.
fn lines(plan: &Plan) -> Vec<(f64, Option<f64>, bool)> {
    let line = |candidate: &Candidate| {
        let line = plan.considered.iter().find(|line| line.model_id == candidate.id).unwrap();
        let cost = line.est_cost_usd.as_ref().unwrap().parse().unwrap();
        (cost, line.score, line.reasons.contains(&"reaches_the_floor"))
    };
    plan.candidates.iter().map(line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_candidate_violates_a_filter(case in case()) {
        let Ok(plan) = planned(&case) else { return Ok(()) };
        for candidate in &plan.candidates {
            let model = candidate.model.as_ref().unwrap();
            prop_assert!(case.platform[candidate.provider.index()]);
            prop_assert!(!case.excluded.contains(&candidate.provider));
            prop_assert!(!case.ignored.contains(&candidate.provider));
            prop_assert!(model.is_live(AT.date()) && model.prices.is_some());
            prop_assert!(!case.facts.has_tools || model.flags.has(Flag::Tools));
            prop_assert!(case.facts.images == 0 || model.flags.has(Flag::Vision));
            prop_assert!(!case.facts.json_schema || model.flags.has(Flag::JsonSchema));
            prop_assert!(model.context_tokens.unwrap() >= case.facts.text_bytes / 3);
            prop_assert!(case.output_limit.zip(model.output_tokens_max).is_none_or(|(asked, most)| asked <= most));
        }
    }

    #[test]
    fn the_order_is_by_cost_above_the_floor_and_by_quality_below(case in case()) {
        let Ok(plan) = planned(&case) else { return Ok(()) };
        let lines = lines(&plan);
        let floor = f64::from(case.floor) / 1_000.0;
        let reaching: Vec<_> = lines.iter().take_while(|line| line.2).collect();
        prop_assert!(lines.iter().skip(reaching.len()).all(|line| !line.2));
        prop_assert!(reaching.iter().all(|line| line.1.unwrap() >= floor));
        // Costs within 3 % of the lowest may be in any order.
        let least = reaching.first().map_or(0.0, |line| line.0) / 0.97;
        prop_assert!(reaching.windows(2).all(|pair| pair[0].0 <= pair[1].0 || pair[0].0 <= least));
        let below: Vec<f64> = lines.iter().skip(reaching.len()).map_while(|line| line.1).collect();
        prop_assert!(below.is_sorted_by(|a, b| a >= b));
        prop_assert_eq!(plan.automatic.as_ref().unwrap().floor_not_met, reaching.is_empty());
    }

    #[test]
    fn the_decision_recomputes_from_the_lines_of_the_receipt(case in case()) {
        let Ok(plan) = planned(&case) else { return Ok(()) };
        // The same computation as training/recompute.py.
        let passed = plan.considered.iter().filter(|line| {
            matches!(line.filtered_out_by, None | Some("too_many_candidates")) && line.est_cost_usd.is_some()
        });
        let cost = |line: &CandidateTrace| line.est_cost_usd.as_ref().unwrap().parse::<f64>().unwrap();
        let floor = f64::from(case.floor) / 1_000.0;
        let (reaching, others): (Vec<_>, Vec<_>) =
            passed.partition(|line| line.score.is_some_and(|score| score >= floor));
        let first = plan.considered.iter().find(|line| line.model_id == plan.candidates[0].id).unwrap();
        if reaching.is_empty() {
            let best = others.iter().filter_map(|line| line.score).fold(f64::MIN, f64::max);
            prop_assert!(first.score.is_none_or(|score| score == best));
        } else {
            let least = reaching.iter().map(|line| cost(line)).fold(f64::MAX, f64::min);
            prop_assert!(first.score.unwrap() >= floor && cost(first) <= least * 1.03);
        }
    }

    #[test]
    fn the_same_request_has_the_same_plan_and_without_the_winner_the_second_wins(case in case()) {
        let Ok(plan) = planned(&case) else { return Ok(()) };
        let first = ids(&plan);
        prop_assert_eq!(&first, &ids(&planned(&case).unwrap()));
        let Some(second) = first.get(1) else { return Ok(()) };
        let without = Case { removed: Some(first[0].clone()), ..case };
        // Ties depend on the lowest cost, which may have changed.
        let lines = lines(&plan);
        if lines[0].0 * 1.07 < lines[1].0 || !lines[0].2 {
            prop_assert_eq!(&ids(&planned(&without).unwrap())[0], second);
        } else {
            prop_assert!(!ids(&planned(&without).unwrap()).contains(&first[0]));
        }
    }
}
