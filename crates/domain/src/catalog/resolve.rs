//! From the name in a request to the models that it means. The maps are built in advance, so a known name costs a few
//! look-ups and the result vector; only names that need them pay for other spellings and suggestions. Never fails: a
//! hostile name is an unknown one.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use time::Date;

use super::{Catalog, Model, NAME_BYTES_MAX};
use crate::provider::ProviderId;

/// Longest name for which similar names are searched, in bytes: it bounds the work that an unknown name can cause.
const SUGGEST_BYTES_MAX: usize = 64;
/// Maximum edits between a name and a suggestion for it.
const SUGGEST_EDITS_MAX: usize = 3;
/// Maximum suggestions.
const SUGGESTIONS_MAX: usize = 3;

/// The meaning of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// One model if the provider is named, otherwise every live host of the same weights; never empty. The order is
    /// stable but has no meaning: the caller ranks.
    Listed(Vec<Arc<Model>>),
    /// A known provider and a model that is not in the catalogue: `upstream` is sent as it is.
    Unlisted { provider: ProviderId, upstream: String },
    /// Known, but no longer served by any provider: the kept rows, never empty.
    Retired { models: Vec<Arc<Model>> },
    /// Neither a known name nor one with a known provider. `prefix_known`: the part before its first slash, if there is
    /// one, begins a name of the catalogue.
    Unknown { prefix_known: bool },
}

/// Look-up tables over one snapshot.
pub(super) struct Index {
    by_id: HashMap<Arc<str>, Arc<Model>>,
    by_provider: HashMap<ProviderId, Names>,
    /// Names and aliases without a provider.
    bare: HashMap<Arc<str>, Bare>,
    bare_upstream: HashMap<Arc<str>, Bare>,
    /// Lower-case spelling of each key of `bare`.
    bare_folded: HashMap<String, Arc<str>>,
    /// The part of a name before its first slash, in lower case.
    prefixes: HashSet<String>,
}

#[derive(Default)]
struct Names {
    /// Names, then aliases.
    named: HashMap<Arc<str>, Arc<Model>>,
    upstream: HashMap<Arc<str>, Arc<Model>>,
    /// Names and aliases in lower case.
    folded: HashMap<String, Arc<Model>>,
}

#[derive(Default)]
struct Bare {
    /// The rows with the name.
    carriers: Vec<Arc<Model>>,
    /// These and all rows of their groups.
    hosts: Vec<Arc<Model>>,
}

impl Catalog {
    /// Resolves in this order: canonical id; alias with or without provider; provider and its exact upstream id; bare
    /// upstream id; provider and the rest after the first slash. Any common spelling of the provider is accepted. Case
    /// matters first; names and aliases are then tried without it.
    pub fn resolve(&self, name: &str, today: Date) -> Resolved {
        if !is_plausible(name) {
            return Resolved::Unknown { prefix_known: true };
        }
        if let Some(model) = self.index.by_id.get(name) {
            return pinned(model, today);
        }
        let split = split_provider(name);
        let names = split.and_then(|(provider, rest)| Some((self.index.by_provider.get(&provider)?, rest)));
        if let Some(model) = names.and_then(|(names, rest)| names.named.get(rest)) {
            return pinned(model, today);
        }
        if let Some(bare) = self.index.bare.get(name) {
            return bare.roam(today, false);
        }
        if let Some(model) = names.and_then(|(names, rest)| names.upstream.get(rest)) {
            return pinned(model, today);
        }
        if let Some(bare) = self.index.bare_upstream.get(name) {
            return bare.roam(today, true);
        }
        let folded = name.to_lowercase();
        if let Some(model) = names.and_then(|(names, rest)| names.folded.get(&rest.to_lowercase())) {
            return pinned(model, today);
        }
        let bare = self.index.bare_folded.get(&folded).and_then(|key| self.index.bare.get(key));
        match (bare, split) {
            (Some(bare), _) => bare.roam(today, false),
            (None, Some((provider, rest))) if is_sendable(rest) => {
                Resolved::Unlisted { provider, upstream: rest.to_owned() }
            }
            (None, Some(_)) => Resolved::Unknown { prefix_known: true },
            (None, None) => {
                let prefix = name.split_once('/').map(|(prefix, _)| prefix.to_lowercase());
                let known = |prefix: String| self.index.prefixes.contains(&prefix);
                Resolved::Unknown { prefix_known: prefix.is_none_or(known) }
            }
        }
    }

