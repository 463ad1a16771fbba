//! Usage rows and receipts: what each request consumed and what the gateway decided, BYOK included. Rows
//! are written once and never changed; the time of a row is the time in its request id, so that every
//! report's range and every grouping by day read one clock. Sums of them are `store::rollups`'.

use super::{OrgScope, SessionSettings, StoreError, receipts::Summary};
use crate::domain::{
    ids::{ApiKeyId, RequestId},
    money::NanoUsd,
    usage::Usage,
};
use sqlx::{Connection, PgConnection};
use std::{borrow::Cow, sync::Arc};
use time::OffsetDateTime;
use uuid::Uuid;

/// Of a connection that writes records alone. What a crash of the server can take of them, the last half second, a crash
/// of this process takes as well; money waits for its own commits. Charges without a record get one afterwards.
pub const UNSYNCED: SessionSettings = SessionSettings {
    session: "SET synchronous_commit = off",
    transaction: "SET LOCAL synchronous_commit = off",
};

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsageStatus {
    Completed,
    /// The client left or the stream broke after the commit point.
    Aborted,
    Failed,
}

impl UsageStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            UsageStatus::Completed => "completed",
            UsageStatus::Aborted => "aborted",
            UsageStatus::Failed => "failed",
        }
    }
}

/// What one turn of a request consumed.
#[derive(Clone, Debug)]
pub struct UsageRow {
    pub turn: i16,
    /// The endpoint that was asked: `chat`, `embeddings`, `images` and so on, the words of the table's check.
    pub kind: Cow<'static, str>,
    pub provider: Cow<'static, str>,
    /// Canonical id, or the name as it was sent for an unlisted model.
    pub model: Arc<str>,
    /// Served by the customer's own key.
    pub byok: bool,
    /// What `auto` took the prompt for.
    pub category: Option<&'static str>,
    pub status: UsageStatus,
    pub usage: Usage,
    /// The provider's cost; `None` without a known price (own keys only).
    pub cost: Option<NanoUsd>,
    pub charge: NanoUsd,
    pub latency_ms: i32,
    pub ttft_ms: Option<i32>,
    /// What is unusual about the figures: `expired`, `above_bound`, `undelivered`.
    pub flag: Option<&'static str>,
    /// Of an answer from the response cache: what it would have cost.
    pub cache_saved: Option<NanoUsd>,
}

/// A receipt as it is kept.
#[derive(Clone, Debug)]
pub struct RecordedReceipt {
    /// JSON.
    pub text: String,
    /// What stands in columns of its own; `None`: it is read from the text.
    pub summary: Option<Box<Summary>>,
}

impl From<String> for RecordedReceipt {
    fn from(text: String) -> Self {
        Self { text, summary: None }
    }
}

/// Everything that is kept of one request.
#[derive(Clone, Debug)]
pub struct Record {
    pub scope: OrgScope,
    pub request_id: RequestId,
    pub api_key_id: ApiKeyId,
    /// `None` when no provider answered.
    pub usage: Option<UsageRow>,
    /// `None` for a turn that others follow.
    pub receipt: Option<RecordedReceipt>,
    /// It replaces what was written while this process was taken for gone.
    pub replaces: bool,
}

/// Writes records; those that replace what another process wrote in their place, in one transaction with its removal.
pub async fn write(
    connection: &mut PgConnection,
    records: &[Record],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let replacing: Vec<&Record> = records.iter().filter(|record| record.replaces).collect();
    if replacing.is_empty() {
        return insert(connection, records, now).await;
    }
    let mut transaction = connection.begin().await?;
    sqlx::query!(
        "WITH expired AS (
             DELETE FROM usage u USING unnest($1::uuid[], $2::uuid[], $3::smallint[]) AS r (org_id, id, turn)
             WHERE u.org_id = r.org_id AND u.request_id = r.id AND u.turn = r.turn AND u.flag = 'expired'
         )
         DELETE FROM receipt t USING unnest($1::uuid[], $4::uuid[]) AS r (org_id, id)
         WHERE t.org_id = r.org_id AND t.id = r.id",
        &replacing.iter().map(|r| r.scope.uuid()).collect::<Vec<Uuid>>(),
        &replacing.iter().map(|r| r.request_id.0).collect::<Vec<Uuid>>(),
        &replacing.iter().map(|r| r.usage.as_ref().map_or(0, |usage| usage.turn)).collect::<Vec<i16>>(),
        &replacing.iter().map(|r| r.request_id.receipt().0).collect::<Vec<Uuid>>(),
    )
    .execute(&mut *transaction)
    .await?;
    insert(&mut transaction, records, now).await?;
    Ok(transaction.commit().await?)
}

