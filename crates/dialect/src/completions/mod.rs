//! OpenAI's text completions, from before there were messages: passed on to the hosts that still have them, and one
//! prompt's turn in a conversation everywhere else. What only a completion can do (a suffix, an echo, tokens for a
//! prompt) is never left out on the way: such a request goes to those hosts or nowhere.

mod logprobs;
mod reader;
mod request;
mod writer;

pub use reader::Reader;
pub use request::{CompletionsRequest, read};
pub use writer::{Writer, write_answer};

#[cfg(test)]
mod tests;
