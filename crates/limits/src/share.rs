//! The share of a limit that one process holds: it admits requests from it without a database query, and decides when
//! to report to the common [`Pool`](crate::pool::Pool) and what to request. Times are milliseconds of one clock of this
//! process that never goes back.

use crate::pool::{Grant, Kind, LEASE_MS, Report, SLOT_MS};

/// Interval between two reports without a waiting request.
const PAUSE_MS: i64 = 250;
/// Spent units are reported after this time at the latest.
const REPORT_MS: i64 = 1_000;
/// A share that was not used for this time is returned.
pub const IDLE_MS: i64 = 1_000;
/// Remaining time of a lease at which it is renewed.
const RENEW_MS: i64 = 2_000;
/// After the pool replied that nothing is free, requests are refused for at most this time before the next report.
const BLOCK_MS_MAX: i64 = 250;
const BLOCK_MS_MIN: i64 = 20;
/// Interval between two reports while other processes are about to return units.
const SPARE_PAUSE_MS: i64 = 40;
/// A reserve is at most the limit divided by this: units that one process keeps unused are missing for the others.
const RESERVE_PART: i64 = 8;
/// The time whose expected use a reserve covers.
const RESERVE_MS: i64 = 1_000;

/// The result of a request for units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Take {
    /// They are in use until [`Share::settle`].
    Taken,
    /// The pool must be asked; try again after its reply.
    Ask,
    /// Nothing is free. Milliseconds until something may be.
    Refused { wait_ms: i64 },
}

/// A batch of spent units that was sent to the pool.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Batch {
    sequence: u64,
    /// When and how many.
    spent: Vec<(i64, i64)>,
}

/// This process's share of one limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    kind: Kind,
    limit: i64,
    /// Leased and not in use.
    available: i64,
    /// Taken by requests that have not ended (rates: that are not settled).
    in_use: i64,
    /// Spent and not reported.
    spent: Vec<(i64, i64)>,
    batch: Option<Batch>,
    sequence: u64,
    /// A report was sent and has no reply yet.
    is_asking: bool,
    /// Units that waiting requests need.
    waiting: i64,
    last: Option<Grant>,
    asked_at_ms: i64,
    /// Until when the share may be used.
    lease_until_ms: i64,
    blocked_until_ms: i64,
    used_at_ms: i64,
    /// Units requested in the current second, and per second before.
    demand: i64,
    demand_since_ms: i64,
    demand_per_second: i64,
}

impl Share {
    /// An empty share.
    pub fn new(kind: Kind, limit: i64, sequence: u64, now_ms: i64) -> Self {
        Self {
            kind,
            limit,
            available: 0,
            in_use: 0,
            spent: Vec::new(),
            batch: None,
            sequence,
            is_asking: false,
            waiting: 0,
            last: None,
            asked_at_ms: now_ms,
            lease_until_ms: now_ms,
            blocked_until_ms: now_ms,
            used_at_ms: now_ms,
            demand: 0,
            demand_since_ms: now_ms,
            demand_per_second: 0,
        }
    }

    pub fn limit(&self) -> i64 {
        self.limit
    }

    /// The current limit of the rule. A request that was refused under another limit may be admitted under this one.
    pub fn set_limit(&mut self, limit: i64, now_ms: i64) {
        if limit != self.limit {
            self.limit = limit;
            self.blocked_until_ms = now_ms;
            // A share of a larger limit is not valid for a smaller one: the pool decides again.
            self.available = self.available.min(limit.max(0));
        }
    }

    /// Records that a request of this size has arrived, once for each: the reserve depends on it.
    pub fn note_demand(&mut self, units: i64, now_ms: i64) {
        self.roll_demand(now_ms);
        self.demand = self.demand.saturating_add(self.charged(units));
    }

    /// Takes units for a request. A request for more units than the limit takes the whole limit, so that the largest
    /// requests wait until nothing else is in use instead of being refused forever.
    pub fn take(&mut self, units: i64, now_ms: i64) -> Take {
        let units = self.charged(units);
        self.used_at_ms = now_ms;
        if now_ms < self.lease_until_ms && self.available >= units {
            self.available -= units;
            self.in_use = self.in_use.saturating_add(units);
            return Take::Taken;
        }
        if now_ms < self.blocked_until_ms {
            return Take::Refused { wait_ms: self.wait_ms(now_ms) };
        }
        Take::Ask
    }

