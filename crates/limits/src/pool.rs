//! The state of one limit that several processes share. It is stored in one database row; each process reads it under
//! the row's lock, reports its use, requests units, and writes it back.
//!
//! A limit is either a number of units in every rolling minute ([`Kind::Rate`]) or a number of units in use at a time
//! ([`Kind::Concurrency`]). Units are free, held by a process (leased to it and not spent yet), or spent within the
//! last minute. Their sum never exceeds the limit, except by what a process used beyond its estimate.

use serde::{Deserialize, Serialize};

/// The time over which a rate counts.
pub const WINDOW_MS: i64 = 60_000;
/// Spent units are kept in slots of this length. A slot becomes free one window after its end, so slots never cause a
/// rate above the limit, and a steady caller loses less than 0.5 %.
pub const SLOT_MS: i64 = 250;
/// A process without a report for this long counts as gone. It stops using its share after [`LEASE_MS`].
pub const LAPSE_MS: i64 = 5_000;
/// How long a process may use its granted units without a new report; below [`LAPSE_MS`], measured by its own clock.
pub const LEASE_MS: i64 = 4_000;
/// Maximum processes of one pool. More than this number at a time get no share.
const HOLDERS_MAX: usize = 256;

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Units spent in every rolling minute.
    Rate,
    /// Units in use at the same time.
    Concurrency,
}

/// The shared state of one limit. An empty object means that nothing is held or spent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pool {
    /// The first slot of `spent`, as a multiple of [`SLOT_MS`].
    #[serde(rename = "b")]
    base: i64,
    /// Spent units: slots since the entry before, and units; in ascending order.
    #[serde(rename = "s")]
    spent: Vec<(i64, i64)>,
    #[serde(rename = "h")]
    holders: Vec<Holder>,
}

/// One process with a share.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Holder {
    #[serde(rename = "i")]
    instance: u128,
    /// Units that are leased to it and not reported as spent.
    #[serde(rename = "u")]
    held: i64,
    /// Of these, units that it could return.
    #[serde(rename = "f", default)]
    spare: i64,
    /// It requested more than it got.
    #[serde(rename = "w", default)]
    wants: bool,
    #[serde(rename = "n")]
    sequence: u64,
    #[serde(rename = "t")]
    seen_ms: i64,
}

/// The report of a process for the pool. Every figure is absolute or numbered, so a report with an unknown result may
/// be sent again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Number of this process's batch of spent units; a batch that is already recorded is not counted again.
    pub sequence: u64,
    /// Spent units: how many milliseconds ago, and how many.
    pub spent: Vec<(i64, i64)>,
    /// Units that the process still holds besides these.
    pub held: i64,
    /// Of them, units that are not in use.
    pub spare: i64,
    /// Units that it requests in addition.
    pub wanted: i64,
}

/// The reply of the pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// Newly leased.
    pub units: i64,
    /// Remaining units in the pool after that. Negative if processes used more than they had estimated.
    pub free: i64,
    /// Milliseconds until spent units become free again; `None` when none are spent.
    pub next_free_ms: Option<i64>,
    /// Milliseconds until no unit is spent any more, if nothing else is used.
    pub all_free_ms: i64,
    /// Another process requested more than it got.
    pub others_want: bool,
    /// Units that other processes hold and could return.
    pub others_spare: i64,
}

impl Pool {
    /// Counts a report of `instance` at `now_ms` and leases it the requested units, as far as available.
    pub fn renew(&mut self, kind: Kind, limit: i64, now_ms: i64, instance: u128, report: &Report) -> Grant {
        let now_ms = self.holders.iter().map(|holder| holder.seen_ms).fold(now_ms, i64::max);
        self.expire_holders(kind, now_ms);
        let known = self.holders.iter().find(|holder| holder.instance == instance);
        let is_new = known.is_none_or(|holder| report.sequence > holder.sequence);
        let sequence = known.map_or(report.sequence, |holder| holder.sequence.max(report.sequence));
        if kind == Kind::Rate && is_new {
            for (age_ms, units) in &report.spent {
                self.spend(now_ms.saturating_sub((*age_ms).max(0)), *units);
            }
        }
        self.free_slots(now_ms);
        self.holders.retain(|holder| holder.instance != instance);
        let others_held = self.holders.iter().map(|holder| holder.held).fold(0, i64::saturating_add);
        let held = report.held.max(0);
        let free = limit.saturating_sub(self.spent_units()).saturating_sub(others_held).saturating_sub(held);
        let has_room = self.holders.len() < HOLDERS_MAX;
        let units = if has_room { report.wanted.clamp(0, free.max(0)) } else { 0 };
        let wants = report.wanted > units;
        let held = held.saturating_add(units);
        if has_room && (held > 0 || wants || !report.spent.is_empty()) {
            let spare = report.spare.clamp(0, held);
            self.holders.push(Holder { instance, held, spare, wants, sequence, seen_ms: now_ms });
        }
        self.answer(instance, units, free.saturating_sub(units), now_ms)
    }

