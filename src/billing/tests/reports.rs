//! What customers read back: exact, only their own, and within bounds.

use super::*;
use crate::{
    billing::{
        ledger::Settle,
        record::{Record, RecordLimits, Recorder, UsageRow, UsageStatus},
        report::{self, Range, RangeError},
    },
    domain::{
        ids::ReceiptId,
        usage::{Basis, Usage},
    },
    store::{receipts, usage::GroupBy},
};
use time::macros::datetime;

pub(super) fn usage_row(model: &str, number: i64) -> UsageRow {
    UsageRow {
        turn: 0,
        kind: "chat".into(),
        provider: "openai".into(),
        model: Arc::from(model),
        byok: number % 2 == 1,
        category: None,
        status: UsageStatus::Completed,
        usage: Usage { input: 10, output: 5, cache_write_1h: 2, basis: Basis::Counted, ..Usage::default() },
        cost: Some(NanoUsd(100)),
        charge: NanoUsd(if number % 2 == 1 { 0 } else { 105 }),
        latency_ms: 12,
        ttft_ms: None,
        flag: None,
        cache_saved: None,
    }
}

/// A different number in every bucket beside the text's.
fn of_every_kind(usage: Usage) -> Usage {
    Usage {
        audio_input: 1,
        image_input: 2,
        audio_output: 3,
        image_output: 4,
        images: 5,
        input_images: 6,
        characters: 7,
        audio_ms: 8,
        searches: 9,
        queries: 10,
        pages: 11,
        ..usage
    }
}

