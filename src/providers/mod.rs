//! Talking to providers: the HTTP client, the meaning of their errors, which addresses may be dialed, and
//! the only place that puts a provider key on the wire.

pub mod client;
pub mod error;
pub mod fetch;
pub mod guard;
pub mod oidc;
pub mod resolver;
pub mod stripe;
pub mod transport;
