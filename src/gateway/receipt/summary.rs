//! What of a receipt stands in columns of its own. It is known when the receipt is written, so that the text need not be
//! read again for it.

use super::{Document, RequestOutcome};
use crate::store::receipts::{Summary, error_class, provider_id};
use std::borrow::Cow;

impl Document<'_> {
    /// What [`Summary::read`] reads from it.
    pub(super) fn summary(&self) -> Summary {
        let (attempts, status) = (self.attempts, self.execution.status);
        let last = attempts.last();
        let has_failed = status == RequestOutcome::Failed;
        let provider = self.decision.provider.or(last.map(|attempt| attempt.provider));
        Summary {
            requested: Some(self.decision.requested.to_owned()),
            model: self.decision.model_id.map(str::to_owned),
            provider: provider.map(|name| provider_id(name.into())),
            kind: Some(self.kind.into()),
            byok: self.byok,
            status: status.as_str().into(),
            error_class: error_class(
                last.and_then(|attempt| attempt.error.as_deref()),
                has_failed,
                attempts.len(),
            ),
            fallback_reason: self.fallback_reason.map(Cow::Borrowed),
            charge: self.charged_nano_usd,
            cost: self.provider_cost_nano_usd,
            latency_ms: i64::try_from(self.execution.latency_ms).unwrap_or(i64::MAX),
            attempts: i16::try_from(attempts.len()).unwrap_or(i16::MAX),
        }
    }
}
