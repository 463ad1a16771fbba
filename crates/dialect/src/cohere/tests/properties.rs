use super::*;
use crate::canonical::{
    Effort, Format, Json, Logprobs, Reasoning, Setting, Source, Thinking, Tool, ToolCall, ToolChoice,
    ToolKind, ToolResult, What,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const STREAMS: [&[u8]; 2] = [
    include_bytes!("../../../tests/golden/cohere/tide.sse"),
    include_bytes!("../../../tests/golden/cohere/sources.sse"),
];

/// The inside of a string that is not blank, odd escapes included.
fn escaped() -> impl Strategy<Value = Escaped<'static>> {
    const PIECES: &[&str] =
        &["a", " ", "é", "😀", r"\u0041", r"\ud83d", r"\ude00", r"\n", r"\/", r#"\""#, r"\\", "\u{2028}"];
    vec(select(PIECES), 0..6).prop_map(|pieces| Escaped::from_inner(format!("x{}", pieces.concat())))
}

fn object() -> impl Strategy<Value = &'static str> {
    const OBJECTS: &[&str] = &[
        "{}",
        r#"{"port":"Brest"}"#,
        r#"{ "n" : 12345678901234567890 , "x":1.0,"e":1e5}"#,
        r#"{"s":"\ud800 \/"}"#,
    ];
    select(OBJECTS)
}

fn text_part() -> impl Strategy<Value = Part<'static>> {
    escaped().prop_map(|text| Part::Text { text, cache: None })
}

fn image() -> impl Strategy<Value = Part<'static>> {
    let data = Source::Data {
        media_type: Escaped::from_inner("image/png"),
        data: Escaped::from_inner("iVBORw0KGgo="),
    };
    let url = Source::Url(Escaped::from_inner(r"https:\/\/example.org/a.png"));
    let detail = option::of(select(&["low", "high"][..])).prop_map(|detail| detail.map(Escaped::from_inner));
    (select(vec![data, url]), detail).prop_map(|(source, detail)| Part::Image { source, detail, cache: None })
}

fn thought(text: Escaped<'static>) -> Part<'static> {
    Part::Reasoning(Reasoning { text, signature: None, redacted: false })
}

/// One message's turn, or a turn of calls and its results.
fn turns() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let system = vec(text_part(), 1..3).prop_map(|parts| vec![turn(Role::System, parts)]);
    let user = vec(prop_oneof![3 => text_part(), 1 => image()], 1..4);
    let user = user.prop_map(|parts| vec![turn(Role::User, parts)]);
    let said = (option::of(escaped().prop_map(thought)), vec(text_part(), 1..3));
    let said = said
        .prop_map(|(thought, texts)| vec![turn(Role::Assistant, thought.into_iter().chain(texts).collect())]);
    let call = (escaped(), escaped(), object(), escaped());
    let called = (option::of(escaped().prop_map(thought)), vec(call, 1..3)).prop_map(|(plan, calls)| {
        let mut parts: Vec<_> = plan.into_iter().collect();
        let mut results = Vec::new();
        for (id, name, arguments, text) in calls {
            let arguments = Escaped::from_text(arguments);
            let content = vec![Part::Text { text, cache: None }];
            let result = ToolResult { call_id: id.clone(), content, is_error: false, cache: None };
            results.push(turn(Role::User, vec![Part::ToolResult(result)]));
            parts.push(Part::ToolCall(ToolCall { id, name, arguments, signature: None, cache: None }));
        }
        results.insert(0, turn(Role::Assistant, parts));
        results
    });
    vec(prop_oneof![system, user, said, called], 1..6).prop_map(|turns| turns.concat())
}

fn settings() -> impl Strategy<Value = Vec<Setting<'static>>> {
    const KINDS: [What; 6] = [
        What::Temperature,
        What::TopP,
        What::TopK,
        What::FrequencyPenalty,
        What::PresencePenalty,
        What::Seed,
    ];
    vec(option::of(select(&["0", "0.70", "1e-1", "12345678901234567890"][..])), 6).prop_map(|values| {
        let said = KINDS.into_iter().zip(values).filter_map(|(what, value)| Some((what, value?)));
        let json = |value: &str| Json::parse(value.to_owned()).unwrap();
        said.map(|(what, value)| Setting { what, name: "x".into(), value: json(value) }).collect()
    })
}

