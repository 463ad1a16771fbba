//! Decides and never calls: which models at which providers may serve a request, in which order, and why.

pub mod auto;
pub mod breaker;
pub mod filter;
pub mod host_stats;
pub mod plan;
pub mod quality;
pub mod retry;
pub mod session;
pub mod shared_health;
pub mod strategy;
