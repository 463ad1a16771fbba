//! The facts about one request at one provider that reading its answer needs: the dialects of both sides, and the
//! requested options.

use crate::{
    dialect::{Dialect, Reading, WriterContext, kinds::Expected},
    domain::provider::ProviderId,
};

/// The options requested by the client and by the gateway.
#[derive(Clone, Debug)]
pub struct UpstreamContext {
    pub provider: ProviderId,
    /// The client's dialect, and the dialect of the upstream request. If they are equal, bytes pass through.
    pub client: Dialect,
    pub upstream: Dialect,
    pub reading: Reading,
    /// How to write the answer if it is written again.
    pub writer_context: Option<WriterContext>,
    /// The answer is not sent to the client directly: its events are collected for the gateway itself.
    pub gathers: bool,
    /// Number of answers (`n`).
    pub choices: u64,
    /// The client requested a usage chunk.
    pub usage_by_client: bool,
    /// The gateway requested the usage only for itself.
    pub usage_by_us: bool,
    /// Maximum bytes that may wait here for the client.
    pub reply_bytes_max: usize,
    pub held_bytes_max: usize,
    pub frame_bytes_max: usize,
    /// The answer will be stored if it is not larger than this.
    pub kept_bytes_max: Option<usize>,
}

/// The same for a request of another endpoint kind.
#[derive(Clone, Debug)]
pub struct EndpointContext {
    pub provider: ProviderId,
    pub expected: Expected,
    pub reply_bytes_max: usize,
}
