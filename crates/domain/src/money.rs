//! Money as integer nano-USD, and the one place where it is rounded: always up, to the next nano-dollar.

use std::fmt;

/// 10⁻⁹ US dollar.
pub const NANO_PER_USD: i64 = 1_000_000_000;

/// An amount in nano-USD. Range about ±9.2 billion dollars; arithmetic is checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NanoUsd(pub i64);

/// A price in nano-USD per million tokens: 2.50 USD per million is 2 500 000 000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct NanoPerMillion(pub i64);

/// A margin in basis points (1/100 %).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bps(pub u32);

/// An amount that does not fit, or text that is not a decimal number of dollars.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MoneyError {
    #[error("the amount is out of range")]
    Overflow,
    #[error("expected a decimal number of US dollars with at most 9 decimals")]
    Syntax,
}

impl NanoUsd {
    pub const ZERO: NanoUsd = NanoUsd(0);

    pub fn checked_add(self, other: NanoUsd) -> Result<NanoUsd, MoneyError> {
        self.0.checked_add(other.0).map(NanoUsd).ok_or(MoneyError::Overflow)
    }

    pub fn checked_sub(self, other: NanoUsd) -> Result<NanoUsd, MoneyError> {
        self.0.checked_sub(other.0).map(NanoUsd).ok_or(MoneyError::Overflow)
    }

    /// Parses `12`, `-0.5`, `1.000000001`; no exponent, and no sign except a leading minus.
    pub fn parse(text: &str) -> Result<NanoUsd, MoneyError> {
        parse_decimal(text).map(NanoUsd)
    }
}

impl NanoPerMillion {
    /// Parses a price in USD per million tokens.
    pub fn parse(text: &str) -> Result<NanoPerMillion, MoneyError> {
        match parse_decimal(text)? {
            price if price < 0 => Err(MoneyError::Syntax),
            price => Ok(NanoPerMillion(price)),
        }
    }
}

impl fmt::Display for NanoUsd {
    /// Decimal dollars without trailing zeros: `0.000123`, `12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, mut nano) = (magnitude / 1_000_000_000, magnitude % 1_000_000_000);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        match whole {
            0 => f.write_str("0")?,
            whole => write!(f, "{whole}")?,
        }
        if nano != 0 {
            let mut digits = *b".000000000";
            for digit in digits.iter_mut().skip(1).rev() {
                *digit += u8::try_from(nano % 10).unwrap_or(0);
                nano /= 10;
            }
            f.write_str(std::str::from_utf8(&digits).unwrap_or_default().trim_end_matches('0'))?;
        }
        Ok(())
    }
}

impl fmt::Debug for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} USD")
    }
}

/// The number of counted units that a price is for. Time is counted in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Per {
    One,
    Second,
    Minute,
    Million,
    Hour,
}

impl Per {
    pub const ALL: [Per; 5] = [Per::One, Per::Second, Per::Minute, Per::Million, Per::Hour];

    pub const fn quantity(self) -> u32 {
        match self {
            Per::One => 1,
            Per::Second => 1_000,
            Per::Minute => 60_000,
            Per::Million => 1_000_000,
            Per::Hour => 3_600_000,
        }
    }
}

/// A sum of quantities times prices before it is rounded once: exact, in parts of a nano-dollar that every [`Per`]
/// divides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Unrounded(i128);

/// Parts of a nano-dollar in [`Unrounded`].
const PARTS: u32 = 18_000_000;

impl Unrounded {
    /// The price of `quantity` at `price` for each `per`.
    pub fn of(quantity: u64, price: NanoUsd, per: Per) -> Result<Self, MoneyError> {
        i128::from(quantity)
            .checked_mul(i128::from(price.0))
            .and_then(|amount| amount.checked_mul(i128::from(PARTS / per.quantity())))
            .map(Unrounded)
            .ok_or(MoneyError::Overflow)
    }

    pub fn checked_add(self, other: Unrounded) -> Result<Unrounded, MoneyError> {
        self.0.checked_add(other.0).map(Unrounded).ok_or(MoneyError::Overflow)
    }

    pub fn ceil(self) -> Result<NanoUsd, MoneyError> {
        ceil_div(self.0, i128::from(PARTS))
    }
}

/// The provider's cost of priced tokens: `ceil(Σ tokens × price / 10⁶)`, summed before the one rounding.
pub fn cost(lines: impl IntoIterator<Item = (u64, NanoPerMillion)>) -> Result<NanoUsd, MoneyError> {
    let mut sum = Unrounded::default();
    for (tokens, price) in lines {
        sum = sum.checked_add(Unrounded::of(tokens, NanoUsd(price.0), Per::Million)?)?;
    }
    sum.ceil()
}

/// The customer's charge: `ceil(cost × (10 000 + margin) / 10 000)`.
pub fn charge(cost: NanoUsd, margin: Bps) -> Result<NanoUsd, MoneyError> {
    ceil_div(i128::from(cost.0) * (10_000 + i128::from(margin.0)), 10_000)
}

/// The charge of a call on the customer's own key: `ceil(cost × margin / 10 000)`, 0 by default.
pub fn byok_charge(cost: NanoUsd, margin: Bps) -> Result<NanoUsd, MoneyError> {
    ceil_div(i128::from(cost.0) * i128::from(margin.0), 10_000)
}

