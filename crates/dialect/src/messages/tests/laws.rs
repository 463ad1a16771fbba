use super::*;
use crate::{
    canonical::{
        Cache, Citation, Delta, Effort, Finish, Format, Json, Part, Request, Role, Setting, Source, Thinking,
        Tool, ToolCall, ToolChoice, ToolKind, ToolResult, Turn, What,
    },
    json::Escaped,
    write_answer,
};
use kairosroute_domain::usage::Usage;
use proptest::{collection::vec, option, prelude::*};

/// The inside of a JSON string that is not blank: unusual escapes and half surrogates included, without the characters
/// that a stream escapes.
fn inner() -> impl Strategy<Value = Escaped<'static>> {
    let piece = prop_oneof![
        "[^\u{85}\u{2028}\u{2029}]{1,8}".prop_map(|text| Escaped::from_text(&text).inner().to_owned()),
        Just("\\ud83d".to_owned()),
        Just("\\u0041\\/".to_owned()),
    ];
    vec(piece, 0..3).prop_map(|pieces| Escaped::from_inner(format!("a{}", pieces.concat())))
}

fn word() -> impl Strategy<Value = Escaped<'static>> {
    "[A-Za-z0-9_-]{1,12}".prop_map(|text| Escaped::from_text(&text))
}

/// A JSON object whose numbers and spaces must stay.
fn object() -> impl Strategy<Value = String> {
    (inner(), "-?[1-9][0-9]{0,25}(\\.[0-9]{1,3})?(e[0-9])?")
        .prop_map(|(text, number)| format!("{{\"s\" : \"{}\", \"n\":{number}}}", text.inner()))
}

fn cache() -> impl Strategy<Value = Option<Cache>> {
    prop_oneof![9 => Just(None), 1 => Just(Some(Cache::Hour))]
}

fn content() -> impl Strategy<Value = Part<'static>> {
    prop_oneof![
        inner().prop_map(|text| Part::Text { text, cache: None }),
        (word(), cache()).prop_map(|(data, cache)| Part::Image {
            source: Source::Data { media_type: Escaped::from_text("image/png"), data },
            detail: None,
            cache,
        }),
        (word(), option::of(inner())).prop_map(|(id, name)| Part::File {
            source: Source::Id { id, dialect: Dialect::Messages },
            name,
            cache: None,
        }),
        inner().prop_map(|text| Part::File { source: Source::Text(text), name: None, cache: None }),
    ]
}

/// A user's and an assistant's turn, with the results of the calls before first.
fn exchange(number: usize, before: usize) -> impl Strategy<Value = (Vec<Turn<'static>>, usize)> {
    let id = |number: usize, call: usize| Escaped::from_text(&format!("call_{number}_{call}"));
    let results = vec((vec(content(), 0..3), any::<bool>(), cache()), before);
    let calls = vec((word(), object(), cache()), 0..3);
    (results, vec(content(), 1..3), inner(), calls).prop_map(move |(results, parts, text, calls)| {
        let results = results.into_iter().enumerate().map(|(call, (content, is_error, cache))| {
            Part::ToolResult(ToolResult {
                call_id: id(number.wrapping_sub(1), call),
                content,
                is_error,
                cache,
            })
        });
        let user = Turn { role: Role::User, name: None, parts: results.chain(parts).collect() };
        let count = calls.len();
        let calls = calls.into_iter().enumerate().map(|(call, (name, arguments, cache))| {
            let arguments = Escaped::from_text(&arguments);
            Part::ToolCall(ToolCall { id: id(number, call), name, arguments, signature: None, cache })
        });
        let said = std::iter::once(Part::Text { text, cache: None }).chain(calls).collect();
        (vec![user, Turn { role: Role::Assistant, name: None, parts: said }], count)
    })
}

fn turns() -> impl Strategy<Value = Vec<Turn<'static>>> {
    let first = (vec(inner(), 0..3), exchange(0, 0));
    first
        .prop_flat_map(|(system, (mut turns, calls))| {
            if !system.is_empty() {
                let parts = system.into_iter().map(|text| Part::Text { text, cache: None }).collect();
                turns.insert(0, Turn { role: Role::System, name: None, parts });
            }
            (Just(turns), exchange(1, calls))
        })
        .prop_map(|(mut turns, (more, _))| {
            // The last turn is the user's.
            turns.extend(more.into_iter().take(1));
            let marks = turns.iter_mut().flat_map(|turn| &mut turn.parts).flat_map(marks);
            marks.filter(|mark| mark.is_some()).skip(4).for_each(|mark| *mark = None);
            turns
        })
}

