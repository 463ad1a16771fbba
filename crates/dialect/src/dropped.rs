//! Makes the names of dropped fields safe for a header, because clients may have chosen them. No name may contain
//! characters that a header cannot hold, and all of them together stay short.

use std::borrow::Cow;

/// Maximum length of one name, and of all with their separators.
const NAME_CHARS_MAX: usize = 64;
const ALL_BYTES_MAX: usize = 896;
/// What the list separates names with.
const SEPARATOR_BYTES: usize = 2;

/// The names, separated by commas; names beyond the limit are only counted.
pub(super) fn sanitize_names(names: &mut Vec<Cow<'static, str>>) {
    for name in names.iter_mut().filter(|name| !is_plain(name)) {
        *name = Cow::Owned(plain(name));
    }
    let mut bytes = 0usize;
    let fits = |name: &Cow<'_, str>| {
        bytes = bytes.saturating_add(name.len()).saturating_add(SEPARATOR_BYTES);
        bytes <= ALL_BYTES_MAX
    };
    let told = names.iter().map(fits).take_while(|fits| *fits).count();
    let more = names.len().saturating_sub(told);
    if more > 0 {
        names.truncate(told);
        names.push(Cow::Owned(format!("and {more} more")));
    }
}

fn is_plain(name: &str) -> bool {
    name.len() <= NAME_CHARS_MAX && name.chars().all(is_printable)
}

fn plain(name: &str) -> String {
    let mut chars = name.chars();
    let mut plain: String =
        chars.by_ref().take(NAME_CHARS_MAX).map(|c| if is_printable(c) { c } else { '?' }).collect();
    if chars.next().is_some() {
        plain.push_str("...");
    }
    plain
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~') && c != ','
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn told(names: &[&str]) -> Vec<Cow<'static, str>> {
        let mut names = names.iter().map(|name| Cow::Owned((*name).to_owned())).collect();
        sanitize_names(&mut names);
        names
    }

    #[test]
    fn ordinary_names_stay_and_odd_ones_lose_what_a_header_cannot_hold() {
        assert_eq!(told(&["seed", "messages[].name"]), ["seed", "messages[].name"]);
        assert_eq!(told(&["a\r\nb, c\u{e9}"]), ["a??b? c?"]);
        assert_eq!(told(&[&"x".repeat(100)]), [format!("{}...", "x".repeat(64))]);
        let many: Vec<String> = (0..100).map(|number| format!("made_up_{number:03}")).collect();
        let names = told(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(names.len(), 69);
        assert_eq!(names.last().unwrap(), "and 32 more");
    }

    proptest! {
        #[test]
        fn all_of_them_fit_a_header(names in prop::collection::vec(any::<String>(), 0..40)) {
            let line = told(&names.iter().map(String::as_str).collect::<Vec<_>>()).join(", ");
            prop_assert!(line.len() <= 1_024 && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
