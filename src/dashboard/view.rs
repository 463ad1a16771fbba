//! How values are shown: money from whole nano-dollars, times in the viewer's zone beside UTC, counts with
//! separators. No arithmetic on money happens in templates or scripts.

use crate::domain::money::NanoUsd;
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// An amount in every decimal it has: `$0.0000378`, `$25.00`, `−$1.05`.
pub fn exact(amount: NanoUsd) -> String {
    let text = amount.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("\u{2212}", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = format!("{:0<2}", fraction);
    format!("{sign}${}.{fraction}", grouped_digits(whole))
}

/// An amount for a tile: to the cent from a dollar on, four digits below. Never `$0.00` for what is not zero.
pub fn short(amount: NanoUsd) -> String {
    let size = amount.0.unsigned_abs();
    if size == 0 {
        return "$0.00".to_owned();
    }
    if size >= 1_000_000_000 {
        let cents = (size + 5_000_000) / 10_000_000;
        let sign = if amount.0 < 0 { "\u{2212}" } else { "" };
        return format!("{sign}${}.{:02}", grouped_digits(&(cents / 100).to_string()), cents % 100);
    }
    // Below a dollar: the first four digits that say something.
    let mut step = 1;
    while size / step >= 10_000 {
        step *= 10;
    }
    let kept = i64::try_from(size / step * step).unwrap_or(i64::MAX);
    exact(NanoUsd(if amount.0 < 0 { -kept } else { kept }))
}

/// `12,345`.
pub fn count(number: impl TryInto<i128>) -> String {
    let Ok(number) = number.try_into() else { return String::new() };
    let digits = grouped_digits(&number.unsigned_abs().to_string());
    if number < 0 { format!("\u{2212}{digits}") } else { digits }
}

fn grouped_digits(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A moment, for `<time>`: machine-readable, and as UTC text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    pub rfc3339: String,
    pub text: String,
}

/// A moment in UTC; the page's script shows it in the viewer's zone.
pub fn moment(at: OffsetDateTime) -> Moment {
    let at = at.to_offset(time::UtcOffset::UTC);
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let text = at.format(&format).unwrap_or_default();
    let whole = at.replace_nanosecond(0).unwrap_or(at);
    Moment { rfc3339: whole.format(&Rfc3339).unwrap_or_default(), text: format!("{text} UTC") }
}

/// A moment as RFC 3339 text, to the millisecond.
pub fn rfc3339(at: OffsetDateTime) -> String {
    let at = at.to_offset(time::UtcOffset::UTC);
    let whole = at.replace_nanosecond(u32::from(at.millisecond()) * 1_000_000).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// The same in a sentence; `span` names the time before.
pub fn change_against(now: i64, before: i64, span: &str) -> String {
    match (now, before) {
        (0, 0) => format!("none in {span} either"),
        (_, 0) => format!("none in {span}"),
        _ => format!("{} against {span}", change(now, before)),
    }
}

/// How much a figure is above or below the one before: `+12.5 %`.
pub fn change(now: i64, before: i64) -> String {
    match (now, before) {
        (now, before) if now == before => "no change".to_owned(),
        (_, 0) => "nothing before".to_owned(),
        (now, before) => {
            let permille =
                (i128::from(now) - i128::from(before)) * 1_000 / i128::from(before.unsigned_abs().max(1));
            let (sign, size) = if permille < 0 { ("\u{2212}", -permille) } else { ("+", permille) };
            format!("{sign}{}.{} %", count(size / 10), size % 10)
        }
    }
}

/// Milliseconds as people say them: `812 ms`, `1.24 s`, `2 min 5 s`.
pub fn duration(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        _ => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_exactly_and_never_as_zero_when_it_is_not() {
        for (nano, whole, tile) in [
            (0, "$0.00", "$0.00"),
            (1, "$0.000000001", "$0.000000001"),
            (37_800, "$0.0000378", "$0.0000378"),
            (123_456_789, "$0.123456789", "$0.1234"),
            (25_000_000_000, "$25.00", "$25.00"),
            (-1_050_000_000, "\u{2212}$1.05", "\u{2212}$1.05"),
            (1_234_567_894_999_999, "$1,234,567.894999999", "$1,234,567.89"),
        ] {
            assert_eq!(exact(NanoUsd(nano)), whole);
            assert_eq!(short(NanoUsd(nano)), tile);
        }
    }

    #[test]
    fn counts_and_durations_read_well() {
        assert_eq!(count(1_234_567_u64), "1,234,567");
        assert_eq!(count(-12_i64), "\u{2212}12");
        assert_eq!(change(150, 100), "+50.0 %");
        assert_eq!(change(1, 3), "\u{2212}66.6 %");
        assert_eq!(change(5, 0), "nothing before");
        assert_eq!(change(0, 0), "no change");
        assert_eq!(duration(812), "812 ms");
        assert_eq!(duration(1_249), "1.24 s");
        assert_eq!(duration(125_000), "2 min 5 s");
    }
}