fn tools() -> impl Strategy<Value = (Vec<Tool<'static>>, Option<ToolChoice<'static>>)> {
    let tool = (escaped(), option::of(escaped()), object());
    let choice = option::of(select(vec![ToolChoice::Never, ToolChoice::Required]));
    (vec(tool, 0..3), choice, option::of(Just(true))).prop_map(|(tools, choice, strict)| {
        let choice = choice.filter(|_| !tools.is_empty());
        let tools = tools.into_iter().map(|(name, description, schema)| {
            let parameters = Some(Json::parse(schema.to_owned()).unwrap());
            Tool { kind: ToolKind::Function { name, description, parameters, strict }, cache: None }
        });
        (tools.collect(), choice)
    })
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let format = prop_oneof![
        Just(Format::Text),
        Just(Format::JsonObject),
        object().prop_map(|schema| Format::JsonSchema {
            name: None,
            description: None,
            schema: Json::parse(schema.to_owned()).unwrap(),
            strict: None
        }),
    ];
    let ask = |effort, budget_tokens| Thinking { effort, budget_tokens, visible: None };
    let thinking = prop_oneof![
        Just(Thinking::default()),
        Just(ask(Some(Effort::None), None)),
        Just(ask(Some(Effort::High), None)),
        (1u64..9999).prop_map(move |tokens| ask(None, Some(tokens))),
    ];
    let limits = (option::of(1u64..1_000_000), vec(escaped(), 0..3), any::<bool>(), any::<bool>());
    (turns(), tools(), format, thinking, limits, settings()).prop_map(
        |(
            turns,
            (tools, tool_choice),
            format,
            thinking,
            (output_limit, stop, stream, logprobs),
            settings,
        )| {
            let logprobs = logprobs.then_some(Logprobs { top: 0 });
            Request {
                turns,
                tools,
                tool_choice,
                format,
                thinking,
                output_limit,
                stop,
                stream,
                logprobs,
                settings,
                ..Request::default()
            }
        },
    )
}

