//! OpenAI's Responses wire, byte for byte, and what it refuses.

use super::*;

const PATH: &str = "/openai/v1/responses";
const ASK: &str = r#"{"model":"gpt-5.5","input":"hi"}"#;
/// What every response of a plain request has after its output, up to the usage.
const ECHOED: &str = r#""background":false,"frequency_penalty":0.0,"instructions":null,"max_output_tokens":null,"max_tool_calls":null,"metadata":{},"parallel_tool_calls":true,"presence_penalty":0.0,"previous_response_id":null,"prompt_cache_key":null,"reasoning":{"effort":null,"summary":null},"safety_identifier":null,"store":true,"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","top_logprobs":0,"top_p":1.0,"truncation":"disabled","tools":[],"service_tier":"default""#;

fn with(members: &str) -> String {
    ASK.replace("{\"model\"", &format!("{{{members},\"model\""))
}

fn saying(items: &str) -> String {
    format!(r#"{{"model":"gpt-5.5","input":[{items}]}}"#)
}

fn streamed(simulator: &Simulator, script: Script) -> Heard {
    simulator.enqueue("openai", script);
    post(simulator, PATH, &with("\"stream\":true"))
}

fn full() -> Script {
    Script {
        reasoning: vec!["Hm".into(), ".".into()],
        signature: Some("sealed".into()),
        tool_calls: vec![ToolCall::new("call_1", "f", &[r#"{\"a\":"#, r#"\"\ud83d\"}"#])],
        cached_tokens: 4,
        cache_write_tokens: 2,
        ..Script::text(&["One", " two"]).with_tokens(12, 12)
    }
}

#[test]
fn a_stream_opens_and_closes_every_item() {
    let simulator = start();
    let heard = streamed(&simulator, full());
    let events: Vec<(&str, &str)> = heard
        .body
        .split_terminator("\n\n")
        .map(|frame| frame.strip_prefix("event: ").and_then(|frame| frame.split_once("\ndata: ")).unwrap())
        .collect();
    let middle = &events[2..events.len() - 1];
    let expected = [
        r#"{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"rs_simulated1","type":"reasoning","summary":[]}}"#,
        r#"{"type":"response.reasoning_summary_part.added","sequence_number":3,"item_id":"rs_simulated1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":""}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","sequence_number":4,"item_id":"rs_simulated1","output_index":0,"summary_index":0,"delta":"Hm"}"#,
        r#"{"type":"response.reasoning_summary_text.delta","sequence_number":5,"item_id":"rs_simulated1","output_index":0,"summary_index":0,"delta":"."}"#,
        r#"{"type":"response.reasoning_summary_text.done","sequence_number":6,"item_id":"rs_simulated1","output_index":0,"summary_index":0,"text":"Hm."}"#,
        r#"{"type":"response.reasoning_summary_part.done","sequence_number":7,"item_id":"rs_simulated1","output_index":0,"summary_index":0,"part":{"type":"summary_text","text":"Hm."}}"#,
        r#"{"type":"response.output_item.done","sequence_number":8,"output_index":0,"item":{"id":"rs_simulated1","type":"reasoning","summary":[{"type":"summary_text","text":"Hm."}]}}"#,
        r#"{"type":"response.output_item.added","sequence_number":9,"output_index":1,"item":{"id":"msg_simulated1","type":"message","status":"in_progress","content":[],"role":"assistant"}}"#,
        r#"{"type":"response.content_part.added","sequence_number":10,"item_id":"msg_simulated1","output_index":1,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}}"#,
        r#"{"type":"response.output_text.delta","sequence_number":11,"item_id":"msg_simulated1","output_index":1,"content_index":0,"delta":"One","logprobs":[]}"#,
        r#"{"type":"response.output_text.delta","sequence_number":12,"item_id":"msg_simulated1","output_index":1,"content_index":0,"delta":" two","logprobs":[]}"#,
        r#"{"type":"response.output_text.done","sequence_number":13,"item_id":"msg_simulated1","output_index":1,"content_index":0,"text":"One two","logprobs":[]}"#,
        r#"{"type":"response.content_part.done","sequence_number":14,"item_id":"msg_simulated1","output_index":1,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":"One two"}}"#,
        r#"{"type":"response.output_item.done","sequence_number":15,"output_index":1,"item":{"id":"msg_simulated1","type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"One two"}],"role":"assistant"}}"#,
        r#"{"type":"response.output_item.added","sequence_number":16,"output_index":2,"item":{"id":"fc_simulated1_0","type":"function_call","status":"in_progress","arguments":"","call_id":"call_1","name":"f"}}"#,
        r#"{"type":"response.function_call_arguments.delta","sequence_number":17,"item_id":"fc_simulated1_0","output_index":2,"delta":"{\"a\":"}"#,
        r#"{"type":"response.function_call_arguments.delta","sequence_number":18,"item_id":"fc_simulated1_0","output_index":2,"delta":"\"\ud83d\"}"}"#,
        r#"{"type":"response.function_call_arguments.done","sequence_number":19,"item_id":"fc_simulated1_0","output_index":2,"arguments":"{\"a\":\"\ud83d\"}"}"#,
        r#"{"type":"response.output_item.done","sequence_number":20,"output_index":2,"item":{"id":"fc_simulated1_0","type":"function_call","status":"completed","arguments":"{\"a\":\"\ud83d\"}","call_id":"call_1","name":"f"}}"#,
    ];
    assert_eq!(middle.iter().map(|(_, data)| *data).collect::<Vec<_>>(), expected);
    for (name, data) in &events {
        assert!(data.starts_with(&format!(r#"{{"type":"{name}","#)), "{name} {data}");
    }
    let running = format!(
        r#"{{"id":"resp_simulated1","object":"response","created_at":1760000000,"completed_at":null,"status":"in_progress","error":null,"incomplete_details":null,"model":"gpt-5.5","output":[],{ECHOED},"usage":null}}"#
    );
    assert_eq!(
        events[0].1,
        format!(r#"{{"type":"response.created","sequence_number":0,"response":{running}}}"#)
    );
    assert_eq!(events[1].0, "response.in_progress");
    let (end, data) = events[events.len() - 1];
    assert_eq!(end, "response.completed");
    assert!(data.contains(r#""status":"completed","error":null,"incomplete_details":null"#));
    assert!(data.ends_with(
        r#""usage":{"input_tokens":12,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"output_tokens":12,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":24}}}"#
    ));
    assert_eq!((last(&simulator).completion_tokens, last(&simulator).content_chunks_written), (12, 6));
}

#[test]
fn a_whole_answer_has_the_same_items_and_seals_them_when_asked() {
    let simulator = start();
    simulator.enqueue("openai", full());
    let body = with(r#""include":["reasoning.encrypted_content"],"store":false"#);
    let echoed = ECHOED.replace("\"store\":true", "\"store\":false");
    assert_eq!(
        post(&simulator, PATH, &body).body,
        format!(
            r#"{{"id":"resp_simulated1","object":"response","created_at":1760000000,"completed_at":1760000001,"status":"completed","error":null,"incomplete_details":null,"model":"gpt-5.5","output":[{{"id":"rs_simulated1","type":"reasoning","summary":[{{"type":"summary_text","text":"Hm."}}],"encrypted_content":"sealed"}},{{"id":"msg_simulated1","type":"message","status":"completed","content":[{{"type":"output_text","annotations":[],"logprobs":[],"text":"One two"}}],"role":"assistant"}},{{"id":"fc_simulated1_0","type":"function_call","status":"completed","arguments":"{{\"a\":\"\ud83d\"}}","call_id":"call_1","name":"f"}}],{echoed},"usage":{{"input_tokens":12,"input_tokens_details":{{"cached_tokens":4,"cache_write_tokens":2}},"output_tokens":12,"output_tokens_details":{{"reasoning_tokens":2}},"total_tokens":24}}}}"#
        )
    );
}

#[test]
fn endings_have_the_words_of_the_wire() {
    let simulator = start();
    let ending = |reason: &str| Script { finish_reason: Some(reason.into()), ..Script::text(&["a"]) };
    for (reason, event, words) in [
        ("length", "response.incomplete", r#""incomplete_details":{"reason":"max_output_tokens"}"#),
        ("content_filter", "response.incomplete", r#""incomplete_details":{"reason":"content_filter"}"#),
        ("cancelled", "response.completed", r#""status":"cancelled""#),
    ] {
        let heard = streamed(&simulator, ending(reason));
        let end = values(&heard).pop().unwrap();
        assert_eq!(end["type"], event);
        assert!(heard.body.contains(words), "{}", heard.body);
    }
    let heard = streamed(&simulator, Script { refusal: Some("No.".into()), ..Script::text(&[]) });
    assert!(heard.body.contains(
        r#"{"type":"response.refusal.delta","sequence_number":4,"item_id":"msg_simulated4","output_index":0,"content_index":0,"delta":"No."}"#
    ), "{}", heard.body);
    let cited = Citation { url: "https://a".into(), title: "A".into() };
    let script = Script { citations: vec![cited], logprobs: true, ..Script::text(&["a"]) };
    let heard = streamed(&simulator, script);
    assert!(heard.body.contains(
        r#""annotation":{"type":"url_citation","start_index":0,"end_index":0,"title":"A","url":"https://a"}"#
    ));
    assert!(heard.body.contains(r#""logprobs":[{"token":"a","bytes":null,"logprob":-0.25,"#));
}

#[test]
fn a_stream_breaks_as_scripted() {
    let simulator = start();
    let heard = streamed(&simulator, Script { error_after: Some(1), ..Script::text(&["a", "b"]) });
    let seen = values(&heard);
    let [.., error, failed] = seen.as_slice() else { panic!("{}", heard.body) };
    assert_eq!((&error["type"], &error["error"]["code"]), (&"error".into(), &"server_error".into()));
    assert_eq!(
        (&failed["type"], &failed["response"]["status"]),
        (&"response.failed".into(), &"failed".into())
    );
    let numbers: Vec<u64> = seen.iter().filter_map(|event| event["sequence_number"].as_u64()).collect();
    assert_eq!(numbers, (0..7).collect::<Vec<_>>());
    assert_eq!(last(&simulator).completion_tokens, 1);
    let heard = streamed(&simulator, Script { cut_after: Some(1), ..Script::text(&["a", "b"]) });
    assert!(!heard.whole && !heard.body.contains("output_text.done"));
}

#[test]
fn perplexity_adds_events_and_money() {
    let simulator = start();
    let path = "/perplexity/v1/responses";
    let ask = r#"{"model":"perplexity/sonar","stream":true,"input":[{"type":"message","role":"user","content":"hi"}]}"#;
    simulator.enqueue("perplexity", Script::text(&["a"]).with_tokens(1_000, 1));
    let heard = post(&simulator, path, ask);
    let names: Vec<&str> = heard.body.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(
        names[2..6],
        [
            "response.reasoning.started",
            "response.reasoning.search_queries",
            "response.reasoning.search_results",
            "response.reasoning.stopped",
        ]
    );
    assert!(heard.body.contains(r#""delta":"a","logprobs":[],"obfuscation":null}"#));
    assert!(heard.body.contains(
        r#""total_tokens":1001,"cost":{"currency":"USD","input_cost":0.001000,"output_cost":0.000002,"tool_calls_cost":0.005000,"total_cost":0.006002}}"#
    ));
    simulator.enqueue("perplexity", Script { error_after: Some(0), ..Script::default() });
    let heard = post(&simulator, path, &ask.replace("\"stream\":true,", ""));
    assert_eq!(status(&heard), 200);
    assert!(heard.body.contains(r#""status":"failed","error":{"code":"server_error","#));
    assert_eq!(last(&simulator).prompt_tokens, 0);
    assert_judged(
        &simulator,
        path,
        &[
            ("input[0].type", ask.replace("\"type\":\"message\",", "")),
            ("temperature", ask.replace("{\"model\"", "{\"temperature\":1,\"model\"")),
            ("leaked field: provider", ask.replace("{\"model\"", "{\"provider\":1,\"models\":[],\"model\"")),
            ("", ask.replace("\"model\":\"perplexity/sonar\"", "\"models\":[\"a\"]")),
        ],
    );
}

#[test]
fn a_later_request_may_go_on_from_a_response() {
    let simulator = start();
    post(&simulator, PATH, ASK);
    post(&simulator, PATH, &with("\"store\":false"));
    let going_on = |id: &str| {
        saying(r#"{"type":"function_call_output","call_id":"c","output":"x"}"#)
            .replace("{\"model\"", &format!("{{\"previous_response_id\":\"{id}\",\"model\""))
    };
    assert_judged(
        &simulator,
        PATH,
        &[
            ("", going_on("resp_simulated1")),
            ("previous_response_not_found", going_on("resp_simulated2")),
            ("previous_response_not_found", going_on("resp_unknown")),
        ],
    );
    assert_judged(&simulator, "/xai/v1/responses", &[("not found", going_on("resp_simulated1"))]);
    for path in ["/groq/openai/v1/responses", "/fireworks_ai/inference/v1/responses"] {
        assert_judged(&simulator, path, &[("", ASK.to_owned())]);
    }
}

#[test]
fn requests_are_judged() {
    let simulator = start();
    let user = r#"{"role":"user","content":[{"type":"input_text","text":"hi"}]}"#;
    let call = r#"{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}"#;
    let output = r#"{"type":"function_call_output","call_id":"c","output":"x"}"#;
    let nested = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let cases = [
        ("", ASK.to_owned()),
        ("", saying(&format!("{user},{call},{output}"))),
        ("No tool call found", saying(&format!("{user},{output}"))),
        ("No tool output found", saying(&format!("{user},{call}"))),
        ("max_output_tokens", with("\"max_output_tokens\":15")),
        ("", with("\"max_output_tokens\":16")),
        ("tools[0].name", with(nested)),
        ("tools[0].function", with(&nested.replace("\"function\":{", "\"name\":\"f\",\"function\":{"))),
        ("", with(r#""tools":[{"type":"function","name":"f","parameters":null,"strict":false}]"#)),
        ("tool_choice", with(r#""tool_choice":{"type":"function","function":{"name":"f"}}"#)),
        ("text.format", with(r#""text":{"format":{"type":"json_schema","json_schema":{}}}"#)),
        ("temperature", with("\"temperature\":0.5")),
        ("", with(r#""temperature":0.5,"reasoning":{"effort":"none"}"#)),
        ("Invalid value: 'text'", saying(&user.replace("input_text", "text"))),
        ("Invalid value: 'input_text'", saying(&user.replace("\"user\"", "\"assistant\""))),
        (
            "image_url",
            saying(r#"{"role":"user","content":[{"type":"input_image","image_url":{"url":"x"}}]}"#),
        ),
        (
            "begins with 'fc'",
            saying(&format!("{},{output}", call.replace("{\"type", "{\"id\":\"call_1\",\"type"))),
        ),
        (
            "could not be verified",
            saying(&format!(r#"{{"type":"reasoning","summary":[],"encrypted_content":"gw1.x"}},{user}"#)),
        ),
        ("include_usage", with(r#""stream_options":{"include_usage":true}"#)),
        ("leaked field: byok_api_key", with("\"byok_api_key\":\"k\"")),
    ];
    assert_judged(&simulator, PATH, &cases);
    for field in [
        "messages",
        "n",
        "stop",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "max_tokens",
        "max_completion_tokens",
        "response_format",
        "logit_bias",
    ] {
        let value = if field == "messages" { "[]" } else { "1" };
        let named = format!("{field}: Unknown parameter.");
        assert_judged(&simulator, PATH, &[(&named, with(&format!("\"{field}\":{value}")))]);
    }
}
