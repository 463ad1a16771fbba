//! Amounts as published tables write them: JSON numbers, often with an exponent, per token or per million tokens.

use kairosroute_domain::money::NanoPerMillion;
use serde_json::value::RawValue;

/// Digits of a number that are looked at; more are below any price.
const DIGITS_MAX: usize = 25;

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Per {
    Token,
    MillionTokens,
}

impl Per {
    /// The power of ten from USD to nano-USD per million tokens.
    fn exponent(self) -> i32 {
        match self {
            Self::Token => 15,
            Self::MillionTokens => 9,
        }
    }
}

/// The price, rounded half up to a nano-dollar per million tokens. `None`: no number, negative, or too large.
pub fn read(raw: &RawValue, per: Per) -> Option<NanoPerMillion> {
    let text = raw.get().trim().trim_matches('"');
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = whole.chars().chain(fraction.chars()).collect();
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_sub(places)?.checked_add(per.exponent())?;
    let nano = match u32::try_from(shift) {
        Ok(up) => value.checked_mul(10_i128.checked_pow(up)?)?,
        Err(_) => {
            // Beyond this everything rounds to zero.
            let divisor = 10_i128.checked_pow(shift.unsigned_abs().min(37))?;
            value.checked_add(divisor / 2)? / divisor
        }
    };
    i64::try_from(nano).ok().map(NanoPerMillion)
}
