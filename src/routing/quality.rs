//! The known quality of models: a table by model, effort and category, with its source. The scale is the share of the
//! reference model, in permille. Missing evidence is `None` and reaches no floor; the operator's own value for a model
//! (`quality_permille` in the catalogue) has priority over the table.

use crate::{dialect::canonical::Effort, domain::catalog::Model};
use kairosroute_classifier::{Category, CategorySet};
use std::{collections::HashMap, sync::LazyLock};

/// Assumed number of questions for each category mean. LiveBench does not publish the number for each row; this is a
/// low estimate, so the stated error is rather too large.
const QUESTIONS: i64 = 100;
/// Standard errors that are subtracted from a mean before it is compared with a floor.
const ERRORS: i64 = 1;
/// Without other information, this score is 1,000 on the scale.
const SCALE_DEFAULT: i64 = 800;

/// The columns of the table for each of our categories, in order. LiveBench has no tasks with tools and no small talk:
/// both use the results for following instructions, and agents also those for code.
const COLUMNS: usize = 7;
const INSTRUCTION: usize = 6;

struct Row {
    effort: &'static str,
    is_default: bool,
    means: [u16; COLUMNS],
}

/// A quality and its uncertainty, in permille of the reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quality {
    pub mean: i64,
    pub error: i64,
}

impl Quality {
    /// Its lower bound, with the stated confidence.
    pub fn lower_bound(self) -> i64 {
        self.mean - ERRORS * self.error
    }
}

/// The compiled-in table.
pub struct QualityTable(HashMap<&'static str, Vec<Row>>);

static BUILT_IN: LazyLock<QualityTable> = LazyLock::new(|| QualityTable::read(include_str!("quality.csv")));

pub fn built_in() -> &'static QualityTable {
    &BUILT_IN
}

impl QualityTable {
    /// Reads the table. An invalid line is left out; the tests exclude this for the built-in table.
    fn read(text: &'static str) -> QualityTable {
        let mut table: HashMap<&'static str, Vec<Row>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let Some((id, row)) = row(line) else { continue };
            let name = id.split_once('/').map_or(id, |(_, name)| name);
            // Hosts of the same weights have the same quality: they are found by the name of their group.
            for key in [id, name] {
                let copy = Row { effort: row.effort, is_default: row.is_default, means: row.means };
                table.entry(key).or_default().push(copy);
            }
        }
        QualityTable(table)
    }

    /// The quality of a model for a set of categories: the lowest of them.
    pub fn quality(
        &self,
        model: &Model,
        effort: Option<Effort>,
        categories: CategorySet,
        reference: Option<&Model>,
    ) -> Option<Quality> {
        if let Some(own) = model.quality_permille {
            return Some(Quality { mean: i64::from(own), error: 0 });
        }
        let row = self.row(model, effort)?;
        let scale = reference.and_then(|reference| self.row(reference, None));
        let quality = categories.iter().map(|category| {
            let mean = i64::from(score(&row.means, category));
            let full = scale.map_or(SCALE_DEFAULT, |row| i64::from(score(&row.means, category))).max(1);
            let error = (mean * (1_000 - mean) / QUESTIONS).max(0).isqrt();
            Quality { mean: mean * 1_000 / full, error: error * 1_000 / full }
        });
        quality.min_by_key(|quality| quality.lower_bound())
    }

    fn row(&self, model: &Model, effort: Option<Effort>) -> Option<&Row> {
        let group = model.group.as_deref().and_then(|group| self.0.get(group));
        let rows = self.0.get(&*model.id).or(group)?;
        match effort {
            None => rows.iter().find(|row| row.is_default),
            Some(effort) => {
                let exact = rows.iter().find(|row| row.effort == name(effort));
                // A model without effort levels has one row.
                exact.or_else(|| rows.first().filter(|_| rows.len() == 1))
            }
        }
    }
}

fn row(line: &'static str) -> Option<(&'static str, Row)> {
    let mut fields = line.split(',');
    let (id, effort, default) = (fields.next()?, fields.next()?, fields.next()?);
    let mut means = [0; COLUMNS];
    for mean in &mut means {
        *mean = fields.next()?.parse().ok()?;
    }
    Some((id, Row { effort, is_default: default == "1", means }))
}

fn score(means: &[u16; COLUMNS], category: Category) -> u16 {
    let at = |index: usize| means.get(index).copied().unwrap_or(0);
    match category {
        Category::Chat => at(INSTRUCTION),
        Category::Agent => at(Category::Code.index()).min(at(INSTRUCTION)),
        category => at(category.index()),
    }
}

fn name(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::XHigh | Effort::Max => "xhigh",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::Catalog;
    use std::sync::Arc;

    fn model(id: &str) -> Arc<Model> {
        Catalog::built_in().unwrap().get(id).unwrap().clone()
    }

    #[test]
    fn every_line_is_read_and_names_a_model_of_the_catalogue() {
        let catalog = Catalog::built_in().unwrap();
        let lines = include_str!("quality.csv").lines().filter(|line| {
            !line.starts_with(['#', 'm']) || line.starts_with("moonshot") || line.starts_with("mistral")
        });
        let mut count = 0;
        for line in lines {
            let (id, row) = row(line).unwrap_or_else(|| panic!("{line}"));
            assert!(catalog.get(id).is_some(), "{id}");
            assert!(row.means.iter().all(|mean| (1..=1_000).contains(mean)), "{line}");
            count += 1;
        }
        assert!(count > 60, "{count}");
    }

    #[test]
    fn quality_is_a_share_of_the_reference_and_the_least_of_the_categories() {
        let (table, code) = (built_in(), CategorySet::only(Category::Code));
        let reference = model("openai/gpt-5.5");
        let own = table.quality(&reference, None, code, Some(&reference)).unwrap();
        assert_eq!(own.mean, 1_000);
        assert!(own.error > 0 && own.lower_bound() < 1_000);
        let mini = model("openai/gpt-5.4-mini");
        let both = table.quality(&mini, None, code.with(Category::Reasoning), Some(&reference)).unwrap();
        let reasoning =
            table.quality(&mini, None, CategorySet::only(Category::Reasoning), Some(&reference)).unwrap();
        assert_eq!(both, reasoning);
        let high = table.quality(&mini, Some(Effort::High), code, Some(&reference)).unwrap();
        assert!(high.mean > table.quality(&mini, None, code, Some(&reference)).unwrap().mean);
    }

    #[test]
    fn hosts_of_the_same_weights_share_their_evidence_and_unknown_models_have_none() {
        let (table, code) = (built_in(), CategorySet::only(Category::Code));
        let quality = |id: &str| table.quality(&model(id), None, code, None);
        assert!(quality("groq/gpt-oss-120b").is_some());
        assert_eq!(quality("groq/gpt-oss-120b"), quality("cerebras/gpt-oss-120b"));
        assert_eq!(quality("openai/gpt-6-astra"), None);
    }
}
