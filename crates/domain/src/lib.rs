//! Plain types of the domain: identifiers, money, usage, secrets, the catalogue. No I/O, no floats near money.
#![deny(clippy::float_arithmetic)]

pub mod ambient;
pub mod catalog;
pub mod ids;
pub mod kind;
pub mod money;
pub mod policy;
pub mod provider;
pub mod secret;
pub mod shares;
pub mod tokens;
pub mod usage;
