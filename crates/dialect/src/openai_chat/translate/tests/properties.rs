use super::*;
use crate::{
    canonical::{
        Citation, Effort, Finish, Format, Json, Part, Reasoning, Role, Setting, Source, Thinking, Tool,
        ToolCall, ToolChoice, ToolKind, ToolResult, Turn, What,
    },
    json::Escaped,
};
use kairosroute_domain::usage::Basis;
use openai_chat::write;
use proptest::prelude::*;

/// Text with parts that decoding would lose.
fn inner() -> impl Strategy<Value = Escaped<'static>> {
    prop_oneof![
        "[a-zé\\\\\"\n\u{1}]{1,8}".prop_map(|text| Escaped::from_text(&text)),
        Just(Escaped::from_inner(r"\ud83d")),
        Just(Escaped::from_inner(r"\u00e9\/ 1.0")),
    ]
}

fn name() -> impl Strategy<Value = Escaped<'static>> {
    "[a-z_]{1,8}".prop_map(Escaped::from_inner)
}

fn text() -> impl Strategy<Value = Part<'static>> {
    inner().prop_map(|text| Part::Text { text, cache: None })
}

fn media() -> impl Strategy<Value = Part<'static>> {
    let data = |media_type: &'static str| {
        "[A-Za-z0-9+/]{0,8}".prop_map(move |data| Source::Data {
            media_type: Escaped::from_inner(media_type),
            data: Escaped::from_inner(data),
        })
    };
    let url = "https://[a-z,]{1,8}".prop_map(|url| Source::Url(Escaped::from_inner(url)));
    let id = name().prop_map(|id| Source::Id { id, dialect: Dialect::Chat });
    prop_oneof![
        (prop_oneof![data("image/png"), url], prop::option::of(name()))
            .prop_map(|(source, detail)| Part::Image { source, detail, cache: None }),
        (name(), name()).prop_map(|(data, format)| Part::Audio { data, format }),
        (data("application/pdf"), inner()).prop_map(|(source, name)| Part::File {
            source,
            name: Some(name),
            cache: None
        }),
        id.prop_map(|source| Part::File { source, name: None, cache: None }),
    ]
}

fn spoken() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let role = prop_oneof![Just(Role::System), Just(Role::Developer)];
    let listed = (role, prop::collection::vec(text(), 1..3))
        .prop_map(|(role, parts)| vec![Turn { role, name: None, parts }]);
    let part = prop_oneof![text(), media()];
    let asked = (prop::option::of(name()), prop::collection::vec(part, 1..4))
        .prop_map(|(name, parts)| vec![Turn { role: Role::User, name, parts }]);
    let answered = (prop::collection::vec(text(), 0..3), inner()).prop_map(|(mut parts, refusal)| {
        parts.push(Part::Refusal(refusal));
        vec![Turn { role: Role::Assistant, name: None, parts }]
    });
    prop_oneof![listed, asked, answered]
}

/// An assistant's turn with calls, and the results of all of them.
fn worked() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let call = (name(), inner(), prop::collection::vec(text(), 1..3));
    (text(), prop::collection::vec(call, 1..4)).prop_map(|(said, calls)| {
        let mut parts = vec![said];
        let mut results = Vec::new();
        for (number, (name, arguments, content)) in calls.into_iter().enumerate() {
            let id = Escaped::from_inner(format!("call_{number}"));
            // Arguments of white space alone become an empty object.
            let arguments = if arguments.is_blank() { Escaped::from_inner("{}") } else { arguments };
            parts.push(Part::ToolCall(ToolCall {
                id: id.clone(),
                name,
                arguments,
                signature: None,
                cache: None,
            }));
            results.push(Part::ToolResult(ToolResult { call_id: id, content, is_error: false, cache: None }));
        }
        let turn = |role, parts| Turn { role, name: None, parts };
        vec![turn(Role::Assistant, parts), turn(Role::User, results)]
    })
}

