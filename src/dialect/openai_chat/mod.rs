//! OpenAI's chat completions: the request as clients send it, as each provider that speaks the same format
//! wants it, and as much of the answer as billing and the relay need. What is not understood here passes
//! through unchanged, byte for byte; prompts never reach a log.

mod edit;
mod fields;
mod messages;
pub mod prompt;
pub mod reply;
mod request;
mod rewrite;
mod traits;
pub mod usage;

pub use edit::{Encoded, Target, Unsupported};
pub use request::{ChatRequest, Facts, Invalid, Limits, read};
pub use traits::{Reasoning, Sampling, Traits};

#[cfg(test)]
mod tests;
