//! Runs Claude Code as `claude --print`.

use super::{
    Keys, MODELS, Workplace, calls, check_calls, says,
    workplace::{installed, succeed},
};
use crate::harness::{Customer, Stack};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use tokio::process::Command;

fn plan(workplace: &Workplace) -> Vec<Script> {
    let notes = workplace.project("notes.txt");
    vec![
        calls(
            "toolu_1",
            "Bash",
            &json!({ "command": "echo made-$((40+2)) | tee made.txt", "description": "Make a file" }),
        ),
        calls("toolu_2", "Read", &json!({ "file_path": notes })),
        calls("toolu_3", "Edit", &json!({ "file_path": notes, "old_string": "low", "new_string": "high" })),
        says("The notes are edited."),
        calls("toolu_4", "Bash", &json!({ "command": "cat notes.txt > copy.txt", "description": "Copy" })),
        says("The notes are copied."),
    ]
}

fn claude(workplace: &Workplace, stack: &Stack, customer: &Customer, model: &str) -> Command {
    let mut command = workplace.command(&installed("@anthropic-ai", "claude-code-", "claude"));
    command
        .env("ANTHROPIC_BASE_URL", stack.base())
        .env("ANTHROPIC_AUTH_TOKEN", &customer.key)
        // It fetches only from the gateway.
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("DISABLE_AUTOUPDATER", "1")
        .args(["--print", "--output-format", "json", "--allowedTools", "Bash,Read,Edit", "--model", model]);
    command
}

/// The result that a run reports.
fn result(written: &str) -> Value {
    let result: Value = serde_json::from_str(written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!((&result["subtype"], &result["is_error"]), (&json!("success"), &json!(false)), "{result}");
    result
}

async fn finishes_its_task(provider: &str, model: &str, keys: Keys) {
    let stack = Stack::start().await;
    let customer = keys.customer(&stack).await;
    let workplace = Workplace::new();
    stack.simulator.set_plan(provider, plan(&workplace));
    let mut first = claude(&workplace, &stack, &customer, model);
    first.arg("Edit the notes.");
    let first = result(&succeed(first).await);
    assert_eq!(
        (&first["result"], &first["num_turns"]),
        (&json!("The notes are edited."), &json!(4)),
        "{first}"
    );
    assert_eq!(workplace.read("made.txt"), "made-42\n");
    assert_eq!(workplace.read("notes.txt"), "The tide is high.\n");
    let mut second = claude(&workplace, &stack, &customer, model);
    second.args(["--continue", "Copy the notes."]);
    let second = result(&succeed(second).await);
    assert_eq!(second["result"], "The notes are copied.", "{second}");
    assert_eq!(workplace.read("copy.txt"), "The tide is high.\n");
    check_calls(&stack, provider, keys, 6);
    stack.finish().await;
}

#[tokio::test]
async fn it_finishes_a_task_with_every_wire_format_on_own_keys() {
    for (provider, model) in MODELS {
        finishes_its_task(provider, model, Keys::Own).await;
    }
}

#[tokio::test]
async fn it_finishes_a_task_with_every_wire_format_on_the_platforms_keys() {
    for (provider, model) in MODELS {
        finishes_its_task(provider, model, Keys::Platform).await;
    }
}
