//! One request at one provider, as the reading of its answer needs to know it: the dialects of both sides, and what was
//! asked for.

use crate::{
    dialect::{Dialect, Reading, WriterContext, kinds::Expected},
    domain::provider::ProviderId,
};

/// What the client and we asked for.
#[derive(Clone, Debug)]
pub struct UpstreamContext {
    pub provider: ProviderId,
    /// The client's dialect, and that of the upstream request. Where they are the same, bytes pass.
    pub client: Dialect,
    pub upstream: Dialect,
    pub reading: Reading,
    /// How to write the answer, where it has to be written anew.
    pub writer_context: Option<WriterContext>,
    /// The answer is not for the client as it comes: its events are gathered for the gateway itself.
    pub gathers: bool,
    /// Answers (`n`).
    pub choices: u64,
    /// The client wants a usage chunk.
    pub usage_by_client: bool,
    /// The provider was asked for usage only for our sake.
    pub usage_by_us: bool,
    /// Bytes that may wait here for the client at a time.
    pub reply_bytes_max: usize,
    pub held_bytes_max: usize,
    pub frame_bytes_max: usize,
    /// The answer is to be stored, if it is no larger than this.
    pub kept_bytes_max: Option<usize>,
}

/// The same for a request of another kind than a conversation.
#[derive(Clone, Debug)]
pub struct EndpointContext {
    pub provider: ProviderId,
    pub expected: Expected,
    pub reply_bytes_max: usize,
}
