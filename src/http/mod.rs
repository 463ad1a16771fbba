//! The JSON API: one table of routes, authentication as argument types, one table of error codes.

pub mod api;
mod body;
pub mod error;
pub mod extract;
pub mod health;
mod indox;
mod refusals;
pub mod routes;
pub mod v1;
