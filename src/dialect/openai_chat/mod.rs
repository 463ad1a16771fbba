//! OpenAI's `chat/completions`, as a client sends it and as the compatible providers answer it.

pub mod prompt;
pub mod reply;
pub mod usage;
