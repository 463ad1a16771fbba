//! The official SDKs, unmodified, against a real gateway: once on a customer's own keys, once on platform keys. The
//! programs are in tests/sdk; `./test` installs their packages at locked versions. This file lists the cases that a
//! program must pass, so that none can be lost, and none can exist in one language only.

mod cases;

use crate::{
    harness::{Customer, Stack},
    mcp,
};
use cases::{Cases, each_is_told};
use kairosroute::mcp::sealed::Opener;
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// The owner of the keys that a program uses, and the prefix of every credential that providers may receive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Own,
    Platform,
}

impl Keys {
    fn prefix(self) -> &'static str {
        match self {
            Self::Own => "own-",
            Self::Platform => "platform-",
        }
    }
}

/// The providers that programs use.
const PROVIDERS: &[&str] = &["openai", "anthropic", "google", "mistral", "cohere", "groq", "xai"];

/// The tools that `./test` provides; the tests fail without them, because a skipped one would look like a passed one.
fn provided(variable: &str) -> OsString {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.unwrap_or_else(|| panic!("{variable} is not set: run ./test, which installs the SDKs and sets it"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name)
}

fn python(program: &str) -> Command {
    let mut command = Command::new(provided("KAIROSROUTE_TEST_PYTHON"));
    // No files of its own beside the programs.
    command.arg("-B").arg(script(&format!("{program}.py")));
    command
}

fn node(program: &str) -> Command {
    let directory = provided("KAIROSROUTE_TEST_NODE_DIR");
    let mut command = Command::new(std::env::var_os("NODE").unwrap_or_else(|| "node".into()));
    command.arg(script(&format!("{program}.mjs"))).env("SDK_DIR", directory);
    command
}

/// Every request uses only the customer's own keys.
async fn with_own_keys(stack: &Stack) -> Customer {
    let customer = stack.customer("0").await;
    let own = |provider: &&str| ((*provider).to_owned(), json!(format!("{}{provider}", Keys::Own.prefix())));
    let keys: Value = PROVIDERS.iter().map(own).collect::<serde_json::Map<_, _>>().into();
    stack.set_provider_keys(&customer, &keys).await;
    let never = json!({ "byokFallback": "never" });
    assert_eq!(stack.patch_key(&customer.session, &customer.key_id, &never).await.status, 200);
    customer
}

/// The output of a program, and whether it succeeded.
struct Told {
    lines: String,
    errors: String,
    good: bool,
    /// The credentials that the MCP server received.
    authorizations: Vec<String>,
}

impl Told {
    fn check(&self) {
        assert!(self.good, "{}\n{}", self.lines, self.errors);
    }
}

async fn run(mut command: Command, keys: Keys) -> Told {
    let server = mcp::Server::start().await;
    let stack = mcp::opened()
        .env("KAIROSROUTE_MCP_SERVERS", &format!("acme/tides={}", server.url))
        .env("KAIROSROUTE_MCP_ACCESS", "everyone")
        .env("KAIROSROUTE_MCP_CREDENTIALS_KEY", Opener::generate().unwrap().expose())
        .start()
        .await;
    let byok = keys == Keys::Own;
    let customer = if byok { with_own_keys(&stack).await } else { stack.customer("10").await };
    let poor = stack.customer("0").await;
    let output = command
        .env("BASE_URL", format!("{}/v1", stack.base()))
        .env("API_KEY", &customer.key)
        .env("POOR_API_KEY", &poor.key)
        .env("CONTROL_URL", format!("http://{}", stack.simulator.address()))
        .env("KEY_PREFIX", keys.prefix())
        .env("UPSTREAM_KEY", format!("{}openai", keys.prefix()))
        .env("BYOK", byok.to_string())
        .env("MCP_URL", &server.url)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let charges = stack.database.number("SELECT count(*) FROM entry WHERE kind = 'charge'").await;
    let good = output.status.success();
    assert!(!good || (charges == 0) == byok, "only the platform's key costs credit");
    stack.finish().await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let authorizations = server.seen.authorizations.lock().unwrap().clone();
    Told { lines: text(&output.stdout), errors: text(&output.stderr), good, authorizations }
}

/// The program in both languages, each with its own gateway.
async fn both_languages(program: &str, cases: &Cases, keys: Keys) {
    let (python, node) = tokio::join!(run(python(program), keys), run(node(program), keys));
    assert!(python.good && node.good, "{}\n{}\n{}\n{}", python.lines, python.errors, node.lines, node.errors);
    each_is_told(cases, &python.lines);
    each_is_told(cases, &node.lines);
}

/// A program that exists in one language only.
async fn one_language(program: Command, cases: &Cases, keys: Keys) {
    let told = run(program, keys).await;
    told.check();
    each_is_told(cases, &told.lines);
}

/// indoxhub's client, under either of its names.
fn indoxhub(package: &str) -> Command {
    let mut command = python("indoxhub_python");
    command.env("PACKAGE", package);
    command
}

#[tokio::test]
async fn openais_python_package_works_on_an_own_key() {
    run(python("openai_python"), Keys::Own).await.check();
}

#[tokio::test]
async fn openais_python_package_works_on_the_platforms_key() {
    run(python("openai_python"), Keys::Platform).await.check();
}

#[tokio::test]
async fn openais_node_package_works_on_an_own_key() {
    run(node("openai_node"), Keys::Own).await.check();
}

#[tokio::test]
async fn openais_node_package_works_on_the_platforms_key() {
    run(node("openai_node"), Keys::Platform).await.check();
}

#[tokio::test]
async fn openais_packages_chat_with_every_wire_format_on_own_keys() {
    both_languages("openai_chat", &cases::CHAT, Keys::Own).await;
}

#[tokio::test]
async fn openais_packages_chat_with_every_wire_format_on_the_platforms_keys() {
    both_languages("openai_chat", &cases::CHAT, Keys::Platform).await;
}

#[tokio::test]
async fn openais_packages_get_responses_of_every_wire_format_on_own_keys() {
    both_languages("openai_responses", &cases::RESPONSES, Keys::Own).await;
}

#[tokio::test]
async fn openais_packages_get_responses_of_every_wire_format_on_the_platforms_keys() {
    both_languages("openai_responses", &cases::RESPONSES, Keys::Platform).await;
}

#[tokio::test]
async fn openais_packages_get_more_than_conversations_on_own_keys() {
    both_languages("openai_kinds", &cases::KINDS, Keys::Own).await;
}

#[tokio::test]
async fn openais_packages_get_more_than_conversations_on_the_platforms_keys() {
    both_languages("openai_kinds", &cases::KINDS, Keys::Platform).await;
}

#[tokio::test]
async fn anthropics_packages_get_messages_of_every_wire_format_on_own_keys() {
    both_languages("anthropic_messages", &cases::MESSAGES, Keys::Own).await;
}

#[tokio::test]
async fn anthropics_packages_get_messages_of_every_wire_format_on_the_platforms_keys() {
    both_languages("anthropic_messages", &cases::MESSAGES, Keys::Platform).await;
}

#[tokio::test]
async fn kairosroutes_own_package_works_on_own_keys() {
    one_language(python("kairosroute_python"), &cases::KAIROSROUTE, Keys::Own).await;
}

#[tokio::test]
async fn kairosroutes_own_package_works_on_the_platforms_keys() {
    one_language(python("kairosroute_python"), &cases::KAIROSROUTE, Keys::Platform).await;
}

#[tokio::test]
async fn indoxhubs_own_package_works_on_own_keys() {
    one_language(indoxhub("indoxhub"), &cases::INDOXHUB, Keys::Own).await;
}

#[tokio::test]
async fn indoxhubs_own_package_works_on_the_platforms_keys() {
    one_language(indoxhub("indoxhub"), &cases::INDOXHUB, Keys::Platform).await;
}

#[tokio::test]
async fn indoxhubs_package_works_under_its_old_name() {
    one_language(indoxhub("indoxrouter"), &cases::INDOXHUB, Keys::Platform).await;
}

#[tokio::test]
async fn dedalus_packages_work_on_own_keys() {
    both_languages("dedalus", &cases::DEDALUS, Keys::Own).await;
}

#[tokio::test]
async fn dedalus_packages_work_on_the_platforms_keys() {
    both_languages("dedalus", &cases::DEDALUS, Keys::Platform).await;
}

#[tokio::test]
async fn a_credential_that_dedalus_package_seals_reaches_its_server_alone() {
    let told = run(python("dedalus_sealed"), Keys::Own).await;
    told.check();
    each_is_told(&cases::SEALED, &told.lines);
    let seen = told.authorizations;
    assert!(!seen.is_empty() && seen.iter().all(|given| given == "Bearer s3aled-0001"), "{seen:?}");
}