fn ceil_div(value: i128, by: i128) -> Result<NanoUsd, MoneyError> {
    let up = value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0);
    i64::try_from(up).map(NanoUsd).map_err(|_| MoneyError::Overflow)
}

fn parse_decimal(text: &str) -> Result<i64, MoneyError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(MoneyError::Syntax),
        Some((whole, fraction)) => (whole, fraction),
        None => (digits, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::Syntax);
    }
    let nano: i64 = format!("{fraction:0<9}").parse().map_err(|_| MoneyError::Syntax)?;
    let whole: i64 = whole.parse().map_err(|_| MoneyError::Overflow)?;
    let magnitude = whole
        .checked_mul(NANO_PER_USD)
        .and_then(|value| value.checked_add(nano))
        .ok_or(MoneyError::Overflow)?;
    Ok(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn golden_vectors_of_rounding() {
        let price = NanoPerMillion::parse("2.5").unwrap();
        assert_eq!(cost([(1, price)]), Ok(NanoUsd(2_500)));
        assert_eq!(cost([(1, NanoPerMillion(1))]), Ok(NanoUsd(1)), "a part of a nano-dollar rounds up");
        assert_eq!(cost([(500_000, NanoPerMillion(1)), (500_000, NanoPerMillion(1))]), Ok(NanoUsd(1)));
        assert_eq!(charge(NanoUsd(20), Bps(500)), Ok(NanoUsd(21)));
        assert_eq!(charge(NanoUsd(21), Bps(500)), Ok(NanoUsd(23)), "22.05 rounds up");
        assert_eq!(charge(NanoUsd(0), Bps(500)), Ok(NanoUsd(0)));
        assert_eq!(byok_charge(NanoUsd(1_000), Bps(0)), Ok(NanoUsd(0)));
        assert_eq!(byok_charge(NanoUsd(1), Bps(500)), Ok(NanoUsd(1)));
    }

    #[test]
    fn text_forms() {
        for (text, nano) in [("0", 0), ("1", NANO_PER_USD), ("0.000000001", 1), ("-2.5", -2_500_000_000)] {
            assert_eq!(NanoUsd::parse(text), Ok(NanoUsd(nano)));
            assert_eq!(NanoUsd(nano).to_string(), text);
        }
        for bad in ["", ".", "1.", ".5", "+1", "1e3", "1.0000000001", "99999999999", "--1", "1,5", "½"] {
            assert!(NanoUsd::parse(bad).is_err(), "{bad}");
        }
        assert!(NanoPerMillion::parse("-1").is_err());
    }

    #[test]
    fn quantities_of_every_kind_are_summed_exactly() {
        for per in Per::ALL {
            assert_eq!(PARTS % per.quantity(), 0, "{per:?} would be rounded on the way");
            let whole = Unrounded::of(u64::from(per.quantity()) * 3, NanoUsd(7), per);
            assert_eq!(whole.and_then(Unrounded::ceil), Ok(NanoUsd(21)), "{per:?}");
        }
        // A third of a nano-dollar each: 20,000 ms of 1 per minute, thrice.
        let third = Unrounded::of(20_000, NanoUsd(1), Per::Minute).unwrap();
        assert_eq!(third.ceil(), Ok(NanoUsd(1)));
        assert_eq!(third.checked_add(third).unwrap().checked_add(third).unwrap().ceil(), Ok(NanoUsd(1)));
    }

    #[test]
    fn a_million_charges_are_the_exact_ceiling_of_cost_and_margin() {
        // A multiplicative generator: any odd factor walks over all the widths of numbers.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1_000_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let cost = i64::try_from(state >> (2 + state % 60)).unwrap() / 2;
            let charged = charge(NanoUsd(cost), Bps(500)).unwrap().0;
            let exact = i128::from(cost) * 105;
            assert!(i128::from(charged) * 100 >= exact && (i128::from(charged) - 1) * 100 < exact, "{cost}");
        }
        println!("bar 10: 1000000 charges are ceil(1.05 × cost), and no float is in a crate of money (lint)");
    }

    proptest! {
        #[test]
        fn charge_is_the_exact_ceiling_and_margin_never_negative(cost in 0i64..i64::MAX / 2, bps in 0u32..10_001) {
            let charge = charge(NanoUsd(cost), Bps(bps)).unwrap().0;
            let exact = i128::from(cost) * (10_000 + i128::from(bps));
            prop_assert!(i128::from(charge) * 10_000 >= exact);
            prop_assert!((i128::from(charge) - 1) * 10_000 < exact || charge == 0);
            prop_assert!(charge >= cost);
        }

        #[test]
        fn a_billion_tokens_at_any_listed_price_do_not_overflow(price in 0i64..1_000_000_000_000) {
            prop_assert!(cost([(1_000_000_000, NanoPerMillion(price))]).is_ok());
        }

        #[test]
        fn decimal_text_round_trips(nano in any::<i64>()) {
            prop_assume!(nano != i64::MIN);
            prop_assert_eq!(NanoUsd::parse(&NanoUsd(nano).to_string()), Ok(NanoUsd(nano)));
        }
    }
}
