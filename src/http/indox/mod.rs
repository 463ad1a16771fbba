//! indoxhub's own client, which logs in with an API key and is served in its own words by the handlers that serve
//! everybody else. What it sends is turned into OpenAI's form where it differs, what it is answered into its
//! envelope; nothing here may decide, call or bill. Only a caller that presents a token of [`login`] gets here.

mod answer;
pub mod inference;
pub mod login;
pub mod models;
mod request;
pub mod usage;
