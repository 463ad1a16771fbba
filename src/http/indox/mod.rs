//! indoxhub's own client, which logs in with an API key and uses its own format with the handlers of all clients. Its
//! requests are converted to OpenAI's format where they differ, and its answers to its envelope. This module must not
//! decide, call or bill. Only a caller with a token of [`login`] gets here.

mod answer;
pub mod inference;
pub mod login;
pub mod models;
mod request;
pub mod usage;
