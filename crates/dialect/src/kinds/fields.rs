//! The documented fields of every endpoint kind and their allowed values. A field that is in no table passes unchecked
//! to a provider of the same format, and is listed as dropped elsewhere.

use crate::{
    json::{Kind as Json, Raw},
    request::Invalid,
};
use kairosroute_domain::kind::Kind;

/// The allowed values of a documented field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    Model,
    Text,
    Flag,
    /// A number from the first to the second.
    Number(i32, i32),
    /// A whole number from the first to the second.
    Count(u64, u64),
    Texts,
    Object,
    TextOrObject,
    /// Text, texts, token ids, or lists of token ids.
    Input,
    /// Text, texts, or parts of text and images.
    Screened,
    /// Texts, or objects that contain text.
    Documents,
    /// Pages: a list of numbers, or text like `0-3`.
    Pages,
    /// An uploaded file; only in forms.
    File,
}

/// One field of one kind.
pub(super) type Field = (&'static str, Rule);

/// Entries of a list of texts, token lists or documents.
const ENTRIES_MAX: usize = 16_384;
/// Token ids of a request: three times what the provider that accepts them allows.
const TOKEN_IDS_MAX: usize = 1 << 20;

const EMBEDDINGS: &[Field] = &[
    ("model", Rule::Model),
    ("input", Rule::Input),
    ("text", Rule::Input),
    ("dimensions", Rule::Count(1, 1 << 20)),
    ("encoding_format", Rule::Text),
    ("user", Rule::Text),
    ("input_type", Rule::Text),
    ("output_dimension", Rule::Count(1, 1 << 20)),
    ("output_dtype", Rule::Text),
];
const IMAGES: &[Field] = &[
    ("model", Rule::Model),
    ("prompt", Rule::Text),
    ("n", Rule::Count(1, 16)),
    ("size", Rule::Text),
    ("quality", Rule::Text),
    ("style", Rule::Text),
    ("response_format", Rule::Text),
    ("background", Rule::Text),
    ("moderation", Rule::Text),
    ("output_format", Rule::Text),
    ("output_compression", Rule::Count(0, 100)),
    ("partial_images", Rule::Count(0, 3)),
    ("stream", Rule::Flag),
    ("user", Rule::Text),
    ("aspect_ratio", Rule::Text),
    ("resolution", Rule::Text),
];
const IMAGE_EDITS: &[Field] = &[
    ("model", Rule::Model),
    ("image", Rule::File),
    ("image[]", Rule::File),
    ("mask", Rule::File),
    ("prompt", Rule::Text),
    ("n", Rule::Count(1, 16)),
    ("size", Rule::Text),
    ("quality", Rule::Text),
    ("response_format", Rule::Text),
    ("background", Rule::Text),
    ("moderation", Rule::Text),
    ("input_fidelity", Rule::Text),
    ("output_format", Rule::Text),
    ("output_compression", Rule::Count(0, 100)),
    ("partial_images", Rule::Count(0, 3)),
    ("stream", Rule::Flag),
    ("user", Rule::Text),
];
const SPEECH: &[Field] = &[
    ("model", Rule::Model),
    ("input", Rule::Text),
    ("voice", Rule::TextOrObject),
    ("instructions", Rule::Text),
    ("response_format", Rule::Text),
    ("speed", Rule::Number(0, 4)),
    ("stream_format", Rule::Text),
];
const TRANSCRIPTION: &[Field] = &[
    ("model", Rule::Model),
    ("file", Rule::File),
    ("language", Rule::Text),
    ("prompt", Rule::Text),
    ("response_format", Rule::Text),
    ("temperature", Rule::Number(0, 1)),
    ("timestamp_granularities", Rule::Texts),
    ("timestamp_granularities[]", Rule::Texts),
    ("include", Rule::Texts),
    ("include[]", Rule::Texts),
    ("chunking_strategy", Rule::Text),
    ("known_speaker_names", Rule::Texts),
    ("known_speaker_names[]", Rule::Texts),
    ("known_speaker_references", Rule::Texts),
    ("known_speaker_references[]", Rule::Texts),
    ("languages", Rule::Texts),
    ("languages[]", Rule::Texts),
    ("keywords", Rule::Texts),
    ("keywords[]", Rule::Texts),
    ("stream", Rule::Flag),
    ("diarize", Rule::Flag),
];
const TRANSLATION: &[Field] = &[
    ("model", Rule::Model),
    ("file", Rule::File),
    ("prompt", Rule::Text),
    ("response_format", Rule::Text),
    ("temperature", Rule::Number(0, 1)),
];
const MODERATION: &[Field] = &[("model", Rule::Model), ("input", Rule::Screened)];
const RERANK: &[Field] = &[
    ("model", Rule::Model),
    ("query", Rule::Text),
    ("documents", Rule::Documents),
    ("top_n", Rule::Count(1, u64::MAX)),
    ("max_tokens_per_doc", Rule::Count(1, u64::MAX)),
    ("max_chunks_per_doc", Rule::Count(1, u64::MAX)),
    ("return_documents", Rule::Flag),
    ("rank_fields", Rule::Texts),
    ("priority", Rule::Count(0, 999)),
];
const OCR: &[Field] = &[
    ("model", Rule::Model),
    ("document", Rule::Object),
    ("pages", Rule::Pages),
    ("include_image_base64", Rule::Flag),
    ("image_limit", Rule::Count(0, u64::MAX)),
    ("image_min_size", Rule::Count(0, u64::MAX)),
    ("bbox_annotation_format", Rule::Object),
    ("document_annotation_format", Rule::Object),
    ("document_annotation_prompt", Rule::Text),
    ("table_format", Rule::Text),
    ("id", Rule::Text),
];

/// The table of a kind.
pub(super) fn of(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Embeddings => EMBEDDINGS,
        Kind::Images => IMAGES,
        Kind::ImageEdits => IMAGE_EDITS,
        Kind::Speech => SPEECH,
        Kind::Transcription => TRANSCRIPTION,
        Kind::Translation => TRANSLATION,
        Kind::Moderation => MODERATION,
        Kind::Rerank => RERANK,
        Kind::Ocr => OCR,
        Kind::Conversation(_) => &[],
    }
}

