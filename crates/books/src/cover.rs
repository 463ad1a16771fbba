//! How a report reads a range of usage with few rows: as whole days if no step of the report begins inside them, else
//! in steps of 15 minutes. A day is 24 hours from any quarter of an hour in UTC. The sums of days from midnight UTC are
//! always kept; those from another quarter (the days of a time zone) are kept for organizations that read them.

use std::collections::BTreeMap;
use time::OffsetDateTime;

const STEP_SECONDS: i64 = 900;
/// Steps of 15 minutes in a day.
pub const STEPS_PER_DAY: i16 = 96;
const DAY: i64 = STEPS_PER_DAY as i64;
/// From this number of days in one report on, the sums of a zone's days are worth keeping.
const DAYS_WANTED: usize = 31;
/// A zone has at most two offsets in a year, except the few whose law changes.
const PHASES_WANTED_MAX: usize = 2;

/// Consecutive whole days, each of 24 hours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Days {
    /// The quarter of an hour in UTC in which they begin: 0 is midnight.
    pub phase: i16,
    pub first: OffsetDateTime,
    /// The end of the last.
    pub past: OffsetDateTime,
}

/// Consecutive steps of 15 minutes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Steps {
    pub first: OffsetDateTime,
    /// The end of the last.
    pub past: OffsetDateTime,
}

/// Days and steps that together make up a range, each part of it once. A step at the edge of the range is included
/// completely.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cover {
    pub days: Vec<Days>,
    pub steps: Vec<Steps>,
}

impl Cover {
    /// Covers `from..to`. No day crosses one of `boundaries`, the beginnings of the report's steps. `kept` are the
    /// phases other than 0 for which days are kept.
    pub fn new(
        (from, to): (OffsetDateTime, OffsetDateTime),
        boundaries: &[OffsetDateTime],
        kept: &[i16],
    ) -> Cover {
        let mut cover = Cover::default();
        for (begin, end) in segments((from, to), boundaries) {
            let phases = std::iter::once(0).chain(kept.iter().copied());
            let best = phases
                .map(|phase| {
                    let first = begin + (i64::from(phase) - begin).rem_euclid(DAY);
                    (phase, first, (end - first).max(0) / DAY)
                })
                // The first of those with the most days.
                .reduce(|best, next| if next.2 > best.2 { next } else { best });
            match best {
                Some((phase, first, days)) if days > 0 => {
                    let past = first + days * DAY;
                    cover.push_steps(begin, first);
                    cover.push_days(phase, first, past);
                    cover.push_steps(past, end);
                }
                _ => cover.push_steps(begin, end),
            }
        }
        cover
    }

    fn push_days(&mut self, phase: i16, first: i64, past: i64) {
        let (Some(first), Some(past)) = (moment(first), moment(past)) else { return };
        match self.days.last_mut() {
            Some(last) if last.phase == phase && last.past == first => last.past = past,
            _ => self.days.push(Days { phase, first, past }),
        }
    }

    fn push_steps(&mut self, first: i64, past: i64) {
        if first == past {
            return;
        }
        let (Some(first), Some(past)) = (moment(first), moment(past)) else { return };
        match self.steps.last_mut() {
            Some(last) if last.past == first => last.past = past,
            _ => self.steps.push(Steps { first, past }),
        }
    }
}

/// The phases other than 0 whose days would greatly reduce the rows that a report of these steps reads.
pub fn phases_wanted(range: (OffsetDateTime, OffsetDateTime), boundaries: &[OffsetDateTime]) -> Vec<i16> {
    let mut days_by_phase: BTreeMap<i64, usize> = BTreeMap::new();
    for (begin, end) in segments(range, boundaries) {
        if end - begin == DAY && begin.rem_euclid(DAY) != 0 {
            *days_by_phase.entry(begin.rem_euclid(DAY)).or_default() += 1;
        }
    }
    let mut wanted: Vec<(usize, i64)> = days_by_phase
        .into_iter()
        .filter(|(_, days)| *days >= DAYS_WANTED)
        .map(|(phase, days)| (days, phase))
        .collect();
    wanted.sort_unstable_by(|a, b| b.cmp(a));
    wanted.truncate(PHASES_WANTED_MAX);
    wanted.into_iter().filter_map(|(_, phase)| i16::try_from(phase).ok()).collect()
}

/// The range between its boundaries, counted in quarters of an hour.
fn segments((from, to): (OffsetDateTime, OffsetDateTime), boundaries: &[OffsetDateTime]) -> Vec<(i64, i64)> {
    // A step belongs to the part in which it begins.
    let up = |at: &OffsetDateTime| {
        let seconds = at.unix_timestamp();
        let is_whole = seconds.rem_euclid(STEP_SECONDS) == 0 && at.nanosecond() == 0;
        seconds.div_euclid(STEP_SECONDS) + i64::from(!is_whole)
    };
    let (begin, end) = (from.unix_timestamp().div_euclid(STEP_SECONDS), up(&to));
    let mut cuts: Vec<i64> = boundaries.iter().map(up).filter(|cut| *cut > begin && *cut < end).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let begins = std::iter::once(begin).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().chain(std::iter::once(end));
    begins.zip(ends).filter(|(begin, end)| begin < end).collect()
}

