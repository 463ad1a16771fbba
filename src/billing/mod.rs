//! Money: prices, holds, settles, reports. The only writer of the ledger's tables.
#![deny(clippy::float_arithmetic)]

pub mod audit;
pub mod batch;
pub mod credit;
pub mod ledger;
pub mod payments;
pub mod price;
pub mod reap;
pub mod recompute;
pub mod record;
pub mod report;
pub mod requests;
pub mod statements;
#[cfg(test)]
mod tests;
pub mod usage_report;
