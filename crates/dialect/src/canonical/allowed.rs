//! The tools that a request lets a model choose among, for writers of wires that have no such list and offer the
//! others not at all. Made once for a request: looking a tool up costs the same however many names there are.

use super::ToolChoice;
use crate::json::Escaped;
use std::{borrow::Cow, collections::HashSet};

/// The allowed names, decoded; `None`: there is no such list.
pub struct Allowed<'r>(Option<HashSet<Cow<'r, str>>>);

impl<'r> Allowed<'r> {
    /// The names that `choice` lists.
    pub fn of(choice: Option<&'r ToolChoice<'_>>) -> Self {
        match choice {
            Some(ToolChoice::Allowed { names, .. }) => Self::names(names),
            _ => Self(None),
        }
    }

    /// These names alone.
    pub fn names(names: &'r [Escaped<'_>]) -> Self {
        Self(Some(names.iter().map(Escaped::decode).collect()))
    }

    /// Whether the tool of this name may be chosen.
    pub fn has(&self, name: &Escaped<'_>) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(&name.decode()))
    }
}