    /// The units that a request of this size takes.
    pub fn charged(&self, units: i64) -> i64 {
        units.clamp(0, self.limit.max(0))
    }

    /// A request begins (`units` > 0) or ends (`units` < 0) to wait for the pool's reply.
    pub fn wait_for(&mut self, units: i64) {
        self.waiting = self.waiting.saturating_add(units).max(0);
    }

    /// Ends the use of `taken` units. For a rate, `spent` of them (more or fewer) count from now on.
    pub fn settle(&mut self, taken: i64, spent: i64, now_ms: i64) {
        self.in_use = self.in_use.saturating_sub(taken).max(0);
        let left = match self.kind {
            Kind::Concurrency => taken,
            Kind::Rate => {
                self.note_spent(spent, now_ms);
                taken.saturating_sub(spent)
            }
        };
        // Use beyond the estimate: taken from the rest here; the report shows the remainder to the pool.
        self.available = self.available.saturating_add(left).max(0);
    }

    /// Whether a report should be sent to the pool now.
    pub fn is_due(&self, now_ms: i64) -> bool {
        if self.is_asking {
            return false;
        }
        let since = now_ms.saturating_sub(self.asked_at_ms);
        if self.batch.is_some() {
            return since >= SPARE_PAUSE_MS;
        }
        if self.waiting > 0 {
            return now_ms >= self.blocked_until_ms && (self.last.is_none() || since >= self.pause_ms());
        }
        if since < PAUSE_MS {
            return false;
        }
        let idle = now_ms.saturating_sub(self.used_at_ms) >= IDLE_MS;
        let holds = self.available > 0 || self.in_use > 0;
        let is_scarce = self.last.is_some_and(|last| last.free <= self.reserve_max() || last.others_want);
        let oldest = self.spent.first().map_or(now_ms, |(at, _)| *at);
        (holds && self.lease_until_ms.saturating_sub(now_ms) < RENEW_MS)
            || (idle && self.available > 0)
            || (is_scarce && self.available > 0)
            || now_ms.saturating_sub(oldest) >= REPORT_MS
            || (!idle && self.available.saturating_mul(2) < self.reserve())
    }

    /// The report for the pool. It is open until [`Share::granted`] or [`Share::failed`].
    pub fn report(&mut self, now_ms: i64) -> Report {
        self.is_asking = true;
        self.asked_at_ms = now_ms;
        self.roll_demand(now_ms);
        let others_want = self.last.is_some_and(|last| last.others_want);
        let idle = now_ms.saturating_sub(self.used_at_ms) >= IDLE_MS;
        let keep = match (idle, others_want) {
            _ if now_ms >= self.lease_until_ms => 0,
            (true, _) => 0,
            // The expected need of the next quarter of a second.
            (false, true) => self.reserve() / 4,
            (false, false) => self.reserve().saturating_mul(2).max(i64::from(self.kind == Kind::Concurrency)),
        };
        let keep = keep.max(self.waiting);
        self.available = self.available.min(keep);
        if self.batch.is_none() && !self.spent.is_empty() {
            self.sequence += 1;
            self.batch = Some(Batch { sequence: self.sequence, spent: std::mem::take(&mut self.spent) });
        }
        let batch = self.batch.as_ref();
        let unreported = self.spent.iter().map(|(_, units)| *units).fold(0, i64::saturating_add);
        let wanted = if idle && self.waiting == 0 { 0 } else { self.reserve().saturating_add(self.waiting) };
        Report {
            sequence: batch.map_or(self.sequence, |batch| batch.sequence),
            spent: batch.map_or_else(Vec::new, |batch| {
                batch.spent.iter().map(|(at, units)| (now_ms.saturating_sub(*at), *units)).collect()
            }),
            held: self.available.saturating_add(self.in_use).saturating_add(unreported),
            spare: self.available,
            wanted: wanted.saturating_sub(self.available).max(0),
        }
    }

    /// The pool's reply to the report of `asked_at_ms`.
    pub fn granted(&mut self, grant: &Grant, now_ms: i64) {
        self.is_asking = false;
        self.batch = None;
        self.lease_until_ms = self.asked_at_ms.saturating_add(LEASE_MS);
        self.available = self.available.saturating_add(grant.units);
        self.last = Some(*grant);
        let is_short = self.available < self.waiting.max(1);
        let may_come = grant.others_spare > 0;
        self.blocked_until_ms = match is_short && grant.free <= 0 && !may_come {
            true => {
                let wait = grant.next_free_ms.unwrap_or(BLOCK_MS_MIN).clamp(BLOCK_MS_MIN, BLOCK_MS_MAX);
                now_ms.saturating_add(wait)
            }
            false => now_ms,
        };
    }

