//! From catalogue text to a checked snapshot. Every problem of a file is reported at once, with its row. A file with
//! any problem yields no catalogue, and the catalogue in use stays in use.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::file::Row;
use super::resolve::Index;
use super::{Catalog, Model};

/// Why a catalogue file was refused: all problems, never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue has {} problem(s):{}", .problems.len(), Lines(.problems))]
pub struct CatalogError {
    pub problems: Vec<Problem>,
}

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Id of the row, or its position where it has none; empty for the file as a whole.
    pub row: String,
    pub what: String,
}

struct Lines<'a>(&'a [Problem]);

/// Collects problems while the work continues.
#[derive(Default)]
pub(super) struct Problems(Vec<Problem>);

/// The parts of a file, not yet checked.
struct File {
    version: Option<String>,
    rows: Vec<Row>,
}

impl Catalog {
    /// Reads a whole catalogue.
    pub fn parse(text: &str) -> Result<Catalog, CatalogError> {
        let mut problems = Problems::default();
        let file = File::read(text, &mut problems);
        if file.version.as_deref().is_none_or(str::is_empty) && problems.0.is_empty() {
            problems.note("", "version is missing");
        }
        build(file.version.unwrap_or_default(), file.rows, problems)
    }

    /// Applies another file to this catalogue: a row with a known id replaces the fields that it states, other rows are
    /// added. Call it on the built-in catalogue, not on an earlier result, so that a removed line has no effect any
    /// more.
    pub fn overlaid(&self, text: &str) -> Result<Catalog, CatalogError> {
        let mut problems = Problems::default();
        let file = File::read(text, &mut problems);
        problems.note_repeated(&file.rows);
        let mut rows = self.rows.clone();
        let mut places: HashMap<String, usize> =
            rows.iter().enumerate().map(|(place, row)| (row.id.clone(), place)).collect();
        for row in file.rows {
            match places.get(&row.id).and_then(|place| rows.get_mut(*place)) {
                Some(known) => known.merge(row),
                None => {
                    places.insert(row.id.clone(), rows.len());
                    rows.push(row);
                }
            }
        }
        let digest = Sha256::digest(text.as_bytes());
        let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        build(format!("{}+{short}", self.version), rows, problems)
    }
}

/// Checks the rows one by one and against each other.
fn build(version: String, rows: Vec<Row>, mut problems: Problems) -> Result<Catalog, CatalogError> {
    problems.note_repeated(&rows);
    let models: Vec<Arc<Model>> =
        rows.iter().filter_map(|row| row.to_model(&mut problems)).map(Arc::new).collect();
    check_aliases(&models, &mut problems);
    // Checked against rows, not models: a row that was refused for another reason still exists.
    let ids: HashSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    for model in &models {
        match model.successor.as_deref() {
            Some(successor) if successor == &*model.id => problems.note(&model.id, "is its own successor"),
            Some(successor) if !ids.contains(successor) => {
                problems.note(&model.id, format!("successor {successor:?} does not exist"));
            }
            _ => {}
        }
    }
    if !problems.0.is_empty() {
        return Err(CatalogError { problems: problems.0 });
    }
    let index = Index::build(&models);
    Ok(Catalog { version, models, rows, index })
}

/// An alias must name one model of its provider, and must not equal a canonical id.
fn check_aliases(models: &[Arc<Model>], problems: &mut Problems) {
    let ids: HashSet<&str> = models.iter().map(|model| &*model.id).collect();
    let mut owners: HashMap<(crate::provider::ProviderId, &str), &Model> =
        models.iter().map(|model| ((model.provider, &*model.name), &**model)).collect();
    for model in models {
        for alias in model.aliases.iter().chain(&model.snapshots) {
            if ids.contains(&**alias) {
                problems.note(&model.id, format!("alias {alias:?} is a canonical id"));
            }
            match owners.insert((model.provider, alias), model) {
                Some(owner) if owner.id == model.id => {
                    problems.note(&model.id, format!("alias {alias:?} is stated twice or is its own name"));
                }
                Some(owner) => {
                    problems.note(&model.id, format!("alias {alias:?} already leads to {}", owner.id));
                }
                None => {}
            }
        }
    }
}

impl File {
    fn read(text: &str, problems: &mut Problems) -> File {
        let mut file = File { version: None, rows: Vec::new() };
        let table: toml::Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                problems.note("", format!("not TOML: {}", error.to_string().trim_end()));
                return file;
            }
        };
        for (key, value) in table {
            match (key.as_str(), value) {
                ("version", toml::Value::String(version)) => file.version = Some(version),
                ("model", toml::Value::Array(rows)) => {
                    file.rows = (1..).zip(rows).filter_map(|(n, row)| read_row(n, row, problems)).collect();
                }
                ("version", _) => problems.note("", "version must be text"),
                ("model", _) => problems.note("", "models are written as [[model]] tables"),
                (other, _) => problems.note("", format!("unknown field {other:?}")),
            }
        }
        file
    }
}

/// A row of the wrong shape is recorded and left out, so that the rows after it are checked too.
fn read_row(position: usize, value: toml::Value, problems: &mut Problems) -> Option<Row> {
    let label = match value.get("id").and_then(toml::Value::as_str) {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("[[model]] number {position}"),
    };
    match Row::deserialize(value) {
        Ok(row) => Some(row),
        Err(error) => {
            problems.note(&label, error.to_string().trim_end().replace('\n', " "));
            None
        }
    }
}

impl Problems {
    pub(super) fn note(&mut self, row: &str, what: impl Into<String>) {
        let problem = Problem { row: row.to_owned(), what: what.into() };
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    fn note_repeated(&mut self, rows: &[Row]) {
        let mut seen = HashSet::new();
        for row in rows {
            if !seen.insert(row.id.as_str()) {
                self.note(&row.id, "is listed twice");
            }
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row.as_str() {
            "" => f.write_str(&self.what),
            row => write!(f, "{row}: {}", self.what),
        }
    }
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}
