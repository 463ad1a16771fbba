use super::*;

#[test]
fn names_fold_and_do_not_collide() {
    assert_eq!(ProviderId::by_name("Together AI"), ProviderId::by_id("together_ai"));
    assert_eq!(ProviderId::by_name("fireworks-AI"), ProviderId::by_id("fireworks_ai"));
    assert_eq!(ProviderId::by_name("Grok").map(ProviderId::as_str), Some("xai"));
    assert_eq!(ProviderId::by_name("open_ai").map(ProviderId::as_str), Some("openai"));
    assert!(ProviderId::by_name("nobody").is_none());
    let mut seen = std::collections::BTreeSet::new();
    for row in PROVIDERS {
        let mut own: Vec<String> =
            row.aliases.iter().chain([&row.id, &row.name]).map(|n| folded(n).collect()).collect();
        own.sort();
        own.dedup();
        for name in own {
            assert!(seen.insert(name.clone()), "{name} names two providers");
        }
        assert!(!row.base_url.ends_with('/'));
    }
    assert_eq!(PROVIDERS.len(), 13);
}
