//! Google's generateContent, for providers: requests written, answers read. Formats and names are those of the
//! provider's API reference and SDK, November 2026. It must never invent an option that the client did not state, and
//! never decode text or arguments that only pass through.

mod choice;
mod config;
mod contents;
mod logprobs;
mod model;
mod partial;
mod parts;
mod reader;
mod request;
mod usage;

pub(crate) use parts::opens;
pub use reader::Reader;
pub use request::write;

#[cfg(test)]
mod tests;
