//! OpenAI's chat completions: the request as clients send it, as each provider that speaks the same format
//! wants it, and as much of the answer as billing and the relay need. What is not understood here passes
//! through unchanged, byte for byte; prompts never reach a log.

mod edit;
pub(in crate::dialect) mod fields;
mod messages;
pub mod prompt;
pub mod reply;
pub(in crate::dialect) mod request;
mod rewrite;
mod traits;
mod translate;
pub mod usage;

pub(in crate::dialect) use fields::{OWN, OWN_SUPPORTED};
pub(in crate::dialect) use messages::expect;
pub use request::{ChatRequest, read};
pub(in crate::dialect) use request::{asks_nothing, models};
pub use traits::{Reasoning, Sampling, Traits, needs_responses};
pub use translate::{Reader, Said, Writer, write, write_answer, write_turns};

#[cfg(test)]
mod tests;
