//! The overlay file of a difference, for a person to review: each row stands under a comment with the old and the new
//! values.

use crate::{
    compare::{Change, Difference},
    source::{Listed, Source},
};
use kairosroute_domain::{
    catalog::{Mode, Model},
    money::{NanoPerMillion, NanoUsd},
};
use std::fmt::Write;
use time::Date;

/// The file, in the format of `KAIROSROUTE_CATALOG`.
pub fn write(difference: &Difference, source: Source, read_on: Date, catalog_version: &str) -> String {
    let mut file = String::new();
    let name = source.as_str();
    // Writing to a String cannot fail.
    let _ = writeln!(
        file,
        "# Differences of the catalogue {catalog_version} from {name}, read on {read_on}.\n\
         # {} new, {} changed, {} gone, {} listed again, {} with another end; {} models were compared.\n\
         # Review each row; keep what is right. A row that is only a comment cannot be expressed by this table.",
        difference.new.len(),
        difference.changed.len(),
        difference.gone.len(),
        difference.returned.len(),
        difference.ending.len(),
        difference.compared,
    );
    for change in &difference.changed {
        changed(&mut file, change, name);
    }
    for (model, day) in &difference.ending {
        let known = model.shutdown.map_or_else(|| "no day".to_owned(), |day| day.to_string());
        let _ = writeln!(file, "\n# {}: ends on {day} ({known} here). Source: {name}.", model.id);
        let _ = writeln!(
            file,
            "[[model]]\nid = {}\nstatus = \"deprecated\"\nshutdown = \"{day}\"",
            quoted(&model.id)
        );
    }
    for model in &difference.gone {
        let _ = writeln!(file, "\n# {}: no longer listed by {name}.", model.id);
        let _ = writeln!(file, "[[model]]\nid = {}\nstatus = \"unlisted\"", quoted(&model.id));
    }
    for model in &difference.returned {
        let _ = writeln!(
            file,
            "\n# {}: {} here, and listed by {name}. To serve it again: status = \"active\"",
            model.id,
            status(model)
        );
    }
    for one in &difference.new {
        new(&mut file, one, name);
    }
    file
}

fn changed(file: &mut String, change: &Change, source: &str) {
    let _ = writeln!(file, "\n# {}: prices in USD per million tokens. Source: {source}.", change.model.id);
    for (name, here, there) in &change.prices {
        let here = here.map_or_else(|| "none".to_owned(), text);
        let _ = writeln!(file, "#   {name}: {here} here, {} there", text(*there));
    }
    let Some(one) = &change.whole else {
        let _ = writeln!(file, "#   The row has other prices beside these: change it by hand.");
        return;
    };
    let _ = writeln!(file, "[[model]]\nid = {}", quoted(&change.model.id));
    prices(file, one);
}

fn new(file: &mut String, one: &Listed, source: &str) {
    let id = format!("{}/{}", one.provider.as_str(), one.upstream);
    let _ = writeln!(file, "\n# {id}: new. Source: {source}.\n[[model]]\nid = {}", quoted(&id));
    if let Some(mode) = one.mode.filter(|mode| *mode != Mode::Chat) {
        let _ = writeln!(file, "mode = {}", json(&mode));
    }
    if let Some(tokens) = one.context_tokens.filter(|tokens| *tokens > 0) {
        let _ = writeln!(file, "context_tokens = {tokens}");
    }
    if let Some(tokens) = one.output_tokens_max.filter(|tokens| *tokens > 0) {
        let _ = writeln!(file, "output_tokens_max = {tokens}");
    }
    if !one.flags.is_empty() {
        let _ = writeln!(file, "flags = {}", json(&one.flags));
    }
    prices(file, one);
}

fn prices(file: &mut String, one: &Listed) {
    let _ = writeln!(file, "[[model.price]]");
    let all = [
        ("input", one.input),
        ("output", one.output),
        ("cache_read", one.cache_read),
        ("cache_write", one.cache_write),
    ];
    for (name, price) in all {
        if let Some(price) = price {
            let _ = writeln!(file, "{name} = \"{}\"", text(price));
        }
    }
}

fn text(price: NanoPerMillion) -> String {
    NanoUsd(price.0).to_string()
}

fn status(model: &Model) -> String {
    json(&model.status).trim_matches('"').to_owned()
}

/// JSON's form of a text, a list of texts or a number is TOML's, too.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    json(&text)
}