/// The documented field of that name, as a static name.
pub(super) fn find(kind: Kind, name: &str) -> Option<&'static Field> {
    of(kind).iter().find(|(field, _)| *field == name)
}

/// Whether a field of a form may occur more than once.
pub(super) fn may_repeat(name: &str, rule: Option<Rule>) -> bool {
    matches!(rule, Some(Rule::Texts)) || name == "image" || name.ends_with("[]")
}

/// Refuses a JSON value that is not allowed for a field. `null` counts as absent and is not checked here.
pub(super) fn check(name: &str, rule: Rule, value: Raw<'_>) -> Result<(), Invalid> {
    let kind = value.kind();
    let fits = match rule {
        // Checked where it is used, with its own messages.
        Rule::Model => true,
        Rule::Text => kind == Json::String,
        Rule::Flag => kind == Json::Bool,
        Rule::Number(..) | Rule::Count(..) => kind == Json::Number,
        Rule::Texts | Rule::Documents => kind == Json::Array,
        Rule::Object => kind == Json::Object,
        Rule::TextOrObject => matches!(kind, Json::String | Json::Object),
        Rule::Input | Rule::Screened | Rule::Pages => matches!(kind, Json::String | Json::Array),
        Rule::File => false,
    };
    if !fits {
        return Err(Invalid::kind(name, expected(rule), kind));
    }
    if kind == Json::Array {
        return elements(name, rule, value);
    }
    number(name, rule, value.get())
}

/// Refuses the text of a form field that is not allowed for the field.
pub(super) fn check_text(name: &str, rule: Rule, text: &str) -> Result<(), Invalid> {
    if rule == Rule::Flag && !matches!(text, "true" | "false" | "True" | "False" | "1" | "0") {
        return Err(Invalid::at(name, format!("`{name}` must be true or false")));
    }
    number(name, rule, text)
}

