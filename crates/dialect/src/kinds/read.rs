//! Parses a request: checks the kind of every documented field, sets the gateway's own fields aside, and measures what
//! will be billed. An error means that it must not be sent to any provider.

use super::{
    Content, Fields, KindRequest, audio,
    fields::{self, Rule},
    form::{Form, Part},
};
use crate::{
    canonical::is_kept_at,
    json::{self, Kind as Json, Member, Raw},
    openai_chat::{GATEWAY_FIELDS, OWN_SUPPORTED, is_absent_or_default},
    request::{Head, Invalid, Limits},
    shared_account,
};
use kairosroute_domain::{
    kind::Kind,
    usage::{Basis, Usage},
};
use std::borrow::Cow;

/// Documents of a rerank that cost one search, and the tokens of one document.
const DOCUMENTS_PER_QUERY: u64 = 100;
const CHUNK_TOKENS: u64 = 500;

/// Reads the body of a request of this kind.
pub fn read<'a>(
    kind: Kind,
    content_type: &'a str,
    body: &'a [u8],
    limits: &Limits,
) -> Result<KindRequest<'a>, Invalid> {
    let is_form = matches!(kind, Kind::ImageEdits | Kind::Transcription | Kind::Translation);
    let mut request = match is_form {
        true => read_form(kind, content_type, body, limits),
        false => read_json(kind, body, limits),
    }?;
    if let Some(model) = kind.default_model().filter(|_| request.head.models.is_empty()) {
        request.head.models.push(model.into());
    }
    if request.head.models.is_empty() {
        return Err(Invalid::at("model", "`model` is missing: name one that serves this endpoint; GET /v1/models lists them with their `mode`".into()));
    }
    if request.head.models.len() > limits.models_max {
        let most = limits.models_max;
        return Err(Invalid::at("model", format!("`model` may name at most {most} models")));
    }
    refuse_streams(&request)?;
    measure(&mut request)?;
    Ok(request)
}

/// The texts of a request that a model reads as tokens, for counting them if the provider did not. A request that
/// cannot be read has none, and forms have none: their billed content is not text.
pub fn texts(kind: Kind, body: &[u8]) -> Vec<String> {
    let Ok(request) = read_json(kind, body, &Limits::default()) else { return Vec::new() };
    let mut found = Vec::new();
    each_text(&request, &mut |text| found.push(text.into_owned()));
    found
}

fn read_json<'a>(kind: Kind, body: &'a [u8], limits: &Limits) -> Result<KindRequest<'a>, Invalid> {
    let members = json::read_object(body, limits.depth_max, limits.members_max)?;
    let (mut head, mut kept) = (Head::default(), Vec::with_capacity(members.len()));
    let mut later = Vec::new();
    for member in members {
        let (name, value) = (member.key.as_ref(), member.value);
        let rule = fields::find(kind, name).map(|(_, rule)| *rule);
        let own = rule.is_none() && GATEWAY_FIELDS.contains(&name);
        if value.is_null() && (own || rule.is_some()) || own && is_absent_or_default(name, value) {
            continue;
        }
        match rule {
            Some(Rule::Model) => models(name, value, &mut head.models)?,
            Some(rule) => fields::check(name, rule, value)?,
            None if own && !OWN_SUPPORTED.contains(&name) => return Err(unsupported_own(name)),
            None if own => {
                if name == "models" {
                    models(name, value, &mut later)?;
                }
                head.own.push(member);
                continue;
            }
            None => {}
        }
        if rule.is_none() {
            head.note_account_field(|| shared_account::undocumented(&member, shared_account::KINDS));
        }
        head.facts.references_stored_objects |= references_stored_objects(&member);
        kept.push(member);
    }
    head.models.extend(later);
    head.apply_limits(limits)?;
    Ok(KindRequest { kind, head, content: Content::default(), fields: Fields::Json(kept) })
}

