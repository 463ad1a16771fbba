//! A `[[model]]` row as written, its merging and its checks. Every field is optional here, because an overlay states
//! only what it changes; defaults are filled in when the row becomes a [`Model`].

use std::sync::Arc;

use serde::Deserialize;
use time::Date;
use time::macros::format_description;

use super::file_price::{PriceRow, prices};
use super::load::Problems;
use super::resolve::{is_plausible, is_sendable};
use super::{Flag, Mode, Model, Status};
use crate::provider::ProviderId;

/// As written; the header of `models.toml` explains each field.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    upstream: Option<String>,
    mode: Option<Mode>,
    status: Option<Status>,
    shutdown: Option<String>,
    group: Option<String>,
    successor: Option<String>,
    context_tokens: Option<u64>,
    output_tokens_max: Option<u64>,
    quantization: Option<String>,
    quality_permille: Option<u16>,
    flags: Option<Vec<Flag>>,
    aliases: Option<Vec<String>>,
    snapshots: Option<Vec<String>>,
    price: Option<Vec<PriceRow>>,
    /// All other fields, so that every misspelled field is reported and not only the first.
    #[serde(flatten)]
    unknown: toml::Table,
}

impl Row {
    /// Takes every field that the other row states. A list replaces a list.
    pub(super) fn merge(&mut self, over: Row) {
        fn lay<T>(under: &mut Option<T>, over: Option<T>) {
            if over.is_some() {
                *under = over;
            }
        }
        lay(&mut self.upstream, over.upstream);
        lay(&mut self.mode, over.mode);
        lay(&mut self.status, over.status);
        lay(&mut self.shutdown, over.shutdown);
        lay(&mut self.group, over.group);
        lay(&mut self.successor, over.successor);
        lay(&mut self.context_tokens, over.context_tokens);
        lay(&mut self.output_tokens_max, over.output_tokens_max);
        lay(&mut self.quantization, over.quantization);
        lay(&mut self.quality_permille, over.quality_permille);
        lay(&mut self.flags, over.flags);
        lay(&mut self.aliases, over.aliases);
        lay(&mut self.snapshots, over.snapshots);
        lay(&mut self.price, over.price);
        self.unknown.extend(over.unknown);
    }

    /// The model, or nothing and at least one problem.
    pub(super) fn to_model(&self, problems: &mut Problems) -> Option<Model> {
        for field in self.unknown.keys() {
            problems.note(&self.id, format!("unknown field {field:?}"));
        }
        let (provider, name) = self.checked_id(problems)?;
        let upstream = self.upstream.as_deref().unwrap_or(name);
        if !is_sendable(upstream) {
            problems.note(&self.id, "upstream must be a model id without empty or dot segments");
        }
        if self.quality_permille.is_some_and(|quality| quality > 1000) {
            problems.note(&self.id, "quality_permille must be 0 to 1000");
        }
        let aliases = self.aliases.as_deref().unwrap_or_default();
        for alias in aliases.iter().filter(|alias| !is_plausible(alias)) {
            problems.note(&self.id, format!("alias {alias:?} cannot be a model name"));
        }
        let snapshots = self.snapshots.as_deref().unwrap_or_default();
        for snapshot in snapshots.iter().filter(|snapshot| !is_sendable(snapshot)) {
            problems.note(&self.id, format!("snapshot {snapshot:?} cannot be a provider's model id"));
        }
        Some(Model {
            id: Arc::from(self.id.as_str()),
            name: Arc::from(name),
            provider,
            upstream: Arc::from(upstream),
            mode: self.mode.unwrap_or(Mode::Chat),
            status: self.status.unwrap_or(Status::Active),
            shutdown: stated(&self.shutdown).and_then(|text| date(&self.id, "shutdown", text, problems)),
            group: stated(&self.group).map(Arc::from),
            successor: stated(&self.successor).map(Arc::from),
            context_tokens: self.context_tokens,
            output_tokens_max: self.output_tokens_max,
            quantization: stated(&self.quantization).map(Arc::from),
            quality_permille: self.quality_permille,
            flags: self.flags.iter().flatten().copied().collect(),
            aliases: aliases.iter().map(|alias| Arc::from(alias.as_str())).collect(),
            snapshots: snapshots.iter().map(|snapshot| Arc::from(snapshot.as_str())).collect(),
            prices: prices(&self.id, provider, self.price.as_deref().unwrap_or_default(), problems),
        })
    }

    fn checked_id(&self, problems: &mut Problems) -> Option<(ProviderId, &str)> {
        let Some((provider, name)) = self.id.split_once('/') else {
            problems.note(&self.id, "id must be provider/model");
            return None;
        };
        let Some(provider) = ProviderId::by_id(provider) else {
            problems.note(&self.id, format!("unknown provider {provider:?}"));
            return None;
        };
        if !is_plausible(&self.id) || !is_sendable(name) {
            problems.note(&self.id, "id cannot be a model name");
            return None;
        }
        Some((provider, name))
    }
}

/// An empty text clears the value of the row below.
fn stated(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

pub(super) fn date(row: &str, field: &str, text: &str, problems: &mut Problems) -> Option<Date> {
    let parsed = Date::parse(text, format_description!("[year]-[month]-[day]"));
    if parsed.is_err() {
        problems.note(row, format!("{field} must be a date like 2026-11-20, not {text:?}"));
    }
    parsed.ok()
}
