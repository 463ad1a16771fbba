use super::{super::reply, AnswerEdits, without_phantom_calls};
use kairosroute_domain::provider::{PROVIDERS, ProviderId};
use serde_json::{Value, json};

fn edits(provider: &str) -> AnswerEdits {
    AnswerEdits::of(ProviderId::by_id(provider).unwrap()).unwrap()
}

fn edited(edits: &mut AnswerEdits, json: &str, whole: bool) -> Option<Value> {
    let seen = reply::read(json.as_bytes(), &mut Vec::new()).unwrap();
    if !edits.needs(&seen) {
        return None;
    }
    let edited = if whole { edits.body(json.as_bytes()) } else { edits.chunk(json.as_bytes()) };
    edited.map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn chunk(delta: Value, finish: Value) -> String {
    json!({"id": "x", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
        .to_string()
}

fn delta(frame: &Option<Value>) -> &Value {
    &frame.as_ref().expect("an edit")["choices"][0]["delta"]
}

#[test]
fn calls_get_their_numbers_and_types() {
    let mut edits = edits("mistral");
    let call = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    let two = edited(&mut edits, &chunk(json!({"tool_calls": [call("a"), call("b")]}), Value::Null), false);
    let calls = &delta(&two)["tool_calls"];
    assert_eq!((&calls[0]["index"], &calls[1]["index"]), (&json!(0), &json!(1)));
    assert_eq!((&calls[0]["type"], &calls[0]["function"]["arguments"]), (&json!("function"), &json!("{}")));
    let third = edited(&mut edits, &chunk(json!({"tool_calls": [call("c")]}), json!("tool_calls")), false);
    assert_eq!(delta(&third)["tool_calls"][0]["index"], 2);
    let whole = json!({"choices": [{"index": 0, "message": {"tool_calls": [call("a")]}, "finish_reason": "tool_calls"}]});
    let whole = edited(&mut super::tests::edits("mistral"), &whole.to_string(), true).unwrap();
    let call = &whole["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((&call["type"], call.get("index")), (&json!("function"), None));
}

#[test]
fn a_call_in_pieces_keeps_its_number_and_loses_empty_names() {
    let mut edits = edits("mistral");
    let begins = json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{\"x\":"}}]});
    let goes_on = json!({"tool_calls": [{"id": "a", "function": {"name": "", "arguments": "1}"}}]});
    edited(&mut edits, &chunk(begins, Value::Null), false).unwrap();
    let second = edited(&mut edits, &chunk(goes_on, Value::Null), false);
    assert_eq!(
        delta(&second)["tool_calls"][0],
        json!({"index": 0, "id": "a", "function": {"arguments": "1}"}})
    );
}

#[test]
fn a_number_used_for_every_call_is_made_unique() {
    let mut edits = edits("mistral");
    let call = |id: &str| json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    assert_eq!(
        edited(&mut edits, &chunk(call("a"), Value::Null), false),
        None,
        "the first is right as it is"
    );
    let second = edited(&mut edits, &chunk(call("b"), Value::Null), false);
    assert_eq!(delta(&second)["tool_calls"][0]["index"], 1);
}

#[test]
fn content_in_parts_becomes_text_and_reasoning() {
    let thinking = json!({"type": "thinking", "thinking": [{"type": "text", "text": "h\"m"}]});
    let text = json!({"type": "text", "text": "o"});
    let mut stream = edits("mistral");
    let thought =
        edited(&mut stream, &chunk(json!({"role": "assistant", "content": [thinking]}), Value::Null), false);
    assert_eq!(*delta(&thought), json!({"role": "assistant", "reasoning_content": "h\"m"}));
    let said = edited(
        &mut stream,
        &chunk(json!({"content": [text, {"type": "text", "text": "k"}]}), Value::Null),
        false,
    );
    assert_eq!(*delta(&said), json!({"content": "ok"}));
    let empty = edited(&mut stream, &chunk(json!({"content": []}), Value::Null), false);
    assert!(empty.is_none_or(|frame| frame["choices"][0]["delta"] == json!({"content": ""})));
    let message = json!({"role": "assistant", "content": [thinking, text]});
    let whole = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string();
    let whole = edited(&mut edits("mistral"), &whole, true).unwrap();
    let expected = json!({"role": "assistant", "content": "o", "reasoning_content": "h\"m"});
    assert_eq!(whole["choices"][0]["message"], expected);
}

