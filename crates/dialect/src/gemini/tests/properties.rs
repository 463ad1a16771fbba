use super::*;
use crate::canonical::{
    Effort, Format, Json, Logprobs, Reasoning, Setting, Signature, Source, Thinking, Tool, ToolCall,
    ToolChoice, ToolKind, ToolResult, What,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

const STREAMS: [&[u8]; 2] = [
    include_bytes!("../../../tests/golden/gemini/tide.sse"),
    include_bytes!("../../../tests/golden/gemini/pieces.sse"),
];

/// The inside of a string that is not empty, odd escapes included.
fn escaped() -> impl Strategy<Value = Escaped<'static>> {
    const PIECES: &[&str] =
        &["a", " ", "é", "😀", r"\u0041", r"\ud83d", r"\ude00", r"\n", r"\/", r#"\""#, r"\\", "\u{2028}"];
    vec(select(PIECES), 1..6).prop_map(|pieces| Escaped::from_inner(pieces.concat()))
}

/// An object as a model would write it.
fn object() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "{}",
            r#"{"port":"Brest"}"#,
            r#"{ "n" : 12345678901234567890 , "x":1.0,"e":1e5}"#,
            r#"{"s":"\ud800 \u00e9 \/","a":[{"b":null}]}"#,
        ][..],
    )
}

fn text_part() -> impl Strategy<Value = Part<'static>> {
    escaped().prop_map(|text| Part::Text { text, cache: None })
}

fn image() -> Part<'static> {
    let source = Source::Data {
        media_type: Escaped::from_inner("image/png"),
        data: Escaped::from_inner("iVBORw0KGgo="),
    };
    Part::Image { source, detail: None, cache: None }
}

fn user_part() -> impl Strategy<Value = Part<'static>> {
    let source = Source::Data {
        media_type: Escaped::from_inner("application/pdf"),
        data: Escaped::from_inner("JVBERi0="),
    };
    let audio = Part::Audio { data: Escaped::from_inner("UklGRg=="), format: Escaped::from_inner("mp3") };
    prop_oneof![
        4 => text_part(),
        1 => Just(image()),
        1 => Just(audio),
        1 => Just(Part::File { source, name: None, cache: None }),
    ]
}

