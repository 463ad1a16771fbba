//! Returns a stored answer: whole or as a stream, in the client's dialect, with its own receipt. It is not charged, so
//! nothing must be durable before it is sent.

use super::{CacheUse, Hit, ServedFromCache};
use crate::{
    billing::price::{Priced, Variant},
    dialect::{ClientWriter, json, write_answer},
    domain::{
        catalog::ServiceTier,
        money::{Bps, NanoUsd},
        usage::Usage,
    },
    gateway::{
        billing_guard::BillingGuard,
        failure::Failure,
        receipt::{self, Bill, Total, view_of_cache},
        relay::RECEIPT_MEMBER,
        respond::{Reply, ResponseBody, ResponseMeta},
    },
};
use bytes::Bytes;
use std::{borrow::Cow, collections::VecDeque};

const JSON: Cow<'static, str> = Cow::Borrowed("application/json");
const EVENTS: Cow<'static, str> = Cow::Borrowed("text/event-stream; charset=utf-8");

/// The frames of a stored answer.
pub struct Replay(VecDeque<Bytes>);

impl Replay {
    /// The next bytes for the client; `None` at the end.
    pub fn next_frame(&mut self) -> Option<Bytes> {
        self.0.pop_front()
    }
}

/// Answers a request with a stored answer.
pub(in crate::gateway) async fn reply(
    hit: Hit,
    mut guard: BillingGuard,
) -> Result<Reply, (Failure, ResponseMeta)> {
    let ended = || (Failure::ended(), ResponseMeta::default());
    let open = guard.get();
    let served = open.cache.served.clone().ok_or_else(ended)?;
    let meta = ResponseMeta {
        provider: Some(served.served.provider),
        model: Some(served.served.model_name.clone()),
        cost: Some(NanoUsd::ZERO),
        cache: CacheUse::Hit { age_s: hit.age_s },
        ..ResponseMeta::of(open)
    };
    let total = Total::one(&served.served, &free());
    let note = receipt::note(open.request_id, open.history.requested(), &served.served, &total);
    let note = noted(&note, &served);
    let reply = match hit.stream {
        true => {
            let frames = frames(&hit, &note);
            Reply::Stream { meta, body: ResponseBody::Replay(Replay(frames)), content_type: EVENTS }
        }
        false => {
            let (body, content_type) = (whole(&hit, &note), JSON);
            Reply::Whole { meta, body, content_type, memory: None }
        }
    };
    guard.close().await;
    Ok(reply)
}

/// Zero usage: no provider counted anything, and its price is known.
pub(in crate::gateway) fn free() -> Bill {
    let variant = Variant { service_tier: ServiceTier::Standard, above_tokens: None, off_peak: false };
    Bill {
        usage: Usage::default(),
        priced: Some(Priced { lines: Vec::new(), cost: NanoUsd::ZERO, variant }),
        charge: NanoUsd::ZERO,
        posted: None,
        margin_bps: Bps(0),
        savings: NanoUsd::ZERO,
    }
}

/// The receipt member with a member that states the original answer.
fn noted(note: &str, served: &ServedFromCache) -> String {
    let noted = json::with_member(note.as_bytes(), "cache", &view_of_cache(served));
    noted.and_then(|noted| String::from_utf8(noted).ok()).unwrap_or_else(|| note.to_owned())
}

fn whole(hit: &Hit, note: &str) -> Vec<u8> {
    let entry = &hit.entry;
    let verbatim = entry.verbatim.as_ref().filter(|verbatim| verbatim.dialect == hit.client);
    let verbatim =
        verbatim.and_then(|verbatim| json::with_member(verbatim.body.as_bytes(), RECEIPT_MEMBER, note));
    let written = || write_answer(hit.client, &entry.answer, &hit.writer_context, note, &entry.usage);
    verbatim.or_else(written).unwrap_or_default()
}

fn frames(hit: &Hit, note: &str) -> VecDeque<Bytes> {
    let mut frames = VecDeque::new();
    let Some(mut writer) = ClientWriter::new(hit.client, hit.writer_context.clone()) else { return frames };
    let mut push = |out: &mut Vec<u8>| {
        // An empty chunk would end the answer.
        if !out.is_empty() {
            frames.push_back(Bytes::from(std::mem::take(out)));
        }
    };
    let mut out = Vec::new();
    hit.entry.answer.emit(&mut |event| {
        writer.event(&event, &mut out);
        push(&mut out);
    });
    writer.conclude(note, &hit.entry.usage, &mut out);
    push(&mut out);
    frames
}
