//! Where the period of a budget begins and ends: a calendar day, a week from Monday on, or a month, in the time zone of
//! the organization. A day of a clock change has 23 or 25 hours.

use jiff::{Timestamp, Zoned, civil::Weekday};
use std::fmt;
use time::OffsetDateTime;

/// How long a budget lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeriodKind {
    Day,
    Week,
    Month,
}

impl PeriodKind {
    pub const ALL: [PeriodKind; 3] = [Self::Day, Self::Week, Self::Month];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    pub fn by_name(name: &str) -> Option<PeriodKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A time zone of the IANA database, such as `Europe/Berlin`. The database is compiled in.
#[derive(Clone, PartialEq, Eq)]
pub struct TimeZone(jiff::tz::TimeZone);

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self(jiff::tz::TimeZone::UTC)
    }
}

impl TimeZone {
    /// The zone of this name, in any case of letters.
    pub fn by_name(name: &str) -> Option<TimeZone> {
        jiff::tz::TimeZone::get(name.trim()).ok().filter(|zone| zone.iana_name().is_some()).map(Self)
    }

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }
}

/// One period: from `starts_at` on, until just before `ends_at`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    pub starts_at: OffsetDateTime,
    pub ends_at: OffsetDateTime,
}

impl Period {
    /// The period that contains `at`.
    pub fn containing(kind: PeriodKind, zone: &TimeZone, at: OffsetDateTime) -> Period {
        // Times that a calendar cannot express are beyond every clock; they count as the beginning of time.
        let instant = Timestamp::from_nanosecond(at.unix_timestamp_nanos()).unwrap_or(Timestamp::UNIX_EPOCH);
        let local = instant.to_zoned(zone.0.clone());
        let date = match kind {
            PeriodKind::Day => local.date(),
            PeriodKind::Week => {
                let back = i64::from(local.weekday().since(Weekday::Monday));
                local.date().checked_sub(jiff::Span::new().days(back)).unwrap_or(local.date())
            }
            PeriodKind::Month => local.date().first_of_month(),
        };
        let step = match kind {
            PeriodKind::Day => jiff::Span::new().days(1),
            PeriodKind::Week => jiff::Span::new().days(7),
            PeriodKind::Month => jiff::Span::new().months(1),
        };
        let next = date.checked_add(step).unwrap_or(date);
        // If midnight does not exist, the day begins with the first moment after it.
        let begin =
            |date: jiff::civil::Date| date.to_zoned(zone.0.clone()).and_then(|day| day.start_of_day());
        let moment = |zoned: Result<Zoned, jiff::Error>| {
            let nanos = zoned.map_or(instant.as_nanosecond(), |zoned| zoned.timestamp().as_nanosecond());
            OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(at)
        };
        Period { starts_at: moment(begin(date)), ends_at: moment(begin(next)) }
    }

    pub fn contains(&self, at: OffsetDateTime) -> bool {
        self.starts_at <= at && at < self.ends_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::{Duration, macros::datetime};

    fn zone(name: &str) -> TimeZone {
        TimeZone::by_name(name).unwrap()
    }

    #[test]
    fn periods_follow_the_calendar_of_the_zone() {
        let at = datetime!(2026-11-29 23:30 UTC);
        let day = Period::containing(PeriodKind::Day, &zone("Europe/Berlin"), at);
        assert_eq!(
            (day.starts_at, day.ends_at),
            (datetime!(2026-11-29 23:00 UTC), datetime!(2026-11-30 23:00 UTC))
        );
        let week = Period::containing(PeriodKind::Week, &TimeZone::default(), at);
        assert_eq!(
            (week.starts_at, week.ends_at),
            (datetime!(2026-11-23 0:00 UTC), datetime!(2026-11-30 0:00 UTC))
        );
        let month = Period::containing(
            PeriodKind::Month,
            &zone("America/Los_Angeles"),
            datetime!(2026-12-01 7:59 UTC),
        );
        assert_eq!(
            (month.starts_at, month.ends_at),
            (datetime!(2026-11-01 7:00 UTC), datetime!(2026-12-01 8:00 UTC))
        );
    }

    #[test]
    fn a_day_of_a_clock_change_is_shorter_or_longer() {
        let hours = |zone_name: &str, at| {
            let day = Period::containing(PeriodKind::Day, &zone(zone_name), at);
            (day.ends_at - day.starts_at).whole_hours()
        };
        assert_eq!(hours("Europe/Berlin", datetime!(2026-03-29 12:00 UTC)), 23);
        assert_eq!(hours("Europe/Berlin", datetime!(2026-10-25 12:00 UTC)), 25);
        // No midnight there on this day: the clock goes from 23:59 to 1:00.
        assert_eq!(hours("America/Santiago", datetime!(2026-09-06 12:00 UTC)), 23);
    }

    #[test]
    fn zones_are_known_by_their_names_alone() {
        assert_eq!(zone("europe/berlin").name(), "Europe/Berlin");
        for unknown in ["", "Mars/Olympus", "+02:00", "../etc/passwd"] {
            assert!(TimeZone::by_name(unknown).is_none(), "{unknown}");
        }
    }

    proptest! {
        #[test]
        fn periods_cover_time_without_gap_or_overlap(
            seconds in 1_600_000_000i64..2_500_000_000, kind in 0usize..3, zone_index in 0usize..5,
        ) {
            let kind = PeriodKind::ALL[kind];
            let zone = zone(["UTC", "Europe/Berlin", "America/Santiago", "Asia/Kathmandu", "Pacific/Apia"][zone_index]);
            let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
            let period = Period::containing(kind, &zone, at);
            prop_assert!(period.contains(at));
            let next = Period::containing(kind, &zone, period.ends_at);
            prop_assert_eq!(next.starts_at, period.ends_at);
            let last = Period::containing(kind, &zone, period.ends_at - Duration::nanoseconds(1));
            prop_assert_eq!(last, period);
        }
    }
}
