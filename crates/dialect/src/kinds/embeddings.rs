//! Embeddings, in OpenAI's format for the client. OpenAI's own SDKs request base64 by default, and one of them silently
//! misreads numbers in its place, so the answer always has the requested format.

use super::{
    At, Edits, Expected, KindRequest, Refused, Wanted, Written,
    answer::{Made, count, entries, tokens},
    edits, no_such_form,
};
use crate::{
    json::{JsonError, Kind as Json, ObjectWriter, Raw, push_text},
    target::Unsupported,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute_domain::{
    provider::Shape,
    usage::{Basis, Usage},
};
use std::fmt::Write;

const TOGETHER: Edits = Edits {
    renamed: &[("text", "input")],
    kept: Some(&["input"]),
    dropped: &["user", "input_type"],
    silent: &["encoding_format"],
    ..edits::PLAIN
};
const MISTRAL: Edits = Edits {
    renamed: &[("text", "input"), ("dimensions", "output_dimension")],
    kept: Some(&["input", "output_dimension", "output_dtype", "metadata"]),
    dropped: &["user", "input_type"],
    silent: &["encoding_format"],
    ..edits::PLAIN
};
const PERPLEXITY: Edits = Edits {
    renamed: &[("text", "input")],
    kept: Some(&["input", "dimensions"]),
    dropped: &["user", "input_type"],
    silent: &["encoding_format"],
    added: &[("encoding_format", "\"base64_int8\"")],
};
/// The fields that a body written by the gateway can express.
const ANEW: Edits = Edits {
    kept: Some(&["truncate"]),
    dropped: &["user"],
    silent: &["input", "text", "dimensions", "output_dimension", "input_type", "encoding_format"],
    ..edits::PLAIN
};

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    let format = request.text("encoding_format");
    let wanted = Wanted::Vectors { base64: format.as_deref() == Some("base64") };
    let shape = at.serves.shape;
    if shape == Shape::OpenAi {
        return request.edited(at, &Edits { renamed: &[("text", "input")], ..edits::PLAIN }, wanted);
    }
    if format.is_some_and(|format| !matches!(&*format, "float" | "base64")) {
        return Err(Unsupported::because("encoding_format", ": only `float` and `base64`"));
    }
    if request.content.token_ids > 0 && shape != Shape::Together {
        return Err(Unsupported::because("input", ": this provider does not accept token ids, send text"));
    }
    if request.raw("dimensions").is_some() && request.raw("output_dimension").is_some() {
        return Err(Unsupported::because(
            "output_dimension",
            ": it is another name for `dimensions`, send one",
        ));
    }
    let hint = match (shape, texts(request).len()) {
        (Shape::Cohere, 97..) => Some(": at most 96 texts per request"),
        (Shape::Gemini, 101..) => Some(": at most 100 texts per request"),
        (Shape::Perplexity, 513..) => Some(": at most 512 texts per request"),
        _ => None,
    };
    if let Some(hint) = hint {
        return Err(Unsupported::because("input", hint));
    }
    match shape {
        Shape::Together => request.edited(at, &TOGETHER, wanted),
        Shape::Mistral => request.edited(at, &MISTRAL, wanted),
        Shape::Perplexity => request.edited(at, &PERPLEXITY, wanted),
        Shape::Cohere => cohere(request, at, wanted),
        Shape::Gemini => gemini(request, at, wanted),
        Shape::OpenAi | Shape::Xai => Err(no_such_form(shape)),
    }
}

/// The texts, as the client wrote them.
fn texts<'a>(request: &KindRequest<'a>) -> Vec<Raw<'a>> {
    match request.raw("input").or_else(|| request.raw("text")) {
        Some(input) if input.kind() == Json::Array => input.elements(),
        Some(input) => vec![input],
        None => Vec::new(),
    }
}

fn dimensions<'a>(request: &KindRequest<'a>) -> Option<Raw<'a>> {
    request.raw("dimensions").or_else(|| request.raw("output_dimension"))
}

