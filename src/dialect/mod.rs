//! Wire formats as pure functions, used for clients and for providers alike. No I/O, no clock, no policy.

pub mod json;
pub mod openai_chat;
pub mod sse;
