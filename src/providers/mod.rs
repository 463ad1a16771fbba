//! Talking to providers.

pub mod guard;
