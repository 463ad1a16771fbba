//! Money: prices, holds, settles, reports. The only writer of the ledger's tables.

pub mod price;
