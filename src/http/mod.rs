//! The JSON API: one table of routes, authentication as argument types, one table of error codes.

mod access_log;
pub mod api;
mod body;
mod cors;
pub mod error;
pub mod extract;
mod finish;
pub mod health;
mod idempotent;
mod indox;
pub mod openapi;
mod refusals;
pub mod routes;
mod unknown;
pub mod v1;
