//! Google's generateContent, byte for byte, and what it refuses.

use super::*;

const ASK: &str = r#"{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}"#;
const UNARY: &str = "/google/v1beta/models/gemini-3.8-flash:generateContent";
const OLD: &str = "/google/v1beta/models/gemini-2.5-flash:generateContent";
const STREAM: &str = "/google/v1beta/models/gemini-3.8-flash:streamGenerateContent?alt=sse";

fn full() -> Script {
    Script {
        reasoning: vec!["Hm".into()],
        tool_calls: vec![
            ToolCall::new("c1", "f", &[r#"{\"a\":"#, r#"\"\ud83d\",\"b\":1.0}"#]),
            ToolCall::new("c2", "g", &[]),
        ],
        signature: Some("c2ln".into()),
        cached_tokens: 4,
        ..Script::text(&["One"]).with_tokens(12, 10)
    }
}

fn with(members: &str) -> String {
    ASK.replace("{\"contents\"", &format!("{{{members},\"contents\""))
}

#[test]
fn a_stream_is_whole_objects_that_count_up() {
    let simulator = start();
    simulator.enqueue("google", full());
    let heard = post(&simulator, STREAM, ASK);
    let expected = [
        r#"data: {"candidates":[{"content":{"parts":[{"text":"Hm","thought":true}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":4,"candidatesTokenCount":1,"totalTokenCount":14,"thoughtsTokenCount":1,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},"modelVersion":"gemini-3.8-flash","responseId":"simulated1"}"#,
        r#"data: {"candidates":[{"content":{"parts":[{"text":"One"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":4,"candidatesTokenCount":3,"totalTokenCount":16,"thoughtsTokenCount":1,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},"modelVersion":"gemini-3.8-flash","responseId":"simulated1"}"#,
        r#"data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"\ud83d","b":1.0},"id":"c1"},"thoughtSignature":"c2ln"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":4,"candidatesTokenCount":7,"totalTokenCount":20,"thoughtsTokenCount":1,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},"modelVersion":"gemini-3.8-flash","responseId":"simulated1"}"#,
        r#"data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"g","args":{},"id":"c2"}}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":4,"candidatesTokenCount":9,"totalTokenCount":22,"thoughtsTokenCount":1,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},"modelVersion":"gemini-3.8-flash","responseId":"simulated1"}"#,
        r#"data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":4,"candidatesTokenCount":9,"totalTokenCount":22,"thoughtsTokenCount":1,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},"modelVersion":"gemini-3.8-flash","responseId":"simulated1"}"#,
    ];
    assert_eq!(heard.body, expected.map(|frame| format!("{frame}\r\n\r\n")).concat());
    let call = last(&simulator);
    assert_eq!((call.model.as_str(), call.stream), ("gemini-3.8-flash", true));
    assert_eq!((call.prompt_tokens, call.completion_tokens, call.content_chunks_written), (12, 10, 4));
}

#[test]
fn a_whole_answer_of_an_older_model_has_no_ids() {
    let simulator = start();
    simulator.enqueue("google", Script { signature: None, ..full() });
    let heard = post(&simulator, OLD, ASK);
    assert_eq!(
        heard.body,
        r#"{"candidates":[{"content":{"parts":[{"text":"Hm","thought":true},{"text":"One"},{"functionCall":{"name":"f","args":{"a":"\ud83d","b":1.0}}},{"functionCall":{"name":"g","args":{}}}],"role":"model"},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":12,"cachedContentTokenCount":4,"candidatesTokenCount":9,"totalTokenCount":22,"thoughtsTokenCount":1,"promptTokensDetails":[{"modality":"TEXT","tokenCount":12}]},"modelVersion":"gemini-2.5-flash","responseId":"simulated1"}"#
    );
    assert_eq!((last(&simulator).model.as_str(), last(&simulator).stream), ("gemini-2.5-flash", false));
}

#[test]
fn endings_have_the_words_of_the_wire() {
    let simulator = start();
    for (reason, word) in [("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("SPII", "SPII")] {
        let script = Script { finish_reason: Some(reason.into()), ..Script::text(&["a"]) };
        simulator.enqueue("google", script);
        assert!(post(&simulator, STREAM, ASK).body.contains(&format!("\"finishReason\":\"{word}\"")));
    }
    simulator.enqueue("google", Script { refusal: Some("No.".into()), ..Script::text(&[]) });
    let heard = post(&simulator, UNARY, ASK);
    assert!(heard.body.starts_with(
        r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT","blockReasonMessage":"No."},"usageMetadata":{"#
    ));
    let signed = Script { signature: Some("c2ln".into()), ..Script::text(&["a"]) };
    simulator.enqueue("google", signed);
    let heard = post(&simulator, STREAM, ASK);
    assert!(heard.body.contains(r#""parts":[{"text":"","thoughtSignature":"c2ln"}]"#));
    let cited = Citation { url: "https://a".into(), title: "A".into() };
    simulator.enqueue("google", Script { citations: vec![cited], ..Script::text(&["a"]) });
    let heard = post(&simulator, UNARY, ASK);
    assert!(heard.body.contains(r#""groundingChunks":[{"web":{"uri":"https://a","title":"A"}}]"#));
}

#[test]
fn a_stream_breaks_as_scripted() {
    let simulator = start();
    simulator.enqueue("google", Script { error_after: Some(1), ..Script::text(&["a", "b"]) });
    let heard = post(&simulator, STREAM, ASK);
    assert!(heard.whole && heard.body.ends_with("\"status\":\"UNAVAILABLE\"}}\r\n\r\n"), "{}", heard.body);
    assert!(heard.body.contains("\r\n\r\ndata: {\"error\":{\"code\":503,"));
    assert_eq!(last(&simulator).completion_tokens, 1);
    simulator.enqueue("google", Script { cut_after: Some(1), ..Script::text(&["a", "b"]) });
    assert!(!post(&simulator, STREAM, ASK).whole);
    simulator.enqueue("google", Script::failing(429));
    let heard = post(&simulator, STREAM, ASK);
    assert!(status(&heard) == 429 && heard.body.contains("RESOURCE_EXHAUSTED"));
}

#[test]
fn counting_is_free() {
    let simulator = start();
    simulator.enqueue("google", Script::text(&["kept"]).with_tokens(77, 1));
    let path = "/google/v1beta/models/gemini-3.8-flash:countTokens";
    for body in [ASK, &format!(r#"{{"generateContentRequest":{{"model":"models/m",{}}}"#, &ASK[1..])] {
        let heard = post(&simulator, path, body);
        assert!(heard.body.starts_with(r#"{"totalTokens":77,"#), "{}", heard.body);
    }
    assert_eq!((last(&simulator).prompt_tokens, last(&simulator).model.as_str()), (0, "gemini-3.8-flash"));
    assert!(post(&simulator, UNARY, ASK).body.contains("kept"));
}

#[test]
fn the_top_of_a_request_is_judged() {
    let simulator = start();
    let config = |members: &str| with(&format!(r#""generationConfig":{{{members}}}"#));
    let function =
        |members: &str| with(&format!(r#""tools":[{{"functionDeclarations":[{{"name":"f",{members}}}]}}]"#));
    let parameters = |schema: &str| {
        function(&format!(r#""parameters":{{"type":"OBJECT","properties":{{"a":{schema}}}}}"#))
    };
    let both = r#""thinkingConfig":{"thinkingLevel":"low","thinkingBudget":1}"#;
    assert_judged(
        &simulator,
        UNARY,
        &[
            ("", ASK.to_owned()),
            ("stream", with("\"stream\":true")),
            ("max_tokens", config("\"max_tokens\":5")),
            ("INVALID_ARGUMENT", config(both)),
            ("", config(r#""thinkingConfig":{"thinkingLevel":"low","includeThoughts":true}"#)),
            ("Penalty", config("\"presencePenalty\":0.5")),
            ("Multiple candidates", config("\"candidateCount\":2")),
            ("responseMimeType", config(r#""responseJsonSchema":{"oneOf":[]}"#)),
            ("", config(r#""responseMimeType":"application/json","responseJsonSchema":{"oneOf":[]}"#)),
            ("oneOf", config(r#""responseMimeType":"application/json","responseSchema":{"oneOf":[]}"#)),
            ("", parameters(r#"{"type":"string","enum":["x"],"nullable":true}"#)),
            ("const", parameters(r#"{"const":1}"#)),
            ("type", parameters(r#"{"type":["string","null"]}"#)),
            ("TYPE_STRING", parameters(r#"{"type":"string","enum":[1]}"#)),
            ("", function(r#""parametersJsonSchema":{"const":1}"#)),
            ("non-empty for OBJECT", function(r#""parameters":{"type":"object","properties":{}}"#)),
            ("strict", function(r#""strict":true"#)),
            ("functionCallingConfig", with(r#""toolConfig":{"functionCallingConfig":{"mode":"ANY"}}"#)),
            ("contents is not specified", r#"{"contents":[]}"#.to_owned()),
            ("leaked field: provider", with("\"provider\":{}")),
        ],
    );
    assert_judged(
        &simulator,
        OLD,
        &[
            ("", config("\"presencePenalty\":0.5")),
            ("Thinking level", config(r#""thinkingConfig":{"thinkingLevel":"low"}"#)),
            ("additionalProperties", parameters(r#"{"additionalProperties":false}"#)),
        ],
    );
    let array = STREAM.replace("?alt=sse", "");
    assert!(refusal(&simulator, &array, ASK).contains("server-sent events"));
    let twice = "x-goog-api-key: k\r\nAuthorization: Bearer k\r\n";
    assert_eq!(status(&hear(send(&simulator, "POST", UNARY, twice, ASK))), 400);
}

#[test]
fn the_conversation_is_judged() {
    let simulator = start();
    let saying = |contents: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"hi"}}]}},{contents}]}}"#);
    let call = |more: &str, signed: &str| {
        format!(r#"{{"role":"model","parts":[{{"functionCall":{{"name":"f","args":{{}}{more}}}{signed}}}]}}"#)
    };
    let signed = r#","thoughtSignature":"c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=""#;
    let answer = r#"{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"result":1}}}]}"#;
    let plain = format!("{},{answer}", call("", ""));
    let good = format!("{},{answer}", call("", signed));
    let mixed = answer.replace("[{", r#"[{"text":"x"},{"#);
    let part = |part: &str| saying(&format!(r#"{{"role":"user","parts":[{part}]}}"#));
    assert_judged(
        &simulator,
        UNARY,
        &[
            ("", saying(&good)),
            ("", saying(&format!("{},{answer}", call(r#","id":"c1""#, signed)))),
            ("thought_signature", saying(&plain)),
            ("not valid", saying(&plain.replace("}}]}", r#"},"thoughtSignature":"gw1.x"}]}"#))),
            ("cannot be mixed", saying(&format!("{},{mixed}", call("", signed)))),
            ("immediately after", saying(answer)),
            ("immediately after", saying(&good.replace(r#"se":{"name":"f""#, r#"se":{"name":"g""#))),
            ("followed by its function response", saying(&call("", signed))),
            ("must be an object", saying(&good.replace(r#""args":{}"#, r#""args":"{}""#))),
            ("must be an object", saying(&good.replace(r#"{"result":1}"#, "\"x\""))),
            ("Cannot fetch", part(r#"{"fileData":{"mimeType":"image/png","fileUri":"https://a/b.png"}}"#)),
            ("", part(r#"{"fileData":{"mimeType":"image/png","fileUri":"files/abc"}}"#)),
            ("", part(r#"{"fileData":{"fileUri":"https://www.youtube.com/watch?v=1"}}"#)),
            ("oneof", part(r#"{"thought":true}"#)),
            ("valid role", saying(r#"{"role":"assistant","parts":[{"text":"x"}]}"#)),
        ],
    );
    assert_judged(
        &simulator,
        OLD,
        &[
            ("", saying(&plain)),
            ("Unknown name \\\"id\\\"", saying(&format!("{},{answer}", call(r#","id":"c1""#, "")))),
        ],
    );
}