/// The cache markers of a part. A request may have four in total.
fn marks<'a>(part: &'a mut Part<'static>) -> Vec<&'a mut Option<Cache>> {
    match part {
        Part::Image { cache, .. } => vec![cache],
        Part::ToolCall(call) => vec![&mut call.cache],
        Part::ToolResult(result) => {
            result.content.iter_mut().flat_map(marks).chain([&mut result.cache]).collect()
        }
        _ => Vec::new(),
    }
}

fn tools() -> impl Strategy<Value = Vec<Tool<'static>>> {
    let schema = inner().prop_map(|text| {
        Json::trusted(format!(
            "{{\"type\":\"object\",\"additionalProperties\":false,\"description\":\"{}\"}}",
            text.inner()
        ))
    });
    let tool = (word(), option::of(inner()), schema, prop_oneof![Just(None), Just(Some(true))]);
    vec(tool, 1..4).prop_map(|tools| {
        let tool = |(name, description, parameters, strict)| Tool {
            kind: ToolKind::Function { name, description, parameters: Some(parameters), strict },
            cache: None,
        };
        tools.into_iter().map(tool).collect()
    })
}

/// Everything that this wire format can express to a model that supports all of it.
fn request() -> impl Strategy<Value = Request<'static>> {
    let choice = prop_oneof![
        Just(None),
        Just(Some(ToolChoice::Auto)),
        Just(Some(ToolChoice::Required)),
        word().prop_map(|name| Some(ToolChoice::Named(name))),
    ];
    let effort =
        prop_oneof![Just(None), Just(Some(Effort::None)), Just(Some(Effort::Low)), Just(Some(Effort::Max))];
    (
        turns(),
        tools(),
        choice,
        any::<bool>(),
        vec(inner(), 0..3),
        effort,
        any::<bool>(),
        1u64..60_000,
        option::of(word()),
    )
        .prop_map(|(turns, tools, tool_choice, single, stop, effort, stream, limit, user)| {
            let forced = matches!(tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
            let schema = Json::trusted("{\"type\":\"object\",\"additionalProperties\":false}".into());
            let format = Format::JsonSchema { name: None, description: None, schema, strict: None };
            Request {
                turns,
                tools,
                parallel_tools: tool_choice.is_some().then_some(!single).filter(|parallel| !parallel),
                tool_choice,
                format: if stream { format } else { Format::Text },
                output_limit: Some(limit),
                stop,
                thinking: Thinking { effort: effort.filter(|_| !forced), ..Thinking::default() },
                n: 1,
                stream,
                settings: user
                    .map(|user| Setting {
                        what: What::User,
                        name: "metadata.user_id".into(),
                        value: Json::trusted(format!("\"{}\"", user.inner())),
                    })
                    .into_iter()
                    .collect(),
                ..Request::default()
            }
        })
}

/// An answer's events: blocks one after the other, in pieces.
fn answer() -> impl Strategy<Value = Vec<Event<'static>>> {
    let pieces = || vec(inner(), 1..4);
    let block = prop_oneof![
        pieces().prop_map(|pieces| pieces.into_iter().map(Delta::Text).collect::<Vec<_>>()),
        (pieces(), word()).prop_map(|(pieces, signature)| {
            let signature = std::iter::once(Delta::Signature(signature));
            pieces.into_iter().map(Delta::Reasoning).chain(signature).collect()
        }),
        word().prop_map(|data| vec![Delta::Redacted(data)]),
        (inner(), inner()).prop_map(|(text, url)| {
            vec![Delta::Text(text), Delta::Citation(Citation { url, title: None, span: None })]
        }),
        (word(), object(), any::<prop::sample::Index>()).prop_map(|(name, arguments, cut)| {
            let (mut at, id) = (cut.index(arguments.len()), Escaped::from_text("toolu_x"));
            while !arguments.is_char_boundary(at) {
                at -= 1;
            }
            let piece = |text: &str| Delta::ToolArguments { tool: 0, piece: Escaped::from_text(text) };
            let start = Delta::ToolStart { tool: 0, id, name, signature: None };
            vec![start, piece(&arguments[..at]), piece(&arguments[at..]), Delta::ToolEnd { tool: 0 }]
        }),
    ];
    (vec(block, 0..5), any::<bool>()).prop_map(|(blocks, long)| {
        let mut tools = 0;
        let mut events =
            vec![Event::Start { id: Escaped::from_text("msg_1"), model: Escaped::from_text("m") }];
        for delta in blocks.into_iter().flatten() {
            let delta = match delta {
                Delta::ToolStart { id, name, signature, .. } => {
                    Delta::ToolStart { tool: tools, id, name, signature }
                }
                Delta::ToolArguments { piece, .. } => Delta::ToolArguments { tool: tools, piece },
                Delta::ToolEnd { .. } => {
                    tools += 1;
                    Delta::ToolEnd { tool: tools - 1 }
                }
                other => other,
            };
            events.push(Event::Said { choice: 0, delta });
        }
        let reason = if long { Finish::Length } else { Finish::Stop };
        events.push(Event::Finish { choice: 0, reason, stop_sequence: None });
        events
    })
}

