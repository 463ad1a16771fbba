//! Reads the cost and the number of searches that a provider reports, in any member of a usage object: as integers,
//! because money is never a float.

use super::json::{Kind, Raw};

/// The maximum accepted cost of an answer: 1,000 dollars in nano-dollars.
const BILL_NANO_MAX: u128 = 1_000_000_000_000;
/// The maximum accepted searches of one answer.
const SEARCHES_MAX: u64 = 100_000;
/// xAI counts in ticks, ten to a nano-dollar.
const TICKS_PER_NANO: u64 = 10;
const NANO_DIGITS: i64 = 9;

/// The cost in nano-dollars, rounded up; 0 if none is reported or it cannot be read.
pub(crate) fn bill(usage: Raw<'_>) -> u64 {
    let cost = usage.member("cost").filter(|cost| !cost.is_null());
    let dollars = match cost.map(Raw::kind) {
        Some(Kind::Number) => cost,
        Some(Kind::Object) => cost.and_then(|cost| cost.member("total_cost")),
        _ => None,
    };
    let dollars = dollars.filter(|dollars| dollars.kind() == Kind::Number);
    let ticks = usage.member("cost_in_usd_ticks").and_then(Raw::count);
    dollars
        .and_then(|dollars| nano(dollars.get()))
        .or(ticks.map(|ticks| ticks.div_ceil(TICKS_PER_NANO)))
        .filter(|nano| u128::from(*nano) <= BILL_NANO_MAX)
        .unwrap_or(0)
}

/// Web searches that the provider counts itself: xAI by tool, Perplexity by invocation.
pub(crate) fn searches(usage: Raw<'_>) -> u64 {
    let of = |details: &str, path: &[&str]| {
        let start = usage.member(details);
        let value = path.iter().fold(start, |value, key| value.and_then(|value| value.member(key)));
        value.and_then(Raw::count).filter(|count| *count <= SEARCHES_MAX).unwrap_or(0)
    };
    let by_tool = |tool| of("server_side_tool_usage_details", &[tool]);
    let xai = by_tool("web_search_calls").saturating_add(by_tool("x_search_calls"));
    xai.max(of("tool_calls_details", &["search_web", "invocation"]))
}

/// A JSON number of dollars as nano-dollars, rounded up; `None` for one that is negative or too large.
fn nano(number: &str) -> Option<u64> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.starts_with('-') || whole.len().saturating_add(fraction.len()) > 60 {
        return None;
    }
    // The digits, and by how many places the decimal point moves.
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let places = exponent.checked_add(NANO_DIGITS)?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    if digits.is_empty() {
        return Some(0);
    }
    let kept = i64::try_from(digits.len()).ok()?.checked_add(places.min(0))?;
    let (kept, rest) = digits.split_at(usize::try_from(kept.max(0)).ok()?);
    if kept.len() > 20 {
        return None;
    }
    let value = if kept.is_empty() { 0 } else { kept.parse::<u128>().ok()? };
    let value = value.checked_mul(10u128.checked_pow(u32::try_from(places.max(0)).ok()?)?)?;
    let up = u128::from(rest.bytes().any(|digit| digit != b'0'));
    u64::try_from(value.checked_add(up)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bills_are_read_in_every_form_and_rounded_up() {
        for (json, expected) in [
            ("{}", 0),
            (r#"{"cost":null}"#, 0),
            (r#"{"cost":{"input_cost":0.001,"total_cost":0.00747,"currency":"USD"}}"#, 7_470_000),
            (r#"{"cost":0.00747}"#, 7_470_000),
            (r#"{"cost":7.47e-3}"#, 7_470_000),
            (r#"{"cost":1.2E+1}"#, 12_000_000_000),
            (r#"{"cost":0.0000000001}"#, 1),
            (r#"{"cost":0.0000000010}"#, 1),
            (r#"{"cost":0.00000000101}"#, 2),
            (r#"{"cost":3}"#, 3_000_000_000),
            (r#"{"cost":0}"#, 0),
            (r#"{"cost":0.0e5}"#, 0),
            (r#"{"cost_in_usd_ticks":37756000}"#, 3_775_600),
            (r#"{"cost_in_usd_ticks":11}"#, 2),
            // A value that cannot be a cost counts as none.
            (r#"{"cost":-1}"#, 0),
            (r#"{"cost":"1"}"#, 0),
            (r#"{"cost":1e99}"#, 0),
            (r#"{"cost":1001}"#, 0),
            (r#"{"cost":1e-99}"#, 1),
            (r#"{"cost":{"total_cost":"x"}}"#, 0),
            (r#"{"cost_in_usd_ticks":1.5}"#, 0),
        ] {
            assert_eq!(bill(Raw::trimmed(json)), expected, "{json}");
        }
    }

    #[test]
    fn searches_are_counted_as_each_provider_counts_them() {
        for (json, expected) in [
            ("{}", 0),
            (r#"{"server_side_tool_usage_details":{"web_search_calls":2,"x_search_calls":1}}"#, 3),
            (r#"{"tool_calls_details":{"search_web":{"invocation":4},"fetch_url":{"invocation":1}}}"#, 4),
            (r#"{"tool_calls_details":{"search_web":null}}"#, 0),
            (r#"{"server_side_tool_usage_details":{"web_search_calls":99999999}}"#, 0),
            (r#"{"server_side_tool_usage_details":[]}"#, 0),
        ] {
            assert_eq!(searches(Raw::trimmed(json)), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn every_number_of_nano_dollars_is_read_back(nano in 0u64..100_000_000_000_000) {
            let plain = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
            prop_assert_eq!(super::nano(&plain), Some(nano));
            prop_assert_eq!(super::nano(&format!("{nano}e-9")), Some(nano));
            prop_assert_eq!(super::nano(&format!("{plain}0001")), Some(nano + 1));
        }
    }
}
