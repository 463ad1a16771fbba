//! Money: prices, holds, settles, reports. The only writer of the ledger's tables.
#![deny(clippy::float_arithmetic)]

pub mod audit;
pub mod batch;
pub mod ledger;
pub mod price;
pub mod reap;
pub mod record;
pub mod report;
pub mod requests;
#[cfg(test)]
mod tests;