fn read_form<'a>(
    kind: Kind,
    content_type: &'a str,
    body: &'a [u8],
    limits: &Limits,
) -> Result<KindRequest<'a>, Invalid> {
    let mut form = Form::read(content_type, body)?;
    let mut head = Head::default();
    let mut kept: Vec<Part<'a>> = Vec::with_capacity(form.parts.len());
    let mut later = Vec::new();
    for part in std::mem::take(&mut form.parts) {
        let name = part.name.as_ref();
        let rule = fields::find(kind, name).map(|(_, rule)| *rule);
        let blank = !part.is_file() && part.content.trim_ascii().is_empty();
        let own = rule.is_none() && GATEWAY_FIELDS.contains(&own_name(name));
        if blank && (rule.is_some() || own) {
            continue;
        }
        if own {
            later.extend(set_aside(&part, &mut head, limits)?);
            continue;
        }
        if !fields::may_repeat(name, rule) && kept.iter().any(|seen| seen.name == name) {
            return Err(Invalid::at(name, format!("`{name}` occurs twice")));
        }
        if rule.is_none() && names_a_place(name) {
            let message = format!("`{name}` is not supported: send the file itself, as `file` or `image`");
            return Err(Invalid::at(name, message));
        }
        if rule == Some(Rule::File) && !part.is_file() {
            return Err(Invalid::at(name, format!("`{name}` must be an uploaded file")));
        }
        let text = match (rule, part.is_file()) {
            (Some(rule), _) if rule != Rule::File => {
                let text = part.text().filter(|_| !part.is_file());
                let text =
                    text.ok_or_else(|| Invalid::at(name, format!("`{name}` must be a plain field")))?;
                fields::check_text(name, rule, text)?;
                text
            }
            _ => part.text().unwrap_or_default(),
        };
        if rule == Some(Rule::Model) {
            head.models.push(Cow::Borrowed(text));
        }
        kept.push(part);
    }
    if kept.len().saturating_add(later.len()) > limits.members_max {
        return Err(Invalid { param: None, message: "the form has too many parts".into() });
    }
    head.models.extend(later);
    head.append_fallbacks(limits)?;
    form.parts = kept;
    Ok(KindRequest { kind, head, content: Content::default(), fields: Fields::Form(form) })
}

/// Whether a document or an image is named by an object that a provider stores.
fn references_stored_objects(member: &Member<'_>) -> bool {
    let by_address = |value: Raw<'_>| {
        let url = value.text().or_else(|| value.member("url").and_then(Raw::text));
        url.is_some_and(|url| is_kept_at(&url))
    };
    match member.key.as_ref() {
        "document" | "image" => {
            let value = member.value;
            value.member("file_id").is_some()
                || ["document_url", "image_url"].iter().any(|name| value.member(name).is_some_and(by_address))
        }
        "file_id" => true,
        _ => false,
    }
}

/// Removes a field of the gateway from a form; also a model name.
fn set_aside<'a>(
    part: &Part<'a>,
    head: &mut Head<'a>,
    limits: &Limits,
) -> Result<Option<Cow<'a, str>>, Invalid> {
    let name = part.name.as_ref();
    let text = part.text().filter(|_| !part.is_file());
    let text = text.ok_or_else(|| Invalid::at(own_name(name), "this must be a plain field".into()))?;
    if matches!(name, "models" | "models[]") {
        return Ok(Some(Cow::Borrowed(text)));
    }
    if head.gateway_options.field(name, text, limits)? || matches!(text.trim(), "null" | "{}" | "[]") {
        return Ok(None);
    }
    Err(unsupported_own(own_name(name)))
}

/// The field that a form's name like `extra[byok]` belongs to.
fn own_name(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// Whether an unknown field of a form names a file elsewhere: a provider may use it in place of the file that was
/// measured.
fn names_a_place(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["url", "uri", "file_id"].iter().any(|word| name.contains(word))
}

fn unsupported_own(name: &str) -> Invalid {
    Invalid::at(name, format!("`{name}` is not supported; leave it out"))
}

/// Model names: one, or a list.
fn models<'a>(name: &str, value: Raw<'a>, models: &mut Vec<Cow<'a, str>>) -> Result<(), Invalid> {
    let mut one = |path: &str, value: Raw<'a>| {
        let text = value.text().ok_or_else(|| Invalid::kind(path, "a string".into(), value.kind()))?;
        if text.trim().is_empty() {
            return Err(Invalid::at(path, format!("`{path}` must not be empty")));
        }
        models.push(text);
        Ok(())
    };
    match value.kind() {
        Json::String if name == "model" => one(name, value),
        Json::Array if name == "models" || !value.is_empty() => {
            let elements = value.elements();
            elements
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| one(&format!("{name}[{index}]"), *value))
        }
        Json::Array => Err(Invalid::at(name, format!("`{name}` must not be empty"))),
        kind => Err(Invalid::kind(name, "a string or a list of strings".into(), kind)),
    }
}

