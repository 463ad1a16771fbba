//! A whole JSON document although a stream was requested: some hosts send errors this way, and some cannot stream. It
//! is read as a whole answer, or as the error that it contains, and written as the stream that the client requested.
//! The bytes cannot pass through; this is the only case in which a dialect is translated into itself.

use super::{RelayMode, StreamState, UpstreamContext, translate::Translate};
use crate::{
    dialect::{
        WriterContext,
        json::{Cursor, DEPTH_LIMIT, Raw},
    },
    providers::error::UpstreamError,
};

pub(super) struct Document {
    context: UpstreamContext,
    bytes: Vec<u8>,
}

impl Document {
    pub(super) fn new(context: UpstreamContext) -> Self {
        Self { context, bytes: Vec::new() }
    }

    /// Keeps the received bytes, up to the limit of a whole answer.
    pub(super) fn take(&mut self, bytes: &[u8], state: &mut StreamState) {
        if self.bytes.len().saturating_add(bytes.len()) > self.context.reply_bytes_max {
            return state.fail("the provider's answer is too large".to_owned());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The document is complete.
    pub(super) fn read(&mut self, mode: &mut RelayMode, state: &mut StreamState) {
        let bytes = std::mem::take(&mut self.bytes);
        let json = bytes.trim_ascii();
        if let RelayMode::Chat(_) | RelayMode::Pass(_) = mode {
            self.context.writer_context = Some(writer_context(&self.context, json));
            if let Some(translate) = Translate::new(&self.context) {
                *mode = RelayMode::Translate(translate);
            }
        }
        let read = match mode {
            RelayMode::Translate(translate) => translate.whole(json, state),
            RelayMode::Gather(gather) => gather.whole(json, state),
            RelayMode::Chat(_) | RelayMode::Pass(_) | RelayMode::Bytes(_) => Ok(()),
        };
        // The whole document has more details of an error than the part that the reader takes.
        if state.finished == 0 && (read.is_err() || state.failure.is_some()) {
            state.failure = Some(UpstreamError::read_in_success(state.provider, json));
        }
    }
}

/// The values for writing the answer, from the document.
fn writer_context(context: &UpstreamContext, json: &[u8]) -> WriterContext {
    let whole = Cursor::new(json, DEPTH_LIMIT).and_then(|mut cursor| cursor.value()).ok();
    let get = |name: &str| whole.and_then(|whole| whole.member(name));
    let created = get("created").or_else(|| get("created_at")).and_then(|value| value.get().parse().ok());
    WriterContext {
        seed: context.reading.seed.clone(),
        created: created.unwrap_or(0),
        provider: context.provider,
        upstream_model: get("model").and_then(Raw::text).unwrap_or_default().into_owned(),
        include_usage: context.usage_by_client,
        echo: String::new(),
    }
}
