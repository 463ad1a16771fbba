//! Cohere's chat, version 2, for providers: requests written, answers read. Shapes and names are those of the
//! provider's API reference and SDK, November 2026. It must never decode text or arguments that only pass
//! through.

mod messages;
mod reader;
mod request;
mod tools;
mod usage;

pub use reader::Reader;
pub use request::write;

#[cfg(test)]
mod tests;
