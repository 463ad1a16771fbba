//! The text of the metrics, and that the rules and the dashboard in `deploy/` name only metrics that exist.

use super::*;
use crate::domain::money::{Bps, NanoUsd};
use std::{collections::BTreeSet, fs, path::Path};

fn openai() -> ProviderId {
    ProviderId::all().find(|provider| provider.as_str() == "openai").unwrap()
}

fn candidate(listed: bool) -> Candidate {
    let catalog = crate::domain::catalog::Catalog::built_in().unwrap();
    let model = catalog.models().find(|model| &*model.id == "openai/gpt-5.4-mini").unwrap().clone();
    let id: Arc<str> = if listed { model.id.clone() } else { "openai/a-name-of-the-client's".into() };
    Candidate {
        provider: openai(),
        model: listed.then_some(model),
        name: id.clone(),
        upstream: id.clone(),
        id,
        byok_only: !listed,
    }
}

/// A registry in which every family has a series.
fn filled() -> Metrics {
    let metrics = Metrics::default();
    let id: Arc<str> = "openai/gpt-5.4-mini".into();
    let host = || Host { provider: openai(), model: Some(&id), credential: CredentialKind::Platform };
    metrics.attempt(&candidate(true), CredentialKind::Platform).ended(None);
    let usage = Usage { input: 12, output: 6, reasoning: 2, ..Usage::default() };
    let charge = NanoUsd(37_800);
    metrics.consumed(
        &host(),
        &Bill { usage, priced: None, charge, posted: None, margin_bps: Bps(500), savings: NanoUsd::ZERO },
    );
    metrics.ended(&Ended {
        kind: Kind::Embeddings,
        ending: RequestOutcome::Completed,
        duration: Duration::from_millis(40),
        ttft: Some(Duration::from_millis(20)),
        credential: Some(CredentialKind::Platform),
        host: Some(host()),
    });
    metrics.shed(NotAdmitted::Share);
    metrics.scraped.fill();
    metrics
}

#[test]
fn every_metric_has_help_a_unit_in_its_name_and_a_series() {
    let text = filled().exposition();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let declared = |kind: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("# {kind} ")));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(declared("HELP"), declared("TYPE"));
    for line in text.lines().filter_map(|line| line.strip_prefix("# UNIT ")) {
        let (name, unit) = line.split_once(' ').unwrap();
        assert!(name.ends_with(&format!("_{unit}")), "{line}");
    }
    for name in declared("TYPE") {
        let has_series = text.lines().any(|line| !line.starts_with('#') && line.starts_with(&name));
        assert!(has_series, "{name} has no series");
    }
}

#[test]
fn an_ended_request_counts_in_its_own_buckets() {
    let text = filled().exposition();
    for line in [
        r#"kairosroute_requests_total{kind="embeddings",status="completed",key="platform"} 1"#,
        r#"kairosroute_request_duration_seconds_bucket{le="0.05",kind="embeddings",status="completed"} 1"#,
        r#"kairosroute_request_duration_seconds_bucket{le="0.025",kind="embeddings",status="completed"} 0"#,
        r#"kairosroute_tokens_total{provider="openai",model="openai/gpt-5.4-mini",bucket="output"} 6"#,
        r#"kairosroute_charged_nano_usd_total{provider="openai",model="openai/gpt-5.4-mini",credential="platform"} 37800"#,
        r#"kairosroute_requests_shed_total{reason="share"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
    }
    assert!(!text.contains(r#"bucket="reasoning""#), "reasoning is part of the output");
}

#[test]
fn attempts_count_their_outcome_and_unlisted_names_share_one_label() {
    let metrics = Metrics::default();
    metrics.attempt(&candidate(true), CredentialKind::Platform).ended(Some(ErrorClass::Rate));
    metrics.attempt(&candidate(false), CredentialKind::Byok).ended(None);
    drop(metrics.attempt(&candidate(false), CredentialKind::Byok));
    let text = metrics.exposition();
    for labels in [
        r#"model="openai/gpt-5.4-mini",credential="platform",class="rate_limit"} 1"#,
        r#"model="other",credential="byok",class="ok"} 1"#,
        r#"model="other",credential="byok",class="abandoned"} 1"#,
    ] {
        assert!(text.contains(labels), "{labels} is not in:\n{text}");
    }
    assert!(!text.contains("a-name-of-the-client's"));
}

/// Every word that begins like a metric of this program.
fn named_in(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("kairosroute_")).collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_exist() {
    let text = filled().exposition();
    let exist: BTreeSet<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    for file in ["deploy/prometheus/alerts.yaml", "deploy/grafana/kairosroute.json"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let named = named_in(&text);
        assert!(named.len() > 5, "{file} names hardly anything: {named:?}");
        let unknown: Vec<_> = named.difference(&exist).collect();
        assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
    }
}
