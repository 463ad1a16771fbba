use super::*;
use crate::dialect::Reading;

fn relay(usage_by_client: bool) -> Relay {
    several(usage_by_client, 1)
}

fn several(usage_by_client: bool, choices: u64) -> Relay {
    let provider = ProviderId::by_id("openai").unwrap();
    let usage_by_us = !usage_by_client;
    let reply_bytes_max = 1 << 16;
    Relay::new(Exchange {
        provider,
        client: Dialect::Chat,
        upstream: Dialect::Chat,
        reading: Reading::default(),
        speaking: None,
        gathers: false,
        choices,
        usage_by_client,
        usage_by_us,
        reply_bytes_max,
        frame_bytes_max: 1 << 16,
    })
}

const ROLE: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const TEXT: &str = "data: {\"id\":\"c\",\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}],\"usage\":null}\n\n";
const STOP: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";

#[test]
fn the_role_does_not_commit_and_leaves_with_the_first_content() {
    let mut relay = relay(false);
    relay.absorb(b": keep-alive\n\n");
    relay.absorb(ROLE.as_bytes());
    assert!(!relay.is_committed());
    relay.absorb(TEXT.as_bytes());
    assert!(relay.is_committed());
    let out = String::from_utf8(relay.take_out()).unwrap();
    assert_eq!(
        out,
        format!("{ROLE}{TEXT}").replace(",\"usage\":null", ""),
        "the usage we asked for is removed"
    );
}

#[test]
fn the_note_rides_on_the_finish_and_no_empty_chunk_is_sent_unasked() {
    let mut relay = relay(false);
    relay.absorb(format!("{TEXT}{STOP}{USAGE}data: [DONE]\n\n").as_bytes());
    relay.take_out();
    assert!(relay.has_ended() && relay.failure().is_none());
    let usage = relay.usage().unwrap();
    assert_eq!((usage.input, usage.output), (3, 1));
    let end = String::from_utf8(relay.conclude("{\"a\":1}", &usage)).unwrap();
    assert_eq!(
        end,
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x_kairosroute\":{\"a\":1}}\n\ndata: [DONE]\n\n"
    );
}

#[test]
fn who_asks_for_usage_gets_one_chunk_of_it_even_from_a_provider_that_sends_none() {
    for (tail, expected) in [(USAGE, "\"prompt_tokens\":3"), ("", "\"prompt_tokens\":7")] {
        let mut relay = relay(true);
        relay.absorb(format!("{TEXT}{STOP}{tail}").as_bytes());
        relay.close();
        relay.take_out();
        let billed = Usage { input: 7, output: 1, ..Usage::default() };
        let end = String::from_utf8(relay.conclude("1", &billed)).unwrap();
        assert!(end.starts_with(STOP), "{end}");
        assert_eq!(end.matches("\"choices\":[]").count(), 1);
        assert!(end.contains(expected) && end.contains("\"x_kairosroute\":1"), "{end}");
    }
}

#[test]
fn fewer_choices_than_asked_for_still_carry_the_note_on_the_last_finish() {
    for (stops, choices) in [(1, 2), (2, 2), (2, 3)] {
        let mut relay = several(false, choices);
        relay.absorb(format!("{TEXT}{}data: [DONE]\n\n", STOP.repeat(stops)).as_bytes());
        let out = relay.take_out();
        let end = relay.conclude("1", &Usage::default());
        assert_eq!(String::from_utf8(end.clone()).unwrap().matches("x_kairosroute").count(), 1);
        let all = String::from_utf8([out, end].concat()).unwrap();
        assert_eq!(all.matches("\"finish_reason\":\"stop\"").count(), stops);
    }
}

#[test]
fn a_provider_cannot_fill_the_memory_with_frames_that_do_not_begin() {
    let mut relay = relay(false);
    for _ in 0..2_000 {
        relay.absorb(ROLE.as_bytes());
    }
    assert!(relay.failure().is_some());
}

#[test]
fn an_error_after_the_finish_takes_nothing_back() {
    let mut relay = relay(false);
    relay.absorb(format!("{TEXT}{STOP}data: {{\"error\":{{\"message\":\"late\"}}}}\n\n").as_bytes());
    assert!(relay.has_ended() && relay.failure().is_none());
}

#[test]
fn a_stream_without_a_finish_an_error_frame_and_broken_json_are_failures() {
    for (stream, at_close) in [
        (TEXT.to_owned(), true),
        (format!("{TEXT}data: [DONE]\n\n"), false),
        (format!("{TEXT}event: error\ndata: {{\"error\":{{\"message\":\"busy\"}}}}\n\n"), false),
        (format!("{TEXT}data: {{oops\n\n"), false),
    ] {
        let mut relay = relay(false);
        relay.absorb(stream.as_bytes());
        if at_close {
            relay.close();
        }
        assert!(relay.failure().is_some(), "{stream}");
    }
}
