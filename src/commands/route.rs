//! The router's judgement of prompts in a file, by the live code, for evaluation. Nothing is stored and nobody called.

use crate::{
    dialect::{ClientRequest, Dialect, Limits},
    gateway::automatic::classify_request,
};
use anyhow::Context as _;
use clap::Subcommand;
use kairosroute_classifier::{Category, Classification, Context, classify};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write, stdout},
    path::PathBuf,
};

#[derive(Subcommand)]
pub enum RouteAction {
    /// Prints category, confidence and difficulty of each line of a file: `{"prompt": "…"}`, or the body of a chat,
    /// Responses or Messages request.
    Score { file: PathBuf },
}

pub fn run(action: &RouteAction) -> anyhow::Result<()> {
    let RouteAction::Score { file } = action;
    let lines = BufReader::new(File::open(file).with_context(|| file.display().to_string())?).lines();
    let mut out = BufWriter::new(stdout().lock());
    for (number, line) in lines.enumerate() {
        let line = line?;
        if !line.trim().is_empty() {
            let found = judged(&line).with_context(|| format!("line {}", number + 1))?;
            writeln!(out, "{}", view(&found))?;
        }
    }
    Ok(out.flush()?)
}

fn judged(line: &str) -> anyhow::Result<Classification> {
    let value: Value = serde_json::from_str(line)?;
    if let Some(prompt) = value.get("prompt").and_then(Value::as_str) {
        return Ok(classify(prompt, Context::default()));
    }
    let dialect = match (value.get("messages"), value.get("max_tokens"), value.get("system")) {
        (None, ..) => Dialect::Responses,
        (Some(_), Some(_), Some(_)) => Dialect::Messages,
        (Some(_), ..) => Dialect::Chat,
    };
    let request = ClientRequest::read(dialect, line.as_bytes(), &Limits::default());
    // A body that is no chat may still be one of Messages: both have `messages`.
    let request = match (request, dialect) {
        (Err(_), Dialect::Chat) => {
            ClientRequest::read(Dialect::Messages, line.as_bytes(), &Limits::default())
        }
        (request, _) => request,
    };
    let request = request.map_err(|invalid| anyhow::anyhow!("{}", invalid.message))?;
    Ok(classify_request(&request))
}

fn view(found: &Classification) -> Value {
    json!({
        "categories": found.categories.iter().map(Category::as_str).collect::<Vec<_>>(),
        "category": found.category.as_str(),
        "confidence": found.confidence,
        "difficulty": found.difficulty,
        "top_features": found.top_feature_names().collect::<Vec<_>>(),
        "router_version": found.version,
    })
}
