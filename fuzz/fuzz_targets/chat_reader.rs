//! The reader of chat answers takes any bytes, whole and as a stream, and a writer accepts its events.
#![no_main]

use kairosroute::{
    dialect::{
        AnswerReader, ClientWriter, Dialect, Reading, WriterContext,
        canonical::{Answer, Event},
        sse::Splitter,
        write_answer,
    },
    domain::{provider::ProviderId, usage::Usage},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(provider) = ProviderId::by_id("openai") else { return };
    let writer_context = WriterContext {
        seed: "s".into(),
        created: 0,
        provider,
        upstream_model: "m".into(),
        include_usage: true,
        echo: String::new(),
    };
    let mut answer = Answer::default();
    let mut reader = AnswerReader::new(Dialect::Chat, Reading::default());
    let _ = reader.body(bytes, &mut |event| answer.absorb(event));
    write_answer(Dialect::Chat, &answer, &writer_context, "{}", &Usage::default());

    let Some(mut writer) = ClientWriter::new(Dialect::Chat, writer_context) else { return };
    let (mut out, mut ends) = (Vec::new(), 0);
    let mut emit = |event: Event<'_>| {
        ends += u32::from(matches!(event, Event::End | Event::Failed(_)));
        writer.event(&event, &mut out);
    };
    let mut reader = AnswerReader::new(Dialect::Chat, Reading::default());
    let _ = Splitter::new(1 << 16).feed(bytes, |frame| {
        let _ = reader.frame(frame, &mut emit);
    });
    reader.close(&mut emit);
    writer.conclude("{}", &Usage::default(), &mut out);
    assert_eq!(ends, 1, "an answer ends once");
});
