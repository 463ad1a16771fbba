//! Inference under `/v1` and `/api/v1`, in OpenAI's and Anthropic's formats.

pub mod conversation;
pub mod count_tokens;
pub mod models;
pub mod performance;
pub mod receipts;
pub mod route;
mod routing_headers;
mod upstream;
