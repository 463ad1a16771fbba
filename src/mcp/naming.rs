//! Names for the tools of several servers beside the client's own tools. Pure. A name that is free and that every
//! provider accepts is kept. Any other name gets the server's name as a prefix, and a number if that is also taken. The
//! caller of a tool looks its original name up.

use std::collections::HashSet;

/// The longest name that every provider accepts.
const NAME_BYTES_MAX: usize = 64;

/// Names that are in use.
#[derive(Default)]
pub struct Names {
    taken: HashSet<String>,
}

impl Names {
    /// Starts with the names of the client's own tools.
    pub fn new(taken: impl IntoIterator<Item = String>) -> Self {
        Self { taken: taken.into_iter().collect() }
    }

    /// The name under which `tool` of `server` is offered.
    pub fn offer(&mut self, server: &str, tool: &str) -> String {
        let plain = cleaned(tool);
        let prefixed = format!("{}__{plain}", cleaned(server));
        let numbered = (2_u32..).map(|number| ending_with(&prefixed, &format!("_{number}")));
        let wanted = [plain.clone(), cut(&prefixed, NAME_BYTES_MAX).to_owned()];
        // There are more numbers than names, so one is always free.
        let free = wanted.into_iter().chain(numbered).find(|name| !self.taken.contains(name));
        let name = free.unwrap_or(plain);
        self.taken.insert(name.clone());
        name
    }
}

/// Adds a number to `wanted` so that it differs from every name in `taken`.
pub fn unlike(taken: &[String], wanted: &str) -> String {
    let numbered = (2_u32..).map(|number| format!("{wanted}_{number}"));
    let free = std::iter::once(wanted.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    free.unwrap_or_else(|| wanted.to_owned())
}

/// Letters, digits, dash and underscore, the first a letter or underscore: every provider accepts this.
fn cleaned(name: &str) -> String {
    let mut clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' })
        .collect();
    if !clean.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        clean.insert(0, '_');
    }
    clean.truncate(NAME_BYTES_MAX);
    clean
}

fn ending_with(name: &str, end: &str) -> String {
    format!("{}{end}", cut(name, NAME_BYTES_MAX.saturating_sub(end.len())))
}

/// The name is ASCII here, so no character is cut.
fn cut(name: &str, bytes: usize) -> &str {
    name.get(..bytes.min(name.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_free_name_stays_and_a_taken_one_gets_its_server() {
        let mut names = Names::new(["search".to_owned()]);
        assert_eq!(names.offer("wiki", "read"), "read");
        assert_eq!(names.offer("wiki", "search"), "wiki__search");
        assert_eq!(names.offer("web", "search"), "web__search");
        assert_eq!(names.offer("web", "search"), "web__search_2");
        assert_eq!(names.offer("acme/my.server", "read"), "acme_my_server__read");
    }

    #[test]
    fn what_some_provider_would_refuse_is_replaced() {
        let mut names = Names::default();
        assert_eq!(names.offer("s", "get.tide/now"), "get_tide_now");
        assert_eq!(names.offer("s", "3d"), "_3d");
        assert_eq!(names.offer("s", ""), "_");
        assert_eq!(names.offer("t", "é"), "t___");
        assert_eq!(names.offer("s", &"x".repeat(100)).len(), NAME_BYTES_MAX);
    }

    #[test]
    fn a_server_named_twice_is_numbered() {
        assert_eq!(unlike(&[], "a"), "a");
        assert_eq!(unlike(&["a".to_owned(), "a_2".to_owned()], "a"), "a_3");
    }

    proptest! {
        #[test]
        fn every_name_is_one_of_its_own_that_providers_take(
            offers in prop::collection::vec((".{0,70}", ".{0,70}"), 0..40),
            local in prop::collection::vec("[a-z]{1,3}", 0..5),
        ) {
            let mut names = Names::new(local.clone());
            let mut seen: HashSet<String> = local.into_iter().collect();
            for (server, tool) in &offers {
                let name = names.offer(server, tool);
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                prop_assert!((1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(plain), "{name}");
                prop_assert!(seen.insert(name.clone()), "{name} twice");
            }
        }
    }
}
