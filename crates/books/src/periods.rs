//! The steps of a report in a time zone: hours, days and months of the local calendar, including days of 23 and 25
//! hours. Every boundary is a whole number of quarters of an hour in UTC, as in every zone of today.

use jiff::{Span, Timestamp, Zoned, civil::Date, tz::TimeZone};
use time::OffsetDateTime;

/// The most steps of one report.
pub const STEPS_MAX: usize = 10_000;

/// The step of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Hour,
    Day,
    Month,
}

/// An IANA time zone, such as `Asia/Kathmandu`.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

/// Why a period cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PeriodError {
    #[error("`tz` must be the name of an IANA time zone, such as Europe/Berlin")]
    UnknownZone,
    #[error("the report would have more than {STEPS_MAX} steps: ask for a shorter range or longer steps")]
    TooManySteps,
    #[error("a date is out of range")]
    OutOfRange,
}

impl Zone {
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    pub fn by_name(name: &str) -> Result<Zone, PeriodError> {
        // The library would also accept POSIX time zones.
        let is_name =
            name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'));
        if !is_name || name.is_empty() || name.len() > 64 {
            return Err(PeriodError::UnknownZone);
        }
        jiff::tz::db().get(name).map(Zone).map_err(|_| PeriodError::UnknownZone)
    }

    /// The first moment of a date (`2026-03-29`) in the zone, this many days later; `None` for text that is not a date.
    pub fn midnight(&self, date: &str, days_later: i64) -> Option<OffsetDateTime> {
        let is_date = date.len() == 10 && date.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let date: Date = is_date.then(|| date.parse().ok())??;
        let date = date.checked_add(Span::new().try_days(days_later).ok()?).ok()?;
        moment(&date.to_zoned(self.0.clone()).ok()?)
    }

    /// The boundaries of the steps that cover `from..to`: the first is not after `from`. Each has its name.
    pub fn steps(
        &self,
        step: Step,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> Result<Vec<(OffsetDateTime, String)>, PeriodError> {
        let end = timestamp(to)?;
        let first = timestamp(from)?.to_zoned(self.0.clone());
        let mut at = floor(&first, step)?;
        let mut steps = Vec::new();
        while at.timestamp() < end {
            if steps.len() == STEPS_MAX {
                return Err(PeriodError::TooManySteps);
            }
            steps.push((moment(&at).ok_or(PeriodError::OutOfRange)?, name(&at, step)));
            at = following(&at, step)?;
        }
        Ok(steps)
    }
}

fn timestamp(at: OffsetDateTime) -> Result<Timestamp, PeriodError> {
    Timestamp::from_nanosecond(at.unix_timestamp_nanos()).map_err(|_| PeriodError::OutOfRange)
}

fn moment(at: &Zoned) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(at.timestamp().as_nanosecond()).ok()
}

fn floor(at: &Zoned, step: Step) -> Result<Zoned, PeriodError> {
    let out_of_range = |_| PeriodError::OutOfRange;
    match step {
        Step::Hour => {
            // From the wall clock's minutes: the hour that a zone repeats keeps its own offset.
            let past = Span::new()
                .minutes(i64::from(at.minute()))
                .seconds(i64::from(at.second()))
                .nanoseconds(i64::from(at.subsec_nanosecond()));
            let begin = at.timestamp().checked_sub(past).map_err(out_of_range)?;
            Ok(begin.to_zoned(at.time_zone().clone()))
        }
        Step::Day => at.start_of_day().map_err(out_of_range),
        Step::Month => {
            let first = at.date().first_of_month();
            first.to_zoned(at.time_zone().clone()).map_err(out_of_range)
        }
    }
}

fn following(at: &Zoned, step: Step) -> Result<Zoned, PeriodError> {
    let out_of_range = |_| PeriodError::OutOfRange;
    match step {
        Step::Hour => {
            let next = at.timestamp().checked_add(Span::new().hours(1)).map_err(out_of_range)?;
            // Where the clocks change by half an hour the next hour begins earlier or later.
            floor(&next.to_zoned(at.time_zone().clone()), step).map(|floored| {
                if floored.timestamp() > at.timestamp() {
                    floored
                } else {
                    next.to_zoned(at.time_zone().clone())
                }
            })
        }
        Step::Day => {
            let tomorrow = at.date().tomorrow().map_err(out_of_range)?;
            tomorrow.to_zoned(at.time_zone().clone()).map_err(out_of_range)
        }
        Step::Month => {
            let next = at.date().first_of_month().checked_add(Span::new().months(1)).map_err(out_of_range)?;
            next.to_zoned(at.time_zone().clone()).map_err(out_of_range)
        }
    }
}

