//! The operator's pages and one's own account in a real browser. The program is tests/browser/accounts.mjs; `./test`
//! installs the browser and the packages it runs on.

use crate::harness::{PASSWORD, Stack};
use std::{ffi::OsString, path::Path, process::Stdio};
use tokio::process::Command;

fn provided(variable: &str) -> OsString {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("{variable} is not set: run ./test, which installs the browser and sets it")
    })
}

#[tokio::test]
async fn the_operators_pages_and_ones_own_account_work_in_a_browser() {
    let stack = Stack::start().await;
    let made = stack.command(&["admin", "operator", "create", "op@example.test"], PASSWORD);
    assert!(made.status.success(), "{made:?}");
    let output = Command::new(std::env::var_os("NODE").unwrap_or_else(|| "node".into()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/accounts.mjs"))
        .arg(stack.base())
        .arg(provided("KAIROSROUTE_TEST_CHROMIUM"))
        .args(["op@example.test", PASSWORD])
        .env("NODE_MODULES_OF", Path::new(&provided("KAIROSROUTE_TEST_NODE_DIR")).join("package.json"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).contains("accounts: ok"));
    stack.finish().await;
}