fn number(name: &str, rule: Rule, text: &str) -> Result<(), Invalid> {
    let in_range = match rule {
        Rule::Number(least, most) => {
            text.parse::<f64>().is_ok_and(|number| (f64::from(least)..=f64::from(most)).contains(&number))
        }
        Rule::Count(least, most) => text.parse::<u64>().is_ok_and(|count| (least..=most).contains(&count)),
        _ => true,
    };
    if in_range { Ok(()) } else { Err(Invalid::at(name, format!("`{name}` must be {}", expected(rule)))) }
}

/// Nothing is collected, so that a list of any length needs no memory before it is refused.
fn elements(name: &str, rule: Rule, list: Raw<'_>) -> Result<(), Invalid> {
    let mut first = None;
    let mut ids = 0usize;
    list.cursor().array(|cursor, index| {
        let element = cursor.value()?;
        let (kind, path) = (element.kind(), || format!("{name}[{index}]"));
        if !is_entry(rule, kind) {
            return Err(Invalid::kind(&path(), entry(rule).into(), kind));
        }
        let most = if rule == Rule::Input && kind == Json::Number { TOKEN_IDS_MAX } else { ENTRIES_MAX };
        if index >= most {
            return Err(Invalid::at(name, format!("`{name}` may have at most {most} entries")));
        }
        if rule != Rule::Input {
            return Ok(());
        }
        if *first.get_or_insert(kind) != kind {
            return Err(Invalid::at(name, format!("`{name}` must not mix text and token ids")));
        }
        match kind {
            Json::Number => token_id(name, &path, element, &mut ids),
            Json::Array => {
                element.cursor().array(|cursor, _| token_id(name, &path, cursor.value()?, &mut ids))
            }
            _ => Ok(()),
        }
    })
}

fn token_id(name: &str, path: &dyn Fn() -> String, id: Raw<'_>, ids: &mut usize) -> Result<(), Invalid> {
    *ids = ids.saturating_add(1);
    if *ids > TOKEN_IDS_MAX {
        return Err(Invalid::at(name, format!("`{name}` may have at most {TOKEN_IDS_MAX} token ids")));
    }
    if id.count().is_none() {
        return Err(Invalid::at(&path(), format!("`{}` must be token ids", path())));
    }
    Ok(())
}

fn is_entry(rule: Rule, kind: Json) -> bool {
    match rule {
        Rule::Texts => kind == Json::String,
        Rule::Pages => kind == Json::Number,
        Rule::Documents | Rule::Screened => matches!(kind, Json::String | Json::Object),
        _ => matches!(kind, Json::String | Json::Number | Json::Array),
    }
}

fn entry(rule: Rule) -> &'static str {
    match rule {
        Rule::Texts => "a string",
        Rule::Pages => "a whole number",
        Rule::Documents | Rule::Screened => "a string or an object",
        _ => "a string, a token id or a list of token ids",
    }
}

fn expected(rule: Rule) -> String {
    match rule {
        Rule::Model => "a string, or a list of strings that are tried in order".into(),
        Rule::Text => "a string".into(),
        Rule::Flag => "a boolean".into(),
        Rule::Number(least, most) => format!("a number from {least} to {most}"),
        Rule::Count(least, u64::MAX) => format!("a whole number of at least {least}"),
        Rule::Count(least, most) => format!("a whole number from {least} to {most}"),
        Rule::Texts => "an array of strings".into(),
        Rule::Object => "an object".into(),
        Rule::TextOrObject => "a string or an object".into(),
        Rule::Input => "a string, an array of strings, token ids, or an array of token ids".into(),
        Rule::Screened => "a string, or an array of strings or of parts".into(),
        Rule::Documents => "an array of strings or of objects".into(),
        Rule::Pages => "an array of page numbers or a string like `0-3`".into(),
        Rule::File => "an uploaded file, in a multipart form".into(),
    }
}
