//! A whole JSON document where a stream was asked for: some hosts send errors so, and some cannot stream. It is read
//! as a whole answer, or as the error it is, and written as the stream that the client wants. Where the bytes would
//! have passed, they cannot: this is the one case in which a dialect is translated into itself.

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

    /// Keeps what came, as much as a whole answer may be.
    pub(super) fn take(&mut self, bytes: &[u8], state: &mut StreamState) {
        if self.bytes.len().saturating_add(bytes.len()) > self.context.reply_bytes_max {
            return state.fail("the provider's answer is too large".to_owned());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The document is whole.
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
        // The whole document says more about an error than the part that a reader takes for it.
        if state.finished == 0 && (read.is_err() || state.failure.is_some()) {
            state.failure = Some(UpstreamError::read(state.provider, 200, None, json));
        }
    }
}

/// What the answer is written with, as the document has it.
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
