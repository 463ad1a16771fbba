//! Receipts of requests without a charge for their organization (own keys, answers from the cache), counted for each
//! organization and day (UTC): above the limit they are not stored, so that a free account cannot fill the disk with
//! them. Their usage rows are stored.

use crate::store::{OrgScope, usage::Record};
use std::collections::HashMap;
use time::{Date, OffsetDateTime};

pub(super) struct FreeReceipts {
    per_day_max: u64,
    day: Date,
    counts: HashMap<OrgScope, u64>,
}

impl FreeReceipts {
    pub fn new(per_day_max: u64) -> Self {
        Self { per_day_max, day: Date::MIN, counts: HashMap::new() }
    }

    /// Counts a record; `false`: its receipt is not stored.
    pub fn keeps(&mut self, record: &Record, now: OffsetDateTime) -> bool {
        let is_free = record.usage.as_ref().is_some_and(|usage| usage.charge.0 == 0);
        if !is_free || record.receipt.is_none() {
            return true;
        }
        if now.date() != self.day {
            self.day = now.date();
            self.counts.clear();
        }
        let count = self.counts.entry(record.scope).or_default();
        *count = count.saturating_add(1);
        if *count == self.per_day_max.saturating_add(1) {
            tracing::warn!(
                org.id = %record.scope.org_id(), receipts = self.per_day_max,
                "an organization has as many receipts of uncharged requests as are kept for a day: further ones are not"
            );
        }
        *count <= self.per_day_max
    }
}
