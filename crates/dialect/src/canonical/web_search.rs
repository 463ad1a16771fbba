//! A search of the web that the provider runs, as each client's dialect asks for it. What it does is the same everywhere;
//! how it may be limited is not.

use super::Json;
use crate::{
    Dialect,
    json::{Escaped, ObjectWriter, Raw},
};

/// Lists of sites that a search must not use, by the names of several providers.
const BLOCKED_SITES: [&str; 2] = ["blocked_domains", "excluded_domains"];
/// Members named at most: more tell nobody more.
const LOST_MAX: usize = 16;

/// The tool, as the client wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSearch<'a> {
    pub dialect: Dialect,
    /// What a choice calls it.
    pub name: Escaped<'a>,
    pub json: Json<'a>,
}

impl<'a> WebSearch<'a> {
    /// Whether a tool of this type is one; a date may follow.
    pub fn is(typed: &str) -> bool {
        typed == "web_search" || typed.starts_with("web_search_2") || typed.starts_with("web_search_preview")
    }

    /// How often an answer may search.
    pub fn uses_max(&self) -> Option<u64> {
        self.json.raw().member("max_uses").and_then(Raw::count)
    }

    /// The sites that alone may be searched, a JSON list.
    pub fn allowed_sites(&self) -> Option<Raw<'_>> {
        self.filters().member("allowed_domains").filter(|sites| !sites.is_idle())
    }

    /// Whether sites are kept out, which not every dialect can say.
    pub fn blocks_sites(&self) -> bool {
        let has = |name: &&str| self.filters().member(name).is_some_and(|sites| !sites.is_idle());
        BLOCKED_SITES.iter().any(|name| has(name))
    }

    /// Where the limits to sites stand.
    fn filters(&self) -> Raw<'_> {
        let raw = self.json.raw();
        match self.dialect {
            Dialect::Responses => raw.member("filters").unwrap_or(raw),
            _ => raw,
        }
    }

    /// The user's place, which Messages and Responses describe in one form.
    fn user_location(&self) -> Option<Raw<'_>> {
        let place = self.json.raw().member("user_location")?;
        let typed = place.member("type").and_then(Raw::text);
        typed.is_some_and(|typed| typed == "approximate").then_some(place)
    }

    /// What of the tool another wire has no place for, by the client's own names. `keeps_place`: it takes the user's
    /// place.
    pub(crate) fn lost(&self, keeps_place: bool) -> Vec<String> {
        let is_kept = |name: &str| match name {
            "type" | "name" | "filters" | "allowed_domains" | "max_uses" | "cache_control" => true,
            "user_location" => keeps_place && self.user_location().is_some(),
            _ => BLOCKED_SITES.contains(&name),
        };
        let (tool, filters) = (self.json.raw().members(), self.json.raw().member("filters"));
        let filters = filters.map(Raw::members).unwrap_or_default();
        let tool = tool.iter().map(|member| (member, "tools[]"));
        let all = tool.chain(filters.iter().map(|member| (member, "tools[].filters")));
        let lost = all.filter(|(member, _)| !is_kept(&member.key) && !member.value.is_null());
        lost.take(LOST_MAX).map(|(member, path)| format!("{path}.{}", member.key)).collect()
    }

    /// For Anthropic, with the request's limit on searches where the tool has none.
    pub(crate) fn for_messages(&self, uses_max: Option<u64>) -> Vec<u8> {
        let mut tool = ObjectWriter::new();
        tool.text("type", "web_search_20250305");
        tool.text("name", "web_search");
        if let Some(uses) = self.uses_max().or(uses_max) {
            tool.raw("max_uses", &uses.to_string());
        }
        if let Some(sites) = self.allowed_sites() {
            tool.raw("allowed_domains", sites.get());
        }
        if let Some(place) = self.user_location() {
            tool.raw("user_location", place.get());
        }
        tool.end()
    }

    /// For a provider of Responses.
    pub(crate) fn for_responses(&self) -> Vec<u8> {
        let mut tool = ObjectWriter::new();
        tool.text("type", "web_search");
        if let Some(sites) = self.allowed_sites() {
            let mut filters = ObjectWriter::new();
            filters.raw("allowed_domains", sites.get());
            tool.key("filters").extend(filters.end());
        }
        if let Some(place) = self.user_location() {
            tool.raw("user_location", place.get());
        }
        tool.end()
    }
}
