//! The catalogue for account services; it belongs to the gateway layer above them.

use crate::{accounts::ModelMatch, domain::policy::matches_pattern, gateway::Gateway};
use std::sync::Arc;

/// Whether a pattern matches a model of the catalogue, by its id or its name.
pub fn matcher(gateway: &Arc<Gateway>) -> ModelMatch {
    let gateway = gateway.clone();
    Box::new(move |pattern| {
        let matches = |name: &str| matches_pattern(pattern, name);
        gateway.catalog.load().models().any(|model| matches(&model.id) || matches(&model.name))
    })
}
