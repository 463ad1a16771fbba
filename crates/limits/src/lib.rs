//! The arithmetic of limits, without I/O, clock or lock: how processes share one limit through a common state
//! ([`pool`], [`share`]), how attempts are throttled ([`gcra`]), and where a budget's period begins and ends
//! ([`period`]).

pub mod gcra;
pub mod period;
pub mod pool;
pub mod share;

pub use gcra::Gcra;
pub use period::{Period, PeriodKind, TimeZone};
pub use pool::{Grant, Kind, Pool, Report};
pub use share::{Share, Take};