/// User text, the model's reasoning and text, and its calls with their results.
type Round = (
    Vec<Part<'static>>,
    Option<Escaped<'static>>,
    Vec<Part<'static>>,
    Vec<(Escaped<'static>, &'static str, Escaped<'static>, bool, bool)>,
);

fn round() -> impl Strategy<Value = Round> {
    let call = (escaped(), object(), escaped(), any::<bool>(), any::<bool>());
    (vec(user_part(), 1..4), option::of(escaped()), vec(text_part(), 1..3), vec(call, 0..3))
}

/// The turns in the order of the wire format: results first, one turn for each content.
fn turns((system, rounds): (Vec<Part<'static>>, Vec<Round>)) -> Vec<Turn<'static>> {
    let mut turns = Vec::new();
    if !system.is_empty() {
        turns.push(turn(Role::System, system));
    }
    let signature = || Some(Signature::new(Escaped::from_inner("QUJD"), Dialect::Gemini));
    for (number, (user, thought, mut said, calls)) in rounds.into_iter().enumerate() {
        turns.push(turn(Role::User, user));
        if let Some(text) = thought {
            said.insert(0, Part::Reasoning(Reasoning { text, signature: signature(), redacted: false }));
        }
        let mut results = Vec::new();
        for (index, (name, arguments, text, is_error, with_image)) in calls.into_iter().enumerate() {
            let id = Escaped::from_text(&format!("call_{number}_{index}"));
            let mut content = vec![Part::Text { text, cache: None }];
            content.extend(with_image.then(image));
            results.push(Part::ToolResult(ToolResult {
                call_id: id.clone(),
                content,
                is_error,
                cache: None,
            }));
            said.push(Part::ToolCall(ToolCall {
                id,
                name,
                arguments: Escaped::from_text(arguments),
                signature: (index == 0).then(signature).flatten(),
                cache: None,
            }));
        }
        turns.push(turn(Role::Assistant, said));
        if !results.is_empty() {
            turns.push(turn(Role::User, results));
        }
    }
    turns
}

fn settings() -> impl Strategy<Value = Vec<Setting<'static>>> {
    let numbers = || option::of(select(&["0", "0.70", "1e-1", "12345678901234567890"][..]));
    let tier = option::of(select(&["\"flex\"", "\"priority\"", "\"standard\""][..]));
    (numbers(), numbers(), numbers(), numbers(), tier).prop_map(|(temperature, p, k, seed, tier)| {
        let all = [
            (What::Temperature, temperature),
            (What::TopP, p),
            (What::TopK, k),
            (What::Seed, seed),
            (What::ServiceTier, tier),
        ];
        let value = |value: &str| Json::parse(value.to_owned()).unwrap();
        let said = all.into_iter().filter_map(|(what, json)| Some((what, value(json?))));
        said.map(|(what, value)| Setting { what, name: "x".into(), value }).collect()
    })
}

fn tools() -> impl Strategy<Value = (Vec<Tool<'static>>, Option<ToolChoice<'static>>)> {
    let json = |text: &str| Json::parse(text.to_owned()).unwrap();
    let tool = (escaped(), option::of(escaped()), option::of(object())).prop_map(
        move |(name, description, schema)| {
            let kind = ToolKind::Function { name, description, parameters: schema.map(json), strict: None };
            Tool { kind, cache: None }
        },
    );
    let choice = prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::Never),
        Just(ToolChoice::Required),
        escaped().prop_map(ToolChoice::Named),
        vec(escaped(), 1..3).prop_map(|names| ToolChoice::Allowed { names, required: false }),
        vec(escaped(), 2..4).prop_map(|names| ToolChoice::Allowed { names, required: true }),
    ];
    (vec(tool, 0..3), option::of(choice)).prop_map(|(tools, choice)| {
        let choice = choice.filter(|_| !tools.is_empty());
        (tools, choice)
    })
}

fn format() -> impl Strategy<Value = Format<'static>> {
    prop_oneof![
        Just(Format::Text),
        Just(Format::JsonObject),
        object().prop_map(|schema| Format::JsonSchema {
            name: None,
            description: None,
            schema: Json::parse(schema.to_owned()).unwrap(),
            strict: None
        }),
    ]
}

fn thinking() -> impl Strategy<Value = Thinking> {
    let efforts = select(&[Effort::Minimal, Effort::Low, Effort::Medium, Effort::High][..]);
    (option::of(efforts), option::of(Just(true))).prop_map(|(effort, visible)| Thinking {
        effort,
        budget_tokens: None,
        visible,
    })
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let conversation = (vec(text_part(), 0..3), vec(round(), 1..4)).prop_map(turns);
    let limits = (option::of(1u64..1_000_000), vec(escaped(), 0..3), select(&[0u64, 2, 8][..]));
    let logprobs = option::of((0u64..20).prop_map(|top| Logprobs { top }));
    (conversation, tools(), format(), thinking(), limits, logprobs, settings()).prop_map(
        |(turns, (tools, tool_choice), format, thinking, (output_limit, stop, n), logprobs, settings)| {
            Request {
                turns,
                tools,
                tool_choice,
                format,
                thinking,
                output_limit,
                stop,
                n,
                logprobs,
                settings,
                ..Request::default()
            }
        },
    )
}

