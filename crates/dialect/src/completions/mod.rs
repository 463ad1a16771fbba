//! OpenAI's text completions, the format before messages: passed through to the hosts that still support them, and
//! converted to a conversation with one prompt everywhere else. Features that only completions have (a suffix, an echo,
//! token ids as a prompt) are never left out: such a request goes to those hosts or nowhere.

mod logprobs;
mod reader;
mod request;
mod writer;

pub use reader::Reader;
pub use request::{CompletionsRequest, read};
pub use writer::{Writer, write_answer};

#[cfg(test)]
mod tests;
