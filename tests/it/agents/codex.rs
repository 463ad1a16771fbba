//! Runs Codex as `codex exec`, with its tools for each model.

use super::{
    Keys, MODELS, Workplace, calls, check_calls, says,
    workplace::{installed, succeed},
};
use crate::harness::{Customer, Stack};
use kairosroute::simulator::Script;
use serde_json::{Value, json};
use std::{ffi::OsString, fs};
use tokio::process::Command;

const PATCH: &str =
    "*** Begin Patch\n*** Update File: notes.txt\n@@\n-The tide is low.\n+The tide is high.\n*** End Patch\n";

/// How a model edits files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edits {
    /// With the free-form tool that the agent uses for models it knows.
    Tool,
    /// In the shell, which the agent uses for models that it does not know.
    Shell,
}

fn plan(edits: Edits) -> Vec<Script> {
    let shell = |id: &str, command: String| calls(id, "exec_command", &json!({ "cmd": command }));
    vec![
        shell("call_1", "echo made-$((40+2)) | tee made.txt".into()),
        match edits {
            Edits::Tool => calls("call_2", "apply_patch", &json!({ "input": PATCH })),
            Edits::Shell => shell("call_2", "sed -i s/low/high/ notes.txt".into()),
        },
        says("The notes are edited."),
        shell("call_3", "cat notes.txt > copy.txt".into()),
        says("The notes are copied."),
    ]
}

fn program() -> OsString {
    installed("@openai", "codex-", "vendor/*/bin/codex")
}

fn codex(workplace: &Workplace, stack: &Stack, customer: &Customer, model: &str) -> Command {
    let mut command = workplace.command(&program());
    let provider = format!(
        r#"model_providers.gateway={{name="Gateway",base_url="{}/v1",env_key="GATEWAY_KEY",wire_api="responses"}}"#,
        stack.base()
    );
    command
        .env("GATEWAY_KEY", &customer.key)
        .arg("exec")
        .args(["-c", "model_provider=gateway", "-c", &provider, "-m", model])
        // A search has a fee; all other settings are the agent's defaults.
        .args(["-c", "web_search=disabled"])
        .args(["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox", "-o", "last.txt"]);
    command
}

async fn finishes_its_task(provider: &str, model: &str, edits: Edits, keys: Keys, more: &[String]) {
    let stack = Stack::start().await;
    let customer = keys.customer(&stack).await;
    let workplace = Workplace::new();
    stack.simulator.set_plan(provider, plan(edits));
    let mut first = codex(&workplace, &stack, &customer, model);
    first.args(more).arg("Edit the notes.");
    let written = succeed(first).await;
    assert_eq!(workplace.read("last.txt").trim(), "The notes are edited.", "{written}");
    assert_eq!(workplace.read("made.txt"), "made-42\n", "{written}");
    assert_eq!(workplace.read("notes.txt"), "The tide is high.\n", "{written}");
    let mut second = codex(&workplace, &stack, &customer, model);
    second.args(more).args(["resume", "--last", "Copy the notes."]);
    let written = succeed(second).await;
    assert_eq!(workplace.read("last.txt").trim(), "The notes are copied.", "{written}");
    assert_eq!(workplace.read("copy.txt"), "The tide is high.\n", "{written}");
    check_calls(&stack, provider, keys, 5);
    stack.finish().await;
}

async fn with_every_wire_format(keys: Keys) {
    for (provider, model) in MODELS {
        // OpenAI's model has the name that the agent knows.
        let known = model.strip_prefix("openai/");
        let edits = if known.is_some() { Edits::Tool } else { Edits::Shell };
        finishes_its_task(provider, known.unwrap_or(model), edits, keys, &[]).await;
    }
}

#[tokio::test]
async fn it_finishes_a_task_with_every_wire_format_on_own_keys() {
    with_every_wire_format(Keys::Own).await;
}

#[tokio::test]
async fn it_finishes_a_task_with_every_wire_format_on_the_platforms_keys() {
    with_every_wire_format(Keys::Platform).await;
}

/// The agent's own list of models, in which another model gets the properties of `gpt-5.5`.
async fn catalogue(workplace: &Workplace, model: &str) -> Vec<String> {
    let mut list = workplace.command(&program());
    list.args(["debug", "models"]);
    let mut list: Value = serde_json::from_str(&succeed(list).await).unwrap();
    let models = list["models"].as_array_mut().unwrap();
    let mut known = models.iter().find(|known| known["slug"] == "gpt-5.5").unwrap().clone();
    known["slug"] = json!(model);
    *models = vec![known];
    let path = workplace.home().join("models.json");
    fs::write(&path, list.to_string()).unwrap();
    vec!["-c".into(), format!("model_catalog_json=\"{}\"", path.display())]
}

#[tokio::test]
async fn its_free_form_tools_and_its_search_for_tools_work_with_models_that_have_functions_only() {
    for (provider, model) in &MODELS[1..] {
        let workplace = Workplace::new();
        let more = catalogue(&workplace, model).await;
        finishes_its_task(provider, model, Edits::Tool, Keys::Platform, &more).await;
    }
}