/// These endpoints answer at once and whole; they do not offer a stream of events.
fn refuse_streams(request: &KindRequest<'_>) -> Result<(), Invalid> {
    let streams = match &request.fields {
        Fields::Json(_) => request.raw("stream").is_some_and(|value| value.get() == "true"),
        Fields::Form(form) => form
            .part("stream")
            .and_then(Part::text)
            .is_some_and(|text| matches!(text.to_ascii_lowercase().as_str(), "true" | "1")),
    };
    if streams && request.kind != Kind::Speech {
        return Err(Invalid::at("stream", "`stream` is not supported on this endpoint yet".into()));
    }
    Ok(())
}

fn measure(request: &mut KindRequest<'_>) -> Result<(), Invalid> {
    let required: &[&str] = match request.kind {
        Kind::Embeddings if request.raw("text").is_some() => &["text"],
        Kind::Embeddings | Kind::Speech | Kind::Moderation => &["input"],
        Kind::Images => &["prompt"],
        Kind::Rerank => &["query", "documents"],
        Kind::Ocr => &["document"],
        Kind::ImageEdits => &["prompt"],
        Kind::Transcription | Kind::Translation => &["file"],
        Kind::Conversation(_) => &[],
    };
    for name in required {
        let is_empty = |value: Raw<'_>| value.is_empty() || value.get() == "\"\"";
        let given = match &request.fields {
            Fields::Json(_) => request.raw(name).is_some_and(|value| !is_empty(value)),
            Fields::Form(form) => form.part(name).is_some_and(|part| !part.content.is_empty()),
        };
        if !given {
            return Err(Invalid::at(name, format!("`{name}` is missing")));
        }
    }
    if request.kind == Kind::Embeddings && request.raw("text").is_some() && request.raw("input").is_some() {
        return Err(Invalid::at("text", "`text` is another name for `input`: send one of them".into()));
    }
    let (mut bytes, mut pieces, mut chunks) = (0u64, 0u64, 0u64);
    each_text(request, &mut |text| {
        bytes = bytes.saturating_add(wide(text.len()));
        pieces = pieces.saturating_add(1);
        chunks = chunks.saturating_add(1).saturating_add(wide(text.len()) / CHUNK_TOKENS);
    });
    let documents = request.raw("documents").map_or(0, |list| wide(list.elements().len()));
    // Every document is read together with the query.
    let query = request.text("query").map_or(0, |query| wide(query.len()));
    request.head.facts.text_bytes = bytes.saturating_add(documents.saturating_mul(query));
    request.content.pieces = pieces;
    match request.kind {
        Kind::Embeddings => measure_token_ids(request),
        Kind::Images | Kind::ImageEdits => measure_images(request)?,
        Kind::Speech => {
            let characters = request.text("input").map_or(0, |input| wide(input.chars().count()));
            let basis = Basis::Counted;
            request.content.usage = Usage { characters, basis, ..Usage::default() };
        }
        Kind::Transcription | Kind::Translation => measure_audio(request),
        Kind::Rerank => {
            let queries = documents.div_ceil(DOCUMENTS_PER_QUERY).max(1);
            request.content.chunks = chunks;
            request.content.usage = Usage { queries, basis: Basis::Estimated, ..Usage::default() };
        }
        Kind::Ocr => {
            request.content.pages = request.raw("pages").and_then(pages);
            // A page that is read into a form of the client's costs more than a plain one, at a price that the
            // catalogue does not have.
            let annotated = ["bbox_annotation_format", "document_annotation_format"];
            request.head.facts.unpriced_tools |= annotated.iter().any(|format| request.has(format));
            request.content.usage = Usage { pages: 1, basis: Basis::Estimated, ..Usage::default() };
        }
        Kind::Moderation | Kind::Conversation(_) => {}
    }
    Ok(())
}

