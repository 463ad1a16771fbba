//! Answers of every provider's dialect, read and written in every client's, streamed and whole.

use super::{
    Answer, AnswerReader, ClientWriter, Dialect, ProviderId, Reading, Splitter, Usage, WriterContext, check,
    write_answer, write_data,
};

const CLIENTS: [Dialect; 4] = [Dialect::Chat, Dialect::Completions, Dialect::Messages, Dialect::Responses];

fn writer_context() -> WriterContext {
    WriterContext {
        seed: "s1".into(),
        created: 1_795_190_400,
        provider: ProviderId::by_id("openai").unwrap(),
        upstream_model: "m".into(),
        include_usage: true,
        echo: String::new(),
    }
}

/// Frames of a stream, by the number of elements that the case is about.
type Frames = fn(usize) -> Vec<String>;

fn numbered(frame: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| frame.replace('#', &number.to_string())).collect()
}

/// Reads the stream and writes it for every client, streamed and collected.
fn run(dialect: Dialect, frames: &[String]) {
    let mut stream = Vec::new();
    frames.iter().for_each(|frame| write_data(&mut stream, frame.as_bytes()));
    let mut reader = AnswerReader::new(dialect, Reading::default());
    let mut writers: Vec<ClientWriter> =
        CLIENTS.into_iter().map(|client| ClientWriter::new(client, writer_context()).unwrap()).collect();
    let mut answer = Answer::default();
    let mut out = Vec::new();
    let mut splitter = Splitter::new(1 << 24);
    let mut emit = |event: crate::canonical::Event<'_>| {
        writers.iter_mut().for_each(|writer| writer.event(&event, &mut out));
        answer.absorb(event);
    };
    splitter
        .feed(&stream, |frame| {
            let _ = reader.frame(frame, &mut emit);
        })
        .unwrap();
    reader.close(&mut emit);
    for writer in &mut writers {
        writer.conclude("{}", &Usage::default(), &mut out);
    }
    for client in CLIENTS {
        write_answer(client, &answer, &writer_context(), "{}", &Usage::default()).unwrap();
    }
    super::super::step(out.len());
}

fn law(dialect: Dialect, cases: &[(&str, usize, Frames)]) {
    for (name, size, frames) in cases {
        check(&format!("{dialect:?}: {name}"), *size, |size| run(dialect, &frames(size)));
    }
}

fn joined(parts: [Vec<String>; 3]) -> Vec<String> {
    parts.into_iter().flatten().collect()
}

