//! OpenAI's chat completions: the request as clients send it, and as each provider that speaks the same format
//! wants it. What is not understood here passes through unchanged, byte for byte; prompts never reach a log.

mod edit;
mod fields;
mod messages;
mod request;
mod rewrite;
mod traits;

pub use edit::{Encoded, Target, Unsupported};
pub use request::{ChatRequest, Facts, Invalid, Limits, read};
pub use traits::{Reasoning, Sampling, Traits};

#[cfg(test)]
mod tests;
