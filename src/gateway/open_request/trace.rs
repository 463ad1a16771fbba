//! The spans of a running request, if it is traced: one for each call, and the request's own when it has ended.

use super::OpenRequest;
use crate::{
    domain::kind::Kind,
    gateway::{
        attempt::Call,
        receipt::{Bill, CredentialKind, RequestOutcome},
        traces::{AttemptSpan, RequestContext, RequestSpan, TraceParent},
    },
    providers::error::UpstreamError,
    routing::plan::Candidate,
};
use std::time::Instant;

/// The position of a request in its trace.
#[derive(Clone)]
pub struct Trace {
    context: RequestContext,
    attempts: Vec<AttemptSpan>,
    began: Instant,
}

/// A call in progress.
pub struct RunningSpan {
    span_id: u64,
    started: Instant,
}

impl OpenRequest {
    /// The request belongs to the caller's trace, or begins one.
    pub fn begin_trace(&mut self, parent: Option<TraceParent>) {
        let context = self.gateway.traces.as_ref().map(|traces| traces.begin(parent));
        self.trace = context
            .filter(|context| context.own.is_sampled)
            .map(|context| Box::new(Trace { context, attempts: Vec::new(), began: self.started }));
    }

    /// A provider is about to be called: the request carries the id of the call's span.
    pub fn begin_attempt_span(&self, call: &mut Call) -> Option<RunningSpan> {
        let (trace, traces) = self.trace.as_ref().zip(self.gateway.traces.as_ref())?;
        let span_id = traces.span_id();
        call.outgoing.traceparent = Some(TraceParent { span_id, ..trace.context.own }.header());
        Some(RunningSpan { span_id, started: Instant::now() })
    }

    pub fn end_attempt_span(
        &mut self,
        span: Option<RunningSpan>,
        candidate: &Candidate,
        credential: CredentialKind,
        failed: Option<&UpstreamError>,
    ) {
        let (Some(trace), Some(span)) = (&mut self.trace, span) else { return };
        trace.attempts.push(AttemptSpan {
            span_id: span.span_id,
            provider: candidate.provider.as_str(),
            model: candidate.id.clone(),
            credential: match credential {
                CredentialKind::Byok => "byok",
                CredentialKind::Platform => "platform",
            },
            began: span.started.saturating_duration_since(trace.began),
            duration: span.started.elapsed(),
            status: failed.map_or(Some(200), |rejection| rejection.status),
            error: failed.map(|rejection| rejection.class.as_str().to_owned()),
        });
    }

    /// The request has ended.
    pub(super) fn end_trace(&self, ending: RequestOutcome, bill: Option<&Bill>) {
        let (Some(trace), Some(traces)) = (&self.trace, &self.gateway.traces) else { return };
        let (started_at, began) = self.turns.began.unwrap_or((self.started_at, self.started));
        traces.end(RequestSpan {
            context: trace.context,
            operation: match self.kind {
                Kind::Conversation(_) => "chat",
                other => other.as_str(),
            },
            requested: self.history.requested().chars().take(256).collect(),
            started_at,
            duration: began.elapsed(),
            ttft: self.turns.first_ttft.or(self.history.first_content()),
            provider: self.serving.as_ref().map(|serving| serving.provider.as_str()),
            model: self.served().map(|served| served.model_id.clone()),
            usage: bill.map(|bill| bill.usage),
            stream: self.history.is_stream(),
            status: ending.as_str(),
            is_error: ending == RequestOutcome::Failed,
            organization: self.principal.scope.org_id().to_string(),
            receipt: self.request_id.receipt().to_string(),
            attempts: trace.attempts.clone(),
        });
    }
}
