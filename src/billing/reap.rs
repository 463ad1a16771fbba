//! Ends what nobody will end: holds of processes that are gone, and of this process those that no request of it has. Each
//! is charged at its last checkpoint and gets its usage row and receipt in the same transaction, the caller's. A settle that comes
//! later posts the difference and replaces them.

use super::record::{Record, UsageRow, UsageStatus};
use crate::{
    domain::{
        ambient::Ambient,
        ids::{HoldId, InstanceId},
        money::NanoUsd,
        usage::{Basis, Usage},
    },
    store::{
        StoreError,
        instances::{self, Reaped},
        usage,
    },
};
use serde_json::json;
use sqlx::PgConnection;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use uuid::Uuid;

/// In the receipt of a hold that expired.
const EXPIRED: &str = "the process that served this request ended: charged as of its last checkpoint";
/// In the receipt of an ended request whose own receipt was lost.
const UNRECORDED: &str =
    "the process that served this request ended: its record is lost, and what it was charged stands";
/// How long before the end of its process a charge without a record can have been made.
const UNRECORDED_FOR: Duration = Duration::from_secs(2 * 3_600);

/// Expires up to `limit` holds of processes that are gone; fewer than `limit` means that none is left that can be.
pub async fn reap_once(
    connection: &mut PgConnection,
    ambient: &Ambient,
    limit: usize,
) -> Result<Vec<Reaped>, StoreError> {
    expire(connection, ambient, None, limit).await
}

/// Expires open holds of this process that no request of it has.
pub async fn end_unknown(
    connection: &mut PgConnection,
    ambient: &Ambient,
    holds: &[HoldId],
) -> Result<Vec<Reaped>, StoreError> {
    let ids: Vec<Uuid> = holds.iter().map(|hold| hold.0).collect();
    expire(connection, ambient, Some(&ids), ids.len()).await
}

async fn expire(
    connection: &mut PgConnection,
    ambient: &Ambient,
    only: Option<&[Uuid]>,
    limit: usize,
) -> Result<Vec<Reaped>, StoreError> {
    let entry_ids: Vec<Uuid> = (0..limit).map(|_| ambient.uuid()).collect();
    let now = ambient.now();
    let reaped = instances::expire(connection, only, &entry_ids, now).await?;
    if !reaped.is_empty() {
        usage::insert(connection, &reaped.iter().map(record).collect::<Vec<_>>(), now).await?;
    }
    for hold in &reaped {
        tracing::warn!(
            org.id = %hold.scope.org_id(), hold.id = %hold.hold, hold.charge = %hold.charge,
            "a hold that nobody had expired"
        );
    }
    Ok(reaped)
}

/// Makes up for records that a gone process had not written: a step for one process, up to `limit` of them. Returns
/// that process, or `None` when nothing is left to do.
pub async fn make_up_records(
    connection: &mut PgConnection,
    ambient: &Ambient,
    limit: i64,
) -> Result<Option<InstanceId>, StoreError> {
    let Some((instance, ended)) = instances::find_unreconciled(connection).await? else { return Ok(None) };
    let from = usage::first_id_at(ended - UNRECORDED_FOR);
    let missing = instances::list_unrecorded(connection, instance, from, limit).await?;
    let records: Vec<Record> = missing.iter().map(record).collect();
    usage::insert(connection, &records, ambient.now()).await?;
    if i64::try_from(missing.len()).is_ok_and(|count| count < limit) {
        instances::note_reconciled(connection, instance).await?;
    }
    Ok(Some(instance))
}

fn record(hold: &Reaped) -> Record {
    let count = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
    let tokens = Usage {
        input: count(hold.input_tokens),
        output: count(hold.output_tokens),
        basis: Basis::Estimated,
        ..Usage::default()
    };
    let begun = hold.charge > NanoUsd::ZERO;
    let status = match (begun, hold.had_ended) {
        (true, true) => UsageStatus::Completed,
        (true, false) => UsageStatus::Aborted,
        (false, _) => UsageStatus::Failed,
    };
    Record {
        scope: hold.scope,
        request_id: hold.request_id,
        api_key_id: hold.api_key_id,
        // As of any request that nobody answered.
        usage: (begun || !hold.had_ended).then(|| UsageRow {
            turn: hold.turn,
            kind: hold.kind.clone().into(),
            provider: hold.provider.clone().into(),
            model: Arc::from(hold.model.as_str()),
            byok: false,
            category: None,
            status,
            usage: tokens,
            cost: Some(hold.cost),
            charge: hold.charge,
            latency_ms: 0,
            ttft_ms: None,
            flag: Some("expired"),
            cache_saved: None,
        }),
        receipt: Some(receipt(hold, &tokens, status).into()),
        replaces: false,
    }
}

fn receipt(hold: &Reaped, tokens: &Usage, status: UsageStatus) -> String {
    let charge = hold.charge.0.saturating_add(hold.earlier_charge.0);
    let cost = hold.cost.0.saturating_add(hold.earlier_cost.0);
    let document = json!({
        "receipt_id": hold.request_id.receipt(),
        "request_id": hold.request_id,
        "kind": hold.kind,
        "created_at": rfc3339(hold.created_at),
        "candidates": [],
        "decision": {
            "requested": hold.model,
            "model_id": hold.model,
            "provider": hold.provider,
            "strategy": "none",
            "fallback_chain": [],
        },
        "attempts": [],
        "byok": false,
        "usage": tokens,
        "usage_flag": "expired",
        "price": { "catalog_version": hold.price_version, "lines": [] },
        "margin_bps": hold.margin_bps,
        "charged_nano_usd": charge,
        "provider_cost_nano_usd": cost,
        "margin_nano_usd": charge.saturating_sub(cost),
        "execution": {
            "status": status.as_str(),
            "stream": false,
            "latency_ms": 0,
            "ttft_ms": null,
            "error": if hold.had_ended { UNRECORDED } else { EXPIRED },
        },
    });
    document.to_string()
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}