    /// Nothing is spent or held any more: the row can be removed.
    pub fn is_unused(&self, kind: Kind, now_ms: i64) -> bool {
        let mut pool = self.clone();
        pool.expire_holders(kind, now_ms);
        pool.free_slots(now_ms);
        pool.spent.is_empty() && pool.holders.is_empty()
    }

    fn answer(&self, instance: u128, units: i64, free: i64, now_ms: i64) -> Grant {
        let others = || self.holders.iter().filter(move |holder| holder.instance != instance);
        let slots: Vec<i64> = self.slots().map(|(slot, _)| slot).collect();
        let freed_in = |slot: Option<&i64>| slot.map(|slot| freed_at_ms(*slot).saturating_sub(now_ms).max(1));
        Grant {
            units,
            free,
            next_free_ms: freed_in(slots.first()),
            all_free_ms: freed_in(slots.last()).unwrap_or(0),
            others_want: others().any(|holder| holder.wants),
            others_spare: others().map(|holder| holder.spare).fold(0, i64::saturating_add),
        }
    }

    /// Units that a lost process may have spent count as spent at the last possible moment.
    fn expire_holders(&mut self, kind: Kind, now_ms: i64) {
        let is_gone = |holder: &Holder| now_ms.saturating_sub(holder.seen_ms) >= LAPSE_MS;
        let gone: Vec<(i64, i64)> = self
            .holders
            .iter()
            .filter(|holder| is_gone(holder))
            .map(|holder| (holder.seen_ms.saturating_add(LEASE_MS), holder.held))
            .collect();
        self.holders.retain(|holder| !is_gone(holder));
        if kind == Kind::Rate {
            gone.into_iter().for_each(|(at_ms, units)| self.spend(at_ms, units));
        }
    }

    fn spend(&mut self, at_ms: i64, units: i64) {
        if units <= 0 {
            return;
        }
        let slot = at_ms.div_euclid(SLOT_MS);
        let mut slots: Vec<(i64, i64)> = self.slots().collect();
        match slots.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(at) => {
                if let Some((_, known)) = slots.get_mut(at) {
                    *known = known.saturating_add(units);
                }
            }
            Err(at) => slots.insert(at, (slot, units)),
        }
        self.set_slots(&slots);
    }

    fn free_slots(&mut self, now_ms: i64) {
        let slots: Vec<(i64, i64)> = self.slots().filter(|(slot, _)| freed_at_ms(*slot) > now_ms).collect();
        self.set_slots(&slots);
    }

    fn spent_units(&self) -> i64 {
        self.spent.iter().map(|(_, units)| *units).fold(0, i64::saturating_add)
    }

    fn slots(&self) -> impl Iterator<Item = (i64, i64)> {
        self.spent.iter().scan(self.base, |slot, (step, units)| {
            *slot = slot.saturating_add(*step);
            Some((*slot, *units))
        })
    }

    fn set_slots(&mut self, slots: &[(i64, i64)]) {
        self.base = slots.first().map_or(0, |(slot, _)| *slot);
        let mut before = self.base;
        self.spent = slots
            .iter()
            .map(|(slot, units)| {
                let step = slot.saturating_sub(before);
                before = *slot;
                (step, *units)
            })
            .collect();
    }
}

/// When the units spent in a slot become free again: one window after the slot's end.
fn freed_at_ms(slot: i64) -> i64 {
    slot.saturating_add(1).saturating_mul(SLOT_MS).saturating_add(WINDOW_MS)
}

#[cfg(test)]
mod tests;
