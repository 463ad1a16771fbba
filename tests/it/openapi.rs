//! The OpenAPI document against a real gateway: a tool that knows nothing but the document calls every operation, as each
//! kind of caller, and finds no failure of the server and no answer that the document does not describe.

use crate::{deploy::tools_python, harness::Stack};
use std::path::Path;
use tokio::process::Command;

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,ignored_auth";

/// Calls every operation that matches, with this credential.
async fn walk(stack: &Stack, paths: &str, credential: Option<&str>) {
    let directory = tempfile();
    let mut command = Command::new(tools_python());
    command
        .args(["-B", "-m", "schemathesis.cli", "run"])
        .arg(format!("{}/openapi.json", stack.base()))
        .args([
            "--checks",
            CHECKS,
            "--max-examples",
            "8",
            "--seed",
            "1",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--generation-database", "none", "--continue-on-failure", "--request-timeout", "30"])
        .args(["--include-path-regex", paths, "--no-color", "--suppress-health-check", "all"])
        .current_dir(&directory);
    if let Some(credential) = credential {
        command.args(["-H", &format!("Authorization: Bearer {credential}")]);
    }
    let output = command.output().await.unwrap();
    let _ = std::fs::remove_dir_all(&directory);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// A directory for what the tool leaves behind.
fn tempfile() -> std::path::PathBuf {
    let name = format!("kairosroute-openapi-{}-{:?}", std::process::id(), std::thread::current().id());
    let directory = std::env::temp_dir().join(name.replace(['(', ')'], ""));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

async fn stack() -> Stack {
    let many = "1000000";
    let builder = Stack::builder()
        .env("KAIROSROUTE_REFUSALS_PER_KEY_MINUTE_MAX", many)
        .env("KAIROSROUTE_REFUSALS_PER_ADDRESS_MINUTE_MAX", many)
        .env("KAIROSROUTE_SIGNUPS_PER_ADDRESS_DAY_MAX", many)
        .env("KAIROSROUTE_SIGNUPS_PER_DAY_MAX", many);
    builder.start().await
}

#[tokio::test]
async fn every_answer_to_an_application_is_in_the_document() {
    let stack = stack().await;
    let customer = stack.customer("1000").await;
    walk(&stack, "^/v1/", Some(&customer.key)).await;
    stack.finish().await;
}

#[tokio::test]
async fn every_answer_to_a_person_is_in_the_document() {
    let stack = stack().await;
    let customer = stack.customer("10").await;
    // Without those that end the session itself.
    walk(
        &stack,
        "^/api/(auth$|auth/keys|members|billing|usage|organization|webhooks)",
        Some(&customer.session),
    )
    .await;
    stack.finish().await;
}

#[tokio::test]
async fn every_answer_to_a_stranger_is_in_the_document() {
    let stack = stack().await;
    walk(&stack, "^/", None).await;
    stack.finish().await;
}

#[tokio::test]
async fn the_document_is_valid_openapi() {
    let check =
        "import json, sys; from openapi_spec_validator import validate; validate(json.load(sys.stdin))";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
    let mut command = Command::new(tools_python());
    command.args(["-B", "-c", check]).stdin(std::fs::File::open(path).unwrap());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
