//! The model in the tree gives the answers that were recorded when it was made: golden prompts bit for bit, and the
//! measures on a part of the training data within a small tolerance. A new model is recorded with
//! `KAIROSROUTE_RECORD_MODEL=1 cargo test -p kairosroute-classifier --test model`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests only

use kairosroute_classifier::{Category, Classification, Context, classify};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// By how much a recorded measure may change.
const DRIFT_MAX: f64 = 0.002;
/// One row in this many is measured.
const STEP: usize = 7;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn is_recording() -> bool {
    std::env::var_os("KAIROSROUTE_RECORD_MODEL").is_some()
}

fn rows(name: &str) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(path("../../training/data").join(name)).unwrap();
    reader.records().map(Result::unwrap).collect()
}

fn judged(prompt: &str) -> Classification {
    classify(prompt, Context::default())
}

fn golden(prompt: &str) -> Value {
    let found = judged(prompt);
    json!({
        "prompt": prompt,
        "category": found.category.as_str(),
        "categories": found.categories.iter().map(Category::as_str).collect::<Vec<_>>(),
        "confidence_bits": format!("{:016x}", found.confidence.to_bits()),
        "difficulty_bits": format!("{:016x}", found.difficulty.to_bits()),
        "top_features": found.top_feature_names().collect::<Vec<_>>(),
    })
}

fn golden_prompts() -> Vec<String> {
    let people = rows("human-prompts.csv").into_iter().step_by(37).map(|row| row[2].to_owned());
    let exam = rows("mmlu-train.csv").into_iter().step_by(500).map(|row| row[1].to_owned());
    let odd = [
        "",
        " ",
        "?",
        "hi",
        "ÄÖÜ 日本語のテキスト 🚀",
        "A. one\nB. two\nC. three",
        "```rust\nfn main() {}\n```",
    ];
    let long = "Explain the following text. ".to_owned() + &"lorem ipsum 12 ".repeat(2_000);
    people.chain(exam).chain(odd.map(str::to_owned)).chain([long]).collect()
}

#[test]
fn golden_prompts_are_judged_bit_for_bit_as_recorded() {
    let file = path("model/golden.jsonl");
    if is_recording() {
        let lines: String = golden_prompts().iter().map(|prompt| golden(prompt).to_string() + "\n").collect();
        fs::write(&file, lines).unwrap();
    }
    let text = fs::read_to_string(file).unwrap();
    assert!(text.lines().count() >= 50);
    for line in text.lines() {
        let recorded: Value = serde_json::from_str(line).unwrap();
        assert_eq!(golden(recorded["prompt"].as_str().unwrap()), recorded);
    }
}

/// The mean share of the strong model's gain that is reached, over all shares of strong calls.
fn apgr(mut rows: Vec<(f64, f64)>) -> f64 {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    let total: f64 = rows.iter().map(|row| row.1).sum();
    let mut reached = 0.0;
    let area: f64 = rows
        .iter()
        .map(|row| {
            reached += row.1;
            reached / total
        })
        .sum();
    area / (rows.len() + 1) as f64
}

fn measures() -> Value {
    let gain = |name: &str| {
        let scored = rows(name).into_iter().step_by(STEP).map(|row| {
            let (weak, strong): (f64, f64) = (row[2].parse().unwrap(), row[3].parse().unwrap());
            (judged(&row[1]).difficulty, strong - weak)
        });
        apgr(scored.collect())
    };
    let labelled: Vec<_> = rows("human-prompts.csv").into_iter().filter(|row| !row[1].is_empty()).collect();
    let right = labelled.iter().filter(|row| judged(&row[2]).category.as_str() == &row[1]).count();
    json!({
        "mmlu_apgr_on_training_rows": gain("mmlu-train.csv"),
        "gsm8k_apgr_on_training_rows": gain("gsm8k-train.csv"),
        "labelled_prompts_right": right as f64 / labelled.len() as f64,
    })
}

#[test]
fn measures_on_training_rows_do_not_drift() {
    let file = path("model/measures.json");
    let found = measures();
    if is_recording() {
        fs::write(&file, format!("{found:#}\n")).unwrap();
    }
    let recorded: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    for (name, value) in recorded.as_object().unwrap() {
        let (recorded, found) = (value.as_f64().unwrap(), found[name].as_f64().unwrap());
        assert!((recorded - found).abs() <= DRIFT_MAX, "{name}: {found}, recorded {recorded}");
    }
}

#[test]
fn tools_make_an_agent_and_low_confidence_makes_a_set() {
    let agent = classify("Book a table for two", Context { has_tools: true });
    assert_eq!((agent.category, agent.confidence), (Category::Agent, 1.0));
    let mut sets = 0;
    // Exam questions: the category was not trained on them, so many are uncertain.
    for row in rows("mmlu-train.csv").into_iter().step_by(40) {
        let found = judged(&row[1]);
        assert!(found.categories.has(found.category));
        assert!((1..=3).contains(&found.categories.iter().count()));
        assert!(found.confidence < 0.7 || found.categories.iter().count() == 1);
        sets += usize::from(found.confidence < 0.7);
    }
    assert!(sets > 10);
}
