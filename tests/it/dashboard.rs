//! The dashboard in a real browser, against a real gateway. The program is tests/browser/dashboard.mjs; `./test`
//! installs the browser and the packages it runs on.

use crate::harness::Stack;
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
    let node_modules = Path::new(&provided("KAIROSROUTE_TEST_NODE_DIR")).join("package.json");
    let output = Command::new(std::env::var_os("NODE").unwrap_or_else(|| "node".into()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/dashboard.mjs"))
        .arg(stack.base())
        .arg(provided("KAIROSROUTE_TEST_CHROMIUM"))
        .env("NODE_MODULES_OF", node_modules)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("dashboard: ok"));
}