fn settings() -> impl Strategy<Value = Vec<Setting<'static>>> {
    let all = [
        (What::Temperature, "temperature", "0.5"),
        (What::TopP, "top_p", "1e-1"),
        (What::FrequencyPenalty, "frequency_penalty", "-1.0"),
        (What::Seed, "seed", "-12345678901234567890"),
        (What::LogitBias, "logit_bias", r#"{"1":2.50}"#),
        (What::User, "user", r#""u\u00e9""#),
        (What::ServiceTier, "service_tier", "\"flex\""),
        (What::Metadata, "metadata", r#"{"a":"b"}"#),
    ];
    prop::sample::subsequence(all.to_vec(), 0..=all.len()).prop_map(|chosen| {
        let setting = |(what, name, value): (What, &'static str, &str)| Setting {
            what,
            name: name.into(),
            value: Json::trusted(value.into()),
        };
        chosen.into_iter().map(setting).collect()
    })
}

fn tools() -> impl Strategy<Value = (Vec<Tool<'static>>, Option<ToolChoice<'static>>)> {
    let tool =
        (name(), prop::option::of(inner()), any::<Option<bool>>()).prop_map(|(name, description, strict)| {
            let parameters = Some(Json::trusted(r#"{"type": "object","n":1.0}"#.into()));
            Tool { kind: ToolKind::Function { name, description, parameters, strict }, cache: None }
        });
    let choice = prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::Never),
        Just(ToolChoice::Required),
        name().prop_map(ToolChoice::Named),
        (prop::collection::vec(name(), 1..3), any::<bool>())
            .prop_map(|(names, required)| ToolChoice::Allowed { names, required }),
    ];
    (prop::collection::vec(tool, 1..4), prop::option::of(choice))
}

fn format() -> impl Strategy<Value = Format<'static>> {
    let schema =
        (name(), prop::option::of(inner()), any::<Option<bool>>()).prop_map(|(name, description, strict)| {
            let schema = Json::trusted(r#"{"type": "object"}"#.into());
            Format::JsonSchema { name: Some(name), description, schema, strict }
        });
    prop_oneof![Just(Format::Text), Just(Format::JsonObject), schema]
}

prop_compose! {
    /// The requests that OpenAI's chat can express.
    fn request()(
        turns in prop::collection::vec(prop_oneof![spoken(), worked()], 1..5),
        (tools, tool_choice) in tools(),
        parallel_tools in any::<Option<bool>>(),
        format in format(),
        output_limit in prop::option::of(1u64..4096),
        stop in prop::collection::vec(inner(), 0..4),
        settings in settings(),
        n in 1u64..4,
        stream in any::<bool>(),
    ) -> Request<'static> {
        let turns = turns.into_iter().flatten().collect();
        Request {
            turns, tools, tool_choice, parallel_tools, format, output_limit, stop, settings, n, stream,
            thinking: Thinking::default(), logprobs: None,
        }
    }
}

/// An answer as chat orders it: reasoning, text, refusal, citations, images, calls.
fn answer() -> impl Strategy<Value = Vec<Event<'static>>> {
    let pieces = || prop::collection::vec(inner(), 0..3);
    let call = (name(), pieces());
    let finish = prop_oneof![Just(Finish::Stop), Just(Finish::Length), Just(Finish::ContentFilter)];
    let cited = prop::collection::vec((inner(), 0u64..9), 0..2);
    (pieces(), pieces(), pieces(), cited, prop::collection::vec(call, 0..3), finish, usage()).prop_map(
        |(thought, text, refusal, cited, calls, finish, usage)| {
            let start =
                Event::Start { id: Escaped::from_inner("chatcmpl-1"), model: Escaped::from_inner("m") };
            let mut deltas: Vec<Delta<'static>> = thought.into_iter().map(Delta::Reasoning).collect();
            deltas.extend(text.into_iter().map(Delta::Text));
            deltas.extend(refusal.into_iter().map(Delta::Refusal));
            deltas.extend(cited.into_iter().map(|(url, at)| {
                Delta::Citation(Citation { title: Some(url.clone()), url, span: Some((at, at)) })
            }));
            let reason = if calls.is_empty() { finish } else { Finish::ToolCalls };
            for (tool, (name, pieces)) in (0u32..).zip(calls) {
                let id = Escaped::from_inner(format!("call_{tool}"));
                deltas.push(Delta::ToolStart { tool, id, name, signature: None });
                let pieces = if pieces.is_empty() { vec![Escaped::from_inner("{}")] } else { pieces };
                deltas.extend(pieces.into_iter().map(|piece| Delta::ToolArguments { tool, piece }));
                deltas.push(Delta::ToolEnd { tool });
            }
            let mut events = vec![start];
            events.extend(deltas.into_iter().map(|delta| Event::Said { choice: 0, delta }));
            events.push(Event::Finish { choice: 0, reason, stop_sequence: None });
            events.push(Event::Usage(usage));
            events
        },
    )
}

prop_compose! {
    fn usage()(input in 0u64..9999, cache_read in 0u64..9999, cache_write in 0u64..9999, output in 0u64..9999, reasoning in 0u64..9999) -> Usage {
        let basis = Basis::Reported;
        Usage { input, cache_read, cache_write, output, reasoning: reasoning.min(output), basis, ..Usage::default() }
    }
}

fn gathered(events: impl IntoIterator<Item = Event<'static>>) -> Answer {
    let mut answer = Answer::default();
    for event in events {
        answer.absorb(event);
    }
    answer
}

/// Members that readers search.
const KEYS: &str = "role content choices delta message messages model tool_calls function name arguments index id \
    finish_reason usage error x_groq type text image_url url thinking thinking_blocks signature \
    extra_content google tools tool_choice response_format reasoning_effort tool_call_id logprobs \
    annotations images stop file file_data prompt_tokens completion_tokens service_tier cache_control \
    functions function_call tokens token_logprobs input_audio url_citation refusal json_schema";
