//! The README's own commands, run unchanged against the simulated providers: they print what it shows.

use crate::harness::Stack;
use std::{fs, path::PathBuf, process::Command};

fn readme() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let blocks = text.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.map(str::to_owned).collect()
}

/// The commands of a block, each with the output that is shown.
fn commands(block: &str) -> Vec<(String, Vec<String>)> {
    let mut commands: Vec<(String, Vec<String>)> = Vec::new();
    let mut goes_on = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((command, _))) if goes_on => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, shown))) => shown.push(line.trim().to_owned()),
            (None, None) => panic!("no command before {line}"),
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

/// Ids differ from run to run.
fn without_ids(text: &str) -> String {
    let words = text.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    words.map(|word| if word.len() >= 32 { word.get(32..).unwrap_or_default() } else { word }).collect()
}

#[test]
fn a_block_is_taken_apart_into_commands_and_what_they_print() {
    let block = "$ curl a \\\n    -d b\nHTTP\n{…\n$ export X";
    let expected = [
        ("curl a \\\n    -d b".to_owned(), vec!["HTTP".to_owned(), "{…".to_owned()]),
        ("export X".to_owned(), vec![]),
    ];
    assert_eq!(commands(block), expected);
    assert_eq!(without_ids("rcpt_01a1fb0133f8736bb53e7ce60be93cc4\","), "rcpt_\",");
}

#[tokio::test]
async fn the_first_call_prints_what_the_readme_shows() {
    let stack = Stack::start().await;
    let customer = stack.customer("25").await;
    let text = readme();
    let all: Vec<_> = blocks(&text, "console").iter().flat_map(|block| commands(block)).collect();
    let calls: Vec<_> = all.iter().filter(|(command, _)| command.starts_with("curl ")).collect();
    assert!(!calls.is_empty(), "the README shows no call");
    for (command, shown) in calls {
        let (command, base, key) = (command.clone(), stack.base(), customer.key.clone());
        let run = move || {
            Command::new("bash").args(["-c", &command]).env("BASE", base).env("KEY", key).output().unwrap()
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let printed = without_ids(&String::from_utf8_lossy(&output.stdout).replace('\r', ""));
        assert!(shown.len() > 5, "hardly anything is shown");
        for piece in shown.iter().flat_map(|line| line.split('…')).map(str::trim) {
            let piece = without_ids(piece);
            assert!(printed.contains(&piece), "`{piece}` is shown, and this was printed:\n{printed}");
        }
    }
    stack.finish().await;
}

#[test]
fn the_front_page_is_short_and_names_only_files_that_exist() {
    let text = readme();
    assert!(text.lines().count() <= 200);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "./_-".contains(c)));
    for path in words.filter(|word| word.starts_with("docs/") || word.starts_with("deploy/")) {
        assert!(root.join(path.trim_end_matches('.')).exists(), "{path} does not exist");
    }
}