    /// As [`Catalog::resolve`] with a separate provider: it never returns hosts of other providers.
    pub fn resolve_at(&self, provider: ProviderId, name: &str, today: Date) -> Resolved {
        if !is_plausible(name) {
            return Resolved::Unknown { prefix_known: true };
        }
        let found = self.index.by_provider.get(&provider).and_then(|names| {
            let exact = names.named.get(name).or_else(|| names.upstream.get(name));
            exact.or_else(|| names.folded.get(&name.to_lowercase()))
        });
        match found {
            Some(model) => pinned(model, today),
            None if is_sendable(name) => Resolved::Unlisted { provider, upstream: name.to_owned() },
            None => Resolved::Unknown { prefix_known: true },
        }
    }

    /// As [`Catalog::resolve`], for a name that `provider` must serve, whatever prefix the name has: a host there with
    /// the same name or weights, else the name without its prefix, unchanged.
    pub fn resolve_pinned(&self, provider: ProviderId, name: &str, today: Date) -> Resolved {
        let rest = split_provider(name).map_or(name, |(_, rest)| rest);
        for spelling in [name, rest] {
            match self.resolve_at(provider, spelling, today) {
                Resolved::Unlisted { .. } | Resolved::Unknown { .. } => {}
                known => return known,
            }
        }
        if let Resolved::Listed(hosts) = self.resolve(rest, today) {
            let there: Vec<Arc<Model>> =
                hosts.into_iter().filter(|model| model.provider == provider).collect();
            if !there.is_empty() {
                return Resolved::Listed(there);
            }
        }
        self.resolve_at(provider, rest, today)
    }

    /// The one provider that a name states; `None` for a bare or unknown name.
    pub fn provider_of(&self, name: &str, today: Date) -> Option<ProviderId> {
        let (provider, _) = split_provider(name)?;
        match self.resolve(name, today) {
            Resolved::Listed(models) | Resolved::Retired { models } => {
                models.iter().all(|model| model.provider == provider).then_some(provider)
            }
            Resolved::Unlisted { .. } | Resolved::Unknown { .. } => Some(provider),
        }
    }

    /// The providers that serve a name without a provider prefix, in a stable order.
    pub fn providers_of(&self, name: &str, today: Date) -> Vec<ProviderId> {
        let mut providers = Vec::new();
        if let Resolved::Listed(models) | Resolved::Retired { models } = self.resolve(name, today) {
            for model in models {
                if !providers.contains(&model.provider) {
                    providers.push(model.provider);
                }
            }
        }
        providers
    }

    /// The live models with the most similar names, the best first: those of the provider that the name states, if any,
    /// else all. For error messages.
    pub fn nearest(&self, name: &str, today: Date) -> Vec<Arc<Model>> {
        let split = split_provider(name);
        let tail = split.map_or_else(|| name.rsplit('/').next().unwrap_or(name), |(_, rest)| rest);
        if tail.is_empty() || tail.len() > SUGGEST_BYTES_MAX {
            return Vec::new();
        }
        let wanted = tail.to_lowercase();
        let live = self.models().filter(|model| model.is_live(today));
        let here = live.filter(|model| split.is_none_or(|(provider, _)| model.provider == provider));
        let here: Vec<&Arc<Model>> = here.collect();
        let mut near: Vec<(usize, &Arc<Model>)> =
            here.iter().filter_map(|model| Some((distance(&wanted, model)?, *model))).collect();
        // Of two equally similar names, the one that shares more of its beginning.
        near.sort_by_key(|(distance, model)| {
            let common = wanted.bytes().zip(model.name.bytes()).take_while(|(a, b)| a == b).count();
            (*distance, Reverse(common), model.name.len())
        });
        if near.is_empty() && split.is_some() {
            return self.nearest(tail.rsplit('/').next().unwrap_or(tail), today);
        }
        if near.is_empty() {
            near = related(&wanted, &here);
        }
        near.into_iter().take(SUGGESTIONS_MAX).map(|(_, model)| Arc::clone(model)).collect()
    }
}

