//! Markdown of our own documents to HTML. Links between documents become links between pages; what no page shows (files
//! of the tree, pictures) keeps its text only.

use super::DOCUMENTS;
use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// The body of a page.
pub fn html(markdown: &str) -> String {
    let mut html = String::with_capacity(markdown.len() * 2);
    pulldown_cmark::html::push_html(&mut html, events(markdown).into_iter());
    html
}

/// The text alone, without marks.
pub fn plain(markdown: &str) -> String {
    let mut plain = String::new();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Text(text) | Event::Code(text) => plain.push_str(&text),
            Event::SoftBreak | Event::HardBreak => plain.push(' '),
            _ => {}
        }
    }
    plain
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The anchor of a heading, as GitHub makes it.
pub fn anchor(heading: &str) -> String {
    let letters =
        heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    letters.collect::<String>().to_lowercase().replace(' ', "-")
}

fn events(markdown: &str) -> Vec<Event<'_>> {
    let mut events: Vec<Event<'_>> = Vec::new();
    // Whether the link that is open leads anywhere.
    let mut links: Vec<bool> = Vec::new();
    let mut heading: Option<(usize, String)> = None;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let target = target(&dest_url);
                links.push(target.is_some());
                if let Some(target) = target {
                    let dest_url = CowStr::from(target);
                    events.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Link) => {
                if links.pop() == Some(true) {
                    events.push(Event::End(TagEnd::Link));
                }
            }
            // Pictures are not compiled in; their description stays.
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => {}
            // No document has HTML of its own.
            Event::Html(text) | Event::InlineHtml(text) => events.push(Event::Text(text)),
            Event::Start(Tag::Heading { .. }) => {
                heading = Some((events.len(), String::new()));
                events.push(event);
            }
            Event::End(TagEnd::Heading(level)) => {
                if let Some((at, text)) = heading.take() {
                    with_anchor(&mut events, at, level, &text);
                }
                events.push(Event::End(TagEnd::Heading(level)));
            }
            Event::Text(ref text) | Event::Code(ref text) => {
                if let Some((_, heading)) = &mut heading {
                    heading.push_str(text);
                }
                events.push(event);
            }
            other => events.push(other),
        }
    }
    events
}

fn with_anchor(events: &mut [Event<'_>], at: usize, level: HeadingLevel, text: &str) {
    if let Some(start) = events.get_mut(at) {
        let id = Some(CowStr::from(anchor(text)));
        *start = Event::Start(Tag::Heading { level, id, classes: Vec::new(), attrs: Vec::new() });
    }
}

/// Where a link leads on the site: another page, a place on this one, or another site.
pub fn target(link: &str) -> Option<String> {
    if link.starts_with("https://") || link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (file, place) = link.split_once('#').map_or((link, ""), |(file, place)| (file, place));
    let name = file.strip_suffix(".md")?;
    if name == "README" {
        return Some("/docs".to_owned());
    }
    DOCUMENTS.iter().find(|one| one.name == name)?;
    Some(if place.is_empty() { format!("/docs/{name}") } else { format!("/docs/{name}#{place}") })
}
