//! OpenAI's chat completions: the request as clients send it, as each provider that speaks the same format
//! wants it, and as much of the answer as billing and the relay need. What is not understood here passes
//! through unchanged, byte for byte; prompts never reach a log.

mod answers;
mod edit;
pub(crate) mod fields;
mod messages;
pub mod prompt;
pub mod reply;
pub(crate) mod request;
mod rewrite;
pub(crate) mod tier;
mod traits;
mod translate;
pub mod usage;

pub use answers::{AnswerEdits, without_phantom_calls};
pub(crate) use fields::{GATEWAY_FIELDS, OWN_SUPPORTED};
pub(crate) use messages::expect;
pub use request::{ChatRequest, read};
pub(crate) use request::{is_absent_or_default, models};
pub use traits::{Reasoning, Sampling, Traits, needs_responses};
pub use translate::{Reader, Said, Writer, write, write_answer, write_turns};

#[cfg(test)]
mod tests;