/// `2026-10-25`, `2026-10`, `2026-10-25T02:00+02:00`.
fn name(at: &Zoned, step: Step) -> String {
    match step {
        Step::Hour => at.strftime("%Y-%m-%dT%H:%M%:z").to_string(),
        Step::Day => at.strftime("%Y-%m-%d").to_string(),
        Step::Month => at.strftime("%Y-%m").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn names(zone: &str, step: Step, from: OffsetDateTime, to: OffsetDateTime) -> Vec<String> {
        let steps = Zone::by_name(zone).unwrap().steps(step, from, to).unwrap();
        for (begin, name) in &steps {
            assert_eq!(begin.unix_timestamp() % 900, 0, "{name}");
        }
        steps.into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn days_follow_the_zone_and_its_changes_of_the_clock() {
        let berlin = Zone::by_name("Europe/Berlin").unwrap();
        let days = berlin
            .steps(Step::Day, datetime!(2026-03-27 23:00 UTC), datetime!(2026-03-30 22:00 UTC))
            .unwrap();
        let begins: Vec<_> = days.iter().map(|(begin, _)| *begin).collect();
        assert_eq!(
            begins,
            [
                datetime!(2026-03-27 23:00 UTC),
                datetime!(2026-03-28 23:00 UTC),
                datetime!(2026-03-29 22:00 UTC), // 23 hours
            ]
        );
        assert_eq!(days[2].1, "2026-03-30");
        assert_eq!(berlin.midnight("2026-10-25", 1), Some(datetime!(2026-10-25 23:00 UTC)), "25 hours");
        let kathmandu = Zone::by_name("Asia/Kathmandu").unwrap();
        assert_eq!(kathmandu.midnight("2026-01-01", 0), Some(datetime!(2025-12-31 18:15 UTC)));
        assert_eq!(Zone::utc().midnight("2026-02-30", 0), None);
        assert_eq!(Zone::utc().midnight("yesterday!", 0), None);
    }

    #[test]
    fn a_repeated_hour_is_two_hours_and_a_skipped_one_is_none() {
        let autumn = names(
            "America/New_York",
            Step::Hour,
            datetime!(2026-11-01 04:30 UTC),
            datetime!(2026-11-01 07:30 UTC),
        );
        assert_eq!(
            autumn,
            [
                "2026-11-01T00:00-04:00",
                "2026-11-01T01:00-04:00",
                "2026-11-01T01:00-05:00",
                "2026-11-01T02:00-05:00"
            ]
        );
        let spring = names(
            "America/New_York",
            Step::Hour,
            datetime!(2026-03-08 06:00 UTC),
            datetime!(2026-03-08 08:00 UTC),
        );
        assert_eq!(spring, ["2026-03-08T01:00-05:00", "2026-03-08T03:00-04:00"]);
        let lord_howe = names(
            "Australia/Lord_Howe",
            Step::Hour,
            datetime!(2026-04-04 14:00 UTC),
            datetime!(2026-04-04 18:00 UTC),
        );
        assert!(lord_howe.windows(2).all(|pair| pair[0] != pair[1]), "{lord_howe:?}");
    }

    #[test]
    fn months_and_bounds() {
        let months =
            names("UTC", Step::Month, datetime!(2026-01-15 00:00 UTC), datetime!(2026-04-01 00:00 UTC));
        assert_eq!(months, ["2026-01", "2026-02", "2026-03"]);
        let year =
            Zone::utc().steps(Step::Hour, datetime!(2024-01-01 00:00 UTC), datetime!(2026-01-01 00:00 UTC));
        assert_eq!(year, Err(PeriodError::TooManySteps));
        for unknown in ["Mars/Olympus", "", "EST5EDT4,M3.2.0", "../etc/passwd", "Europe/Berlin\0"] {
            assert!(Zone::by_name(unknown).is_err(), "{unknown}");
        }
        assert!(Zone::by_name("europe/berlin").is_ok(), "names are read without case");
    }
}
