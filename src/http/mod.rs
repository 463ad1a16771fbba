//! The JSON API: one table of routes, authentication as argument types, one table of error codes.

pub mod api;
mod body;
pub mod error;
pub mod extract;
mod finish;
pub mod health;
mod idempotent;
mod indox;
mod refusals;
pub mod routes;
mod unknown;
pub mod v1;