fn moment(quarters: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(quarters.checked_mul(STEP_SECONDS)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::periods::{Step, Zone};
    use proptest::prelude::*;
    use time::{Duration, macros::datetime};

    const YEAR: (OffsetDateTime, OffsetDateTime) =
        (datetime!(2025-10-31 23:00 UTC), datetime!(2026-10-31 23:00 UTC));

    fn days_of(zone: &str) -> Vec<OffsetDateTime> {
        let steps = Zone::by_name(zone).unwrap().steps(Step::Day, YEAR.0, YEAR.1).unwrap();
        steps.into_iter().map(|(begin, _)| begin).collect()
    }

    #[test]
    fn a_year_in_utc_is_days_but_for_its_ends() {
        let cover = Cover::new(YEAR, &[], &[]);
        assert_eq!(
            cover.days,
            [Days {
                phase: 0,
                first: datetime!(2025-11-01 00:00 UTC),
                past: datetime!(2026-10-31 00:00 UTC)
            }]
        );
        assert_eq!(
            cover.steps,
            [
                Steps { first: YEAR.0, past: datetime!(2025-11-01 00:00 UTC) },
                Steps { first: datetime!(2026-10-31 00:00 UTC), past: YEAR.1 },
            ]
        );
        assert!(phases_wanted(YEAR, &days_of("UTC")).is_empty());
    }

    #[test]
    fn the_days_of_a_zone_are_read_whole_once_they_are_kept_but_for_those_on_which_clocks_change() {
        let berlin = days_of("Europe/Berlin");
        assert!(Cover::new(YEAR, &berlin, &[]).days.is_empty());
        let phases = phases_wanted(YEAR, &berlin);
        // Summer from 22:00 UTC, winter from 23:00.
        assert_eq!(phases, [88, 92]);
        let cover = Cover::new(YEAR, &berlin, &phases);
        let days: i64 = cover.days.iter().map(|days| (days.past - days.first).whole_days()).sum();
        // The day of 25 hours is one of 24 and an hour.
        assert_eq!((cover.days.len(), days, cover.steps.len()), (3, 364, 2));
        assert_eq!(cover.steps.iter().map(|steps| (steps.past - steps.first).whole_hours()).sum::<i64>(), 24);
        assert_eq!(phases_wanted(YEAR, &days_of("Asia/Kathmandu")), [73]);
        // Months in a zone are days in UTC but for their ends.
        let months = Zone::by_name("Asia/Kathmandu").unwrap().steps(Step::Month, YEAR.0, YEAR.1).unwrap();
        let months: Vec<_> = months.into_iter().map(|(begin, _)| begin).collect();
        let cover = Cover::new(YEAR, &months, &[]);
        let days: i64 = cover.days.iter().map(|days| (days.past - days.first).whole_days()).sum();
        assert!(days > 340, "{days}");
        assert!(phases_wanted(YEAR, &months).is_empty());
        assert!(phases_wanted((YEAR.0, YEAR.0 + Duration::days(20)), &berlin).is_empty(), "few rows anyway");
    }

    proptest! {
        #[test]
        fn every_step_of_the_range_is_covered_once_and_no_day_crosses_a_boundary(
            from in 0_i64..1_000_000,
            length in 1_i64..1_000_000,
            boundaries in prop::collection::vec(0_i64..2_000_000, 0..40),
            kept in prop::collection::vec(1_i16..STEPS_PER_DAY, 0..4),
        ) {
            let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(1_790_000_000 + seconds).unwrap();
            let boundaries: Vec<_> = boundaries.into_iter().map(at).collect();
            let range = (at(from), at(from + length));
            let cover = Cover::new(range, &boundaries, &kept);
            let mut spans: Vec<_> = cover.days.iter().map(|days| (days.first, days.past)).collect();
            spans.extend(cover.steps.iter().map(|steps| (steps.first, steps.past)));
            spans.sort_unstable();
            let step = Duration::seconds(STEP_SECONDS);
            prop_assert!(spans[0].0 <= range.0 && spans[0].0 + step > range.0);
            let end = spans[spans.len() - 1].1;
            prop_assert!(end >= range.1 && end - step < range.1);
            prop_assert!(spans.windows(2).all(|pair| pair[0].1 == pair[1].0), "{spans:?}");
            for days in &cover.days {
                prop_assert!(days.phase == 0 || kept.contains(&days.phase));
                prop_assert_eq!(
                    days.first.unix_timestamp().div_euclid(STEP_SECONDS).rem_euclid(DAY),
                    i64::from(days.phase)
                );
                let mut day = days.first;
                while day < days.past {
                    // A boundary within a step does not cut it: it belongs to the part in which it begins.
                    let crossed = boundaries.iter().find(|cut| **cut > day && **cut <= day + Duration::days(1) - step);
                    prop_assert!(crossed.is_none(), "{day} {crossed:?}");
                    day += Duration::days(1);
                }
            }
        }
    }
}
