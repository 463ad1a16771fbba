//! The history of a request, in the order of the stages. Stages only add to it. Receipt, usage row and response headers
//! are read from it. It contains no text of the prompt and no key.

use super::{
    automatic::RoutingTrace,
    receipt::{self, Attempt},
};
use crate::routing::plan::CandidateTrace;
use std::{sync::Arc, time::Duration};

/// The history of one request, over all its turns.
#[derive(Clone, Default)]
pub struct RequestHistory {
    requested: String,
    stream: bool,
    candidates: Vec<CandidateTrace>,
    strategy: Option<&'static str>,
    routing: Option<Box<RoutingTrace>>,
    chain: Vec<Arc<str>>,
    attempts: Vec<Attempt>,
    fallback_reason: Option<&'static str>,
    dropped: Vec<String>,
    first_content: Option<Duration>,
}

impl RequestHistory {
    /// The request was parsed: its first model name, and whether it wants a stream.
    pub fn parsed(&mut self, requested: Option<&str>, stream: bool) {
        self.requested = requested.map(|name| receipt::cut(name).to_owned()).unwrap_or_default();
        self.stream = stream;
    }

    /// The gateway chose the model, or would have chosen it.
    pub fn classified(&mut self, routing: Option<Box<RoutingTrace>>) {
        self.routing = routing;
    }

    /// The plan: every candidate with its reasons, and the remaining ones in their order.
    pub fn planned(&mut self, candidates: Vec<CandidateTrace>, strategy: &'static str, chain: Vec<Arc<str>>) {
        (self.candidates, self.strategy, self.chain) = (candidates, Some(strategy), chain);
    }

    /// No candidate is left.
    pub fn plan_failed(&mut self, candidates: Vec<CandidateTrace>) {
        self.candidates = candidates;
    }

    /// A candidate may not be served on a platform key.
    pub fn obstacle(&mut self, model_id: &str, reason: &'static str) {
        let line = self.candidates.iter_mut().find(|line| &*line.model_id == model_id);
        line.into_iter().for_each(|line| line.reasons.push(reason));
    }

    /// The body for the next call was written without these fields.
    pub fn body_written(&mut self, dropped: Vec<String>) {
        self.dropped = dropped;
    }

    /// One more field was left out of the next call.
    pub fn field_dropped(&mut self, name: &str) {
        self.dropped.push(name.to_owned());
    }

    /// A call begins. The reason is set if it uses a platform key after the customer's key failed.
    pub fn call_begun(&mut self, fallback_reason: Option<&'static str>) {
        self.fallback_reason = fallback_reason;
    }

    pub fn call_ended(&mut self, attempt: Attempt) {
        self.attempts.push(attempt);
    }

    /// The answer of this turn has begun.
    pub fn content_begun(&mut self, after: Duration) {
        self.first_content = Some(after);
    }

    /// The history as continued by the next turn of the same request.
    pub fn next_turn(&self) -> Self {
        Self { first_content: None, ..self.clone() }
    }

    /// The first model name of the request, cut to a bounded length.
    pub fn requested(&self) -> &str {
        &self.requested
    }

    pub fn is_stream(&self) -> bool {
        self.stream
    }

    pub fn candidates(&self) -> &[CandidateTrace] {
        &self.candidates
    }

    pub fn strategy(&self) -> &'static str {
        self.strategy.unwrap_or("none")
    }

    pub fn routing(&self) -> Option<&RoutingTrace> {
        self.routing.as_deref()
    }

    pub fn chain(&self) -> &[Arc<str>] {
        &self.chain
    }

    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    pub fn fallback_reason(&self) -> Option<&'static str> {
        self.fallback_reason
    }

    pub fn dropped(&self) -> &[String] {
        &self.dropped
    }

    /// The time to the first content of this turn.
    pub fn first_content(&self) -> Option<Duration> {
        self.first_content
    }

    /// The plan of a request that was not served.
    pub fn into_plan(self) -> (Option<Box<RoutingTrace>>, Vec<CandidateTrace>, Vec<Arc<str>>) {
        (self.routing, self.candidates, self.chain)
    }
}