fn cohere(request: &KindRequest<'_>, at: &At<'_>, wanted: Wanted) -> Result<Written, Unsupported> {
    let texts = texts(request);
    if request.raw("output_dtype").is_some_and(|dtype| dtype.get() != "\"float\"") {
        return Err(Unsupported::field("output_dtype"));
    }
    let dropped = request.left_out(&Edits { silent: COHERE_SILENT, ..ANEW })?;
    let mut out = ObjectWriter::new();
    out.text("model", at.model);
    list(out.key("texts"), &texts, |out, text| out.extend_from_slice(text.get().as_bytes()));
    out.raw("input_type", request.raw("input_type").map_or("\"search_document\"", Raw::get));
    out.raw("embedding_types", r#"["float"]"#);
    if let Some(size) = dimensions(request) {
        out.raw("output_dimension", size.get());
    }
    if let Some(truncate) = request.raw("truncate") {
        out.raw("truncate", truncate.get());
    }
    Ok(Written::json(out.end(), dropped, wanted))
}

const COHERE_SILENT: &[&str] =
    &["input", "text", "dimensions", "output_dimension", "input_type", "encoding_format", "output_dtype"];

fn gemini(request: &KindRequest<'_>, at: &At<'_>, wanted: Wanted) -> Result<Written, Unsupported> {
    let mut dropped = request.left_out(&ANEW)?;
    // It is supported elsewhere, and known here.
    if request.raw("truncate").is_some() {
        dropped.push("truncate".into());
    }
    let task = request.text("input_type").map(|task| task_type(&task)).transpose()?;
    let mut out = ObjectWriter::new();
    list(out.key("requests"), &texts(request), |out, text| {
        let mut one = ObjectWriter::new();
        one.text("model", &format!("models/{}", at.model));
        one.raw("content", &format!(r#"{{"parts":[{{"text":{}}}]}}"#, text.get()));
        if let Some(task) = task {
            one.text("taskType", task);
        }
        if let Some(size) = dimensions(request) {
            one.raw("outputDimensionality", size.get());
        }
        out.extend(one.end());
    });
    Ok(Written::json(out.end(), dropped, wanted))
}

/// Cohere's word for the purpose of the vectors, in Google's words.
fn task_type(input_type: &str) -> Result<&'static str, Unsupported> {
    Ok(match input_type {
        "search_document" => "RETRIEVAL_DOCUMENT",
        "search_query" => "RETRIEVAL_QUERY",
        "classification" => "CLASSIFICATION",
        "clustering" => "CLUSTERING",
        _ => return Err(Unsupported::field("input_type")),
    })
}

/// One vector as the provider wrote it.
enum Vector<'a> {
    Numbers(Raw<'a>),
    /// Of 32-bit floats.
    Base64(Raw<'a>),
    /// Of signed bytes.
    Bytes(Raw<'a>),
}

pub(super) fn read(expected: &Expected, answer: Raw<'_>) -> Result<Made, Refused> {
    let base64 = expected.wanted == Wanted::Vectors { base64: true };
    let usage = match expected.shape {
        Shape::Cohere => {
            answer.member("meta").and_then(|meta| meta.member("billed_units")).and_then(|units| {
                let input = count(units, "input_tokens")?;
                Some(Usage { input, basis: Basis::Reported, ..Usage::default() })
            })
        }
        Shape::Gemini => None,
        _ => tokens(answer),
    };
    let vectors = vectors(expected.shape, answer).ok_or(Refused::Unreadable)?;
    let fits = vectors.iter().all(|vector| match vector {
        Vector::Numbers(_) => !base64,
        Vector::Base64(_) => base64,
        Vector::Bytes(_) => false,
    });
    let written_anew = matches!(expected.shape, Shape::Cohere | Shape::Gemini);
    let written = answer.member("usage").is_some();
    let made = if fits && !written_anew {
        Made::passed(usage)
    } else {
        let body = write_answer(expected, answer, &vectors, base64, usage.as_ref());
        Made::object(body.ok_or(Refused::Unreadable)?, usage)
    };
    Ok(Made { lacks_usage: usage.is_none() && !written, ..made })
}

fn vectors<'a>(shape: Shape, answer: Raw<'a>) -> Option<Vec<Vector<'a>>> {
    let of = |value: Raw<'a>| match value.kind() {
        Json::Array => Some(Vector::Numbers(value)),
        Json::String if shape == Shape::Perplexity => Some(Vector::Bytes(value)),
        Json::String => Some(Vector::Base64(value)),
        _ => None,
    };
    match shape {
        Shape::Cohere => {
            let list = entries(answer.member("embeddings")?.member("float"))?;
            list.into_iter().map(of).collect()
        }
        Shape::Gemini => {
            let list = entries(answer.member("embeddings"))?;
            list.into_iter().map(|one| of(one.member("values")?)).collect()
        }
        _ => {
            let list = entries(answer.member("data"))?;
            list.into_iter().map(|one| of(one.member("embedding")?)).collect()
        }
    }
}

/// OpenAI's list; if the provider's own answer has that format, its other members are kept.
fn write_answer(
    expected: &Expected,
    answer: Raw<'_>,
    vectors: &[Vector<'_>],
    base64: bool,
    usage: Option<&Usage>,
) -> Option<Vec<u8>> {
    let mut out = ObjectWriter::with_capacity(answer.len());
    let mut data = Vec::with_capacity(answer.len());
    let mut entries = Vec::with_capacity(vectors.len());
    for (index, vector) in vectors.iter().enumerate() {
        let mut entry = ObjectWriter::new();
        entry.text("object", "embedding");
        entry.raw("index", &index.to_string());
        push_vector(entry.key("embedding"), vector, base64)?;
        entries.push(entry.end());
    }
    list(&mut data, &entries, |out, entry| out.extend_from_slice(entry));
    let data = String::from_utf8(data).ok()?;
    out.text("object", "list");
    out.raw("data", &data);
    match expected.shape {
        Shape::Cohere | Shape::Gemini => {
            out.text("model", &expected.model);
            if let Some(usage) = usage {
                let tokens = usage.prompt();
                out.raw("usage", &format!(r#"{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#));
            }
        }
        _ => {
            for member in answer.members() {
                if !matches!(&*member.key, "object" | "data") {
                    out.raw_key(member.raw_key).extend_from_slice(member.value.get().as_bytes());
                }
            }
        }
    }
    Some(out.end())
}

fn push_vector(out: &mut Vec<u8>, vector: &Vector<'_>, base64: bool) -> Option<()> {
    match vector {
        Vector::Numbers(numbers) if !base64 => out.extend_from_slice(numbers.get().as_bytes()),
        Vector::Base64(text) if base64 => out.extend_from_slice(text.get().as_bytes()),
        Vector::Numbers(numbers) => {
            let mut floats: Vec<f32> = Vec::new();
            let walked = numbers.cursor().array::<JsonError>(|cursor, _| {
                let number = cursor.value()?.get().parse();
                floats.push(number.map_err(|_| cursor.error("no number"))?);
                Ok(())
            });
            walked.ok()?;
            push_base64(out, floats.into_iter());
        }
        Vector::Base64(text) => {
            let bytes = STANDARD.decode(text.text()?.as_bytes()).ok()?;
            let (floats, rest) = bytes.as_chunks::<4>();
            rest.is_empty()
                .then(|| push_numbers(out, floats.iter().map(|bytes| f32::from_le_bytes(*bytes))))?;
        }
        Vector::Bytes(text) => {
            let bytes = STANDARD.decode(text.text()?.as_bytes()).ok()?;
            let numbers = bytes.iter().map(|byte| f32::from(byte.cast_signed()));
            match base64 {
                true => push_base64(out, numbers),
                false => push_numbers(out, numbers),
            }
        }
    }
    Some(())
}

fn push_base64(out: &mut Vec<u8>, numbers: impl Iterator<Item = f32>) {
    let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    push_text(out, &STANDARD.encode(bytes));
}

fn push_numbers(out: &mut Vec<u8>, numbers: impl Iterator<Item = f32>) {
    let mut text = String::from("[");
    for (index, number) in numbers.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a String cannot fail. NaN has no JSON form.
        let _ = match number.is_finite() {
            true => write!(text, "{comma}{number}"),
            false => write!(text, "{comma}null"),
        };
    }
    text.push(']');
    out.extend_from_slice(text.as_bytes());
}

fn list<T>(out: &mut Vec<u8>, entries: &[T], each: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(out, entry);
    }
    out.push(b']');
}