    /// The report did not arrive, or its reply was lost: it is sent again.
    pub fn failed(&mut self) {
        self.is_asking = false;
    }

    /// Whether another process wants units that have just become free.
    pub fn is_wanted_elsewhere(&self) -> bool {
        self.available > 0 && self.waiting == 0 && self.last.is_some_and(|last| last.others_want)
    }

    /// The process is ending: everything that is not in use is returned with the next report.
    pub fn close(&mut self, now_ms: i64) {
        self.used_at_ms = now_ms.saturating_sub(IDLE_MS);
        self.available = 0;
        self.waiting = 0;
    }

    /// Whether a waiting request should continue to wait: the pool has not replied yet, or others will return units.
    pub fn may_come(&self, now_ms: i64) -> bool {
        now_ms >= self.blocked_until_ms
    }

    /// Nothing is held, used or unreported: the share can be removed.
    pub fn is_empty(&self, now_ms: i64) -> bool {
        let is_clear = self.available == 0 && self.in_use == 0 && self.waiting == 0 && !self.is_asking;
        let idle = now_ms.saturating_sub(self.used_at_ms) >= IDLE_MS.saturating_mul(10);
        is_clear && idle && self.spent.is_empty() && self.batch.is_none()
    }

    /// Units that all processes together could still use now, as far as is known here.
    pub fn remaining(&self) -> i64 {
        let free = self.last.map_or(self.limit.saturating_sub(self.in_use), |last| last.free.max(0));
        let free = if self.last.is_some() { free.saturating_add(self.available) } else { free };
        free.clamp(0, self.limit.max(0))
    }

    /// Milliseconds until the whole limit is free again, if nothing else is used.
    pub fn reset_ms(&self, now_ms: i64) -> i64 {
        let here = self.spent.last().map_or(0, |(at, _)| {
            at.saturating_add(crate::pool::WINDOW_MS).saturating_add(SLOT_MS).saturating_sub(now_ms)
        });
        let age = now_ms.saturating_sub(self.asked_at_ms);
        let pool = self.last.map_or(0, |last| last.all_free_ms.saturating_sub(age));
        here.max(pool).max(0)
    }

    /// Milliseconds until units may be free.
    pub fn wait_ms(&self, now_ms: i64) -> i64 {
        let age = now_ms.saturating_sub(self.asked_at_ms);
        let next = self.last.and_then(|last| last.next_free_ms).unwrap_or(BLOCK_MS_MAX);
        next.saturating_sub(age).max(1)
    }

    fn pause_ms(&self) -> i64 {
        if self.last.is_some_and(|last| last.others_spare > 0) { SPARE_PAUSE_MS } else { 0 }
    }

    fn reserve_max(&self) -> i64 {
        self.limit / RESERVE_PART
    }

    /// The reserve for coming requests.
    fn reserve(&self) -> i64 {
        let expected = self.demand_per_second.max(self.demand);
        expected.saturating_mul(RESERVE_MS / 1_000).min(self.reserve_max())
    }

    fn roll_demand(&mut self, now_ms: i64) {
        let passed = now_ms.saturating_sub(self.demand_since_ms);
        if passed >= 1_000 {
            // Several empty seconds halve it several times.
            let empty = u32::try_from((passed / 1_000).saturating_sub(1)).unwrap_or(31).min(31);
            let mean = self.demand_per_second.saturating_add(self.demand).saturating_add(1) / 2;
            self.demand_per_second = mean.checked_shr(empty).unwrap_or(0);
            self.demand = 0;
            self.demand_since_ms = now_ms;
        }
    }

    fn note_spent(&mut self, units: i64, now_ms: i64) {
        if units <= 0 {
            return;
        }
        match self.spent.last_mut() {
            // The later of two times in one slot: it never becomes free too early.
            Some((at, known)) if *at / SLOT_MS == now_ms / SLOT_MS => {
                *at = now_ms;
                *known = known.saturating_add(units);
            }
            _ => self.spent.push((now_ms, units)),
        }
    }
}

#[cfg(test)]
mod tests;
