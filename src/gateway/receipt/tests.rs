//! A receipt stays small and states how its figures are derived from each other.

use super::*;
use uuid::Uuid;

#[test]
fn a_receipt_stays_small_whatever_clients_and_providers_write() {
    let huge = "\u{1}é".repeat(8_000_000);
    let id: Arc<str> = huge.as_str().into();
    let line = CandidateTrace {
        model_id: id.clone(),
        provider: None,
        score: None,
        est_cost_usd: None,
        reasons: Vec::new(),
        filtered_out_by: Some("unknown_model"),
    };
    let attempt = Attempt {
        provider: "p",
        model_id: id.clone(),
        turn: 0,
        credential: CredentialKind::Byok,
        credential_id: None,
        status: Some(500),
        error: Some(huge.clone()),
        started_ms: 0,
        latency_ms: 1,
    };
    let served = ServedBy {
        provider: "p",
        model_id: id.clone(),
        model_name: id.clone(),
        credential: CredentialKind::Byok,
        by_byok_api_key: false,
    };
    let (charge, savings) = (NanoUsd::ZERO, NanoUsd::ZERO);
    let bill =
        Bill { usage: Usage::default(), priced: None, charge, posted: None, margin_bps: Bps(0), savings };
    let done = CompletedTurn { served: served.clone(), bill: bill.clone() };
    let story = ReceiptInput {
        request_id: RequestId(Uuid::nil()),
        kind: "chat",
        requested: &huge,
        considered: &vec![line; 5_000],
        strategy: "list",
        judged: None,
        fallback_chain: &vec![id; 5_000],
        attempts: &vec![attempt; 50],
        served: Some(&served),
        cached: None,
        fallback_reason: None,
        dropped: &vec!["é".repeat(300); 100_000],
        bill: Some(&bill),
        usage_flag: None,
        earlier: &vec![done; 500],
        price_version: "v",
        stream: false,
        ending: RequestOutcome::Completed,
        error: Some(&huge),
        latency_ms: 1,
        ttft_ms: None,
        held_ms: None,
        settled_ms: None,
        started_at: time::OffsetDateTime::UNIX_EPOCH,
    };
    let text = write(&story);
    assert!(text.len() <= RECEIPT_BYTES_MAX, "{}", text.len());
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["truncated"], true);
    let requested = document["decision"]["requested"].as_str().unwrap();
    assert!(requested.chars().count() == TEXT_CHARS_MAX && huge.starts_with(requested));
    let short = ReceiptInput {
        requested: "m",
        considered: &[],
        fallback_chain: &[],
        attempts: &[],
        served: None,
        dropped: &[],
        bill: None,
        earlier: &[],
        error: None,
        ..story
    };
    assert!(!write(&short).contains("truncated"));
}
use crate::domain::{catalog::Unit, money::NanoPerMillion};

#[test]
fn the_arithmetic_names_units_only_where_there_are_any() {
    let tokens = PriceLine { bucket: "input", quantity: 1, price: LinePrice::Tokens(NanoPerMillion(1)) };
    let pages = PriceLine { bucket: "pages", quantity: 1, price: LinePrice::Unit(Unit::Page, NanoUsd(1)) };
    for own in [true, false] {
        assert!(!arithmetic(&[tokens], own).contains("usd_per_unit"));
        assert!(arithmetic(&[tokens, pages], own).contains("quantity * usd_per_unit / quantity_per_unit"));
        for lines in [&[tokens][..], &[tokens, pages]] {
            assert_eq!(arithmetic(lines, own).contains("(10000 + margin_bps)"), !own);
        }
    }
}
