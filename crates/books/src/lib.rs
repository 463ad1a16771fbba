//! Calculations for finance, as pure functions: monthly statements and their hash, the recomputation of a charge, the
//! use of promotional credit, the periods of a report, and the events of a payment provider. No I/O and no clock.
#![deny(clippy::float_arithmetic)]

pub mod cover;
pub mod entry;
pub mod month;
pub mod periods;
pub mod print;
pub mod promotion;
pub mod recompute;
pub mod statement;
pub mod stripe;
pub mod table;
