//! The official SDKs, unmodified, against a real gateway: once on a customer's own key, once on the platform's.
//! The programs are in tests/sdk; `./test` installs the packages they run on at locked versions.

use crate::harness::{Customer, Stack};
use serde_json::json;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};
use tokio::process::Command;

const OWN: &str = "sk-proj-customers-own-key";

/// What `./test` provides; the tests fail without it, for a skipped one would look like a passed one.
fn provided(variable: &str) -> OsString {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.unwrap_or_else(|| panic!("{variable} is not set: run ./test, which installs the SDKs and sets it"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name)
}

fn python() -> Command {
    let mut command = Command::new(provided("KAIROSROUTE_TEST_PYTHON"));
    command.arg(script("openai_python.py"));
    command
}

fn node() -> Command {
    let directory = provided("KAIROSROUTE_TEST_NODE_DIR");
    let mut command = Command::new(std::env::var_os("NODE").unwrap_or_else(|| "node".into()));
    command.arg(script("openai_node.mjs")).env("SDK_DIR", directory);
    command
}

/// Every request to OpenAI goes on the customer's own key, and on nothing else.
async fn with_own_key(stack: &Stack) -> Customer {
    let customer = stack.customer("0").await;
    stack.set_provider_keys(&customer, &json!({ "OpenAI": OWN })).await;
    let never = json!({ "byokFallback": "never" });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &never).await.status, 200);
    customer
}

async fn run(mut command: Command, byok: bool) {
    let stack = Stack::start().await;
    let customer = if byok { with_own_key(&stack).await } else { stack.customer("10").await };
    let poor = stack.customer("0").await;
    let output = command
        .env("BASE_URL", format!("{}/v1", stack.base()))
        .env("API_KEY", &customer.key)
        .env("POOR_API_KEY", &poor.key)
        .env("CONTROL_URL", format!("http://{}", stack.simulator.address()))
        .env("UPSTREAM_KEY", if byok { OWN } else { "platform-openai" })
        .env("BYOK", byok.to_string())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{errors}");
    let charges = stack.database.number("SELECT count(*) FROM entry WHERE kind = 'charge'").await;
    assert_eq!(charges == 0, byok, "only the platform's key costs credit");
    stack.finish().await;
}

#[tokio::test]
async fn openais_python_package_works_on_an_own_key() {
    run(python(), true).await;
}

#[tokio::test]
async fn openais_python_package_works_on_the_platforms_key() {
    run(python(), false).await;
}

#[tokio::test]
async fn openais_node_package_works_on_an_own_key() {
    run(node(), true).await;
}

#[tokio::test]
async fn openais_node_package_works_on_the_platforms_key() {
    run(node(), false).await;
}
