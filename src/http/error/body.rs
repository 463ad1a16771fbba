//! The JSON body of an error, in the envelope that its client expects.

use super::{ApiError, Code, Envelope, Parts};
use crate::domain::provider::ProviderId;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

impl ApiError {
    /// The JSON body, also used as the data of a terminal error event.
    pub fn body(&self) -> Value {
        match self.0.envelope {
            Envelope::OpenAi => self.openai_body(),
            Envelope::Anthropic => self.anthropic_body(),
            Envelope::Indox => {
                let mut body = self.openai_body();
                if let Some(fields) = body.as_object_mut() {
                    fields.insert("success".into(), json!(false));
                    fields.insert("message".into(), json!(self.0.message));
                }
                body
            }
        }
    }

    fn anthropic_body(&self) -> Value {
        let parts = &self.0;
        let mut error = json!({
            "type": anthropic_type(self.status()),
            "message": parts.anthropic_message.as_deref().unwrap_or(&parts.message),
            "code": parts.code.as_str(),
        });
        if let Some(fields) = error.as_object_mut() {
            if let Some(upstream) = &parts.upstream {
                fields.insert("metadata".into(), json!(upstream));
            }
            for (name, value) in &parts.details {
                fields.insert((*name).into(), value.clone());
            }
        }
        json!({ "type": "error", "error": error, "request_id": self.request_id() })
    }

    fn openai_body(&self) -> Value {
        let parts = &self.0;
        let mut error = json!({
            "message": parts.message,
            "type": parts.error_type.as_deref().unwrap_or(parts.code.openai_type()),
            "param": parts.param,
            "code": parts.code.as_str(),
        });
        if let Some(fields) = error.as_object_mut() {
            if let Some(upstream) = &parts.upstream {
                fields.insert("metadata".into(), json!(upstream));
            }
            for (name, value) in &parts.details {
                fields.insert((*name).into(), value.clone());
            }
            if parts.supported_providers {
                fields.insert("supported_providers".into(), json!(ProviderId::ids()));
            }
            if let Some(text) = &parts.failed_generation {
                fields.insert("failed_generation".into(), json!(text));
            }
        }
        json!({ "error": error, "detail": detail(parts) })
    }
}

/// Anthropic's `type` by status (their API errors page).
fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        503 | 529 => "overloaded_error",
        500..=599 => "api_error",
        _ => "invalid_request_error",
    }
}

/// One client reads only `detail`, and treats a 404 as an error of a provider if that word occurs in it: for an unknown
/// model it gets only the first sentence.
fn detail(parts: &Parts) -> &str {
    match parts.code {
        Code::ModelNotFound => {
            parts.message.split_once(". ").map_or(parts.message.as_str(), |(first, _)| first)
        }
        _ => &parts.message,
    }
}
