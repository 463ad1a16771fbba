use super::*;
use serde_json::{Value, json};
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn judge(body: &Value) -> Result<KeyChange, AccountError> {
    let body: KeyBody = serde_json::from_value(body.clone()).unwrap();
    body.judge(&AllowedNets::default(), NOW)
}

fn param_of(body: &Value) -> String {
    match judge(body).err() {
        Some(AccountError::Invalid { param, .. }) => param,
        Some(AccountError::UnknownProvider { param }) => format!("unknown provider in {param}"),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn lists(body: &Value) -> Vec<(ProviderId, Vec<EntryChange>)> {
    match judge(body).unwrap().provider_keys {
        Field::Set(lists) => lists,
        _ => panic!("no lists"),
    }
}

#[test]
fn absent_null_and_set_are_three_things() {
    let change = judge(&json!({"allowedModels": null, "byokFallback": "never"})).unwrap();
    let mut name = "mine".to_owned();
    let mut policy = KeyPolicy {
        allowed_models: Some(vec!["m".into()]),
        allowed_providers: Some(vec![]),
        ..KeyPolicy::default()
    };
    change.apply(&mut name, &mut policy).unwrap();
    assert_eq!(name, "mine");
    assert_eq!(policy.allowed_models, None);
    assert_eq!(policy.allowed_providers, Some(vec![]));
    assert_eq!(policy.byok_fallback, ByokFallback::Never);
    judge(&json!({"byokFallback": null, "name": null})).unwrap().apply(&mut name, &mut policy).unwrap();
    assert_eq!(policy.byok_fallback, ByokFallback::Platform);
    assert_eq!(name, DEFAULT_NAME);
}

#[test]
fn rules_are_merged_field_by_field() {
    let apply = |policy: &mut KeyPolicy, body: Value| judge(&body).unwrap().apply(&mut String::new(), policy);
    let mut policy = KeyPolicy::default();
    let body = json!({"requestsPerMinute": 60, "endUserConcurrentRequests": 2, "maxCostPerRequestUsd": "0.25",
        "allowedIps": ["10.1.2.3/8", "2001:db8::1"], "zdr": true, "dataCollection": "deny",
        "budgetUsd": 12.5, "budgetPeriod": "week", "budgetIncludesByok": true});
    apply(&mut policy, body).unwrap();
    assert_eq!(policy.rules.rates.requests_per_minute, Some(60));
    assert_eq!(policy.rules.end_user.concurrent_requests, Some(2));
    assert_eq!(policy.rules.max_cost_per_request_nano, Some(250_000_000));
    let nets: Vec<String> = policy.rules.allowed_ips.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["10.0.0.0/8", "2001:db8::1/128"]);
    assert!(policy.rules.zdr && policy.rules.deny_collection);
    let budget = policy.budget.unwrap();
    assert_eq!(
        (budget.amount.0, budget.period, budget.includes_own),
        (12_500_000_000, PeriodKind::Week, true)
    );
    apply(&mut policy, json!({"budgetUsd": 1, "requestsPerMinute": null, "dataCollection": null})).unwrap();
    let budget = policy.budget.unwrap();
    assert_eq!(
        (budget.amount.0, budget.period, budget.includes_own),
        (1_000_000_000, PeriodKind::Week, true)
    );
    assert_eq!(policy.rules.rates.requests_per_minute, None);
    assert!(!policy.rules.deny_collection && policy.rules.zdr);
    apply(&mut policy, json!({"budgetUsd": null})).unwrap();
    assert_eq!(policy.budget, None);
    assert!(apply(&mut policy, json!({"budgetPeriod": "day"})).is_err(), "a period of no budget");
}

#[test]
fn provider_names_are_matched_as_people_write_them() {
    let lists = lists(&json!({"providerKeys": {
        "OpenAI": "sk-x", "together-AI": null, "Grok": [], "KIMI": [{"key": " k1 "}, {"key": "k2", "enabled": false}],
    }}));
    let counts: Vec<(&str, usize)> = lists.iter().map(|(p, entries)| (p.as_str(), entries.len())).collect();
    assert_eq!(counts.len(), 4);
    for expected in [("openai", 1), ("together_ai", 0), ("xai", 0), ("moonshot", 2)] {
        assert!(counts.contains(&expected), "{expected:?}");
    }
    let moonshot = &lists.iter().find(|(p, _)| p.as_str() == "moonshot").unwrap().1;
    assert_eq!(moonshot[0].key.as_ref().unwrap().expose(), "k1");
    assert_eq!(moonshot[1].enabled, Field::Set(false));
    assert!(matches!(judge(&json!({"providerKeys": null})).unwrap().provider_keys, Field::Clear));
}

#[test]
fn every_bad_field_is_named() {
    let id = "pk_01900000000070008000000000000001";
    for (body, param) in [
        (json!({"providerKeys": {"Nobody": "sk"}}), "unknown provider in providerKeys"),
        (json!({"providerKeys": {"OpenAI": "a", "openai": "b"}}), "providerKeys"),
        (json!({"providerKeys": {"OpenAI": " "}}), "providerKeys"),
        (json!({"providerKeys": {"OpenAI": "a\nb"}}), "providerKeys"),
        (json!({"providerKeys": {"OpenAI": [{"label": "x"}]}}), "providerKeys"),
        (json!({"providerKeys": {"OpenAI": [{"id": id}, {"id": id}]}}), "providerKeys"),
        (json!({"providerKeys": {"OpenAI": vec![json!({"key": "k"}); 21]}}), "providerKeys"),
        (json!({"providerKeys": {"OpenAI": [{"key": "k", "baseUrl": "http://example.com"}]}}), "baseUrl"),
        (
            json!({"providerKeys": {"OpenAI": [{"key": "k", "baseUrl": "https://169.254.169.254"}]}}),
            "baseUrl",
        ),
        (json!({"allowedProviders": ["nobody"]}), "unknown provider in allowedProviders"),
        (json!({"allowedProviders": []}), "allowedProviders"),
        (json!({"allowedModels": []}), "allowedModels"),
        (json!({"allowedModels": ["a b"]}), "allowedModels"),
        (json!({"expiresAt": "2026-11-20T11:59:59Z"}), "expiresAt"),
        (json!({"expiresAt": "tomorrow"}), "expiresAt"),
        (json!({"name": ""}), "name"),
        (json!({"maxCostPerRequestUsd": -1}), "maxCostPerRequestUsd"),
        (json!({"budgetUsd": "1e3"}), "budgetUsd"),
        (json!({"budgetUsd": 1000001}), "budgetUsd"),
        (json!({"requestsPerMinute": 0}), "requestsPerMinute"),
        (json!({"endUserTokensPerMinute": 0}), "endUserTokensPerMinute"),
        (json!({"allowedIps": []}), "allowedIps"),
        (json!({"allowedIps": ["10.0.0.0/33"]}), "allowedIps"),
        (json!({"minQualityThreshold": 1.5}), "minQualityThreshold"),
    ] {
        assert_eq!(param_of(&body), param, "{body}");
    }
    assert_eq!(param_of(&json!({"zdr": null, "excludedProviders": []})), "");
}

#[test]
fn unknown_and_repeated_fields_and_wrong_types_do_not_parse() {
    for text in [
        r#"{"isOperator": true}"#,
        r#"{"orgId": "org_1"}"#,
        r#"{"name": "a", "name": "b"}"#,
        r#"{"name": 1}"#,
        r#"{"byokFallback": "sometimes"}"#,
        r#"{"providerKeys": "sk"}"#,
        r#"{"providerKeys": {"OpenAI": 1}}"#,
        r#"{"providerKeys": {"OpenAI": {"key": "sk"}}}"#,
        r#"{"providerKeys": {"OpenAI": ["sk"]}}"#,
        r#"{"providerKeys": {"OpenAI": [{"key": "sk", "sealed": "x"}]}}"#,
        r#"{"providerKeys": {"OpenAI": [{"key": "sk", "enabled": "yes"}]}}"#,
        r#"{"providerKeys": {"OpenAI": [[null, "sk"]]}}"#,
        "null",
    ] {
        assert!(serde_json::from_str::<KeyBody>(text).is_err(), "{text}");
    }
}

#[test]
fn a_base_url_is_stored_in_one_form() {
    let lists =
        lists(&json!({"providerKeys": {"OpenAI": [{"key": "k", "baseUrl": "HTTPS://Example.com:443/v1/"}]}}));
    assert_eq!(lists[0].1[0].base_url, Field::Set("https://example.com/v1".to_owned()));
}

#[test]
fn a_key_of_another_providers_shape_is_only_warned_about() {
    let warn = |provider: &str, key: &str| {
        foreign_looking(ProviderId::by_id(provider).unwrap(), &Secret::new(key.to_owned())).is_some()
    };
    assert!(warn("openai", "sk-ant-api03-x"));
    assert!(warn("groq", "sk-proj-x"));
    assert!(!warn("anthropic", "sk-ant-api03-x"));
    assert!(!warn("openai", "sk-x"));
    assert!(!warn("google", "AIzaX"));
    assert!(!warn("mistral", "0123456789abcdef"));
}
