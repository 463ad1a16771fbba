//! OpenAI's names of service tiers. Clients that were generated from its documents refuse an answer with any other
//! name.

/// OpenAI's name for the tier that another provider states; `None` if it has none.
pub(crate) fn of(word: &str) -> Option<&'static str> {
    Some(match word {
        "auto" => "auto",
        "default" | "standard" | "standard_only" | "on_demand" => "default",
        "flex" => "flex",
        "scale" => "scale",
        "priority" => "priority",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_of_other_providers_become_openais_or_nothing() {
        for (word, openais) in [
            ("standard", Some("default")),
            ("standard_only", Some("default")),
            ("on_demand", Some("default")),
            ("priority", Some("priority")),
            ("flex", Some("flex")),
            ("batch", None),
            ("", None),
        ] {
            assert_eq!(super::of(word), openais, "{word}");
        }
    }
}
