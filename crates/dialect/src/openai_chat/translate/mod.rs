//! OpenAI's chat to and from the canonical form, for clients whose provider uses another dialect and for providers
//! whose client does. Requests and answers with one dialect on both sides do not use this code.

mod answer;
mod calls;
mod effort;
mod extent;
mod parts_in;
mod pieces;
mod reader;
mod request_in;
mod request_out;
mod turns_in;
mod turns_out;
mod writer;

pub use answer::{Said, write_answer, write_turns};
pub(super) use calls::Calls;
pub use reader::Reader;
pub(super) use reader::content_of_parts;
pub use request_out::write;
pub use writer::Writer;

#[cfg(test)]
mod tests;
