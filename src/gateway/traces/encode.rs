//! Spans in OTLP's JSON form (ExportTraceServiceRequest): ids are hex, times are nanoseconds as text.

use super::{AttemptSpan, RequestSpan};
use crate::config::build;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;

const SERVER: u8 = 2;
const CLIENT: u8 = 3;
const ERROR: u8 = 2;

/// One body for the exporter.
pub fn body(spans: &[RequestSpan], instance: &str) -> Value {
    let encoded: Vec<Value> = spans.iter().flat_map(request).collect();
    let resource = [
        attribute("service.name", "kairosroute"),
        attribute("service.version", build::VERSION),
        attribute("service.instance.id", instance),
    ];
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": "kairosroute", "version": build::VERSION }, "spans": encoded }],
    }] })
}

/// A request's own span, then those of its attempts.
fn request(span: &RequestSpan) -> Vec<Value> {
    let context = &span.context;
    let model = span.model.as_deref();
    let mut attributes = vec![
        attribute("gen_ai.operation.name", span.operation),
        attribute("gen_ai.request.model", &span.requested),
        attribute("kairosroute.org.id", &span.organization),
        attribute("kairosroute.receipt.id", &span.receipt),
        attribute("kairosroute.status", span.status),
        json!({ "key": "kairosroute.stream", "value": { "boolValue": span.stream } }),
    ];
    attributes.extend(span.provider.map(|provider| attribute("gen_ai.provider.name", convention(provider))));
    attributes.extend(model.map(|model| attribute("gen_ai.response.model", model)));
    attributes.extend(span.ttft.map(|ttft| number("kairosroute.time_to_first_token_ms", millis(ttft))));
    if let Some(usage) = &span.usage {
        attributes.push(number("gen_ai.usage.input_tokens", usage.prompt()));
        attributes.push(number("gen_ai.usage.output_tokens", usage.output));
    }
    let name = format!("{} {}", span.operation, model.unwrap_or(&span.requested));
    let own = json!({
        "traceId": trace_id(span),
        "spanId": format!("{:016x}", context.own.span_id),
        "parentSpanId": context.parent_span_id.map_or_else(String::new, |id| format!("{id:016x}")),
        "name": name,
        "kind": SERVER,
        "startTimeUnixNano": nanos(span.started_at, Duration::ZERO),
        "endTimeUnixNano": nanos(span.started_at, span.duration),
        "attributes": attributes,
        "status": if span.is_error { json!({ "code": ERROR }) } else { json!({}) },
    });
    std::iter::once(own).chain(span.attempts.iter().map(|one| attempt(span, one))).collect()
}

fn attempt(span: &RequestSpan, one: &AttemptSpan) -> Value {
    let mut attributes = vec![
        attribute("gen_ai.operation.name", span.operation),
        attribute("gen_ai.provider.name", convention(one.provider)),
        attribute("gen_ai.request.model", &one.model),
        attribute("kairosroute.credential", one.credential),
    ];
    attributes.extend(one.status.map(|status| number("http.response.status_code", u64::from(status))));
    attributes.extend(one.error.as_deref().map(|error| attribute("error.type", error)));
    json!({
        "traceId": trace_id(span),
        "spanId": format!("{:016x}", one.span_id),
        "parentSpanId": format!("{:016x}", span.context.own.span_id),
        "name": format!("{} {}", span.operation, one.model),
        "kind": CLIENT,
        "startTimeUnixNano": nanos(span.started_at, one.began),
        "endTimeUnixNano": nanos(span.started_at, one.began.saturating_add(one.duration)),
        "attributes": attributes,
        "status": if one.error.is_some() { json!({ "code": ERROR }) } else { json!({}) },
    })
}

fn trace_id(span: &RequestSpan) -> String {
    format!("{:032x}", span.context.own.trace_id)
}

/// The name of a provider in the GenAI conventions.
fn convention(provider: &str) -> &str {
    match provider {
        "google" => "gcp.gemini",
        "xai" => "x_ai",
        "mistral" => "mistral_ai",
        other => other,
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn number(key: &str, value: u64) -> Value {
    // Integers of 64 bits are text in protobuf's JSON.
    json!({ "key": key, "value": { "intValue": value.to_string() } })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn nanos(started_at: OffsetDateTime, after: Duration) -> String {
    let after = i128::try_from(after.as_nanos()).unwrap_or(i128::MAX);
    started_at.unix_timestamp_nanos().saturating_add(after).to_string()
}
