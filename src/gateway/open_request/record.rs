//! The records of a request that has ended: its usage row and its receipt.

use super::OpenRequest;
use crate::{
    billing::record::{Record, UsageRow, UsageStatus},
    domain::{money::NanoUsd, usage::Usage},
    gateway::{
        answer_cache::{self, ServedFromCache},
        receipt::{self, Bill, CredentialKind, ReceiptInput, RequestOutcome},
    },
};
use std::{sync::Arc, time::Duration};

/// Maximum candidates in the receipt of a request for which no provider was called.
const REFUSED_CANDIDATES_MAX: usize = 10;

impl OpenRequest {
    /// Milliseconds since the request arrived (its first turn).
    pub fn since_arrival_ms(&self) -> u64 {
        let began = self.turns.began.map_or(self.started, |(_, began)| began);
        millis(began.elapsed())
    }

    pub(super) fn record(&self, bill: Option<&Bill>, ending: RequestOutcome, error: Option<&str>) -> Record {
        let latency_ms = millis(self.started.elapsed());
        let history = &self.history;
        let ttft_ms = history.first_content().map(millis);
        let (started_at, began) = self.turns.began.unwrap_or((self.started_at, self.started));
        let cached = self.cache.served.as_deref();
        let free = cached.map(|_| answer_cache::free());
        let bill = bill.or(free.as_ref());
        let story = ReceiptInput {
            request_id: self.request_id,
            kind: self.kind.as_str(),
            requested: history.requested(),
            considered: match history.attempts().is_empty() && bill.is_none() {
                // A refused request costs its sender nothing, so its receipt is kept small.
                true => history.candidates().get(..REFUSED_CANDIDATES_MAX).unwrap_or(history.candidates()),
                false => history.candidates(),
            },
            strategy: history.strategy(),
            judged: history.routing(),
            fallback_chain: history.chain(),
            attempts: history.attempts(),
            served: self.served().or(cached.map(|cached| &cached.served)),
            cached,
            fallback_reason: history.fallback_reason(),
            dropped: history.dropped(),
            bill,
            usage_flag: self.flag(),
            earlier: &self.turns.done,
            price_version: &self.catalog.version,
            stream: history.is_stream(),
            ending,
            error,
            latency_ms: millis(began.elapsed()),
            ttft_ms: self.turns.first_ttft.map(millis).or(ttft_ms),
            held_ms: self.held_ms,
            // The record is made after the ledger's reply.
            settled_ms: self.held_ms.map(|_| millis(began.elapsed())),
            started_at,
        };
        let row = self.served().zip(bill).map(|(served, bill)| UsageRow {
            turn: self.turns.number(),
            kind: self.kind.as_str().into(),
            provider: self.serving.as_ref().map_or("", |serving| serving.provider.as_str()).into(),
            model: kept(&served.model_id),
            byok: served.credential == CredentialKind::Byok,
            category: history.routing().map(|routing| routing.category().as_str()),
            status: match ending {
                RequestOutcome::Completed => UsageStatus::Completed,
                RequestOutcome::Aborted => UsageStatus::Aborted,
                RequestOutcome::Failed => UsageStatus::Failed,
            },
            usage: bill.usage,
            cost: bill.cost(),
            charge: bill.charge,
            latency_ms: clamped(latency_ms),
            ttft_ms: ttft_ms.map(clamped),
            flag: self.flag(),
            cache_saved: None,
        });
        let usage = row.or_else(|| cached.map(|cached| self.cached_row(cached, latency_ms)));
        Record {
            scope: self.principal.scope,
            request_id: self.request_id,
            api_key_id: self.principal.api_key_id,
            usage,
            receipt: (!self.turns.has_next_turn).then(|| receipt::write(&story)),
            replaces: false,
        }
    }

    /// For an answer from the cache: no provider counted anything.
    fn cached_row(&self, cached: &ServedFromCache, latency_ms: u64) -> UsageRow {
        UsageRow {
            turn: self.turns.number(),
            kind: self.kind.as_str().into(),
            provider: cached.provider.as_str().into(),
            model: kept(&cached.served.model_id),
            byok: false,
            category: self.history.routing().map(|routing| routing.category().as_str()),
            status: UsageStatus::Completed,
            usage: Usage::default(),
            cost: Some(NanoUsd::ZERO),
            charge: NanoUsd::ZERO,
            latency_ms: clamped(latency_ms),
            ttft_ms: None,
            flag: None,
            cache_saved: Some(cached.saved),
        }
    }
}

/// A model's name as it is stored: for a model that is not listed, the client chose the text.
fn kept(model: &Arc<str>) -> Arc<str> {
    let cut = receipt::cut(model);
    if cut.len() < model.len() { cut.into() } else { model.clone() }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn clamped(millis: u64) -> i32 {
    i32::try_from(millis).unwrap_or(i32::MAX)
}
