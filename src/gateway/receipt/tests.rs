//! A receipt stays small and states how its figures are derived from each other.

use super::*;
use crate::{
    domain::{catalog::Unit, money::NanoPerMillion},
    store::receipts::Summary,
};
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
    let RecordedReceipt { text, summary } = write(&story);
    assert_eq!(summary, Some(Box::new(Summary::read(&text))));
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
    assert!(!write(&short).text.contains("truncated"));
}

#[test]
fn the_columns_beside_a_receipt_say_what_is_read_from_it() {
    let model: Arc<str> = "openai/m \"é\"".into();
    let attempt = |provider: &'static str, error: Option<&str>| Attempt {
        provider,
        model_id: model.clone(),
        turn: 0,
        credential: CredentialKind::Platform,
        credential_id: None,
        status: None,
        error: error.map(str::to_owned),
        started_ms: 0,
        latency_ms: 1,
    };
    let served = ServedBy {
        provider: "OpenAI",
        model_id: model.clone(),
        model_name: model.clone(),
        credential: CredentialKind::Platform,
        by_byok_api_key: false,
    };
    let bill = Bill {
        usage: Usage::default(),
        priced: None,
        charge: NanoUsd(7),
        posted: None,
        margin_bps: Bps(0),
        savings: NanoUsd::ZERO,
    };
    let calls = [
        vec![],
        vec![attempt("OpenAI", None)],
        vec![attempt("Mistral", Some("overload: away")), attempt("no such name", Some("no class"))],
    ];
    for (ending, attempts, served, reason) in [
        (RequestOutcome::Completed, &calls[1], Some(&served), None),
        (RequestOutcome::Aborted, &calls[2], Some(&served), Some("rate")),
        (RequestOutcome::Failed, &calls[2], None, None),
        (RequestOutcome::Failed, &calls[1], None, None),
        (RequestOutcome::Failed, &calls[0], None, None),
    ] {
        let story = ReceiptInput {
            request_id: RequestId(Uuid::nil()),
            kind: "chat",
            requested: "a \"name\"\n",
            considered: &[],
            strategy: "list",
            judged: None,
            fallback_chain: &[],
            attempts,
            served,
            cached: None,
            fallback_reason: reason,
            dropped: &[],
            bill: served.map(|_| &bill),
            usage_flag: None,
            earlier: &[],
            price_version: "v",
            stream: false,
            ending,
            error: None,
            latency_ms: 12,
            ttft_ms: None,
            held_ms: None,
            settled_ms: None,
            started_at: time::OffsetDateTime::UNIX_EPOCH,
        };
        let RecordedReceipt { text, summary } = write(&story);
        assert_eq!(summary, Some(Box::new(Summary::read(&text))), "{text}");
    }
}

#[test]
fn the_member_of_an_answer_is_json_of_its_amounts() {
    let served = ServedBy {
        provider: "OpenAI",
        model_id: "m".into(),
        model_name: "m".into(),
        credential: CredentialKind::Platform,
        by_byok_api_key: false,
    };
    let total = |cost| Total {
        usage: Usage::default(),
        charge: NanoUsd(1_050),
        cost,
        margin: NanoUsd(50),
        savings: NanoUsd(-2_000_000_000),
        byok: false,
    };
    let id = RequestId(Uuid::nil());
    let receipt = id.receipt();
    assert_eq!(
        note(id, "a\"\u{1}é", &served, &total(Some(NanoUsd(1_000)))),
        format!(
            r#"{{"provider":"OpenAI","cost_usd":0.00000105,"savings_usd":-2,"routed_from":"a\"\u0001é","byok":false,"receipt_id":"{receipt}","charged_usd":0.00000105,"provider_cost_usd":0.000001,"margin_usd":0.00000005}}"#
        )
    );
    let unpriced = note(id, "m", &served, &total(None));
    assert!(unpriced.contains(r#""provider_cost_usd":null,"margin_usd":"#), "{unpriced}");
}

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