/// The models of the family that the name begins with, those that share the most of its words first.
fn related<'m>(wanted: &str, models: &[&'m Arc<Model>]) -> Vec<(usize, &'m Arc<Model>)> {
    let words = words(wanted);
    let folded = |name: &str| -> Vec<u8> { name.bytes().filter(u8::is_ascii_alphanumeric).collect() };
    let own = folded(wanted);
    let mut related: Vec<(usize, usize, &Arc<Model>)> = models
        .iter()
        .filter_map(|model| {
            let name = model.name.to_lowercase();
            let others = self::words(&name);
            let shared = words.iter().filter(|word| others.contains(word)).count();
            let is_family = words.first().is_some_and(|family| others.first() == Some(family));
            is_family.then(|| (shared, edits(&own, &folded(&name)), *model))
        })
        .collect();
    related.sort_by_key(|(shared, edits, model)| (Reverse(*shared), *edits, model.name.len()));
    related.into_iter().map(|(_, edits, model)| (edits, model)).collect()
}

/// Runs of letters and runs of digits.
fn words(name: &str) -> Vec<&str> {
    let pieces = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    let mut words = Vec::new();
    for mut piece in pieces.filter(|piece| !piece.is_empty()) {
        while let Some(first) = piece.chars().next() {
            let ends = piece.find(|letter: char| letter.is_ascii_digit() != first.is_ascii_digit());
            let (word, rest) = piece.split_at(ends.unwrap_or(piece.len()));
            words.push(word);
            piece = rest;
        }
    }
    words
}

/// The distance between a lower-case name and a model's name: few edits, else a long common beginning; none if neither
/// applies.
fn distance(wanted: &str, model: &Model) -> Option<usize> {
    let name = model.name.to_lowercase();
    let edits_max = SUGGEST_EDITS_MAX.min(wanted.len() / 3);
    if name.len().abs_diff(wanted.len()) <= edits_max {
        let edits = edits(wanted.as_bytes(), name.as_bytes());
        if edits <= edits_max {
            return Some(edits);
        }
    }
    // "gpt-5.4-turbo": a known name with an additional word.
    if wanted.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(['-', '.', ':', '@'])) {
        return Some(0);
    }
    let common = wanted.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
    let long = common >= 5 && common.saturating_mul(3) >= wanted.len().saturating_mul(2);
    long.then(|| SUGGEST_EDITS_MAX + 1 + wanted.len().saturating_sub(common))
}

impl Index {
    pub(super) fn get(&self, id: &str) -> Option<&Arc<Model>> {
        self.by_id.get(id)
    }

    pub(super) fn build(models: &[Arc<Model>]) -> Index {
        let mut by_group: HashMap<&str, Vec<&Arc<Model>>> = HashMap::new();
        for model in models {
            if let Some(group) = &model.group {
                by_group.entry(group).or_default().push(model);
            }
        }
        let mut index = Index {
            by_id: HashMap::with_capacity(models.len()),
            by_provider: HashMap::new(),
            bare: HashMap::with_capacity(models.len()),
            bare_upstream: HashMap::with_capacity(models.len()),
            bare_folded: HashMap::with_capacity(models.len()),
            prefixes: HashSet::new(),
        };
        for model in models {
            index.by_id.insert(Arc::clone(&model.id), Arc::clone(model));
            let names = index.by_provider.entry(model.provider).or_default();
            names.insert_upstream(model);
            index.bare_upstream.entry(Arc::clone(&model.upstream)).or_default().insert(model, &by_group);
        }
        let own_names = models.iter().map(|model| (&model.name, model));
        let aliases = models.iter().flat_map(|model| model.aliases.iter().map(move |alias| (alias, model)));
        for (name, model) in own_names.chain(aliases) {
            let names = index.by_provider.entry(model.provider).or_default();
            names.named.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(model));
            names.folded.entry(name.to_lowercase()).or_insert_with(|| Arc::clone(model));
            index.bare.entry(Arc::clone(name)).or_default().insert(model, &by_group);
            index.bare_folded.entry(name.to_lowercase()).or_insert_with(|| Arc::clone(name));
        }
        models.iter().for_each(|model| index.insert_snapshots(model));
        let names = index.bare.keys().chain(index.bare_upstream.keys());
        index.prefixes = names.filter_map(|name| Some(name.split_once('/')?.0.to_lowercase())).collect();
        index
    }

    /// A fixed version is the same row under the name of the version, and has no other hosts.
    fn insert_snapshots(&mut self, model: &Arc<Model>) {
        for snapshot in &model.snapshots {
            let version = Arc::new(Model { upstream: Arc::clone(snapshot), ..Model::clone(model) });
            let names = self.by_provider.entry(model.provider).or_default();
            names.named.entry(Arc::clone(snapshot)).or_insert_with(|| Arc::clone(&version));
            names.folded.entry(snapshot.to_lowercase()).or_insert_with(|| Arc::clone(&version));
            let bare = self.bare.entry(Arc::clone(snapshot)).or_default();
            push_new(&mut bare.carriers, &version);
            push_new(&mut bare.hosts, &version);
            self.bare_folded.entry(snapshot.to_lowercase()).or_insert_with(|| Arc::clone(snapshot));
        }
    }
}

