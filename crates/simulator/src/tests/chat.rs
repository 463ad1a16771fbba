//! What OpenAI's chat wire has beside text and calls.

use super::*;

fn script() -> Script {
    Script {
        refusal: Some("No.".into()),
        citations: vec![Citation { url: "https://a".into(), title: "A".into() }],
        logprobs: true,
        cached_tokens: 4,
        cache_write_tokens: 2,
        cache_write_1h_tokens: 1,
        audio_prompt_tokens: 3,
        audio_completion_tokens: 1,
        ..Script::text(&["a"]).with_tokens(12, 5)
    }
}

const LOGPROBS: &str =
    r#""logprobs":{"content":[{"token":"a","logprob":-0.25,"bytes":null,"top_logprobs":[]}],"refusal":null}"#;
const ANNOTATIONS: &str = r#""annotations":[{"type":"url_citation","url_citation":{"start_index":0,"end_index":0,"url":"https://a","title":"A"}}]"#;
const USAGE: &str = r#""usage":{"prompt_tokens":12,"completion_tokens":5,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":3,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":1,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#;

#[test]
fn a_stream_has_them_as_deltas() {
    let simulator = start();
    simulator.enqueue("openai", script());
    let asked = ASK_STREAM.replace("true", r#"true,"stream_options":{"include_usage":true}"#);
    let heard = hear(ask(&simulator, "openai", &asked));
    for part in [
        &format!(r#""delta":{{"content":"a"}},{LOGPROBS}"#),
        &format!(r#""delta":{{{ANNOTATIONS}}},"logprobs":null"#),
        r#""delta":{"refusal":"No."},"logprobs":null"#,
        USAGE,
    ] {
        assert!(heard.body.contains(part), "{part}\n{}", heard.body);
    }
    assert_eq!(last(&simulator).completion_tokens, 5);
}

#[test]
fn a_whole_answer_has_them_in_its_message() {
    let simulator = start();
    simulator.enqueue("openai", script());
    let heard = hear(ask(&simulator, "openai", ASK));
    let message = format!(
        r#""message":{{"role":"assistant","content":"a","refusal":"No.",{ANNOTATIONS}}},{LOGPROBS},"finish_reason":"stop""#
    );
    assert!(heard.body.contains(&message) && heard.body.contains(USAGE), "{}", heard.body);
    simulator.enqueue("openai", Script { refusal: Some("No.".into()), ..Script::text(&[]) });
    let heard = hear(ask(&simulator, "openai", ASK));
    assert!(heard.body.contains(r#""content":null,"refusal":"No.""#), "{}", heard.body);
}
