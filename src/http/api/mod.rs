//! Account calls under `/api`: thin over the services in `accounts`. JSON in camelCase.

pub mod auth;