/// JSON similar to this wire format.
fn nearly() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("type"),
        Just("text"),
        Just("content"),
        Just("messages"),
        Just("role"),
        Just("user"),
        Just("tool_use"),
        Just("tool_result"),
        Just("thinking"),
        Just("signature"),
        Just("input"),
        Just("id"),
        Just("usage"),
        Just("delta"),
        Just("content_block"),
        Just("content_block_start"),
        Just("message_start"),
        Just("message"),
        Just("index"),
        Just("stop_reason"),
        Just("output_tokens"),
        Just("input_tokens"),
        Just("iterations"),
        Just("error"),
        Just("source"),
    ];
    let quoted = word.prop_map(|word| format!("\"{word}\""));
    let leaf = prop_oneof![
        quoted.clone(),
        Just("null".into()),
        Just("1".into()),
        Just("true".into()),
        Just("\"\"".into())
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            vec((quoted.clone(), inner), 0..6).prop_map(|members| {
                let members: Vec<String> =
                    members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Every reader here, on arbitrary bytes.
fn read_anything(bytes: &[u8]) {
    for request in [read(bytes, &Limits::default()), read_for_count(bytes, &Limits::default())] {
        let Ok(request) = request else { continue };
        for model in ["claude-opus-5-5", "claude-3-haiku-20240307"] {
            for encoded in [
                request.encode(&target("anthropic", model)),
                write(request.canonical(), &target("anthropic", model)),
            ] {
                let Ok(encoded) = encoded else { continue };
                serde_json::from_slice::<&serde_json::value::RawValue>(&encoded.body).expect("valid JSON");
            }
        }
    }
    let mut reader = reader(Reading::default());
    let _ = reader.body(bytes, &mut |_| ());
    let mut splitter = Splitter::new(1 << 16);
    let _ = splitter.feed(bytes, |frame| {
        let _ = reader.frame(frame, &mut |_| ());
    });
    reader.close(&mut |_| ());
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same_request(request in request()) {
        let written = write(&request, &target("anthropic", "claude-opus-4-6")).unwrap();
        prop_assert!(written.dropped.is_empty(), "{:?}", written.dropped);
        let body = String::from_utf8(written.body).unwrap();
        let read = read_ok(&body);
        let canonical = read.canonical();
        prop_assert_eq!(canonical, &request);
    }

    #[test]
    fn streamed_and_whole_answers_read_the_same(events in answer(), output in 0u64..1000) {
        let billed = Usage { input: 3, output, ..Usage::default() };
        let stream = spoken(&events, writer_context("openai", "gpt-5.5"), &billed);
        let body = write_answer(Dialect::Messages, &gathered(events.clone()), &writer_context("openai", "gpt-5.5"), "{}", &billed);
        let from_body = gathered(whole(&String::from_utf8(body.unwrap()).unwrap(), Reading::default()));
        let from_stream = gathered(streamed(&[stream.as_bytes()], Reading::default()));
        prop_assert_eq!(&from_stream, &from_body);
        prop_assert_eq!(from_stream.usage, Some(billed));
        prop_assert_eq!(from_stream.choices[0].parts.len(), gathered(events).choices[0].parts.len());
    }

    #[test]
    fn any_split_of_a_stream_gives_the_same_events(
        case in 0..answers::CASES.len(),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = answers::CASES[case].1.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&stream[from..cut]);
            from = cut;
        }
        pieces.push(&stream[from..]);
        prop_assert_eq!(answers::lines(&streamed(&pieces, Reading::default())), answers::CASES[case].2);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        read_anything(&bytes);
    }

    #[test]
    fn random_json_never_panics(json in nearly(), others in vec(nearly(), 0..4)) {
        read_anything(json.as_bytes());
        let frames: String = others.iter().map(|json| format!("data: {json}\n\n")).collect();
        read_anything(frames.as_bytes());
        read_anything(format!(r#"{{"model":"c","max_tokens":9,"messages":[{{"role":"user","content":[{json}]}}]}}"#).as_bytes());
    }

    #[test]
    fn damaged_requests_and_streams_never_panic(at in any::<prop::sample::Index>(), with in ".{0,3}", which in 0usize..3) {
        let whole = [golden!("every_block.json"), golden!("every_field.json"), golden!("web_search.sse")][which];
        let at = at.index(whole.len());
        if whole.is_char_boundary(at) {
            let (before, after) = whole.split_at(at);
            read_anything(format!("{before}{with}{}", after.get(1..).unwrap_or_default()).as_bytes());
        }
    }
}
