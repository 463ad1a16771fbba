//! The time limit to the first content of a candidate. While another candidate is left the limit is short, so that a
//! silent provider does not block the request; the last candidate has all of the remaining time.

use super::{Failover, ParsedRequest};
use crate::dialect::canonical::Effort;
use std::time::Duration;

/// High reasoning effort multiplies the usual time by this number.
const EFFORT_FACTOR: u32 = 4;
/// A whole answer gets additional time for writing: this much for each token, for this many tokens without an output
/// limit, and for at most this many.
const TOKEN_TIME: Duration = Duration::from_millis(20);
const TOKENS_ASSUMED: u64 = 1_500;
const TOKENS_MAX: u64 = 8_192;

impl Failover<'_> {
    /// The time to the first content for the target at this position; `None`: only the usual limit.
    pub(super) fn first_byte_max(&self, at: usize) -> Option<Duration> {
        let ParsedRequest::Conversation(request) = self.request else { return None };
        if !self.state.has_alternative(at) {
            return None;
        }
        if let Some(own) = self.inbound.first_content {
            return Some(own);
        }
        let head = request.head();
        let effort = request.thinking().effort;
        let is_high = matches!(effort, Some(Effort::High | Effort::XHigh | Effort::Max));
        let base = self.inbound.gateway.settings.deadlines.failover_first_byte;
        let base = if is_high { base.saturating_mul(EFFORT_FACTOR) } else { base };
        let tokens = head.output_limit.unwrap_or(TOKENS_ASSUMED).min(TOKENS_MAX);
        let written = TOKEN_TIME.saturating_mul(u32::try_from(tokens).unwrap_or(u32::MAX));
        Some(if head.stream { base } else { base.saturating_add(written) })
    }
}