/// JSON with the wire format's own names in unusual places.
fn json() -> impl Strategy<Value = String> {
    const LEAVES: &[&str] = &[
        "null",
        "true",
        "0",
        "1",
        "-1",
        "1e9",
        "\"\"",
        "\"x\"",
        "\"null\"",
        r#""\ud800""#,
        "{}",
        "[]",
        "\"message-start\"",
        "\"content-delta\"",
        "\"tool-plan-delta\"",
        "\"tool-call-start\"",
        "\"tool-call-delta\"",
        "\"tool-call-end\"",
        "\"citation-start\"",
        "\"message-end\"",
        "\"error\"",
        "\"COMPLETE\"",
        "\"ERROR\"",
    ];
    const KEYS: &[&str] = &[
        "type",
        "delta",
        "message",
        "content",
        "text",
        "thinking",
        "tool_plan",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "index",
        "citations",
        "sources",
        "document",
        "url",
        "title",
        "start",
        "end",
        "finish_reason",
        "usage",
        "billed_units",
        "input_tokens",
        "output_tokens",
        "cached_tokens",
        "error",
        "logprobs",
    ];
    select(LEAVES).prop_map(str::to_owned).prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            vec((select(KEYS), inner), 0..6).prop_map(|all| {
                let members: Vec<_> = all.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Text and reasoning in turn, calls, and usage: whole, and split into deltas.
fn answers() -> impl Strategy<Value = (String, String)> {
    let content = vec((select(&["text", "thinking"][..]), vec(escaped(), 1..4)), 0..4);
    let calls = vec((escaped(), vec(select(&["{", "nu", "ll", "1.0", "}", r#"\""#][..]), 0..4)), 0..3);
    let reason = select(&["COMPLETE", "MAX_TOKENS", "TOOL_CALL", "STOP_SEQUENCE"][..]);
    (content, calls, reason, 0u64..1000).prop_map(|(content, calls, reason, output)| {
        let end = format!(
            r#""finish_reason":"{reason}","usage":{{"billed_units":{{"input_tokens":9,"output_tokens":{output}}}}}"#
        );
        let (mut parts, mut heads, mut stream) = (Vec::new(), Vec::new(), String::new());
        let mut tell = |kind: &str, index: usize, message: String| {
            stream += &format!(
                "event: {kind}\ndata: {{\"type\":\"{kind}\",\"index\":{index},\"delta\":{{\"message\":{message}}}}}\n\n"
            );
        };
        for (index, (kind, pieces)) in content.iter().enumerate() {
            let all: String = pieces.iter().map(Escaped::inner).collect();
            parts.push(format!(r#"{{"type":"{kind}","{kind}":"{all}"}}"#));
            tell("content-start", index, format!(r#"{{"content":{{"type":"{kind}","{kind}":""}}}}"#));
            for piece in pieces {
                let piece = piece.inner();
                tell("content-delta", index, format!(r#"{{"content":{{"{kind}":"{piece}"}}}}"#));
            }
            tell("content-end", index, "{}".to_owned());
        }
        for (index, (name, pieces)) in calls.iter().enumerate() {
            let head = format!(r#""id":"c{index}","type":"function","function":{{"name":"{}""#, name.inner());
            heads.push(format!(r#"{{{head},"arguments":"{}"}}}}"#, pieces.concat()));
            tell("tool-call-start", index, format!(r#"{{"tool_calls":{{{head},"arguments":""}}}}}}"#));
            for piece in pieces {
                let call = format!(r#"{{"tool_calls":{{"function":{{"arguments":"{piece}"}}}}}}"#);
                tell("tool-call-delta", index, call);
            }
            tell("tool-call-end", index, "{}".to_owned());
        }
        let (parts, heads) = (parts.join(","), heads.join(","));
        let whole =
            format!(r#"{{"id":"i","message":{{"content":[{parts}],"tool_calls":[{heads}]}},{end}}}"#);
        let start = "data: {\"type\":\"message-start\",\"id\":\"i\"}\n\n";
        let end = format!("data: {{\"type\":\"message-end\",\"delta\":{{{end}}}}}\n\n");
        (whole, format!("{start}{stream}{end}"))
    })
}

proptest! {
    #[test]
    fn what_the_wire_expresses_comes_back_as_it_was(request in request()) {
        let encoded = write(&request, &target("command-a-plus")).unwrap();
        prop_assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
        prop_assert_eq!(inverse::read(&encoded.body), request);
    }

    #[test]
    fn any_split_of_a_stream_tells_the_same(which in 0usize..2, cuts in vec(0usize..2500, 0..12)) {
        let bytes = STREAMS[which];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(told(&pieces), told(&[bytes]));
    }

    #[test]
    fn an_answer_in_deltas_is_the_answer_at_once((at_once, deltas) in answers()) {
        prop_assert_eq!(streamed(deltas.as_bytes()), whole(at_once.as_bytes()));
    }

    #[test]
    fn random_json_never_panics(json in json(), kind in select(&["content-delta", "tool-call-start", "message-end", "citation-start"][..])) {
        let _ = reader().body(json.as_bytes(), &mut |_| ());
        let event = format!("data: {{\"type\":\"{kind}\",\"delta\":{json}}}\n\ndata: {json}\n\n");
        let _ = told(&[event.as_bytes()]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), at in 0usize..2000, which in 0usize..2) {
        let _ = reader().body(&bytes, &mut |_| ());
        let mut torn = STREAMS[which].to_vec();
        let at = at.min(torn.len());
        torn.splice(at..(at + 3).min(torn.len()), bytes.iter().copied().take(5));
        let _ = told(&[&torn]);
    }
}
