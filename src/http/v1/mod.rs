//! Inference under `/v1` and `/api/v1`, in OpenAI's and Anthropic's shapes.

mod brought;
pub mod conversation;
pub mod count_tokens;
pub mod models;
pub mod receipts;
mod upstream;