fn texts<'s>(summaries: &'s [Cow<'_, Summary>], pick: fn(&Summary) -> Option<&str>) -> Vec<Option<&'s str>> {
    summaries.iter().map(|summary| pick(summary)).collect()
}

/// The most of anything that one row counts: no sum over rows overflows then.
const COUNT_MAX: i64 = 1_000_000_000_000;

/// Writes records, receipt and usage row together. A record that is there already is left as it is, so a
/// batch whose outcome is unknown may simply be written again.
pub async fn insert(
    connection: &mut PgConnection,
    records: &[Record],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let rows: Vec<(&Record, &UsageRow)> =
        records.iter().filter_map(|record| record.usage.as_ref().map(|usage| (record, usage))).collect();
    let column = |pick: fn(&UsageRow) -> u64| -> Vec<i64> {
        rows.iter()
            .map(|(_, row)| i64::try_from(pick(row)).map_or(COUNT_MAX, |count| count.min(COUNT_MAX)))
            .collect()
    };
    let recorded: Vec<(&Record, &RecordedReceipt)> = records
        .iter()
        .filter_map(|record| record.receipt.as_ref().map(|receipt| (record, receipt)))
        .collect();
    let receipts: Vec<&str> = recorded.iter().map(|(_, receipt)| receipt.text.as_str()).collect();
    let summaries: Vec<Cow<'_, Summary>> = recorded
        .iter()
        .map(|(record, receipt)| match &receipt.summary {
            Some(summary) => Cow::Borrowed(&**summary),
            None => {
                let summary = Summary::read(&receipt.text);
                let kind = || record.usage.as_ref().map(|usage| usage.kind.clone());
                Cow::Owned(Summary { kind: summary.kind.or_else(kind), ..summary })
            }
        })
        .collect();
    let providers: Vec<&str> = rows.iter().map(|(_, row)| row.provider.as_ref()).collect();
    let kinds: Vec<&str> = rows.iter().map(|(_, row)| row.kind.as_ref()).collect();
    let models: Vec<&str> = rows.iter().map(|(_, row)| row.model.as_ref()).collect();
    let categories: Vec<Option<&str>> = rows.iter().map(|(_, row)| row.category).collect();
    let statuses: Vec<&str> = rows.iter().map(|(_, row)| row.status.as_str()).collect();
    let bases: Vec<&str> = rows.iter().map(|(_, row)| row.usage.basis.as_str()).collect();
    let costs: Vec<Option<i64>> = rows.iter().map(|(_, row)| row.cost.map(|cost| cost.0)).collect();
    let ttfts: Vec<Option<i32>> = rows.iter().map(|(_, row)| row.ttft_ms).collect();
    sqlx::query!(
        "WITH rows AS (
             INSERT INTO usage (org_id, request_id, turn, api_key_id, provider, model, byok, category, status,
                                basis, input_tokens, cache_read_tokens, cache_write_tokens,
                                cache_write_1h_tokens, output_tokens, reasoning_tokens, cost, charge,
                                latency_ms, ttft_ms, created_at, kind, audio_input_tokens,
                                image_input_tokens, audio_output_tokens, image_output_tokens, images,
                                input_images, characters, audio_ms, searches, queries, pages, flag, cache_saved,
                                stated)
             SELECT u.* FROM unnest(
                 $1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::text[], $6::text[], $7::boolean[],
                 $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::bigint[],
                 $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::integer[],
                 $20::integer[], $21::timestamptz[], $27::text[], $28::bigint[], $29::bigint[], $30::bigint[],
                 $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[], $35::bigint[], $36::bigint[],
                 $37::bigint[], $38::bigint[], $39::text[], $40::bigint[], $41::bigint[]) u
             ON CONFLICT DO NOTHING
         )
         INSERT INTO receipt (org_id, id, api_key_id, document, created_at, refused, requested, model, provider, kind,
                              byok, status, error_class, fallback_reason, charge, cost, latency_ms, attempts)
         SELECT r.org_id, r.id, r.api_key_id, r.document::json, r.created_at,
                -- No provider was called and nothing was answered. Inside a text both would be escaped.
                position('\"attempts\":[]' in r.document) > 0
                    AND position('\"status\":\"failed\"' in r.document) > 0,
                r.requested, r.model, r.provider, r.kind, r.byok, r.status, r.error_class, r.fallback_reason, r.charge,
                r.cost, r.latency_ms, r.attempts
         FROM unnest($22::uuid[], $23::uuid[], $24::uuid[], $25::text[], $26::timestamptz[], $42::text[], $43::text[],
                     $44::text[], $45::text[], $46::boolean[], $47::text[], $48::text[], $49::text[], $50::bigint[],
                     $51::bigint[], $52::bigint[], $53::smallint[])
             AS r (org_id, id, api_key_id, document, created_at, requested, model, provider, kind, byok, status,
                   error_class, fallback_reason, charge, cost, latency_ms, attempts)
         ON CONFLICT DO NOTHING",
        &rows.iter().map(|(r, _)| r.scope.uuid()).collect::<Vec<Uuid>>(),
        &rows.iter().map(|(r, _)| r.request_id.0).collect::<Vec<Uuid>>(),
        &rows.iter().map(|(_, u)| u.turn).collect::<Vec<i16>>(),
        &rows.iter().map(|(r, _)| r.api_key_id.0).collect::<Vec<Uuid>>(),
        &providers as &[&str],
        &models as &[&str],
        &rows.iter().map(|(_, u)| u.byok).collect::<Vec<bool>>(),
        &categories as &[Option<&str>],
        &statuses as &[&str],
        &bases as &[&str],
        &column(|u| u.usage.input),
        &column(|u| u.usage.cache_read),
        &column(|u| u.usage.cache_write),
        &column(|u| u.usage.cache_write_1h),
        &column(|u| u.usage.output),
        &column(|u| u.usage.reasoning),
        &costs as &[Option<i64>],
        &rows.iter().map(|(_, u)| u.charge.0).collect::<Vec<i64>>(),
        &rows.iter().map(|(_, u)| u.latency_ms).collect::<Vec<i32>>(),
        &ttfts as &[Option<i32>],
        &rows.iter().map(|(r, _)| time_of(r.request_id.0, now)).collect::<Vec<OffsetDateTime>>(),
        &recorded.iter().map(|(r, _)| r.scope.uuid()).collect::<Vec<Uuid>>(),
        &recorded.iter().map(|(r, _)| r.request_id.receipt().0).collect::<Vec<Uuid>>(),
        &recorded.iter().map(|(r, _)| r.api_key_id.0).collect::<Vec<Uuid>>(),
        &receipts as &[&str],
        &recorded.iter().map(|(r, _)| time_of(r.request_id.0, now)).collect::<Vec<OffsetDateTime>>(),
        &kinds as &[&str],
        &column(|u| u.usage.audio_input),
        &column(|u| u.usage.image_input),
        &column(|u| u.usage.audio_output),
        &column(|u| u.usage.image_output),
        &column(|u| u.usage.images),
        &column(|u| u.usage.input_images),
        &column(|u| u.usage.characters),
        &column(|u| u.usage.audio_ms),
        &column(|u| u.usage.searches),
        &column(|u| u.usage.queries),
        &column(|u| u.usage.pages),
        &rows.iter().map(|(_, u)| u.flag).collect::<Vec<Option<&str>>>() as &[Option<&str>],
        &rows.iter().map(|(_, u)| u.cache_saved.map(|saved| saved.0)).collect::<Vec<Option<i64>>>()
            as &[Option<i64>],
        &column(|u| u.usage.stated),
        &texts(&summaries, |summary| summary.requested.as_deref()) as &[Option<&str>],
        &texts(&summaries, |summary| summary.model.as_deref()) as &[Option<&str>],
        &texts(&summaries, |summary| summary.provider.as_deref()) as &[Option<&str>],
        &texts(&summaries, |summary| summary.kind.as_deref()) as &[Option<&str>],
        &summaries.iter().map(|summary| summary.byok).collect::<Vec<Option<bool>>>() as &[Option<bool>],
        &texts(&summaries, |summary| Some(&summary.status)) as &[Option<&str>],
        &texts(&summaries, |summary| summary.error_class.as_deref()) as &[Option<&str>],
        &texts(&summaries, |summary| summary.fallback_reason.as_deref()) as &[Option<&str>],
        &summaries.iter().map(|summary| summary.charge).collect::<Vec<i64>>(),
        &summaries.iter().map(|summary| summary.cost).collect::<Vec<Option<i64>>>() as &[Option<i64>],
        &summaries.iter().map(|summary| summary.latency_ms).collect::<Vec<i64>>(),
        &summaries.iter().map(|summary| summary.attempts).collect::<Vec<i16>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The smallest uuid v7 of a moment: ids made from then on are not less.
pub fn first_id_at(moment: OffsetDateTime) -> Uuid {
    let millis = u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

/// The time in a uuid v7; `fallback` for an id of another kind.
fn time_of(id: Uuid, fallback: OffsetDateTime) -> OffsetDateTime {
    id.get_timestamp()
        .and_then(|stamp| {
            let (seconds, nanos) = stamp.to_unix();
            let start = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
            start.checked_add(time::Duration::nanoseconds(i64::from(nanos)))
        })
        .unwrap_or(fallback)
}

pub use super::rollups::{GroupBy, UsageSum};
