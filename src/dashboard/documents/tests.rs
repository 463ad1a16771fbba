//! That every document is a page, that links lead somewhere, and what is found.

use super::*;
use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_document_is_a_page() {
    let files: BTreeSet<String> = fs::read_dir(root().join("docs"))
        .unwrap()
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".md").map(str::to_owned)
        })
        .filter(|name| name != "README")
        .collect();
    let pages: BTreeSet<String> = DOCUMENTS.iter().map(|one| one.name.to_owned()).collect();
    assert_eq!(files, pages);
}

/// The targets of the links of a text, code blocks aside.
fn links(text: &str) -> Vec<String> {
    use pulldown_cmark::{Event, Options, Parser, Tag};
    let events = Parser::new_ext(text, Options::ENABLE_TABLES);
    let targets = events.filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            Some(dest_url.into_string())
        }
        _ => None,
    });
    targets.collect()
}

#[test]
fn links_between_documents_lead_to_files_and_headings_that_exist() {
    let mut files: Vec<String> = DOCUMENTS.iter().map(|one| format!("docs/{}.md", one.name)).collect();
    files.extend(["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/README.md"].map(str::to_owned));
    let mut checked = 0;
    for file in &files {
        let text = fs::read_to_string(root().join(file)).unwrap();
        for link in links(&text).iter().filter(|link| !link.starts_with("https://")) {
            let (target, place) = link.split_once('#').unwrap_or((link, ""));
            let path = root().join(file).parent().unwrap().join(target);
            let path = if target.is_empty() { root().join(file) } else { path };
            assert!(path.exists(), "{file}: {link} leads nowhere");
            if !place.is_empty() {
                let html = render::html(&fs::read_to_string(&path).unwrap());
                assert!(html.contains(&format!("id=\"{place}\"")), "{file}: {link} names no heading");
            }
            checked += 1;
        }
    }
    assert!(checked > 40, "only {checked} links");
}

#[test]
fn pages_link_to_pages_and_show_no_markup_of_a_text() {
    let html = render::html(
        "# A *b*\n\n[api](api.md#receipts) [tree](../ARCHITECTURE.md) <script>x</script>\n\n| a |\n|---|\n| b |\n",
    );
    assert!(html.contains("<h1 id=\"a-b\">"), "{html}");
    assert!(html.contains("<a href=\"/docs/api#receipts\">api</a> tree"), "{html}");
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
    assert!(html.contains("<td>b</td>"), "{html}");
}

#[test]
fn a_search_finds_the_sections_with_all_words_and_escapes_them() {
    let page = search::page(DOCUMENTS, "Retry-After shutdown");
    assert!(page.contains("/docs/"), "{page}");
    let page = search::page(DOCUMENTS, "<img src=x>");
    assert!(page.contains("Nothing was found") && !page.contains("<img"), "{page}");
    assert!(search::page(DOCUMENTS, &"é".repeat(5_000)).contains("Nothing was found"));
}

#[test]
fn the_list_for_language_models_names_every_document() {
    let list = llms();
    for one in DOCUMENTS {
        assert!(list.contains(&format!("(/docs/{}.md): ", one.name)), "{}", one.name);
        assert!(one.summary().len() > 20, "{}: {}", one.name, one.summary());
    }
}
