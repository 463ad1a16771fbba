//! The kinds of ledger entries and the accounts that each may change.

/// One of the accounts of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Account {
    /// The organization's credit.
    Customer,
    /// Sold usage.
    Revenue,
    /// The source and destination of credit.
    Funding,
}

impl Account {
    pub fn as_str(self) -> &'static str {
        match self {
            Account::Customer => "customer",
            Account::Revenue => "revenue",
            Account::Funding => "funding",
        }
    }
}

/// Why an entry was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EntryKind {
    /// A request on a platform key.
    Charge,
    /// Returns a charge, completely or in part.
    Refund,
    /// Credit given by the operator.
    Grant,
    /// Credit from a payment.
    Topup,
    /// Credit given by the operator until a date.
    Promotion,
    /// The rest of promotional credit at its end.
    Expiry,
    /// Corrects a balance, in either direction.
    Adjustment,
    /// A payment that was returned outside of the gateway.
    PaymentRefund,
    /// A payment that the bank has taken back.
    Dispute,
    /// A dispute that was decided for the operator.
    DisputeReversal,
}

impl EntryKind {
    pub const ALL: [EntryKind; 10] = [
        EntryKind::Charge,
        EntryKind::Refund,
        EntryKind::Grant,
        EntryKind::Topup,
        EntryKind::Promotion,
        EntryKind::Expiry,
        EntryKind::Adjustment,
        EntryKind::PaymentRefund,
        EntryKind::Dispute,
        EntryKind::DisputeReversal,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Charge => "charge",
            EntryKind::Refund => "refund",
            EntryKind::Grant => "grant",
            EntryKind::Topup => "topup",
            EntryKind::Promotion => "promotion",
            EntryKind::Expiry => "expiry",
            EntryKind::Adjustment => "adjustment",
            EntryKind::PaymentRefund => "payment_refund",
            EntryKind::Dispute => "dispute",
            EntryKind::DisputeReversal => "dispute_reversal",
        }
    }

    pub fn by_name(name: &str) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Changes the sold usage rather than the paid-in credit.
    pub fn is_adjustment(self) -> bool {
        matches!(self, EntryKind::Refund | EntryKind::Adjustment)
    }

    /// The debited account and the credited account. `adds`: whether the organization's credit grows, which only an
    /// adjustment can choose; `None` if the kind cannot change credit in that direction.
    pub fn sides(self, adds: bool) -> Option<(Account, Account)> {
        use Account::{Customer, Funding, Revenue};
        match (self, adds) {
            (EntryKind::Charge, false) => Some((Customer, Revenue)),
            (EntryKind::Refund, true) => Some((Revenue, Customer)),
            (EntryKind::Expiry | EntryKind::PaymentRefund | EntryKind::Dispute, false) => {
                Some((Customer, Funding))
            }
            (
                EntryKind::Grant | EntryKind::Topup | EntryKind::Promotion | EntryKind::DisputeReversal,
                true,
            ) => Some((Funding, Customer)),
            (EntryKind::Adjustment, true) => Some((Funding, Customer)),
            (EntryKind::Adjustment, false) => Some((Customer, Funding)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_and_moves_credit_one_way_unless_it_is_an_adjustment() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::by_name(kind.as_str()), Some(kind));
            let ways = [true, false].into_iter().filter_map(|adds| kind.sides(adds)).collect::<Vec<_>>();
            assert_eq!(ways.len(), if kind == EntryKind::Adjustment { 2 } else { 1 }, "{kind:?}");
            for (debit, credit) in ways {
                assert!(debit != credit && (debit == Account::Customer || credit == Account::Customer));
            }
        }
    }
}
