//! A search of the web that the provider runs, as each client's dialect asks for it. What it does is the same everywhere;
//! how it may be limited is not.

use super::Json;
use crate::{
    Dialect,
    json::{Escaped, ObjectWriter, Raw},
};

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
        let raw = self.json.raw();
        let holder = if self.dialect == Dialect::Responses { raw.member("filters")? } else { raw };
        holder.member("allowed_domains").filter(|sites| !sites.is_idle())
    }

    /// Whether sites are kept out, which no other dialect can say.
    pub fn blocks_sites(&self) -> bool {
        self.json.raw().member("blocked_domains").is_some_and(|sites| !sites.is_idle())
    }

    /// Members that are lost on another dialect's wire: hints about place and size.
    pub fn has_hints(&self) -> bool {
        ["user_location", "search_context_size"]
            .iter()
            .any(|name| self.json.raw().member(name).is_some_and(|hint| !hint.is_idle()))
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
        tool.end()
    }
}