fn measure_token_ids(request: &mut KindRequest<'_>) {
    let Some(input) = request.raw("input").or_else(|| request.raw("text")) else { return };
    let mut ids = 0u64;
    let mut lists = 0u64;
    let mut flat = false;
    for element in input.elements() {
        match element.kind() {
            Json::Number => {
                ids = ids.saturating_add(1);
                flat = true;
            }
            Json::Array => {
                ids = ids.saturating_add(wide(element.elements().len()));
                lists = lists.saturating_add(1);
            }
            _ => {}
        }
    }
    request.content.token_ids = ids;
    request.content.pieces = request.content.pieces.saturating_add(lists).saturating_add(u64::from(flat));
}

fn measure_images(request: &mut KindRequest<'_>) -> Result<(), Invalid> {
    request.head.n = request
        .text("n")
        .as_deref()
        .and_then(|n| n.parse().ok())
        .unwrap_or_else(|| request.raw("n").and_then(Raw::count).unwrap_or(1));
    if let Some(form) = request.form() {
        let images = form.parts.iter().filter(|part| part.name == "image" || part.name == "image[]").count();
        if images == 0 {
            return Err(Invalid::at("image", "`image` is missing".into()));
        }
        let masks = usize::from(form.part("mask").is_some());
        request.content.images = wide(images + masks);
    }
    Ok(())
}

fn measure_audio(request: &mut KindRequest<'_>) {
    let Some(file) = request.form().and_then(|form| form.part("file")) else { return };
    let measured = audio::measure(file.content);
    request.content.audio_bytes = wide(file.content.len());
    request.content.audio_ms_max = measured.most_ms;
    request.content.audio_ms_slow = measured.slow_ms;
    request.content.usage = Usage { audio_ms: measured.ms, basis: measured.basis, ..Usage::default() };
}

/// The number of pages in a list or a text like `0-3,7`.
fn pages(value: Raw<'_>) -> Option<u64> {
    if value.kind() == Json::Array {
        return Some(wide(value.elements().len()));
    }
    let text = value.text()?;
    text.split(',').try_fold(0u64, |sum, span| {
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

/// Every text that a model reads.
fn each_text<'a>(request: &KindRequest<'a>, each: &mut dyn FnMut(Cow<'a, str>)) {
    let names: &[&str] = match request.kind {
        Kind::Embeddings => &["input", "text"],
        Kind::Moderation => &["input"],
        Kind::Images | Kind::ImageEdits => &["prompt"],
        Kind::Speech => &["input", "instructions"],
        Kind::Transcription | Kind::Translation => &["prompt"],
        Kind::Rerank => &["query", "documents"],
        Kind::Ocr => &["document_annotation_prompt"],
        Kind::Conversation(_) => &[],
    };
    for name in names {
        match &request.fields {
            Fields::Form(_) => request.text(name).into_iter().for_each(&mut *each),
            Fields::Json(_) => {
                let Some(value) = request.raw(name) else { continue };
                match value.kind() {
                    // The provider decides which fields of a document are read.
                    Json::Array if request.kind == Kind::Rerank => {
                        let whole = |value: Raw<'a>| value.text().unwrap_or(Cow::Borrowed(value.get()));
                        value.elements().into_iter().map(whole).for_each(&mut *each);
                    }
                    Json::Array => value.elements().into_iter().for_each(|element| text_of(element, each)),
                    _ => text_of(value, each),
                }
            }
        }
    }
}

fn text_of<'a>(value: Raw<'a>, each: &mut dyn FnMut(Cow<'a, str>)) {
    match value.kind() {
        Json::String => value.text().into_iter().for_each(each),
        Json::Object => {
            value.member("text").and_then(Raw::text).into_iter().for_each(each);
        }
        _ => {}
    }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