#[test]
fn other_words_for_the_end_become_openais() {
    for (provider, word, openais) in [("together_ai", "eos", "stop"), ("mistral", "model_length", "length")] {
        let frame = edited(&mut edits(provider), &chunk(json!({}), json!(word)), false).unwrap();
        assert_eq!(frame["choices"][0]["finish_reason"], openais);
        let whole = json!({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": word}]})
            .to_string();
        let whole = edited(&mut edits(provider), &whole, true).unwrap();
        assert_eq!(whole["choices"][0]["finish_reason"], openais);
        assert_eq!(edited(&mut edits(provider), &chunk(json!({}), json!("stop")), false), None);
    }
}

#[test]
fn an_empty_reason_after_whole_calls_means_them() {
    let call = |arguments: &str| json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}]});
    let mut whole = edits("xai");
    assert_eq!(edited(&mut whole, &chunk(call("{}"), Value::Null), false), None);
    let end = edited(&mut whole, &chunk(json!({}), json!("")), false).unwrap();
    assert_eq!(end["choices"][0]["finish_reason"], "tool_calls");
    let mut cut = edits("xai");
    edited(&mut cut, &chunk(call("{\"a\":\"b"), Value::Null), false);
    assert_eq!(edited(&mut cut, &chunk(json!({}), json!("")), false), None, "cut arguments end nothing");
    assert_eq!(
        edited(&mut edits("xai"), &chunk(json!({}), json!("")), false),
        None,
        "nor does what has no calls"
    );
    let mut at_once = edits("xai");
    assert_eq!(edited(&mut at_once, &chunk(call("{}"), json!("")), false), None);
    let finish: Value = serde_json::from_slice(&at_once.take_finish().unwrap()).unwrap();
    assert_eq!((&finish["id"], &finish["choices"][0]["finish_reason"]), (&json!("x"), &json!("tool_calls")));
    let message = json!({"tool_calls": call("{}")["tool_calls"]});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": ""}]}).to_string();
    let body = edited(&mut edits("xai"), &body, true).unwrap();
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
}

#[test]
fn reasoning_is_told_under_both_names() {
    for provider in ["groq", "cerebras", "together_ai"] {
        let frame = edited(&mut edits(provider), &chunk(json!({"reasoning": "hm"}), Value::Null), false);
        assert_eq!(*delta(&frame), json!({"reasoning": "hm", "reasoning_content": "hm"}));
        let both = json!({"reasoning": "hm", "reasoning_content": "hm"});
        assert_eq!(edited(&mut edits(provider), &chunk(both, Value::Null), false), None);
    }
}

#[test]
fn tiers_and_counts_are_openais() {
    let body = |tier: &str| {
        json!({"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "service_tier": tier}).to_string()
    };
    let tier = |word: &str| edited(&mut edits("groq"), &body(word), true);
    assert_eq!(tier("on_demand").unwrap()["service_tier"], "default");
    assert_eq!(tier("performance").unwrap().get("service_tier"), None);
    assert_eq!(tier("flex"), None);
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 26, "total_tokens": 227, "completion_tokens_details": {"reasoning_tokens": 196}});
    let frame = json!({"choices": [], "usage": usage}).to_string();
    let frame = edited(&mut edits("xai"), &frame, false).unwrap();
    assert_eq!(
        (&frame["usage"]["completion_tokens"], &frame["usage"]["total_tokens"]),
        (&json!(222), &json!(227))
    );
}

#[test]
fn what_needs_nothing_keeps_its_bytes() {
    let plain = chunk(json!({"role": "assistant", "content": "\u{e3}"}), Value::Null);
    let edited_by = PROVIDERS.iter().filter_map(|row| ProviderId::by_id(row.id)).filter_map(AnswerEdits::of);
    let mut count = 0;
    for mut edits in edited_by {
        count += 1;
        assert_eq!(edited(&mut edits, &plain, false), None);
    }
    assert!(count >= 5);
    assert!(AnswerEdits::of(ProviderId::by_id("openai").unwrap()).is_none(), "nothing is looked for there");
}

#[test]
fn a_whole_answer_with_calls_has_ended_for_them_whether_its_host_says_so_or_not() {
    let calls = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for reason in [Value::Null, json!("")] {
        let message = json!({"role": "assistant", "content": "", "tool_calls": calls});
        let body =
            json!({"choices": [{"index": 0, "message": message, "finish_reason": reason}]}).to_string();
        let body = edited(&mut edits("xai"), &body, true).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
    }
    // A stream may continue.
    let mut stream = edits("xai");
    edited(&mut stream, &chunk(json!({"tool_calls": calls}), Value::Null), false);
    assert_eq!(stream.take_finish(), None);
}

#[test]
fn an_end_for_calls_that_are_not_there_is_an_ordinary_one() {
    for (delta, reason, is_phantom) in [
        (json!({"content": "x"}), "tool_calls", true),
        (json!({"tool_calls": []}), "function_call", true),
        (json!({"tool_calls": [{"index": 0, "function": {"name": "f"}}]}), "tool_calls", false),
        (json!({"function_call": {"name": "f"}}), "function_call", false),
        (json!({"content": "x"}), "stop", false),
    ] {
        let frame = chunk(delta, json!(reason));
        let seen = reply::read(frame.as_bytes(), &mut Vec::new()).unwrap();
        assert_eq!(seen.ends_for_calls && !seen.odd.calls, is_phantom, "{frame}");
        let plain: Value = serde_json::from_slice(&without_phantom_calls(frame.as_bytes()).unwrap()).unwrap();
        assert_eq!(plain["choices"][0]["finish_reason"], "stop");
        assert_eq!(plain["id"], "x");
    }
}
