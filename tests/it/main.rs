//! The integration tests: a real gateway, a real PostgreSQL server and scripted providers that keep their own
//! bill. One binary, so that it links once. Test code may unwrap; nothing here is part of the product.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod harness;

mod accounts;
mod agents;
mod answer_cache;
mod api_keys;
mod auto;
mod bad_input;
mod books;
mod canary;
mod compliance;
mod dashboard;
mod deploy;
mod details;
mod error_texts;
mod growth;
mod idempotency;
mod indox;
mod key_rotation;
mod kinds;
mod layers;
mod limits;
mod matrix;
mod mcp;
mod media;
mod members;
mod money;
mod observed;
mod openapi;
mod operations;
mod payments;
mod people;
mod pooler;
mod processes;
mod provider_keys;
mod provider_keys_use;
mod quotas;
mod readme;
mod routes;
mod scoped;
mod sdk;
mod sessions;
mod shared_health;
mod shared_keys;
mod shares;
mod statements;
mod tenancy;
mod traces;
mod webhooks;
