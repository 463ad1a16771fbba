//! Writes the features of prompts for the training script, so that training and serving see the same numbers. Reads
//! lines `{"prompt": …}` from standard input and writes for each its lists of numbers as one JSON line. With the argument
//! `cased` it writes the places of the shape numbers that depend on upper and lower case.

use kairosroute_classifier::Features;
use std::io::{BufRead, BufWriter, Write, stdin, stdout};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = BufWriter::new(stdout().lock());
    if std::env::args().nth(1).as_deref() == Some("cased") {
        let places: Vec<usize> = Features::cased().collect();
        return Ok(writeln!(out, "{}", serde_json::to_string(&places)?)?);
    }
    for line in stdin().lock().lines() {
        let value: serde_json::Value = serde_json::from_str(&line?)?;
        let features =
            Features::of(value.get("prompt").and_then(|prompt| prompt.as_str()).unwrap_or_default());
        let row = (
            (features.shape.as_slice(), features.layout.as_slice()),
            (features.words, features.vocabulary, features.edges, features.starts),
        );
        writeln!(out, "{}", serde_json::to_string(&row)?)?;
    }
    Ok(())
}
