//! OpenAI's Responses: the request as clients send it, the same for providers that speak it (OpenAI for models that
//! need it, Perplexity in a narrower form), and answers in both directions. Nothing is kept between requests: what
//! stands for something a provider keeps goes to a provider of Responses or nowhere.

mod abilities;
mod answer;
mod client_tools;
mod encode;
mod events;
mod fields;
mod frames;
mod input;
mod items;
pub(crate) mod members;
mod output;
mod reader;
mod request;
mod tiers;
mod tools;
mod usage;
mod write;
mod writer;

pub use answer::{failed_event, write_answer};
pub(crate) use client_tools::KIND_MARK;
pub use reader::Reader;
pub use request::{ResponsesRequest, read};
pub use tiers::with_known_tier;
pub(crate) use tools::NAMESPACE_END;
pub use write::write;
pub use writer::Writer;

/// Stands before our mark on a block that its maker sent redacted, so that it goes back as one.
const REDACTED: &str = "redacted.";

/// Stands in the id of every item that we made, after the prefix that tells its kind. No provider's ids have it.
const MADE_HERE: &str = "gw1_";

/// Whether the item of this id was made here, so that no provider knows it.
fn is_made_here(id: &str) -> bool {
    id.split_once('_').is_some_and(|(_, rest)| rest.starts_with(MADE_HERE))
}

#[cfg(test)]
mod tests;