/// JSON with the wire format's own names in unusual places.
fn json() -> impl Strategy<Value = String> {
    let leaf = select(
        &[
            "null",
            "true",
            "0",
            "1",
            "-1",
            "7",
            "1e9",
            "\"\"",
            "\"x\"",
            "\"STOP\"",
            "\"$.a\"",
            "\"$.a[0]\"",
            "\"$\"",
            r#""\ud800""#,
            "{}",
            "[]",
            "18446744073709551616",
            "\"SAFETY\"",
            "\"MALFORMED_RESPONSE\"",
        ][..],
    );
    let keys = &[
        "candidates",
        "content",
        "parts",
        "text",
        "thought",
        "thoughtSignature",
        "functionCall",
        "name",
        "args",
        "id",
        "partialArgs",
        "jsonPath",
        "stringValue",
        "numberValue",
        "willContinue",
        "inlineData",
        "data",
        "mimeType",
        "finishReason",
        "index",
        "usageMetadata",
        "promptTokenCount",
        "candidatesTokenCount",
        "groundingMetadata",
        "groundingChunks",
        "web",
        "uri",
        "logprobsResult",
        "chosenCandidates",
        "token",
        "logProbability",
        "promptFeedback",
        "blockReason",
        "error",
        "executableCode",
        "code",
    ][..];
    leaf.prop_map(str::to_owned).prop_recursive(8, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            vec((select(keys), inner), 0..6).prop_map(|all| {
                let members: Vec<_> = all.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// A part of an answer as JSON.
fn answer_part() -> impl Strategy<Value = String> {
    prop_oneof![
        (escaped(), any::<bool>(), option::of(Just("QUJD"))).prop_map(|(text, thought, signature)| {
            let signature = signature.map(|s| format!(r#","thoughtSignature":"{s}""#)).unwrap_or_default();
            format!(r#"{{"text":"{}","thought":{thought}{signature}}}"#, text.inner())
        }),
        (escaped(), object()).prop_map(|(name, args)| format!(
            r#"{{"functionCall":{{"name":"{}","args":{args}}}}}"#,
            name.inner()
        )),
    ]
}

proptest! {
    #[test]
    fn what_the_wire_expresses_comes_back_as_it_was(request in request()) {
        let encoded = write(&request, &target("gemini-3-flash")).unwrap();
        prop_assert!(encoded.dropped.is_empty(), "{:?}", encoded.dropped);
        let mut expected = request;
        for setting in &mut expected.settings {
            setting.name = "x".into();
        }
        prop_assert_eq!(inverse::read(&encoded.body), expected);
    }

    #[test]
    fn any_split_of_a_stream_tells_the_same(which in 0usize..2, cuts in vec(0usize..2000, 0..12)) {
        let bytes = STREAMS[which];
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(told(&pieces), told(&[bytes]));
    }

    #[test]
    fn an_answer_in_chunks_is_the_answer_at_once(
        chunks in vec(vec(answer_part(), 0..3), 1..6),
        output in 1u64..1000,
        reason in select(&["STOP", "MAX_TOKENS", "SAFETY"][..]),
    ) {
        let end = format!(
            r#""finishReason":"{reason}"}}],"usageMetadata":{{"promptTokenCount":9,"candidatesTokenCount":{output}}}"#
        );
        let mut stream = String::new();
        for parts in &chunks {
            let parts = parts.join(",");
            stream += &format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{parts}]}}}}]}}\n\n");
        }
        stream += &format!("data: {{\"candidates\":[{{{end}}}\n\n");
        let all = chunks.concat().join(",");
        let at_once = format!(r#"{{"candidates":[{{"content":{{"parts":[{all}]}},{end}}}"#);
        prop_assert_eq!(streamed(stream.as_bytes()), whole(at_once.as_bytes()));
    }

    #[test]
    fn random_json_never_panics(json in json()) {
        let _ = reader().body(json.as_bytes(), &mut |_| ());
        let candidate = format!("data: {{\"candidates\":[{{\"content\":{{\"parts\":[{json}]}}}}]}}\n\n");
        let _ = told(&[candidate.as_bytes(), format!("data: {json}\n\n").as_bytes()]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), at in 0usize..1500, which in 0usize..2) {
        let _ = reader().body(&bytes, &mut |_| ());
        let mut torn = STREAMS[which].to_vec();
        let at = at.min(torn.len());
        torn.splice(at..(at + 3).min(torn.len()), bytes.iter().copied().take(5));
        let _ = told(&[&torn]);
    }
}
