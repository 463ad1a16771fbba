//! The dashboard in a real browser, against a real gateway. The program is tests/browser/dashboard.mjs; `./test`
//! installs the browser and the packages it runs on.

use crate::harness::{PASSWORD, Stack, hello, wait_until};
use serde_json::json;
use std::{ffi::OsString, path::Path, process::Stdio};
use tokio::process::Command;

fn provided(variable: &str) -> OsString {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("{variable} is not set: run ./test, which installs the browser and sets it")
    })
}

#[tokio::test]
async fn a_person_gets_from_sign_up_to_an_explained_answer_and_every_page_is_accessible() {
    let stack = Stack::builder().start().await;
    let customer = busy_customer(&stack).await;
    let node_modules = Path::new(&provided("KAIROSROUTE_TEST_NODE_DIR")).join("package.json");
    let output = Command::new(std::env::var_os("NODE").unwrap_or_else(|| "node".into()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/dashboard.mjs"))
        .arg(stack.base())
        .arg(provided("KAIROSROUTE_TEST_CHROMIUM"))
        .args([&customer, PASSWORD])
        .args(std::env::var_os("KAIROSROUTE_TEST_IMAGES"))
        .env("NODE_MODULES_OF", node_modules)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("dashboard: ok"));
}

/// An organization with credit and requests of every outcome; returns its owner's address.
async fn busy_customer(stack: &Stack) -> String {
    let customer = stack.customer("0").await;
    stack.grant(&customer.organization_id, "25").await;
    let failing = json!({ "Groq": "gsk-bad-key-0001" });
    stack.set_provider_keys(&customer, &failing).await;
    let long_name = "A name that is so long that it must be broken somewhere ".repeat(3);
    stack.create_key(&customer.session, &json!({ "name": long_name.trim() })).await;
    let models =
        ["openai/gpt-5.4-mini", "anthropic/claude-sonnet-4-5", "groq/gpt-oss-120b", "auto", "none/at-all"];
    for model in models.iter().cycle().take(20) {
        stack.chat(&customer.key, &hello(model)).await;
    }
    wait_until("the requests to be recorded", async || {
        stack.database.number("SELECT count(*) FROM receipt").await >= 20
    })
    .await;
    customer.email
}
