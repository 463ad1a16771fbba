//! A search over the documents: the sections in which every word occurs.

use super::{Document, render};

/// Sections shown.
const SECTIONS_MAX: usize = 40;
/// Longest search that is looked at, in bytes, and in words.
const WORDS_BYTES_MAX: usize = 200;
const WORDS_MAX: usize = 8;
/// Letters of a section shown around its first hit.
const SNIPPET_LETTERS: usize = 220;

/// A section of a document.
struct Section {
    document: &'static Document,
    heading: String,
    text: String,
}

/// The page with what was found.
pub fn page(documents: &'static [Document], words: &str) -> String {
    let found = find(documents, words);
    let shown = render::escaped(words);
    let mut html =
        format!("<h1>Search</h1><p class=\"lead\" role=\"status\">{} for “{shown}”</p>", count(found.len()));
    for section in found {
        let document = section.document;
        let anchor = render::anchor(&section.heading);
        let (title, heading) = (render::escaped(document.title()), render::escaped(&section.heading));
        let snippet = render::escaped(&snippet(&section.text, words));
        html.push_str(&format!(
            "<h2><a href=\"/docs/{}#{anchor}\">{title}: {heading}</a></h2><p>{snippet}</p>",
            document.name
        ));
    }
    html
}

fn count(sections: usize) -> String {
    match sections {
        0 => "Nothing was found".to_owned(),
        1 => "One section was found".to_owned(),
        SECTIONS_MAX => format!("The first {SECTIONS_MAX} sections that were found"),
        many => format!("{many} sections were found"),
    }
}

fn needles(words: &str) -> Vec<String> {
    let end = words
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8())
        .take_while(|end| *end <= WORDS_BYTES_MAX);
    let words = words.get(..end.last().unwrap_or(0)).unwrap_or_default();
    words.split_whitespace().take(WORDS_MAX).map(str::to_lowercase).collect()
}

fn find(documents: &'static [Document], words: &str) -> Vec<Section> {
    let needles = needles(words);
    if needles.is_empty() {
        return Vec::new();
    }
    let has_all = |section: &Section| {
        let text =
            format!("{} {} {}", section.document.title(), section.heading, section.text).to_lowercase();
        needles.iter().all(|needle| text.contains(needle.as_str()))
    };
    documents.iter().flat_map(sections).filter(has_all).take(SECTIONS_MAX).collect()
}

/// A document cut at its headings. A line that begins with `#` inside of a code block is no heading.
fn sections(document: &'static Document) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut in_code = false;
    for line in document.text.lines() {
        in_code ^= line.starts_with("```");
        let heading = line.trim_start_matches('#');
        let is_heading = !in_code && heading.len() < line.len() && heading.starts_with(' ');
        match sections.last_mut() {
            Some(section) if !is_heading => {
                section.text.push_str(line);
                section.text.push('\n');
            }
            _ => sections.push(Section {
                document,
                heading: render::plain(heading.trim()),
                text: String::new(),
            }),
        }
    }
    for section in &mut sections {
        section.text = render::plain(&section.text);
    }
    sections
}

/// The text around the first word that occurs.
fn snippet(text: &str, words: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let lower: String = text.to_lowercase();
    let at = needles(words).iter().find_map(|needle| lower.find(needle.as_str()));
    // Lower case may have other lengths; the place is only where to look.
    let at = at.map_or(0, |at| lower.get(..at).unwrap_or_default().chars().count());
    let from = at.saturating_sub(SNIPPET_LETTERS / 3).min(letters.len());
    let shown: String = letters.iter().skip(from).take(SNIPPET_LETTERS).collect();
    let (before, after) = (from > 0, from + SNIPPET_LETTERS < letters.len());
    format!("{}{}{}", if before { "…" } else { "" }, shown.trim(), if after { "…" } else { "" })
}
