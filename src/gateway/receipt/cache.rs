//! The receipt's part and the receipt member's part about an answer from the response cache.

use crate::{
    domain::{ids::ReceiptId, usage::Usage},
    gateway::answer_cache::ServedFromCache,
};
use serde::Serialize;
use serde_json::value::RawValue;

/// In the receipt.
#[derive(Serialize)]
pub(super) struct CacheView<'a> {
    /// Of the request that the provider answered.
    original_receipt_id: ReceiptId,
    age_seconds: u64,
    saved_nano_usd: i64,
    /// Of the original answer.
    usage: &'a Usage,
}

impl<'a> From<&'a ServedFromCache> for CacheView<'a> {
    fn from(cached: &'a ServedFromCache) -> Self {
        Self {
            original_receipt_id: cached.original.receipt(),
            age_seconds: cached.age_s,
            saved_nano_usd: cached.saved.0,
            usage: &cached.usage,
        }
    }
}

/// The member `cache` in the receipt member of the answer, as JSON.
pub fn view_of_cache(cached: &ServedFromCache) -> String {
    #[derive(Serialize)]
    struct Note {
        original_receipt_id: ReceiptId,
        age_seconds: u64,
        saved_usd: Box<RawValue>,
    }
    let note = Note {
        original_receipt_id: cached.original.receipt(),
        age_seconds: cached.age_s,
        saved_usd: RawValue::from_string(cached.saved.to_string()).unwrap_or_default(),
    };
    serde_json::to_string(&note).unwrap_or_else(|_| "null".to_owned())
}
