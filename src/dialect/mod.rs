//! Wire formats as pure functions: bytes in, meaning out, and back. Nothing here does I/O or knows a tenant.

pub mod openai_chat;
pub mod sse;
