//! W3C's header, sampling, and the encoded form of a request with two attempts.

use super::*;
use proptest::prelude::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn a_parent_is_read_as_w3c_writes_it() {
    let parent = TraceParent::parse(PARENT).unwrap();
    assert_eq!(parent.span_id, 0xb7ad_6b71_6920_3331);
    assert!(parent.is_sampled);
    assert_eq!(parent.header(), PARENT);
    assert!(TraceParent::parse(&format!("cc{}-what-comes-later", &PARENT[2..])).is_some());
    for wrong in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
    ] {
        assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(trace_id in 1_u128.., span_id in 1_u64.., is_sampled: bool) {
        let parent = TraceParent { trace_id, span_id, is_sampled };
        prop_assert_eq!(TraceParent::parse(&parent.header()), Some(parent));
    }

    #[test]
    fn no_header_panics(text in "\\PC{0,80}") {
        let _ = TraceParent::parse(&text);
    }
}

fn traces(sample_percent: u8) -> (Traces, Exporter) {
    let settings = Settings { sample_percent, instance: "ins_1".to_owned() };
    Traces::new(settings, Ambient::system())
}

#[test]
fn the_callers_decision_about_sampling_holds() {
    let parent = TraceParent::parse(PARENT);
    let unsampled = TraceParent::parse(&PARENT.replace("-01", "-00"));
    let (none, _exporter) = traces(0);
    assert!(none.begin(parent).own.is_sampled);
    assert_eq!(none.begin(parent).own.trace_id, parent.unwrap().trace_id);
    assert_eq!(none.begin(parent).parent_span_id, Some(parent.unwrap().span_id));
    assert!(!none.begin(None).own.is_sampled);
    let (all, _exporter) = traces(100);
    assert!(!all.begin(unsampled).own.is_sampled);
    assert!(all.begin(None).own.is_sampled);
}

fn span(context: RequestContext) -> RequestSpan {
    let attempt = |span_id, provider, status, error: Option<&str>| AttemptSpan {
        span_id,
        provider,
        model: "openai/gpt-5.4-mini".into(),
        credential: "platform",
        began: Duration::from_millis(10),
        duration: Duration::from_millis(20),
        status: Some(status),
        error: error.map(str::to_owned),
    };
    RequestSpan {
        context,
        operation: "chat",
        requested: "gpt-5.4-mini".to_owned(),
        started_at: OffsetDateTime::UNIX_EPOCH,
        duration: Duration::from_millis(50),
        ttft: Some(Duration::from_millis(30)),
        provider: Some("google"),
        model: Some("openai/gpt-5.4-mini".into()),
        usage: Some(Usage { input: 12, output: 6, ..Usage::default() }),
        stream: false,
        status: "completed",
        is_error: false,
        organization: "org_1".to_owned(),
        receipt: "rcpt_1".to_owned(),
        attempts: vec![attempt(2, "openai", 429, Some("rate_limit")), attempt(3, "google", 200, None)],
    }
}

#[test]
fn a_request_with_a_failover_is_three_spans_of_one_trace() {
    let parent = TraceParent::parse(PARENT).unwrap();
    let own = TraceParent { span_id: 1, ..parent };
    let context = RequestContext { own, parent_span_id: Some(parent.span_id) };
    let body = encode::body(&[span(context)], "ins_1");
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 3);
    for one in spans {
        assert_eq!(one["traceId"], "0af7651916cd43dd8448eb211c80319c");
    }
    assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
    assert_eq!(spans[1]["status"]["code"], 2);
    assert_eq!(spans[2]["startTimeUnixNano"], "10000000");
    let text = body.to_string();
    for part in [
        r#"{"key":"gen_ai.usage.input_tokens","value":{"intValue":"12"}}"#,
        r#"{"key":"gen_ai.provider.name","value":{"stringValue":"gcp.gemini"}}"#,
        r#"{"key":"error.type","value":{"stringValue":"rate_limit"}}"#,
        r#"{"key":"service.name","value":{"stringValue":"kairosroute"}}"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_full_queue_costs_spans_and_nothing_else() {
    let (traces, _exporter) = traces(100);
    for _ in 0..=WAITING_MAX {
        traces.end(span(traces.begin(None)));
    }
    assert_eq!(traces.lost(), 1);
}
