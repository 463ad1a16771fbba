//! Promotional credit is used before all other credit: charges use up the lots in the order in which they expire.

use kairosroute_domain::money::NanoUsd;

/// The rest of a lot of promotional credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lot {
    /// Zero or above.
    pub remaining: NanoUsd,
}

/// Takes `charged` from the lots, which are in the order of their expiry, and returns the amount taken from each. Any
/// amount above all lots came from other credit. A negative charge (more was returned than charged) takes nothing.
pub fn burn(lots: &[Lot], charged: NanoUsd) -> Vec<NanoUsd> {
    let mut rest = charged.0.max(0);
    lots.iter()
        .map(|lot| {
            let taken = rest.min(lot.remaining.0.max(0));
            rest = rest.saturating_sub(taken);
            NanoUsd(taken)
        })
        .collect()
}

/// The expiring amount of a lot: its rest, but never more than the organization has.
pub fn expiring(remaining: NanoUsd, balance: NanoUsd) -> NanoUsd {
    NanoUsd(remaining.0.min(balance.0).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_lot_that_expires_first_is_burned_first() {
        let lots = [100, 0, 50].map(|remaining| Lot { remaining: NanoUsd(remaining) });
        let burned = |charged| burn(&lots, NanoUsd(charged)).into_iter().map(|lot| lot.0).collect::<Vec<_>>();
        assert_eq!(burned(70), [70, 0, 0]);
        assert_eq!(burned(120), [100, 0, 20]);
        assert_eq!(burned(1_000), [100, 0, 50]);
        assert_eq!(burned(-5), [0, 0, 0]);
        assert_eq!(expiring(NanoUsd(30), NanoUsd(100)), NanoUsd(30));
        assert_eq!(expiring(NanoUsd(30), NanoUsd(10)), NanoUsd(10));
        assert_eq!(expiring(NanoUsd(30), NanoUsd(-10)), NanoUsd(0));
    }

    proptest! {
        #[test]
        fn all_that_is_charged_is_taken_while_there_is_any(
            lots in prop::collection::vec(0i64..1_000, 0..8), charged in 0i64..8_000,
        ) {
            let lots: Vec<Lot> = lots.into_iter().map(|remaining| Lot { remaining: NanoUsd(remaining) }).collect();
            let burned = burn(&lots, NanoUsd(charged));
            let taken: i64 = burned.iter().map(|lot| lot.0).sum();
            let whole: i64 = lots.iter().map(|lot| lot.remaining.0).sum();
            prop_assert_eq!(taken, charged.min(whole));
            for (index, (lot, taken)) in lots.iter().zip(&burned).enumerate() {
                prop_assert!(taken.0 <= lot.remaining.0);
                let later: i64 = burned[index + 1..].iter().map(|lot| lot.0).sum();
                prop_assert!(later == 0 || taken == &lot.remaining, "a later lot waits for the earlier");
            }
        }
    }
}
