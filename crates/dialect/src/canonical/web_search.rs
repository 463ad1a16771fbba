//! A web search that the provider runs, in the form of each client's dialect. Its effect is the same everywhere; its
//! limits are not.

use super::Json;
use crate::{
    Dialect,
    json::{Escaped, ObjectWriter, Raw},
};

/// Lists of excluded sites, by the names of several providers.
const BLOCKED_SITES: [&str; 2] = ["blocked_domains", "excluded_domains"];
/// Maximum members that are named.
const LOST_MAX: usize = 16;

/// The tool, as the client wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSearch<'a> {
    pub dialect: Dialect,
    /// Its name in a choice.
    pub name: Escaped<'a>,
    pub json: Json<'a>,
}

impl<'a> WebSearch<'a> {
    /// Whether a tool of this type is a web search; a date may follow the type.
    pub fn is(typed: &str) -> bool {
        typed == "web_search" || typed.starts_with("web_search_2") || typed.starts_with("web_search_preview")
    }

    /// The maximum number of searches of an answer.
    pub fn uses_max(&self) -> Option<u64> {
        self.json.raw().member("max_uses").and_then(Raw::count)
    }

    /// The only sites that may be searched, a JSON list.
    pub fn allowed_sites(&self) -> Option<Raw<'_>> {
        self.filters().member("allowed_domains").filter(|sites| !sites.is_idle())
    }

    /// Whether sites are excluded, which not every dialect can express.
    pub fn blocks_sites(&self) -> bool {
        let has = |name: &&str| self.filters().member(name).is_some_and(|sites| !sites.is_idle());
        BLOCKED_SITES.iter().any(has)
    }

    /// The place of the limits to sites.
    fn filters(&self) -> Raw<'_> {
        let raw = self.json.raw();
        match self.dialect {
            Dialect::Responses => raw.member("filters").unwrap_or(raw),
            _ => raw,
        }
    }

    /// The user's location, which Messages and Responses describe in one form.
    fn user_location(&self) -> Option<Raw<'_>> {
        let place = self.json.raw().member("user_location")?;
        let typed = place.member("type").and_then(Raw::text);
        typed.is_some_and(|typed| typed == "approximate").then_some(place)
    }

    /// The members of the tool that another wire format cannot express, by the client's names. `keeps_place`: it
    /// supports the user's location.
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

    /// For Anthropic, with the request's limit on searches if the tool has none.
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
