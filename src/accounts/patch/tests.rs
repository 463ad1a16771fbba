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
    change.apply(&mut name, &mut policy);
    assert_eq!(name, "mine");
    assert_eq!(policy.allowed_models, None);
    assert_eq!(policy.allowed_providers, Some(vec![]));
    assert_eq!(policy.byok_fallback, ByokFallback::Never);
    judge(&json!({"byokFallback": null, "name": null})).unwrap().apply(&mut name, &mut policy);
    assert_eq!(policy.byok_fallback, ByokFallback::Platform);
    assert_eq!(name, DEFAULT_NAME);
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
        (json!({"maxCostPerRequestUsd": 1}), "maxCostPerRequestUsd"),
        (json!({"budgetUsd": "5"}), "budgetUsd"),
        (json!({"budgetPeriod": "day"}), "budgetPeriod"),
        (json!({"requestsPerMinute": 0}), "requestsPerMinute"),
        (json!({"tokensPerMinute": {}}), "tokensPerMinute"),
        (json!({"minQualityThreshold": 1.5}), "minQualityThreshold"),
        (json!({"zdr": false}), "zdr"),
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
