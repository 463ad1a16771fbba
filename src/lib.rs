//! KairosRoute: a multi-tenant LLM routing gateway with bring-your-own-key and an exact billing ledger.
//! ARCHITECTURE.md has the map; layers point one way, from `app` down to `domain`.

pub mod accounts;
pub mod alerts;
pub mod app;
pub mod billing;
pub mod cache;
pub mod commands;
pub mod config;
pub mod credentials;
pub mod dashboard;
pub mod gateway;
pub mod http;
pub mod idempotency;
pub mod jobs;
pub mod local_postgres;
pub mod mail;
pub mod mcp;
pub mod providers;
pub mod quotas;
pub mod routing;
pub mod store;
pub mod telemetry;
pub mod vault;

pub use kairosroute_books as books;
pub use kairosroute_dialect as dialect;
pub use kairosroute_domain as domain;
pub use kairosroute_limits as limits;
pub use kairosroute_simulator as simulator;