impl Names {
    /// Several rows may share an upstream id (if one has a separate price): the row of the same name wins, else the
    /// first.
    fn insert_upstream(&mut self, model: &Arc<Model>) {
        let taken = self.upstream.contains_key(&model.upstream);
        if !taken || model.name == model.upstream {
            self.upstream.insert(Arc::clone(&model.upstream), Arc::clone(model));
        }
    }
}

impl Bare {
    fn insert(&mut self, model: &Arc<Model>, by_group: &HashMap<&str, Vec<&Arc<Model>>>) {
        push_new(&mut self.carriers, model);
        match model.group.as_deref().and_then(|group| by_group.get(group)) {
            Some(hosts) => hosts.iter().for_each(|host| push_new(&mut self.hosts, host)),
            None => push_new(&mut self.hosts, model),
        }
    }

    /// Live hosts, plus, if the name is a row's own upstream id, that row even if unlisted.
    fn roam(&self, today: Date, exact: bool) -> Resolved {
        let mut listed: Vec<Arc<Model>> =
            self.hosts.iter().filter(|host| host.is_live(today)).map(Arc::clone).collect();
        if exact {
            self.carriers
                .iter()
                .filter(|model| model.is_servable_by_name(today))
                .for_each(|model| push_new(&mut listed, model));
        }
        match listed.is_empty() {
            true => Resolved::Retired { models: self.carriers.clone() },
            false => Resolved::Listed(listed),
        }
    }
}

fn pinned(model: &Arc<Model>, today: Date) -> Resolved {
    let models = vec![Arc::clone(model)];
    match model.is_servable_by_name(today) {
        true => Resolved::Listed(models),
        false => Resolved::Retired { models },
    }
}

fn push_new(models: &mut Vec<Arc<Model>>, model: &Arc<Model>) {
    if !models.iter().any(|known| known.id == model.id) {
        models.push(Arc::clone(model));
    }
}

fn split_provider(name: &str) -> Option<(ProviderId, &str)> {
    let (provider, rest) = name.split_once('/')?;
    let provider = ProviderId::by_id(provider).or_else(|| ProviderId::by_name(provider))?;
    Some((provider, rest))
}

/// Whether a name is worth looking up at all.
pub(super) fn is_plausible(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Whether an unknown model id may be sent to a provider: some put it into the path of the URL, so it must contain no
/// empty or dot segment.
pub(super) fn is_sendable(upstream: &str) -> bool {
    is_plausible(upstream) && !upstream.split('/').any(|part| matches!(part.trim(), "" | "." | ".."))
}

/// Levenshtein distance over bytes.
fn edits(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (above, from) in a.iter().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(b) {
            let cost = (diagonal + usize::from(from != to)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = cost;
            left = cost;
        }
    }
    row.last().copied().unwrap_or(0)
}
