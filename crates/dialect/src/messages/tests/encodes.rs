use super::*;
use crate::{canonical::Signature, json::Escaped};

fn encode(provider: &str, model: &str, body: &str) -> (String, Vec<String>) {
    let encoded = read_ok(body).encode(&target(provider, model)).unwrap();
    (String::from_utf8(encoded.body).unwrap(), encoded.dropped.into_iter().map(Into::into).collect())
}

/// A marked value of that maker.
fn mark(provider: &str, model: &str, bare: &str) -> String {
    let provider = ProviderId::by_id(provider).unwrap();
    Signature::mark(provider, model, &Escaped::from_text(bare)).inner().to_owned()
}

#[test]
fn bytes_pass_with_the_model_replaced() {
    let body = "{ \"model\" : \"anthropic/claude-opus-4-6\",\"stream\":null, \"max_tokens\":1e0 }";
    assert!(read(body.as_bytes(), &Limits::default()).is_err());
    let body = r#"{ "model" : "c", "max_tokens" : 9 , "messages":[ {"role":"user", "content":"\u0041\ud83d"} ],"temperature":1.0, "tools":[],"models":["d"],"zdr":false,"x":{"a": 1e5}}"#;
    let (sent, dropped) = encode("anthropic", "claude-opus-4-6", body);
    assert_eq!(
        sent,
        r#"{"model":"claude-opus-4-6","max_tokens":9,"messages":[ {"role":"user", "content":"\u0041\ud83d"} ],"temperature":1.0,"x":{"a": 1e5}}"#
    );
    assert_eq!(dropped, [""; 0]);
}

#[test]
fn sampling_is_dropped_where_it_is_refused() {
    let body = r#"{"model":"c","max_tokens":9,"messages":[{"role":"user","content":"x"}],"temperature":0.5,"top_p":1,"top_k":3}"#;
    let (sent, dropped) = encode("anthropic", "claude-opus-5-5", body);
    assert!(!sent.contains("temp") && !sent.contains("top_"), "{sent}");
    assert_eq!(dropped, ["temperature", "top_k"]);
    assert_eq!(encode("deepseek", "deepseek-flash", body).1, [""; 0]);
}

#[test]
fn a_forced_call_is_refused_where_the_model_refuses_it() {
    let body = r#"{"model":"c","max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"f"}],"tool_choice":{"type":"any"}}"#;
    let refused = read_ok(body).encode(&target("anthropic", "claude-opus-5-5")).unwrap_err();
    assert_eq!(refused.field, "tool_choice");
    assert!(read_ok(body).encode(&target("anthropic", "claude-opus-5")).is_ok());
}

#[test]
fn other_providers_are_asked_on_their_messages_path() {
    let body = r#"{"model":"c","max_tokens":9,"messages":[{"role":"user","content":"x"}]}"#;
    let path = |provider: &str| read_ok(body).encode(&target(provider, "m")).unwrap().path;
    assert_eq!(path("anthropic"), None);
    assert_eq!(path("deepseek").as_deref(), Some("/anthropic/v1/messages"));
    assert_eq!(path("fireworks_ai").as_deref(), Some("/messages"));
}

#[test]
fn marked_thinking_goes_to_its_maker_alone() {
    let ours = mark("anthropic", "claude-opus-5", "EqQB");
    let other = mark("google", "gemini-3.8-pro", "c2ln");
    let body = format!(
        concat!(
            r#"{{"model":"c","max_tokens":9,"messages":[ {{"role":"user","content":"a"}} ,"#,
            r#"{{"role":"assistant","content":[{{"type":"thinking","thinking":"","signature":"{other}"}}]}},"#,
            r#"{{"role": "assistant", "content":[{{"type":"thinking", "thinking":"t","signature":"{ours}"}},"#,
            r#"{{"type":"redacted_thinking","data":"{other}"}},{{"type":"thinking","thinking":"u","signature":"bare"}},"#,
            r#"{{"type":"text","text":"b","citations":[{{"url":"x","encrypted_index":"gw1."}}]}}], "id":7 }} ]}}"#
        ),
        ours = ours,
        other = other,
    );
    let (sent, _) = encode("anthropic", "claude-opus-5", &body);
    assert_eq!(
        sent,
        concat!(
            r#"{"model":"claude-opus-5","max_tokens":9,"messages":[{"role":"user","content":"a"},"#,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"EqQB"},"#,
            r#"{"type":"thinking","thinking":"u","signature":"bare"},{"type":"text","text":"b"}],"id":7}]}"#
        )
    );
    let (elsewhere, _) = encode("anthropic", "claude-opus-4-6", &body);
    assert!(!elsewhere.contains("gw1.") && !elsewhere.contains("EqQB"), "{elsewhere}");
}

#[test]
fn system_turns_stay_where_the_model_has_them_and_move_into_the_users_elsewhere() {
    let body = |messages: &str| format!(r#"{{"model":"c","max_tokens":9,"messages":[{messages}]}}"#);
    let user = r#"{"role":"user","content":"a"}"#;
    let system = r#"{"role":"system","content":"Be brief."}"#;
    let call = r#"{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{}}]}"#;
    let result =
        r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"r"}]}"#;
    let seated = r#"{"type":"text","text":"<system>\nBe brief.\n</system>"}"#;
    let kept = body(&format!("{user},{system}"));
    assert!(encode("anthropic", "claude-opus-5", &kept).0.contains(system));
    for (messages, expected) in [
        (
            format!("{user},{system}"),
            format!(r#"[{{"role":"user","content":[{{"type":"text","text":"a"}},{seated}]}}]"#),
        ),
        (
            format!(r#"{user},{call},{system},{result}"#),
            format!(
                r#"[{user},{call},{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"toolu_1","content":"r"}},{seated}]}}]"#
            ),
        ),
        (
            format!(r#"{user},{{"role":"assistant","content":"b"}},{system}"#),
            format!(
                r#"[{user},{{"role":"assistant","content":"b"}},{{"role":"user","content":[{seated}]}}]"#
            ),
        ),
        (
            format!(
                r#"{user},{{"role":"system","content":[{{"type":"text","text":"Be brief."}},{{"type":"text","text":" "}}]}}"#
            ),
            format!(r#"[{{"role":"user","content":[{{"type":"text","text":"a"}},{seated}]}}]"#),
        ),
    ] {
        for (provider, model) in
            [("deepseek", "deepseek-flash"), ("fireworks_ai", "glm-5"), ("anthropic", "claude-sonnet-4-6")]
        {
            let (sent, _) = encode(provider, model, &body(&messages));
            assert!(sent.contains(&format!(r#""messages":{expected}"#)), "{provider}: {sent}");
        }
    }
}
