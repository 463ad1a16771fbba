//! The tools that a request allows a model to choose, for writers of wire formats without such a list, which do not
//! offer the other tools. Created once for each request: a look-up has the same cost for any number of names.

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
