//! Writes the features of prompts for the training script, so that training and serving see the same numbers. Reads
//! lines `{"prompt": …}` from standard input and writes for each three lists of numbers as one JSON line.

use kairosroute_classifier::Features;
use std::io::{BufRead, BufWriter, Write, stdin, stdout};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(stdout().lock());
    for line in stdin().lock().lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        let features =
            Features::of(value.get("prompt").and_then(|prompt| prompt.as_str()).unwrap_or_default());
        let row = (features.shape.as_slice(), features.words, features.edges);
        writeln!(out, "{}", serde_json::to_string(&row)?)?;
    }
    Ok(())
}
