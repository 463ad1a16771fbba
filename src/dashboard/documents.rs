//! The documents of `docs/` as pages under `/docs`, compiled in, with a search, and as a list for language models at
//! `/llms.txt`. Open to anyone: they hold nothing of an installation.

mod render;
mod search;

use super::{assets, frame};
use crate::http::{error::ApiError, extract::Call};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web::Query,
};

const NOT_FOUND: &str =
    "<h1>Not found</h1><p>There is no such document. <a href=\"/docs\">All documents</a></p>";

/// For whom a document is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    Application,
    Customer,
    Finance,
    Operator,
    Contributor,
}

impl Audience {
    const ALL: [Self; 5] =
        [Self::Application, Self::Customer, Self::Finance, Self::Operator, Self::Contributor];

    fn heading(self) -> &'static str {
        match self {
            Self::Application => "Application developers",
            Self::Customer => "Customer admins",
            Self::Finance => "Finance",
            Self::Operator => "Operators",
            Self::Contributor => "Contributors",
        }
    }
}

/// One document.
pub struct Document {
    /// Its file's name without `.md`.
    pub name: &'static str,
    pub audience: Audience,
    pub text: &'static str,
}

impl Document {
    /// Its first heading.
    fn title(&self) -> &'static str {
        let heading = self.text.lines().find_map(|line| line.strip_prefix("# "));
        heading.unwrap_or(self.name)
    }

    /// The first sentence about its subject.
    fn summary(&self) -> String {
        let is_text = |part: &&str| !part.starts_with('#') && !part.starts_with("```");
        let text = self.text.split("\n\n").filter(is_text).collect::<Vec<_>>().join(" ").replace('\n', " ");
        // Many begin with their audience, which the list already shows.
        let text =
            text.strip_prefix("For ").and_then(|rest| rest.split_once(". ")).map_or(&*text, |(_, rest)| rest);
        text.split_once(". ").map_or_else(|| text.to_owned(), |(first, _)| format!("{first}."))
    }
}

macro_rules! documents {
    ($($name:literal $audience:ident),* $(,)?) => {
        &[$(Document {
            name: $name,
            audience: Audience::$audience,
            text: include_str!(concat!("../../docs/", $name, ".md")),
        }),*]
    };
}

/// Every document, in the order in which they are listed.
pub static DOCUMENTS: &[Document] = documents![
    "sdks" Application,
    "api" Application,
    "request-keys" Application,
    "errors" Application,
    "failover" Application,
    "caching" Application,
    "idempotency" Application,
    "routing" Application,
    "mcp" Application,
    "dialects" Application,
    "account" Customer,
    "limits" Customer,
    "alerts" Customer,
    "billing" Finance,
    "token-counting" Finance,
    "install" Operator,
    "operating" Operator,
    "monitoring" Operator,
    "upgrading" Operator,
    "scaling" Operator,
    "catalogue" Operator,
    "performance" Operator,
    "contributing" Contributor,
    "adding-a-provider" Contributor,
    "glossary" Contributor,
];

/// `GET /docs`, `/docs/{page}`, `/docs/{page}.md` and `/llms.txt`.
pub fn serve(call: &Call) -> Result<HttpResponse, ApiError> {
    if call.request.path() == "/llms.txt" {
        return Ok(text("text/plain; charset=utf-8", llms()));
    }
    let page = call.path("page");
    if let Some(name) = page.strip_suffix(".md") {
        let document = find(name)?;
        return Ok(text("text/markdown; charset=utf-8", document.text.to_owned()));
    }
    if page.is_empty() {
        let query = Query::<Vec<(String, String)>>::from_query(call.request.query_string());
        let pairs = query.map(Query::into_inner).unwrap_or_default();
        let words =
            pairs.into_iter().find(|(name, _)| name == "q").map(|(_, words)| words).unwrap_or_default();
        let body = match words.trim() {
            "" => contents(),
            words => search::page(DOCUMENTS, words),
        };
        return Ok(page_of(StatusCode::OK, "Documents", words.trim(), &body));
    }
    Ok(match find(page) {
        Ok(document) => page_of(StatusCode::OK, document.title(), "", &render::html(document.text)),
        Err(_) => page_of(StatusCode::NOT_FOUND, "Not found", "", NOT_FOUND),
    })
}

fn find(name: &str) -> Result<&'static Document, ApiError> {
    DOCUMENTS.iter().find(|one| one.name == name).ok_or_else(|| ApiError::not_found("document"))
}

fn text(content_type: &'static str, body: String) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "public, max-age=300"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(content_type)
        .body(body)
}

/// The list of all documents, by audience.
fn contents() -> String {
    let mut html = "<h1>Documents</h1>".to_owned();
    for audience in Audience::ALL {
        html.push_str(&format!("<h2>{}</h2><ul>", audience.heading()));
        for one in DOCUMENTS.iter().filter(|one| one.audience == audience) {
            let (title, summary) = (render::escaped(one.title()), render::plain(&one.summary()));
            let summary = render::escaped(&summary);
            html.push_str(&format!("<li><a href=\"/docs/{}\">{title}</a>: {summary}</li>", one.name));
        }
        html.push_str("</ul>");
    }
    html + "<p>The API as an <a href=\"/openapi.json\">OpenAPI document</a>.</p>"
}

/// As https://llmstxt.org describes it.
fn llms() -> String {
    let mut list = "# KairosRoute\n\n> A gateway between applications and the providers of large language models: \
                    one API key, OpenAI's and Anthropic's formats, own provider keys, exact prepaid billing.\n"
        .to_owned();
    for audience in Audience::ALL {
        list.push_str(&format!("\n## {}\n\n", audience.heading()));
        for one in DOCUMENTS.iter().filter(|one| one.audience == audience) {
            let summary = render::plain(&one.summary());
            list.push_str(&format!("- [{}](/docs/{}.md): {summary}\n", one.title(), one.name));
        }
    }
    list + "\n## API\n\n- [OpenAPI 3.1 document](/openapi.json)\n"
}

fn page_of(status: StatusCode, title: &str, words: &str, body: &str) -> HttpResponse {
    let (title, words) = (render::escaped(title), render::escaped(words));
    let (style, icon) = (assets::STYLE.path(), assets::ICON.path());
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · KairosRoute</title>\n<link rel=\"icon\" href=\"{icon}\">\n\
         <link rel=\"stylesheet\" href=\"{style}\">\n</head>\n<body class=\"documents\">\n\
         <a class=\"skip\" href=\"#main\">Skip to the content</a>\n<header>\n\
         <a class=\"brand\" href=\"/docs\"><img src=\"{icon}\" alt=\"\">KairosRoute documents</a>\n\
         <form role=\"search\" action=\"/docs\"><label for=\"q\">Search</label>\n\
         <input id=\"q\" name=\"q\" type=\"search\" value=\"{words}\"><button class=\"small\">Search</button></form>\n\
         </header>\n<main id=\"main\">\n{body}\n</main>\n</body>\n</html>\n"
    );
    frame::with_headers(HttpResponse::build(status)).content_type("text/html; charset=utf-8").body(html)
}

#[cfg(test)]
mod tests;
