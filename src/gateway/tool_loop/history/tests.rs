use super::*;
use crate::config::Config;
use uuid::Uuid;

const ONE: ApiKeyId = ApiKeyId(Uuid::from_u128(1));
const OTHER: ApiKeyId = ApiKeyId(Uuid::from_u128(2));
const USER: &str = r#"{"role":"user","content":"a"}"#;

fn memory(bytes: &str) -> ToolHistoryCache {
    let given = [("KAIROSROUTE_MCP_MEMORY_BYTES_MAX".to_owned(), bytes.to_owned())];
    ToolHistoryCache::new(&Config::read(given).unwrap().limits)
}

fn call(id: &str, arguments: &str) -> String {
    format!(r#"{{"id":"{id}","type":"function","function":{{"name":"f","arguments":"{arguments}"}}}}"#)
}

fn asked(more: &str, calls: &[String]) -> String {
    format!(r#"{{"role":"assistant"{more},"tool_calls":[{}]}}"#, calls.join(","))
}

fn result(id: &str) -> String {
    format!(r#"{{"role":"tool","tool_call_id":"{id}","content":"\u00e9"}}"#)
}

fn said(what: &str) -> String {
    format!(r#"{{"role":"assistant","content":"{what}"}}"#)
}

#[tokio::test]
async fn what_was_said_before_a_call_stands_before_it_again() {
    let memory = memory("1000000");
    let made = asked("", &[call("a", "1"), call("b", "2")]);
    memory.keep(ONE, vec![said("x"), said("y")], &made).await;
    memory.keep(ONE, vec![said("z")], &asked("", &[call("c", "3")])).await;
    let echoed = asked(r#","content":"hm" "#, &[call("a", "1"), call("b", "2")]);
    let (ab, c) = (format!("{echoed},{},{}", result("b"), result("a")), asked("", &[call("c", "3")]));
    let told = memory.recall(ONE, &format!("{USER},{ab},{c} ,{}", result("c"))).await.unwrap();
    let echoed = echoed.replace("\"hm\" ", "\"hm\"");
    let expected = format!(
        "{USER},{},{},{echoed},{},{},{},{c},{}",
        said("x"),
        said("y"),
        result("b"),
        result("a"),
        said("z"),
        result("c")
    );
    assert_eq!(told, expected);
    // No history of another API key, none without the calls, and none that was never kept.
    assert_eq!(memory.recall(OTHER, &ab).await, None);
    assert_eq!(memory.recall(ONE, USER).await, None);
    assert_eq!(memory.recall(ONE, &asked("", &[call("d", "1")])).await, None);
    for odd in ["", "1,null", "{", r#"{"tool_calls":7}"#, r#"{"tool_calls":[{"id":["a"]},null]}"#] {
        assert_eq!(memory.recall(ONE, odd).await, None, "{odd}");
    }
}

#[tokio::test]
async fn calls_that_were_lost_come_back_as_they_were_made_turn_by_turn() {
    let memory = memory("1000000");
    memory.keep(ONE, vec![said("x")], &asked("", &[call("a", r#"{\"p\":1.0}"#)])).await;
    memory.keep(ONE, vec![said("y")], &asked("", &[call("b", r#"{\"q\":2}"#)])).await;
    // The request of a client that lost the calls: one message stands for both turns.
    let mended = asked("", &[call("a", "{}"), call("b", "{}"), call("c", "{}")]);
    let sent = format!("{USER},{mended},{},{},{}", result("a"), result("b"), result("c"));
    let told = memory.recall(ONE, &sent).await.unwrap();
    let expected = format!(
        "{USER},{},{},{},{},{},{},{},{}",
        said("x"),
        asked("", &[call("a", r#"{\"p\":1.0}"#)]),
        result("a"),
        said("y"),
        asked("", &[call("b", r#"{\"q\":2}"#)]),
        result("b"),
        asked("", &[call("c", "{}")]),
        result("c")
    );
    assert_eq!(told, expected);
}

#[tokio::test]
async fn too_much_is_not_kept() {
    for bytes in ["0", "100"] {
        let memory = memory(bytes);
        memory.keep(ONE, vec![said(&"x".repeat(100))], &asked("", &[call("a", "1")])).await;
        memory.kept.run_pending_tasks().await;
        assert_eq!(memory.recall(ONE, &asked("", &[call("a", "1")])).await, None);
    }
}

#[tokio::test]
async fn thoughts_of_earlier_turns_are_not_told_twice() {
    let memory = memory("1000000");
    let block = |text: &str| format!(r#"{{"type":"thinking","thinking":"{text}","signature":"s"}}"#);
    let thought = format!(r#"{{"role":"assistant","thinking_blocks":[{}],"tool_calls":[]}}"#, block("x"));
    memory.keep(ONE, vec![thought.clone()], &asked("", &[call("a", "1")])).await;
    let echoed = |blocks: &str| asked(&format!(r#","thinking_blocks":[{blocks}]"#), &[call("a", "1")]);
    let sent = echoed(&format!("{},{}", block("x"), block("y")));
    assert_eq!(memory.recall(ONE, &sent).await, Some(format!("{thought},{}", echoed(&block("y")))));
}

#[tokio::test]
async fn a_message_that_is_made_to_take_long_is_left_alone() {
    let memory = memory("67108864");
    memory.keep(ONE, vec![said("x")], &asked("", &[call("a", "1")])).await;
    let often: Vec<String> = (0..50).flat_map(|_| [call("a", "1"), call("b", "2")]).collect();
    let many: Vec<String> =
        (0..200).map(|number| call(&number.to_string(), "1")).chain([call("a", "1")]).collect();
    for calls in [often, many] {
        let results = vec![result("a"); 50].join(",");
        assert_eq!(memory.recall(ONE, &format!("{},{results}", asked("", &calls))).await, None);
    }
    // History that is larger than one answer may have is not returned either.
    let large = said(&"x".repeat(3_000_000));
    for id in ["c", "d"] {
        memory.keep(ONE, vec![large.clone()], &asked("", &[call(id, "1")])).await;
    }
    let one = asked("", &[call("c", "1")]);
    assert!(memory.recall(ONE, &one).await.is_some());
    assert_eq!(memory.recall(ONE, &format!("{one},{}", asked("", &[call("d", "1")]))).await, None);
}

#[tokio::test]
async fn what_is_new_takes_the_place_of_what_is_old() {
    let memory = memory("1000000");
    for number in 0..200 {
        let asked = asked("", &[call(&number.to_string(), "1")]);
        memory.keep(ONE, vec![said(&"x".repeat(50_000))], &asked).await;
        memory.kept.run_pending_tasks().await;
        assert!(memory.recall(ONE, &asked).await.is_some(), "{number}");
    }
    assert!(memory.kept.weighted_size() <= 1_000_000);
}
