//! A whole JSON document where a stream was asked for: some hosts tell errors so, and some cannot stream. It is read
//! as a whole answer, or as the error it is, and written as the stream that the client wants. Where the bytes would
//! have passed, they cannot: this is the one case in which a dialect is translated into itself.

use super::{Exchange, Heard, Lane, translate::Translate};
use crate::{
    dialect::{
        Speaking,
        json::{Cursor, DEPTH_LIMIT, Raw},
    },
    providers::error::Rejection,
};

pub(super) struct Document {
    exchange: Exchange,
    bytes: Vec<u8>,
}

impl Document {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, bytes: Vec::new() }
    }

    /// Keeps what came, as much as a whole answer may be.
    pub(super) fn take(&mut self, bytes: &[u8], heard: &mut Heard) {
        if self.bytes.len().saturating_add(bytes.len()) > self.exchange.reply_bytes_max {
            return heard.fail("the provider's answer is too large".to_owned());
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The document is whole.
    pub(super) fn read(&mut self, lane: &mut Lane, heard: &mut Heard) {
        let bytes = std::mem::take(&mut self.bytes);
        let json = bytes.trim_ascii();
        if let Lane::Chat(_) | Lane::Pass(_) = lane {
            self.exchange.speaking = Some(speaking(&self.exchange, json));
            if let Some(translate) = Translate::new(&self.exchange) {
                *lane = Lane::Translate(translate);
            }
        }
        let read = match lane {
            Lane::Translate(translate) => translate.whole(json, heard),
            Lane::Gather(gather) => gather.whole(json, heard),
            Lane::Chat(_) | Lane::Pass(_) | Lane::Bytes(_) => Ok(()),
        };
        // The whole document says more about an error than the part that a reader takes for it.
        if heard.finished == 0 && (read.is_err() || heard.failure.is_some()) {
            heard.failure = Some(Rejection::read(heard.provider, 200, None, json));
        }
    }
}

/// What the answer is written with, as the document tells it.
fn speaking(exchange: &Exchange, json: &[u8]) -> Speaking {
    let whole = Cursor::new(json, DEPTH_LIMIT).and_then(|mut cursor| cursor.value()).ok();
    let get = |name: &str| whole.and_then(|whole| whole.member(name));
    let created = get("created").or_else(|| get("created_at")).and_then(|value| value.get().parse().ok());
    Speaking {
        seed: exchange.reading.seed.clone(),
        created: created.unwrap_or(0),
        provider: exchange.provider,
        upstream_model: get("model").and_then(Raw::text).unwrap_or_default().into_owned(),
        include_usage: exchange.usage_by_client,
        echo: String::new(),
    }
}
