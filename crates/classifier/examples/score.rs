//! Judges prompts by the live code, for the evaluation script: lines `{"prompt": …}` in, one JSON line each out.

use kairosroute_classifier::{Category, Context, classify};
use std::io::{BufRead, BufWriter, Write, stdin, stdout};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(stdout().lock());
    for line in stdin().lock().lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        let prompt = value.get("prompt").and_then(|prompt| prompt.as_str()).unwrap_or_default();
        let found = classify(prompt, Context::default());
        let categories: Vec<&str> = found.categories.iter().map(Category::as_str).collect();
        let row = serde_json::json!({
            "category": found.category.as_str(), "categories": categories,
            "confidence": found.confidence, "difficulty": found.difficulty,
        });
        writeln!(out, "{row}")?;
    }
    Ok(())
}
