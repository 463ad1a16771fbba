use super::*;
use crate::config::Config;
use proptest::prelude::*;

const SERVERS: &[(&str, &str)] =
    &[("acme/weather", "http://10.0.0.7/mcp"), ("notes", "https://n.example.com/")];

fn read_body(body: &str) -> Result<Option<McpOptions>, Invalid> {
    let config = Config::read([]).unwrap();
    let allowed =
        McpPolicy { limits: config.limits.mcp, servers: SERVERS.to_vec(), depth_max: 64, opener: None };
    read(body.as_bytes(), &allowed)
}

fn asked(rest: &str) -> McpOptions {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{rest}}}"#);
    read_body(&body).unwrap().unwrap()
}

fn param(rest: &str) -> String {
    let body = format!(r#"{{"model":"m","messages":[],{rest}}}"#);
    read_body(&body).err().unwrap().param.unwrap()
}

#[test]
fn a_request_without_servers_is_left_alone() {
    for body in [
        r#"{"model":"m","messages":[]}"#,
        r#"{"mcp_servers":[]}"#,
        r#"{"mcp_servers":null,"max_turns":3}"#,
        r#"{"mcp_servers":""}"#,
        r#"{"messages":[{"content":"\"mcp_servers\""}]}"#,
        r#"{"mcp_servers":["x"]"#,
        "[]",
    ] {
        assert!(matches!(read_body(body), Ok(None)), "{body}");
    }
}

#[test]
fn servers_are_urls_slugs_and_objects_of_either() {
    let mcp_options = asked(
        r#""mcp_servers":["https://a.example.com/mcp","acme/weather",{"slug":"notes","name":"n","version":null},
           {"url":"https://a.example.com/two","headers":{"x-key":"k"},"credentials":{}}]"#,
    );
    let told: Vec<_> = mcp_options
        .servers
        .iter()
        .map(|server| (server.name.as_str(), server.url.as_str(), server.trusted))
        .collect();
    assert_eq!(
        told,
        [
            ("a.example.com", "https://a.example.com/mcp", false),
            ("acme/weather", "http://10.0.0.7/mcp", true),
            ("n", "https://n.example.com/", true),
            ("a.example.com_2", "https://a.example.com/two", false),
        ]
    );
    assert_eq!(mcp_options.servers[3].headers[0].0, "x-key");
    assert_eq!((mcp_options.turns_max, mcp_options.tool_owner), (10, ToolOwner::Gateway));
    let mcp_options =
        asked(r#""mcp_servers":"notes","max_turns":3,"automatic_tool_execution":false,"credentials":null"#);
    assert_eq!(
        (mcp_options.servers.len(), mcp_options.turns_max, mcp_options.tool_owner),
        (1, 3, ToolOwner::Client)
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (rest, at) in [
        (r#""mcp_servers":["nobody"]"#, "mcp_servers[0]"),
        (r#""mcp_servers":["notes",1]"#, "mcp_servers[1]"),
        (r#""mcp_servers":[{"url":"notes"}]"#, "mcp_servers[0].url"),
        (r#""mcp_servers":[{"name":7,"slug":"notes"}]"#, "mcp_servers[0].name"),
        (r#""mcp_servers":[{"slug":"notes","headers":{"a":1}}]"#, "mcp_servers[0].headers"),
        (r#""mcp_servers":"notes","mcp_servers":"notes""#, "mcp_servers"),
        (r#""mcp_servers":"notes","max_turns":1.5"#, "max_turns"),
        (r#""mcp_servers":"notes","n":2"#, "n"),
        (r#""mcp_servers":"notes","credentials":[{"a":"b"}]"#, "credentials"),
        (
            r#""mcp_servers":"notes","parallel_tool_calls":true,"parallel_tool_calls":true"#,
            "parallel_tool_calls",
        ),
        (r#""mcp_servers":"notes","audio":{"voice":"alloy","format":"wav"}"#, "audio"),
        (r#""mcp_servers":"notes","modalities":["text","audio"]"#, "modalities"),
        (
            r#""mcp_servers":"notes","tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"sql"}}]"#,
            "tools[1].type",
        ),
        (
            r#""mcp_servers":[{"slug":"notes","headers":{"x-key":"k","Host":"admin.internal"}}]"#,
            "mcp_servers[0].headers.Host",
        ),
        (
            r#""mcp_servers":["notes",{"url":"https://a.example.com/","headers":{"x-forwarded-for":"::1"}}]"#,
            "mcp_servers[1].headers.x-forwarded-for",
        ),
    ] {
        assert_eq!(param(rest), at, "{rest}");
    }
}

#[test]
fn turns_are_written_with_the_bytes_that_came() {
    let mcp_options = asked(
        r#""seed": 1.0 ,"tools":[ {"type":"function","function":{"name":"own"}} ],"mcp_servers":"notes","tool_choice":"required""#,
    );
    assert_eq!(mcp_options.request.own_tools, ["own"]);
    let write = |tools: &[&str], said: &[&str], first| {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        String::from_utf8(mcp_options.request.write(&owned(tools), &owned(said), first)).unwrap()
    };
    let own = r#"{"type":"function","function":{"name":"own"}}"#;
    let head = r#"{"model":"m","seed":1.0,"messages":[{"role":"user","content":"hi"}"#;
    assert_eq!(write(&["T"], &[], true), format!(r#"{head}],"tools":[{own},T],"tool_choice":"required"}}"#));
    assert_eq!(write(&[], &["A", "B"], false), format!(r#"{head},A,B],"tools":[{own}]}}"#));
}

#[test]
fn text_alone_may_be_asked_for_by_name() {
    asked(r#""mcp_servers":"notes","modalities":["text"],"audio":null,"tools":[]"#);
}

#[test]
fn without_any_tool_nothing_is_said_of_tools() {
    let about = r#""parallel_tool_calls":false,"tool_choice":"required""#;
    for tools in ["null", "[]", "[ ]"] {
        let mcp_options = asked(&format!(r#""tools":{tools},{about},"mcp_servers":"notes""#));
        let written = String::from_utf8(mcp_options.request.write(&[], &[], true)).unwrap();
        assert!(!written.contains("tool"), "{written}");
        let with_one = String::from_utf8(mcp_options.request.write(&["T".to_owned()], &[], true)).unwrap();
        assert!(with_one.ends_with(&format!(r#""tools":[T],{about}}}"#)), "{with_one}");
    }
    // Members of a wrong type are refused where every request is parsed.
    let mcp_options = asked(r#""tool_choice":7,"mcp_servers":"notes""#);
    let written = String::from_utf8(mcp_options.request.write(&[], &[], true)).unwrap();
    assert!(written.contains(r#""tool_choice":7"#), "{written}");
}

#[test]
fn a_restriction_of_tools_holds_for_every_turn() {
    let choice = |mode: &str| {
        format!(
            r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"{mode}","tools":[{{"type":"function","function":{{"name":"read"}}}}]}}}}"#
        )
    };
    let mcp_options = asked(&format!(r#""mcp_servers":"notes","tool_choice":{}"#, choice("required")));
    let write = |first| String::from_utf8(mcp_options.request.write(&["T".to_owned()], &[], first)).unwrap();
    assert!(write(true).contains(&choice("required")), "{}", write(true));
    assert!(write(false).contains(&choice("auto")), "{}", write(false));
}

#[test]
fn every_tool_of_the_callers_own_counts() {
    let mcp_options = asked(
        r#""mcp_servers":"notes","tools":[{"type":"function","function":{"name":"own"}},{"type":"web_search"}]"#,
    );
    assert_eq!(mcp_options.request.own_tools, ["own", ""]);
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(rest in r#"[\[\]{}":,a-z0-9\\ ]{0,60}"#) {
        let _ = read_body(&format!(r#"{{"mcp_servers":{rest}}}"#));
        let _ = read_body(&format!(r#"{{"mcp_servers":["https://h/"],{rest}}}"#));
        let _ = read_body(&format!(r#"{{"mcp_servers":[{{{rest}}}]}}"#));
    }
}
