//! Inference under `/v1` and `/api/v1`, in OpenAI's shape.

pub mod chat;
pub mod models;
pub mod receipts;
