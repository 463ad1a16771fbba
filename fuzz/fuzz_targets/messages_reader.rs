//! The reader of Messages answers takes any bytes, whole and as a stream, and a writer accepts its events.
#![no_main]

use kairosroute::{
    dialect::{
        AnswerReader, ClientWriter, Dialect, Reading, WriterContext, canonical::Answer, sse::Splitter,
        write_answer,
    },
    domain::{provider::ProviderId, usage::Usage},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(provider) = ProviderId::by_id("anthropic") else { return };
    let writer_context = WriterContext {
        seed: "s".into(),
        created: 0,
        provider,
        upstream_model: "m".into(),
        include_usage: false,
        echo: String::new(),
    };
    let mut answer = Answer::default();
    let mut reader = AnswerReader::new(Dialect::Messages, Reading::default());
    let _ = reader.body(bytes, &mut |event| answer.absorb(event));
    write_answer(Dialect::Messages, &answer, &writer_context, "{}", &Usage::default());

    let Some(mut writer) = ClientWriter::new(Dialect::Messages, writer_context) else { return };
    let mut out = Vec::new();
    let mut reader = AnswerReader::new(Dialect::Messages, Reading::default());
    let _ = Splitter::new(1 << 16).feed(bytes, |frame| {
        let _ = reader.frame(frame, &mut |event| writer.event(&event, &mut out));
    });
    reader.close(&mut |event| writer.event(&event, &mut out));
    writer.conclude("{}", &Usage::default(), &mut out);
});