#[test]
fn chat_answers_cost_what_their_size_says() {
    const CALL: &str = r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"tool_calls":[{"index":#,"id":"c#","type":"function","function":{"name":"f","arguments":""}}]}}]}"#;
    const PIECE: &str =
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":#,"function":{"arguments":"{}"}}]}}]}"#;
    law(
        Dialect::Chat,
        &[
            ("pieces of text", 200, |n| {
                numbered(r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"b#"}}]}"#, n)
            }),
            ("calls one after another", 30, |n| joined([numbered(CALL, n), vec![], vec![]])),
            ("calls, then their arguments", 30, |n| joined([numbered(CALL, n), numbered(PIECE, n), vec![]])),
            ("one call in many pieces", 200, |n| {
                joined([
                    numbered(CALL, 1),
                    vec![PIECE.replace('#', "0").replace("{}\"}}]", "1\"}}]"); n],
                    vec![],
                ])
            }),
            ("choices", 60, |n| {
                numbered(r#"{"id":"a","model":"m","choices":[{"index":#,"delta":{"content":"b#"}}]}"#, n)
            }),
            ("members of a chunk", 1000, |n| {
                let members = super::repeated(r##""k#":1"##, n);
                vec![format!(r#"{{"id":"a","choices":[{{"index":0,"delta":{{"content":"b"}}}}],{members}}}"#)]
            }),
        ],
    );
}

#[test]
fn messages_answers_cost_what_their_size_says() {
    const START: &str = r#"{"type":"message_start","message":{"id":"m1","model":"m","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}"#;
    const TEXT: &str =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    law(
        Dialect::Messages,
        &[
            ("pieces of text", 200, |n| {
                joined([
                    vec![START.into(), TEXT.into()],
                    numbered(
                        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a#"}}"#,
                        n,
                    ),
                    vec![],
                ])
            }),
            ("calls", 200, |n| {
                let call = r#"{"type":"content_block_start","index":#,"content_block":{"type":"tool_use","id":"c#","name":"f","input":{}}}"#;
                let stop = r#"{"type":"content_block_stop","index":#}"#;
                let calls = numbered(call, n).into_iter().zip(numbered(stop, n));
                joined([vec![START.into()], calls.flat_map(|(call, stop)| [call, stop]).collect(), vec![]])
            }),
            ("citations", 200, |n| {
                joined([
                    vec![START.into(), TEXT.into()],
                    numbered(
                        r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{"type":"web_search_result_location","url":"https://a/#","title":"t"}}}"#,
                        n,
                    ),
                    vec![r#"{"type":"content_block_stop","index":0}"#.into()],
                ])
            }),
            ("members of an event", 1000, |n| {
                vec![START.into(), format!(r#"{{"type":"ping",{}}}"#, super::repeated(r##""k#":1"##, n))]
            }),
        ],
    );
}

#[test]
fn responses_answers_cost_what_their_size_says() {
    const START: &str = r#"{"type":"response.created","response":{"id":"r1","model":"m","output":[]}}"#;
    law(
        Dialect::Responses,
        &[
            ("pieces of text", 200, |n| {
                let piece = r#"{"type":"response.output_text.delta","item_id":"i","output_index":0,"content_index":0,"delta":"a#"}"#;
                joined([vec![START.into()], numbered(piece, n), vec![]])
            }),
            ("calls, then their arguments", 60, |n| {
                let call = r#"{"type":"response.output_item.added","output_index":#,"item":{"type":"function_call","id":"i#","call_id":"c#","name":"f","arguments":""}}"#;
                let piece = r#"{"type":"response.function_call_arguments.delta","item_id":"i#","output_index":#,"delta":"{}"}"#;
                joined([vec![START.into()], numbered(call, n), numbered(piece, n)])
            }),
        ],
    );
}

#[test]
fn gemini_answers_cost_what_their_size_says() {
    law(
        Dialect::Gemini,
        &[
            ("pieces of text", 200, |n| {
                numbered(r#"{"responseId":"r","candidates":[{"content":{"parts":[{"text":"a#"}]}}]}"#, n)
            }),
            ("calls", 200, |n| {
                numbered(
                    r##"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":#}}}]}}]}"##,
                    n,
                )
            }),
            ("calls in one frame", 200, |n| {
                let parts = super::repeated(r##"{"functionCall":{"name":"f","args":{"a":#}}}"##, n);
                vec![format!(r#"{{"candidates":[{{"content":{{"parts":[{parts}]}}}}]}}"#)]
            }),
            ("pieces of arguments, each of a value of its own", 200, |n| {
                let begin = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","willContinue":true}}]}}]}"#;
                let piece = r##"{"candidates":[{"content":{"parts":[{"functionCall":{"partialArgs":[{"jsonPath":"$.k#","numberValue":#}],"willContinue":true}}]}}]}"##;
                joined([vec![begin.into()], numbered(piece, n), vec![]])
            }),
            ("sources", 300, |n| {
                let chunk = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]},"groundingMetadata":{"groundingChunks":[{"web":{"uri":"https://a/#","title":"t"}}]}}]}"#;
                numbered(chunk, n)
            }),
            ("members of a chunk", 1000, |n| {
                vec![format!(r#"{{"responseId":"r",{}}}"#, super::repeated(r##""k#":1"##, n))]
            }),
        ],
    );
}

#[test]
fn cohere_answers_cost_what_their_size_says() {
    const START: &str = r#"{"type":"message-start","id":"m1","delta":{"message":{"role":"assistant"}}}"#;
    law(
        Dialect::Cohere,
        &[
            ("pieces of text", 200, |n| {
                let piece =
                    r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a#"}}}}"#;
                joined([vec![START.into()], numbered(piece, n), vec![]])
            }),
            ("calls, then their arguments", 60, |n| {
                let call = r#"{"type":"tool-call-start","index":#,"delta":{"message":{"tool_calls":{"id":"c#","type":"function","function":{"name":"f","arguments":""}}}}}"#;
                let piece = r#"{"type":"tool-call-delta","index":#,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}"#;
                joined([vec![START.into()], numbered(call, n), numbered(piece, n)])
            }),
        ],
    );
}
