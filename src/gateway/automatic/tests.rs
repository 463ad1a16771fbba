use super::*;
use crate::dialect::{Dialect, Limits};

fn class(body: &str) -> Classification {
    let request = ClientRequest::read(Dialect::Chat, body.as_bytes(), &Limits::default()).unwrap();
    classify_request(&request)
}

const CODE: &str =
    "Write a Python function that parses a CSV file and returns a list of rows as dictionaries";

#[test]
fn the_last_text_of_the_user_decides_and_not_the_system_prompt() {
    let body = format!(
        r#"{{"model":"auto","messages":[{{"role":"system","content":"You write poems and songs about love."}},
            {{"role":"user","content":"{CODE}"}}]}}"#
    );
    assert_eq!(class(&body).category, Category::Code);
}

#[test]
fn a_short_reply_has_the_class_of_what_it_replies_to() {
    let talk = |last: &str| {
        format!(
            r#"{{"model":"auto","messages":[{{"role":"user","content":"{CODE}"}},
                {{"role":"assistant","content":"Shall I?"}},{{"role":"user","content":"{last}"}}]}}"#
        )
    };
    let (short, plain) = (class(&talk("yes, do it")), class(&talk("")));
    assert_eq!((short.category, short.difficulty), (plain.category, plain.difficulty));
    let other = talk("Now write me a short poem in four lines about the sea, the wind and an old boat");
    assert_eq!(class(&other).category, Category::Creative);
}

#[test]
fn tools_make_an_agent() {
    let body = format!(
        r#"{{"model":"auto","messages":[{{"role":"user","content":"{CODE}"}}],
            "tools":[{{"type":"function","function":{{"name":"f","parameters":{{}}}}}}]}}"#
    );
    assert_eq!(class(&body).category, Category::Agent);
}
