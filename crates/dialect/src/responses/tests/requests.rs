use super::*;
use crate::canonical::{
    Effort, Format, Logprobs, MARK, Part, Role, Signature, Source, ToolChoice, ToolKind, What,
};
use kairosroute_domain::catalog::Flag;

const REQUEST: &str = golden!("request.json");

fn encoded(body: &str, provider: &str, model: &str) -> (String, Vec<String>) {
    let encoded = request(body).encode(&target(provider, model)).unwrap();
    let dropped = encoded.dropped.iter().map(ToString::to_string).collect();
    (String::from_utf8(encoded.body).unwrap(), dropped)
}

#[test]
fn more_parts_than_any_conversation_has_are_refused() {
    let parts = vec![r#"{"type":"input_text","text":""}"#; 65_537].join(",");
    let body = format!(r#"{{"model":"m","input":[{{"role":"user","content":[{parts}]}}]}}"#);
    let refused = read(body.as_bytes(), &Limits::default()).err().unwrap();
    assert_eq!(refused.param.as_deref(), Some("input"));
}

#[test]
fn a_request_is_read_whole() {
    let request = request(REQUEST);
    let head = &request.head;
    assert_eq!(head.models, ["openai/gpt-5.4"]);
    assert!(head.stream && !head.needs_state && head.facts.forced_tool && head.facts.json_schema);
    assert_eq!((head.output_limit, head.service_tier.as_deref()), (Some(900), Some("flex")));
    let facts = head.facts;
    assert_eq!((facts.images, facts.files, facts.audio_parts, facts.messages), (3, 2, 1, 9));
    assert_eq!(facts.media_bytes, 10 + 8 + 8);
    assert!(facts.has_tools && !facts.unpriced_tools && facts.text_bytes > 700);
    let canonical = request.canonical().unwrap();
    let roles: Vec<Role> = canonical.turns.iter().map(|turn| turn.role).collect();
    use Role::{Assistant, Developer, System, User};
    assert_eq!(roles, [System, User, User, Assistant, User, Assistant, Developer]);
    let calls = &canonical.turns[3].parts;
    let [Part::Reasoning(reasoning), Part::ToolCall(call), Part::ToolCall(_)] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(reasoning.text.inner(), r"Look.\n\nAsk.");
    assert_eq!(call.arguments.inner(), r#"{\"port\": 12345678901234567890, \"f\":1.0}"#);
    assert!(
        matches!(&canonical.turns[4].parts[..], [Part::ToolResult(_), Part::ToolResult(two)] if two.content.len() == 2)
    );
    let image = &canonical.turns[2].parts[1];
    let Part::Image { source: Source::Data { media_type, data }, .. } = image else { panic!("{image:?}") };
    assert_eq!((media_type.inner(), data.inner()), (r"image\/png", r"iVBOR\/w=="));
    assert_eq!(canonical.thinking.effort, Some(Effort::High));
    assert_eq!(canonical.thinking.visible, Some(true));
    assert!(matches!(&canonical.format, Format::JsonSchema { strict: Some(true), .. }));
    assert!(
        matches!(&canonical.tool_choice, Some(ToolChoice::Allowed { required: true, names }) if names.len() == 1)
    );
    assert!(matches!(&canonical.tools[1].kind, ToolKind::Function { strict: None, .. }));
    let settings: Vec<(What, &str)> =
        canonical.settings.iter().map(|setting| (setting.what, setting.name.as_ref())).collect();
    assert_eq!(
        settings,
        [
            (What::Verbosity, "text.verbosity"),
            (What::Metadata, "metadata"),
            (What::User, "safety_identifier"),
            (What::PromptCacheKey, "prompt_cache_key"),
            (What::ServiceTier, "service_tier"),
            (What::Temperature, "temperature"),
            (What::Native, "truncation"),
            (What::Native, "x_unknown"),
        ]
    );
}

#[test]
fn what_published_clients_send_is_read() {
    for (body, expected) in [
        (r#"{"model":"openai/gpt-4o-mini","input":"hi"}"#, "hi"),
        (
            r#"{"input":[{"content":"hi","role":"user","type":"message"}],"model":"openai/gpt-4o-mini","stream":false}"#,
            "hi",
        ),
        (
            r#"{"model":"gpt-4o-mini","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}]}"#,
            "hi",
        ),
    ] {
        let request = request(body);
        let turns = &request.canonical().unwrap().turns;
        assert!(
            matches!(&turns[0].parts[..], [Part::Text { text, .. }] if text.inner() == expected),
            "{body}"
        );
        assert!(request.head.facts.text_bytes > 2);
    }
}

#[test]
fn what_is_wrong_is_refused_by_its_path() {
    for (body, param) in [
        (r#"{"input":"x"}"#, "model"),
        (r#"{"model":"m"}"#, "input"),
        (r#"{"model":"m","input":[]}"#, "input"),
        (r#"{"model":"m","input":5}"#, "input"),
        (r#"{"model":"m","input":"x","input":"y"}"#, "input"),
        (r#"{"model":"m","input":[5]}"#, "input[0]"),
        (r#"{"model":"m","input":[{"content":"x"}]}"#, "input[0].type"),
        (r#"{"model":"m","input":[{"role":"robot","content":"x"}]}"#, "input[0].role"),
        (r#"{"model":"m","input":[{"role":"user"}]}"#, "input[0].content"),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text"}]}]}"#,
            "input[0].content[0].text",
        ),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":1}]}]}"#,
            "input[0].content[0].text",
        ),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_image"}]}]}"#,
            "input[0].content[0].image_url",
        ),
        (
            r#"{"model":"m","input":[{"type":"function_call","call_id":"c","name":"f"}]}"#,
            "input[0].arguments",
        ),
        (r#"{"model":"m","input":[{"type":"function_call_output","output":"x"}]}"#, "input[0].call_id"),
        (r#"{"model":"m","input":[{"type":"reasoning","summary":"x"}]}"#, "input[0].summary"),
        (r#"{"model":"m","input":"x","tools":[{"name":"f"}]}"#, "tools[0].type"),
        (r#"{"model":"m","input":"x","tools":[{"type":"function"}]}"#, "tools[0].name"),
        (
            r#"{"model":"m","input":"x","tools":[{"type":"function","name":"f","parameters":1}]}"#,
            "tools[0].parameters",
        ),
        (r#"{"model":"m","input":"x","tool_choice":1}"#, "tool_choice"),
        (r#"{"model":"m","input":"x","text":{"format":{"type":"json_schema"}}}"#, "text.format.schema"),
        (r#"{"model":"m","input":"x","reasoning":{"effort":1}}"#, "reasoning.effort"),
        (r#"{"model":"m","input":"x","temperature":3}"#, "temperature"),
        (r#"{"model":"m","input":"x","max_output_tokens":0}"#, "max_output_tokens"),
        (r#"{"model":"m","input":"x","deferred_calls":{"prompt":1}}"#, "deferred_calls"),
    ] {
        let invalid = read(body.as_bytes(), &Limits::default()).err().unwrap_or_else(|| panic!("{body}"));
        assert_eq!(invalid.param.as_deref(), Some(param), "{body}: {invalid}");
    }
}

#[test]
fn an_answer_is_given_in_the_call_that_asks_for_it() {
    let limits = Limits::default();
    let refused = read(br#"{"model":"m","input":"x","background":true}"#, &limits).err().unwrap();
    assert_eq!(refused.param.as_deref(), Some("background"));
    assert!(read(br#"{"model":"m","input":"x","background":false}"#, &limits).is_ok());
}

#[test]
fn what_only_responses_can_say_goes_nowhere_else() {
    for (body, field, state) in [
        (r#"{"model":"m","input":"x","previous_response_id":"resp_1"}"#, "previous_response_id", true),
        (r#"{"model":"m","conversation":{"id":"c"}}"#, "conversation", true),
        (r#"{"model":"m","prompt":{"id":"pmpt_1"}}"#, "prompt", true),
        (r#"{"model":"m","input":[{"id":"msg_1"}]}"#, "input[0]", true),
        (r#"{"model":"m","input":[{"type":"item_reference","id":"msg_1"}]}"#, "input[0]", true),
        (
            r#"{"model":"m","input":[{"role":"user","content":"x"},{"type":"computer_call","call_id":"c"}]}"#,
            "input[1]",
            false,
        ),
        (
            r#"{"model":"m","input":[{"role":"user","content":[{"type":"input_video"}]}]}"#,
            "input[0].content[0]",
            false,
        ),
        (r#"{"model":"m","input":"x","tool_choice":{"type":"web_search"}}"#, "tool_choice", false),
        (r#"{"model":"m","input":"x","text":{"format":{"type":"grammar"}}}"#, "text.format", false),
    ] {
        let request = request(body);
        assert_eq!(request.head.needs_state, state, "{body}");
        let refused = request.canonical().err().unwrap_or_else(|| panic!("{body}"));
        assert_eq!(refused.field, field, "{body}");
        let sent = request.encode(&target("openai", "gpt-5.4")).unwrap();
        assert_eq!(sent.path.as_deref(), Some("/responses"));
        let named = body.replace("\"model\":\"m\"", "\"model\":\"gpt-5.4\"");
        assert_eq!(String::from_utf8(sent.body).unwrap(), named);
    }
}

#[test]
fn what_a_provider_keeps_is_told_by_what_an_item_names() {
    for (item, kept) in [
        (r#"{"type":"custom_tool_call","call_id":"c","name":"p","input":"raw"}"#, false),
        (r#"{"type":"custom_tool_call_output","call_id":"c","output":"done"}"#, false),
        (
            r#"{"type":"local_shell_call","call_id":"c","action":{"type":"exec","command":["ls"],"env":{"container":"x"}}}"#,
            false,
        ),
        (r#"{"type":"shell_call","call_id":"c","action":{"commands":["ls"]}}"#, false),
        (r#"{"type":"apply_patch_call","call_id":"c","operation":{"type":"delete_file","path":"a"}}"#, false),
        (r#"{"type":"tool_search_call","call_id":"c","arguments":{"file_id":"my own"}}"#, false),
        (r#"{"type":"compaction","encrypted_content":"abc"}"#, false),
        (r#"{"type":"not_known_yet","x":1}"#, false),
        (
            r#"{"type":"additional_tools","tools":[{"type":"function","name":"f","parameters":{"properties":{"file_id":{},"container":{}}}}]}"#,
            false,
        ),
        (
            r#"{"type":"tool_search_output","call_id":"c","tools":[{"type":"function","name":"f","parameters":{"properties":{"file_id":{}}}}]}"#,
            false,
        ),
        (
            r#"{"type":"computer_call_output","call_id":"c","output":{"type":"computer_screenshot","file_id":"file_1"}}"#,
            true,
        ),
        (r#"{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"1"}"#, true),
        (r#"{"type":"code_interpreter_call","id":"ci_1","container_id":null,"code":"1"}"#, false),
        (r#"{"type":"file_search_call","id":"fs_1","queries":["x"],"vector_store_ids":["vs_1"]}"#, true),
        (r#"{"role":"user","content":[{"type":"input_file","file_id":"file_1"}]}"#, true),
    ] {
        let body = format!(r#"{{"model":"m","input":[{item}]}}"#);
        let head = request(&body).head;
        assert_eq!((head.facts.references_stored_objects, head.needs_state), (kept, false), "{item}");
        assert!(head.fees.is_empty() && !head.facts.unpriced_tools, "{item}");
    }
}

#[test]
fn tools_that_items_add_are_offered_and_pass_the_check_for_fees() {
    let items = r#"[{"type":"additional_tools","role":"developer","tools":[{"type":"namespace","name":"functions","tools":[{"type":"function","name":"f","parameters":{}}]}]},{"role":"user","content":"x"}]"#;
    let body = format!(r#"{{"model":"m","input":{items}}}"#);
    let added = request(&body);
    assert!(added.head.facts.has_tools && added.head.fees.is_empty());
    assert_eq!(added.canonical().unwrap().tools.len(), 1);
    for (items, path) in [
        (
            r#"[{"type":"additional_tools","tools":[{"type":"function","name":"f"},{"type":"web_search"}]},{"role":"user","content":"x"}]"#,
            "input[0].tools[1]",
        ),
        (
            r#"[{"role":"user","content":"x"},{"type":"tool_search_output","call_id":"c","tools":[{"type":"mcp"}]}]"#,
            "input[1].tools[0]",
        ),
    ] {
        let body = format!(r#"{{"model":"m","input":{items}}}"#);
        let head = request(&body).head;
        assert!(head.facts.unpriced_tools);
        assert_eq!(head.fees.iter().next().map(|fee| fee.path.as_str()), Some(path));
    }
}

#[test]
fn members_of_items_that_no_other_wire_has_are_named() {
    let body = r#"{"model":"m","input":[{"role":"user","content":"x"},{"type":"message","role":"assistant","phase":"commentary","content":"y"},{"type":"function_call","call_id":"c","name":"f","namespace":"n","arguments":"{}","x_new":1}]}"#;
    let request = request(body);
    let names: Vec<&str> =
        request.canonical().unwrap().settings.iter().map(|setting| setting.name.as_ref()).collect();
    assert_eq!(names, ["input[].phase", "input[].x_new"]);
}

#[test]
fn hosted_tools_are_kept_for_those_who_know_them() {
    let body = r#"{"model":"m","input":"x","tools":[{"type":"file_search","filters":null}]}"#;
    let request = request(body);
    assert!(request.head.facts.unpriced_tools);
    let names: Vec<&str> = request
        .canonical()
        .unwrap()
        .tools
        .iter()
        .map(|tool| match &tool.kind {
            ToolKind::Native { dialect: Dialect::Responses, name, .. } => name.inner(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["file_search"]);
    let custom =
        read(br#"{"model":"m","input":"x","tools":[{"type":"custom","name":"sh"}]}"#, &Limits::default());
    assert!(!custom.unwrap().head.facts.unpriced_tools);
}

#[test]
fn the_bytes_pass_but_for_our_own_fields_and_the_model() {
    let (body, dropped) = encoded(REQUEST, "openai", "gpt-5.4");
    let expected = REQUEST
        .replace("\"openai/gpt-5.4\"", "\"gpt-5.4\"")
        .replace(r#""temperature":0.5,"top_p":null,"#, "")
        .replace(r#","models":[],"cache":null"#, "");
    // Between members there is no space.
    let squeezed = |text: &str| text.replace(",\n ", ",").trim_end().to_owned();
    assert_eq!(squeezed(&body), squeezed(&expected));
    assert_eq!(dropped, ["temperature"], "the model reasons");
    let free = r#"{"model":"m","input":"x","temperature":0.5,"tools":[]}"#;
    assert_eq!(
        encoded(free, "groq", "llama-4"),
        (r#"{"model":"llama-4","input":"x","temperature":0.5}"#.to_owned(), vec![])
    );
    assert_eq!(
        encoded(r#"{"models":["a","b"],"input":"x"}"#, "openai", "b").0,
        r#"{"input":"x","model":"b"}"#
    );
    let logprobs = request(r#"{"model":"m","input":"x","top_logprobs":2}"#);
    assert_eq!(logprobs.canonical().unwrap().logprobs, Some(Logprobs { top: 2 }));
    assert_eq!(logprobs.encode(&target("openai", "o3")).unwrap_err().field, "top_logprobs");
    assert!(logprobs.encode(&target("openai", "gpt-4o")).is_ok());
}

#[test]
fn reasoning_of_another_maker_leaves_the_history_and_ones_own_loses_the_mark() {
    let mark = |provider: &str, model: &str| {
        let provider = ProviderId::by_id(provider).unwrap();
        Signature::mark(provider, model, &Escaped::from_inner("gAAA")).inner().to_owned()
    };
    let item = |value: &str| {
        format!(r#"{{"type":"reasoning","id":"rs_1", "summary":[],"encrypted_content":"{value}"}}"#)
    };
    let body = format!(
        r#"{{"model":"m","input":[{},{},{},{}, {{"role":"user","content":"{MARK}"}}]}}"#,
        item(&mark("openai", "gpt-5.4")),
        item(&mark("google", "gemini-3.8-pro")),
        item(&format!("redacted.{}", mark("anthropic", "claude-sonnet-4-6"))),
        item("gBBB"),
    );
    let (sent, _) = encoded(&body, "openai", "gpt-5.4");
    assert_eq!(
        sent,
        format!(
            r#"{{"model":"gpt-5.4","input":[{{"type":"reasoning","summary":[],"encrypted_content":"gAAA"}},{},{{"role":"user","content":"{MARK}"}}]}}"#,
            item("gBBB")
        )
    );
}

/// The items of an answer written here, as a client of Responses sends them back.
fn answered_by(provider: &str, model: &str, events: &[Event<'_>]) -> String {
    let provider = ProviderId::by_id(provider).unwrap();
    let writer_context = WriterContext { provider, upstream_model: model.into(), ..writer_context() };
    let mut answer = Answer::default();
    events.iter().for_each(|event| answer.absorb(event.clone()));
    let body = write_answer(&answer, &writer_context, "{}", &usage());
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let output = body["output"].as_array().unwrap().iter().map(ToString::to_string);
    let user = |text: &str| format!(r#"{{"role":"user","content":"{text}"}}"#);
    let items: Vec<String> = [user("a")].into_iter().chain(output).chain([user("b")]).collect();
    format!(r#"{{"model":"m","input":[{}]}}"#, items.join(","))
}

/// Unsigned reasoning, an image, text and a call.
fn drawn() -> Vec<Event<'static>> {
    let text = Escaped::from_inner;
    let said = |delta| Event::Said { choice: 0, delta };
    vec![
        said(Delta::Reasoning(text("Hm."))),
        said(Delta::Image { media_type: text("image/png"), data: text("iVBO") }),
        said(Delta::Text(text("Here."))),
        said(Delta::ToolStart { tool: 0, id: text("call_1"), name: text("f"), signature: None }),
        said(Delta::ToolEnd { tool: 0 }),
    ]
}

#[test]
fn no_provider_gets_an_id_that_was_made_here() {
    let body = answered_by("deepseek", "deepseek-chat", &drawn());
    let (sent, _) = encoded(&body, "openai", "gpt-5.4");
    assert!(!sent.contains("gw1"), "{sent}");
    let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
    let items = sent["input"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| item["type"].as_str().unwrap_or("-")).collect();
    assert_eq!(kinds, ["-", "message", "message", "function_call", "-"], "unsigned reasoning is nobody's");
    assert_eq!(items[1]["content"][0]["image_url"], "data:image/png;base64,iVBO");
    assert_eq!(items[1]["role"], "user");
    assert_eq!((&items[2]["role"], &items[3]["call_id"]), (&"assistant".into(), &"call_1".into()));
    assert!(items.iter().all(|item| item.get("id").is_none()));
    let stripped = body.replace(r#""encrypted_content":"gw1.deepseek.ZGVlcHNlZWstY2hhdA.","#, "");
    assert_ne!(stripped, body);
    assert_eq!(encoded(&stripped, "openai", "gpt-5.4"), encoded(&body, "openai", "gpt-5.4"));
}

#[test]
fn a_picture_that_was_written_here_goes_on_in_the_conversation_anywhere() {
    let body = answered_by("google", "gemini-3.1-flash-image", &drawn()[..3]);
    let request = request(&body);
    assert_eq!((request.head.facts.images, request.head.facts.media_bytes), (1, 4));
    let canonical = request.canonical().unwrap();
    for (provider, model, dialect, part) in [
        (
            "google",
            "gemini-3.1-flash-image",
            Dialect::Gemini,
            r#"{"inlineData":{"mimeType":"image/png","data":"iVBO"}}"#,
        ),
        ("anthropic", "claude-opus-5", Dialect::Messages, r#""media_type":"image/png","data":"iVBO""#),
        ("openai", "gpt-4o", Dialect::Chat, "data:image/png;base64,iVBO"),
    ] {
        let flags = Some([Flag::Vision].into_iter().collect());
        let target = Target { dialect, flags, ..target(provider, model) };
        let body = crate::write(canonical, &target).unwrap().body;
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains(part), "{provider}: {body}");
        assert!(!body.contains("gw1") && !body.contains("Hm."), "{provider}: {body}");
    }
    let theirs = body.replace("ig_gw1_", "ig_");
    assert!(super::request(&theirs).canonical().is_err(), "OpenAI's own drawing goes nowhere else");
}

#[test]
fn unsigned_reasoning_goes_back_to_who_thought_it() {
    for (provider, model, dialect) in [
        ("deepseek", "deepseek-chat", Dialect::Chat),
        ("cohere", "command-a-reasoning-08-2025", Dialect::Cohere),
    ] {
        let body = answered_by(provider, model, &[drawn().remove(0), drawn().remove(2)]);
        let request = request(&body);
        for (to, other, expected) in [(provider, model, true), ("fireworks_ai", "kimi-k3", false)] {
            let dialect = if to == provider { dialect } else { Dialect::Chat };
            let written =
                crate::write(request.canonical().unwrap(), &Target { dialect, ..target(to, other) });
            let written = String::from_utf8(written.unwrap().body).unwrap();
            assert_eq!(written.contains("Hm."), expected, "{provider} {to}: {written}");
        }
    }
}

#[test]
fn perplexity_gets_typed_items_and_no_field_it_does_not_have() {
    let body = r#"{"model":"m","preset":"fast","instructions":"Be brief.","input":[{"role":"user","content":"x"},{"role":"assistant","content":[{"type":"output_text","text":"y"}]},{"role":"user","content":[{"type":"input_text","text":"z"}]}],"temperature":0.2,"top_p":1,"stop":["a"],"include":["web_search_call.action.sources"],"tools":[{"type":"web_search"}],"text":{"format":{"type":"json_schema","name":"n","schema":{}}},"reasoning":{"effort":"max","summary":"auto"},"metadata":{"a":"b"}}"#;
    let (sent, dropped) = encoded(body, "perplexity", "perplexity/sonar");
    assert_eq!(
        sent,
        concat!(
            r#"{"model":"perplexity/sonar","instructions":"Be brief.","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]},"#,
            r#"{"type":"message","role":"assistant","content":"y"},{"type":"message","role":"user","content":[{"type":"input_text","text":"z"}]}],"#,
            r#""tools":[{"type":"web_search"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"reasoning":{"effort":"xhigh"},"store":false,"preset":"fast"}"#
        )
    );
    assert_eq!(dropped, ["temperature", "top_p", "stop", "include", "metadata"]);
    let path = request(body).encode(&target("perplexity", "perplexity/sonar")).unwrap().path;
    assert_eq!(path.as_deref(), Some("/v1/responses"));
}

#[test]
fn an_answer_repeats_what_was_asked_as_it_was_written() {
    let echo = request(REQUEST).echo();
    for member in [
        r#""instructions":"Be brief.""#,
        r#""temperature":0.5"#,
        r#""top_p":1"#,
        r#""max_output_tokens":900"#,
        r#""truncation":"auto""#,
        r#""parallel_tool_calls":false"#,
        r#""minimum":1e5"#,
    ] {
        assert!(echo.contains(member), "{member} in {echo}");
    }
    assert!(serde_json::from_str::<serde_json::Value>(&format!("{{{echo}}}")).is_ok());
}

#[test]
fn more_members_of_an_object_than_may_be_are_refused() {
    let many: Vec<String> = (0..129).map(|number| format!("\"k{number}\":1")).collect();
    for field in ["text", "reasoning"] {
        let body = format!(r#"{{"model":"m","input":"x","{field}":{{{}}}}}"#, many.join(","));
        let refused = read(body.as_bytes(), &Limits::default()).err().unwrap();
        assert_eq!(refused.param.as_deref(), Some(field));
    }
}
