//! OpenAI's Responses: the client's request, the request for providers that support it (OpenAI for models that need it,
//! Perplexity in a narrower form), and answers in both directions. Nothing is stored between requests: a reference to
//! something that a provider stores goes to a provider of Responses or nowhere.

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

/// Precedes our tag on a block that its provider sent redacted, so that it is sent back as redacted.
const REDACTED: &str = "redacted.";

/// Part of the id of every item that we created, after the prefix of its kind. No provider's ids contain it.
const MADE_HERE: &str = "gw1_";

/// Whether the gateway created the item with this id, so that no provider knows it.
fn is_made_here(id: &str) -> bool {
    id.split_once('_').is_some_and(|(_, rest)| rest.starts_with(MADE_HERE))
}

#[cfg(test)]
mod tests;
