//! The care of the model catalogue: what a published price table says differently, as an overlay to review, and what of
//! the catalogue in use is old, unpriced or about to end. Both read files alone.

use crate::domain::{
    ambient::Ambient,
    catalog::{Catalog, Status},
};
use anyhow::{Context, bail};
use clap::Subcommand;
use kairosroute_catalog_import::{Limits, Source, compare, read, write};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use time::Date;

#[derive(Subcommand)]
pub enum CatalogAction {
    /// Compares the catalogue with a published price table, and prints an overlay for KAIROSROUTE_CATALOG to review.
    /// Nothing is printed where too much differs, unless that is accepted.
    Import {
        /// litellm | models.dev | genai-prices
        source: String,
        /// The table: model_prices_and_context_window.json of litellm, api.json of models.dev, data.json of genai-prices.
        file: PathBuf,
        /// Print it however much differs.
        #[arg(long)]
        accept: bool,
    },
    /// Lists what of the catalogue needs a look: old prices, models without a price, models about to end. Exit 1 where
    /// something does.
    Check {
        /// Days after which prices count as old.
        #[arg(long, default_value_t = 30)]
        days: u16,
    },
}

/// `overlay` is KAIROSROUTE_CATALOG.
pub fn run(action: &CatalogAction, overlay: Option<&Path>) -> anyhow::Result<ExitCode> {
    let catalog = in_use(overlay)?;
    let today = Ambient::system().now().date();
    match action {
        CatalogAction::Import { source, file, accept } => {
            import(&catalog, source, file, *accept, today).map(|()| ExitCode::SUCCESS)
        }
        CatalogAction::Check { days } => {
            let findings = check(&catalog, *days, today);
            for finding in &findings {
                println!("{finding}");
            }
            println!("{} finding(s) in catalogue {}", findings.len(), catalog.version);
            Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn in_use(overlay: Option<&Path>) -> anyhow::Result<Catalog> {
    let built_in = Catalog::built_in().context("the built-in catalogue")?;
    let Some(path) = overlay else { return Ok(built_in) };
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    built_in.overlaid(&text).with_context(|| path.display().to_string())
}

fn import(catalog: &Catalog, source: &str, file: &Path, accept: bool, today: Date) -> anyhow::Result<()> {
    let names = Source::ALL.map(Source::as_str).join(", ");
    let source = Source::by_name(source).with_context(|| format!("no such source; use one of {names}"))?;
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let listed = read(source, &text).with_context(|| file.display().to_string())?;
    let difference = compare(catalog, &listed, today);
    let excess = difference.excess(Limits::default());
    if !excess.is_empty() && !accept {
        for line in &excess {
            eprintln!("{line}");
        }
        bail!("so much differs that it may be an error of the table; look at it, and repeat with --accept");
    }
    let overlay = write(&difference, source, today, &catalog.version);
    // What cannot be laid over the catalogue must not be handed to anybody.
    catalog.overlaid(&overlay).context("the overlay made of this table is not valid")?;
    print!("{overlay}");
    eprintln!(
        "{} new, {} changed, {} gone, {} listed again, {} with another end",
        difference.new.len(),
        difference.changed.len(),
        difference.gone.len(),
        difference.returned.len(),
        difference.ending.len()
    );
    Ok(())
}

/// What needs a look, a sentence each.
fn check(catalog: &Catalog, days: u16, today: Date) -> Vec<String> {
    let mut findings = Vec::new();
    if let Some(age) = catalog.age_days(today).filter(|age| *age > i64::from(days)) {
        findings.push(format!("the prices are {age} days old; `kairosroute catalog import` compares them"));
    }
    for model in catalog.list_unpriced(today) {
        findings.push(format!("{} has no price: it is refused on platform keys", model.id));
    }
    for model in catalog.models().filter(|model| model.is_live(today)) {
        let left = model.shutdown.map(|day| (day - today).whole_days());
        if let Some(left) = left.filter(|left| *left <= i64::from(days)) {
            let successor = model.successor.as_deref().unwrap_or("no successor is known");
            findings.push(format!("{} ends in {left} days; successor: {successor}", model.id));
        } else if model.status == Status::Deprecated && model.shutdown.is_none() {
            findings.push(format!("{} is deprecated without a day on which it ends", model.id));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    #[test]
    fn old_prices_and_models_about_to_end_are_findings() {
        let overlay = "[[model]]\nid = \"openai/gpt-5.4-mini\"\nstatus = \"deprecated\"\nshutdown = \"2026-12-10\"\n\
                       [[model]]\nid = \"openai/free-for-all\"\n";
        let catalog = Catalog::built_in().unwrap().overlaid(overlay).unwrap();
        let found = check(&catalog, 30, date!(2026 - 11 - 29)).join("\n");
        assert!(found.contains("openai/gpt-5.4-mini ends in 11 days"), "{found}");
        assert!(found.contains("openai/free-for-all has no price"), "{found}");
        assert!(!found.contains("days old"), "{found}");
        let found = check(&catalog, 30, date!(2027 - 11 - 29)).join("\n");
        assert!(found.contains("days old"), "{found}");
    }
}
