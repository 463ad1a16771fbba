//! How long a candidate may take to its first content. While another candidate is left the time is short, so that a
//! silent provider does not hold the request; the last candidate gets all the time there is.

use super::{Failover, ParsedRequest};
use crate::dialect::canonical::Effort;
use std::time::Duration;

/// High reasoning efforts get so many times the usual time.
const EFFORT_FACTOR: u32 = 4;
/// A whole answer also gets the time to be written: so much for each token, for this many of an open limit, and for so
/// many at the most.
const TOKEN_TIME: Duration = Duration::from_millis(20);
const TOKENS_ASSUMED: u64 = 1_500;
const TOKENS_MAX: u64 = 8_192;

impl Failover<'_> {
    /// The time to the first content for the target at this place; `None`: the usual limit alone.
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