async fn record(
    test: &TestDb,
    recorder: &Recorder,
    scope: OrgScope,
    key: ApiKeyId,
    row: UsageRow,
) -> RequestId {
    let request_id = RequestId(test.ambient.uuid());
    let receipt = format!(r#"{{"receipt_id": "{}"}}"#, request_id.receipt());
    let record = Record {
        scope,
        request_id,
        api_key_id: key,
        usage: Some(row),
        receipt: Some(receipt.into()),
        replaces: false,
    };
    recorder.record(record.clone());
    // A repeat changes nothing.
    recorder.record(record);
    request_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_sums_by_each_grouping_within_one_organization() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(0).await, test.organization(0).await);
    let recorder = Recorder::start(&test.db, test.ambient.clone(), RecordLimits::default());
    let key = ApiKeyId(test.ambient.uuid());
    for number in 0..6 {
        let model = if number < 2 { "=a,\"b\"" } else { "gpt-4o" };
        let mut row = usage_row(model, number);
        if number < 2 {
            (row.kind, row.usage) = ("images".into(), of_every_kind(row.usage));
        }
        record(&test, &recorder, scope, key, row).await;
    }
    record(&test, &recorder, other, key, usage_row("gpt-4o", 0)).await;
    recorder.flush().await;
    let mut connection = test.db.acquire().await.unwrap();
    let range = Range::parse(None, None, test.ambient.now()).unwrap();
    // Day, hour, month, model, provider, key, member, byok, category, kind, status.
    for (group, groups) in GroupBy::ALL.into_iter().zip([1, 1, 1, 2, 1, 1, 1, 2, 1, 2, 1]) {
        let report = report::usage(&mut connection, scope, range, group).await.unwrap();
        // The six may have come on both sides of midnight.
        assert!(report.rows.len() == groups || group.is_time(), "{group:?}");
        assert_eq!((report.total.requests, report.total.charged_usd.0), (6, 3 * 105));
        assert_eq!(report.rows.iter().map(|row| row.requests).sum::<i64>(), 6);
        assert_eq!(report.rows.iter().map(|row| row.charged_usd.0).sum::<i64>(), 3 * 105);
        assert_eq!(report.rows.iter().map(|row| row.cache_write1h_tokens).sum::<i64>(), 12);
    }
    let by_model = report::usage(&mut connection, scope, range, GroupBy::Model).await.unwrap();
    let csv = by_model.to_csv();
    assert!(
        csv.contains(
            "\r\n\"'=a,\"\"b\"\"\",2,20,0,0,4,10,0,0.0000002,0.000000105,2,4,6,8,10,12,14,16,18,20,22\r\n"
        ),
        "{csv}"
    );
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').skip(10).collect();
    assert_eq!(
        header.join(","),
        "audioInputTokens,imageInputTokens,audioOutputTokens,imageOutputTokens,images,inputImages,characters,audioMs,searches,queries,pages"
    );
    let json = serde_json::to_value(&by_model).unwrap();
    for (place, column) in header.iter().enumerate() {
        assert_eq!(json["rows"][0][*column], 2 * (place + 1), "{column}");
        assert_eq!(json["rows"][1][*column], 0, "{column}");
    }
    let by_kind = report::usage(&mut connection, scope, range, GroupBy::Kind).await.unwrap();
    let kinds: Vec<(&str, i64)> = by_kind.rows.iter().map(|row| (row.key.as_str(), row.requests)).collect();
    assert_eq!(kinds, [("chat", 4), ("images", 2)]);
    assert_eq!(json["groupBy"], "model");
    assert_eq!(json["rows"][1]["chargedUsd"], "0.00000021");
    assert_eq!(json["rows"][1]["cacheWrite1hTokens"], 8);
    let past = Range::parse(Some("2026-01-01"), Some("2026-02-01"), test.ambient.now()).unwrap();
    assert!(report::usage(&mut connection, scope, past, GroupBy::Day).await.unwrap().rows.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_of_what_is_not_charged_are_kept_up_to_a_number_a_day() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(0).await, test.organization(0).await);
    let limits = RecordLimits { free_receipts_per_day_max: 6, ..RecordLimits::default() };
    let recorder = Recorder::start(&test.db, test.ambient.clone(), limits);
    let key = ApiKeyId(test.ambient.uuid());
    let free = || UsageRow { charge: NanoUsd::ZERO, ..usage_row("m", 1) };
    let charged = || UsageRow { charge: NanoUsd(105), ..usage_row("m", 0) };
    // Each is recorded twice.
    for _ in 0..5 {
        record(&test, &recorder, scope, key, free()).await;
        record(&test, &recorder, scope, key, charged()).await;
    }
    record(&test, &recorder, other, key, free()).await;
    recorder.flush().await;
    assert_eq!(test.number("SELECT count(*) FROM usage").await, 11);
    assert_eq!(test.number("SELECT count(*) FROM receipt").await, 3 + 5 + 1);
    assert_eq!((recorder.state().shed, recorder.state().bytes), (4, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_has_a_kind_of_its_own_and_no_other_word_is_kept() {
    let test = TestDb::create().await;
    let scope = test.organization(0).await;
    let recorder = Recorder::start(&test.db, test.ambient.clone(), RecordLimits::default());
    let key = ApiKeyId(test.ambient.uuid());
    let kinds = [
        "chat",
        "completions",
        "embeddings",
        "images",
        "messages",
        "moderation",
        "ocr",
        "rerank",
        "responses",
        "speech",
        "transcription",
        "translation",
    ];
    for kind in kinds.into_iter().chain(["telepathy"]) {
        record(&test, &recorder, scope, key, UsageRow { kind: kind.into(), ..usage_row("m", 0) }).await;
    }
    recorder.flush().await;
    let mut connection = test.db.acquire().await.unwrap();
    let range = Range::parse(None, None, test.ambient.now()).unwrap();
    let report = report::usage(&mut connection, scope, range, GroupBy::Kind).await.unwrap();
    assert_eq!(report.rows.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), kinds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_read_by_its_own_organization_and_key_alone() {
    let test = TestDb::create().await;
    let (scope, other) = (test.organization(0).await, test.organization(0).await);
    let recorder = Recorder::start(&test.db, test.ambient.clone(), RecordLimits::default());
    let (key, another) = (ApiKeyId(test.ambient.uuid()), ApiKeyId(test.ambient.uuid()));
    let id: ReceiptId = record(&test, &recorder, scope, key, usage_row("m", 0)).await.receipt();
    recorder.flush().await;
    let mut connection = test.db.acquire().await.unwrap();
    let document = receipts::get(&mut connection, scope, Some(key), id).await.unwrap();
    assert_eq!(document, Some(format!(r#"{{"receipt_id": "{id}"}}"#)));
    assert!(receipts::get(&mut connection, scope, None, id).await.unwrap().is_some());
    assert_eq!(receipts::get(&mut connection, scope, Some(another), id).await.unwrap(), None);
    assert_eq!(receipts::get(&mut connection, other, None, id).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_pages_newest_first_without_gap_or_repeat() {
    let test = TestDb::create().await;
    let scope = test.organization(1_000_000).await;
    let ledger = start(&test, &test.db).await;
    for _ in 0..5 {
        let request = fixed(&test, scope, 1_000);
        ledger.hold(request.clone()).await.unwrap();
        ledger.settle(Settle::charge(scope, request.id, bill(100), entry(&test))).await.unwrap();
    }
    let mut connection = test.db.acquire().await.unwrap();
    let range = Range::parse(None, None, test.ambient.now()).unwrap();
    let (mut before, mut seen) = (None, Vec::new());
    loop {
        let page = report::entries(&mut connection, scope, range, before, 2).await.unwrap();
        seen.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 6);
    assert!(seen.is_sorted_by(|newer, older| newer.id > older.id));
    assert_eq!(seen.iter().map(|entry| entry.amount_usd.0).sum::<i64>(), balance(&test, scope).await.0);
    let other = test.organization(0).await;
    assert!(report::entries(&mut connection, other, range, None, 2).await.unwrap().entries.is_empty());
}

#[test]
fn ranges_take_dates_and_times_and_are_bounded() {
    let now = datetime!(2026-11-20 12:00 UTC);
    let day = Range::parse(Some("2026-11-01"), Some("2026-11-01"), now).unwrap();
    let same = Range::parse(Some("2026-11-01T00:00:00Z"), Some("2026-11-02T01:00:00+01:00"), now).unwrap();
    assert_eq!(day, same, "a date as `to` includes its day");
    assert_eq!(Range::parse(Some("yesterday"), None, now), Err(RangeError::Syntax("from")));
    assert_eq!(Range::parse(None, Some("2026-13-01"), now), Err(RangeError::Syntax("to")));
    assert_eq!(Range::parse(Some("2026-11-02"), Some("2026-11-01"), now), Err(RangeError::Order));
    assert_eq!(Range::parse(Some("2020-01-01"), None, now), Err(RangeError::Order));
}
