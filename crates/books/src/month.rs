//! A calendar month in UTC, the period of a statement.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::{fmt, str::FromStr};
use time::{Date, Month as MonthName, OffsetDateTime, Time};

/// `2026-10`. From the year 2000 to 2999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month {
    first: Date,
}

/// Text that is not a month.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected a month like 2026-10")]
pub struct MonthError;

impl Month {
    /// The month that contains a moment.
    pub fn of(moment: OffsetDateTime) -> Month {
        let date = moment.to_offset(time::UtcOffset::UTC).date();
        Month { first: date.replace_day(1).unwrap_or(date) }
    }

    /// Its first day.
    pub fn first_day(self) -> Date {
        self.first
    }

    /// Of its first day, as a database gives it back.
    pub fn from_first_day(day: Date) -> Month {
        Month { first: day.replace_day(1).unwrap_or(day) }
    }

    /// Its first moment.
    pub fn begin(self) -> OffsetDateTime {
        self.first.with_time(Time::MIDNIGHT).assume_utc()
    }

    /// The first moment after it.
    pub fn end(self) -> OffsetDateTime {
        self.next().begin()
    }

    #[must_use]
    pub fn next(self) -> Month {
        let (year, month) = match self.first.month() {
            MonthName::December => (self.first.year().saturating_add(1), MonthName::January),
            month => (self.first.year(), month.next()),
        };
        Month { first: Date::from_calendar_date(year, month, 1).unwrap_or(self.first) }
    }

    #[must_use]
    pub fn previous(self) -> Month {
        let (year, month) = match self.first.month() {
            MonthName::January => (self.first.year().saturating_sub(1), MonthName::December),
            month => (self.first.year(), month.previous()),
        };
        Month { first: Date::from_calendar_date(year, month, 1).unwrap_or(self.first) }
    }

    /// `October 2026`.
    pub fn name(self) -> String {
        format!("{} {}", self.first.month(), self.first.year())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.first.year(), u8::from(self.first.month()))
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        let (year, month) = text.split_once('-').ok_or(MonthError)?;
        let digits = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(year, 4) || !digits(month, 2) {
            return Err(MonthError);
        }
        let year: i32 = year.parse().map_err(|_| MonthError)?;
        let number: u8 = month.parse().map_err(|_| MonthError)?;
        let month = MonthName::try_from(number).map_err(|_| MonthError)?;
        if !(2_000..=2_999).contains(&year) {
            return Err(MonthError);
        }
        Ok(Month { first: Date::from_calendar_date(year, month, 1).map_err(|_| MonthError)? })
    }
}

impl Serialize for Month {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Month {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_month_is_text_bounds_and_neighbours() {
        let month: Month = "2026-12".parse().unwrap();
        assert_eq!(month.to_string(), "2026-12");
        assert_eq!(month.begin(), datetime!(2026-12-01 00:00 UTC));
        assert_eq!(month.end(), datetime!(2027-01-01 00:00 UTC));
        assert_eq!(month.next().previous(), month);
        assert_eq!(month.previous().to_string(), "2026-11");
        assert_eq!(Month::of(datetime!(2026-12-31 23:59:59.999 UTC)), month);
        assert_eq!(Month::of(datetime!(2027-01-01 00:30 +1)), month, "the day is that of UTC");
        assert_eq!(month.name(), "December 2026");
        for bad in ["2026", "2026-13", "2026-00", "26-01", "2026-1", "2026-01-01", "1999-01", "+026-01", ""] {
            assert_eq!(bad.parse::<Month>(), Err(MonthError), "{bad}");
        }
    }
}
