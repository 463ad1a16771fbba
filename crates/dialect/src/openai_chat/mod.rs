//! OpenAI's chat completions: the client's request, the request for each provider of the same format, and as much of
//! the answer as billing and the relay need. Content that is not understood here passes through unchanged, byte for
//! byte; prompts are never logged.

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