/// Their possible values; the first is empty.
const WORDS: &str = " user assistant tool function text data:image/png;base64,AA data:x stop error \\ud83d thinking \
    image_url file allowed_tools call__thought__x none";

/// JSON with the members that readers search, of any kind.
fn loose_json() -> impl Strategy<Value = String> {
    let key = prop::sample::select(KEYS.split_whitespace().collect::<Vec<_>>());
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        (-2i64..5).prop_map(|number| number.to_string()),
        prop::sample::select(WORDS.split(' ').collect::<Vec<_>>()).prop_map(|word| format!("\"{word}\"")),
    ];
    leaf.prop_recursive(6, 60, 5, move |inner| {
        let object = prop::collection::vec((key.clone(), inner.clone()), 0..5).prop_map(|members| {
            let members: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        });
        let list = prop::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(",")));
        prop_oneof![object, list]
    })
}

/// Reads it as everything that chat readers read.
fn read_all(bytes: &[u8]) {
    let mut answer = Answer::default();
    let _ = Reader::new(reading("xai")).body(bytes, &mut |event| answer.absorb(event));
    let mut writer = Writer::new(writer_context("openai", "m"));
    let mut out = Vec::new();
    let mut reader = Reader::new(reading("xai"));
    let mut emit = |event: Event<'_>| writer.event(&event, &mut out);
    for framed in [bytes.to_vec(), [b"data: ", bytes, b"\n\n"].concat()] {
        let _ = Splitter::new(1 << 20).feed(&framed, |frame| {
            let _ = reader.frame(frame, &mut emit);
        });
    }
    reader.close(&mut emit);
    writer.conclude("{}", &Usage::default(), &mut out);
    write_answer(&answer, &writer_context("openai", "m"), "{}", &Usage::default());
    if let Ok(request) = openai_chat::read(bytes, &Limits::default())
        && let Ok(request) = request.canonical()
    {
        for provider in ["openai", "mistral", "groq"] {
            let _ = write(&request, &target(provider, "m"));
        }
    }
}

proptest! {
    #[test]
    fn a_request_that_is_written_is_read_as_it_was(request in request()) {
        let encoded = write(&request, &target("openai", "gpt-4.1")).unwrap();
        prop_assert_eq!(&encoded.dropped, &Vec::<String>::new());
        let body = String::from_utf8(encoded.body).unwrap();
        prop_assert_eq!(canonical(&body), request);
    }

    #[test]
    fn reasoning_and_effort_survive_too(thought in inner(), effort in prop::sample::select(vec![Effort::Low, Effort::High, Effort::Max])) {
        let parts = vec![Part::Reasoning(Reasoning { text: thought, signature: None, redacted: false })];
        let request = Request {
            turns: vec![Turn { role: Role::Assistant, name: None, parts }],
            thinking: Thinking { effort: Some(effort), ..Thinking::default() },
            n: 1,
            ..Request::default()
        };
        let encoded = write(&request, &target("deepseek", "deepseek-flash")).unwrap();
        let body = String::from_utf8(encoded.body).unwrap();
        let found = canonical(&body);
        prop_assert_eq!(found.thinking, request.thinking);
        prop_assert_eq!(&found.turns[0].parts[0], &request.turns[0].parts[0]);
    }

    #[test]
    fn an_answer_written_either_way_is_read_as_it_was(events in answer()) {
        let expected = gathered(events.clone());
        let billed = expected.usage.unwrap();
        let writer_context = WriterContext { include_usage: true, ..writer_context("openai", "m") };
        let body = written_whole(&events, &writer_context, &billed);
        let mut found = Answer::default();
        Reader::new(reading("openai")).body(body.as_bytes(), &mut |event| found.absorb(event)).unwrap();
        prop_assert_eq!(&found, &expected);
        let stream = written(&events, writer_context, &billed);
        let mut found = Answer::default();
        stream_events(&[stream.as_bytes()], "openai", &mut |event| found.absorb(event));
        prop_assert_eq!(&found, &expected);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(&bytes);
    }

    #[test]
    fn random_json_never_panics(json in loose_json(), messages in prop::collection::vec(loose_json(), 0..4)) {
        read_all(json.as_bytes());
        read_all(format!(r#"{{"choices":[{{"delta":{json}}}]}}"#).as_bytes());
        let messages: Vec<_> = messages
            .iter()
            .map(|message| match message.strip_prefix('{') {
                Some(rest) if rest.len() > 1 => format!(r#"{{"role":"assistant",{rest}"#),
                _ => r#"{"role":"user","content":"x"}"#.to_owned(),
            })
            .collect();
        read_all(format!(r#"{{"model":"m","messages":[{}],"tools":[{json}]}}"#, messages.join(",")).as_bytes());
    }
}
