//! Images, in OpenAI's format for the client: generated from text, or from images and text. Nothing is fetched and
//! nothing is scaled; a size that a provider cannot generate is refused.

use super::{
    At, Edits, Expected, KindRequest, Refused, Wanted, Written,
    answer::{Made, count, entries},
    edits, gemini, no_such_form,
};
use crate::{
    json::{ObjectWriter, Raw, push_text, with_member},
    target::Unsupported,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kairosroute_domain::{
    kind::Kind,
    provider::Shape,
    usage::{Basis, Usage},
};

/// OpenAI's current models return only base64, and have no styles.
const OPENAI: Edits = Edits { dropped: &["style"], silent: &["response_format"], ..edits::PLAIN };
/// xAI's: a ratio and a resolution instead of a size.
const XAI: Edits = Edits {
    kept: Some(&["prompt", "n", "response_format", "aspect_ratio", "resolution", "user"]),
    dropped: &["quality", "style", "moderation"],
    silent: &["size", "stream", "partial_images"],
    ..edits::PLAIN
};
/// Google's: the gateway writes the whole body.
const GEMINI: Edits = Edits {
    kept: Some(&[]),
    dropped: &["quality", "style", "moderation", "user", "input_fidelity"],
    silent: &[
        "prompt",
        "n",
        "size",
        "aspect_ratio",
        "resolution",
        "response_format",
        "image",
        "image[]",
        "stream",
        "partial_images",
    ],
    ..edits::PLAIN
};

/// Sizes of OpenAI's API as ratio and resolution.
const SIZES: &[(&str, &str, &str)] = &[
    ("256x256", "1:1", "1k"),
    ("512x512", "1:1", "1k"),
    ("1024x1024", "1:1", "1k"),
    ("1536x1024", "3:2", "1k"),
    ("1024x1536", "2:3", "1k"),
    ("1792x1024", "16:9", "1k"),
    ("1024x1792", "9:16", "1k"),
    ("2048x2048", "1:1", "2k"),
    ("2048x1152", "16:9", "2k"),
    ("1152x2048", "9:16", "2k"),
];

pub(super) fn write(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    match at.serves.shape {
        Shape::OpenAi => openai(request, at),
        Shape::Xai => {
            let mut written = request.edited(at, &XAI, Wanted::Object)?;
            if let Some((ratio, resolution)) = size(request)? {
                let with =
                    |body: &[u8], name: &str, text: &str| with_member(body, name, &format!("\"{text}\""));
                let sized = with(&written.body, "aspect_ratio", ratio);
                let sized = sized.and_then(|body| with(&body, "resolution", resolution));
                written.body = sized.unwrap_or(written.body);
            }
            Ok(written)
        }
        Shape::Gemini => write_gemini(request),
        shape => Err(no_such_form(shape)),
    }
}

pub(super) fn write_edit(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    match at.serves.shape {
        Shape::OpenAi => openai(request, at),
        Shape::Gemini => write_gemini(request),
        shape => Err(no_such_form(shape)),
    }
}

fn openai(request: &KindRequest<'_>, at: &At<'_>) -> Result<Written, Unsupported> {
    if at.model.starts_with("dall-e") {
        return request.edited(at, &edits::PLAIN, Wanted::Object);
    }
    only_base64(request)?;
    request.edited(at, &OPENAI, Wanted::Object)
}

fn only_base64(request: &KindRequest<'_>) -> Result<(), Unsupported> {
    match request.text("response_format") {
        Some(format) if format != "b64_json" => {
            Err(Unsupported::because("response_format", ": only `b64_json`"))
        }
        _ => Ok(()),
    }
}

/// Ratio and resolution of the requested size.
fn size(request: &KindRequest<'_>) -> Result<Option<(&'static str, &'static str)>, Unsupported> {
    let Some(size) = request.text("size").filter(|size| size != "auto") else { return Ok(None) };
    if request.raw("aspect_ratio").is_some() || request.raw("resolution").is_some() {
        return Err(Unsupported::because("size", ": send it, or `aspect_ratio` and `resolution`"));
    }
    let known = SIZES.iter().find(|(name, ..)| *name == size);
    let (_, ratio, resolution) = known.ok_or_else(|| {
        Unsupported::because(
            "size",
            ": it cannot make images of this size; leave it out, or name another size",
        )
    })?;
    Ok(Some((ratio, resolution)))
}

fn write_gemini(request: &KindRequest<'_>) -> Result<Written, Unsupported> {
    let dropped = request.left_out(&GEMINI)?;
    if request.head.n > 1 {
        return Err(Unsupported::because("n", ": it must be 1"));
    }
    only_base64(request)?;
    let mut parts = Vec::new();
    if let Some(form) = request.form() {
        for part in form.parts.iter().filter(|part| matches!(&*part.name, "image" | "image[]")) {
            let mime = part.content_type.unwrap_or("image/png");
            parts.push(gemini::data_part(mime, &STANDARD.encode(part.content)));
        }
    }
    let mut prompt = Vec::new();
    match request.raw("prompt") {
        Some(prompt_json) => prompt.extend_from_slice(prompt_json.get().as_bytes()),
        None => push_text(&mut prompt, &request.text("prompt").unwrap_or_default()),
    }
    parts.push(gemini::text_part(&String::from_utf8_lossy(&prompt)));
    let mut config = ObjectWriter::new();
    config.raw("responseModalities", r#"["IMAGE"]"#);
    let sized = size(request)?;
    let ratio = request.text("aspect_ratio").or(sized.map(|(ratio, _)| ratio.into()));
    let resolution = request.text("resolution").or(sized.map(|(_, resolution)| resolution.into()));
    if ratio.is_some() || resolution.is_some() {
        let mut image = ObjectWriter::new();
        if let Some(ratio) = ratio {
            image.text("aspectRatio", &ratio);
        }
        if let Some(resolution) = resolution {
            image.text("imageSize", &resolution.to_ascii_uppercase());
        }
        config.key("imageConfig").extend(image.end());
    }
    Ok(Written::json(gemini::request(&parts, config.end()), dropped, Wanted::Object))
}

pub(super) fn read(expected: &Expected, answer: Raw<'_>) -> Result<Made, Refused> {
    if expected.shape == Shape::Gemini {
        return read_gemini(expected, answer);
    }
    let data = entries(answer.member("data")).ok_or(Refused::Unreadable)?;
    let images = u64::try_from(data.len()).unwrap_or(u64::MAX);
    let usage = match tokens(answer) {
        Some(tokens) => Usage { images, ..tokens },
        None => Usage { images, basis: Basis::Counted, ..Usage::default() },
    };
    if answer.member("created").is_some() {
        return Ok(Made::passed(Some(usage)));
    }
    // OpenAI's SDKs require a date in an answer.
    let dated = with_member(answer.get().as_bytes(), "created", &expected.created.to_string());
    Ok(Made::object(dated.ok_or(Refused::Unreadable)?, Some(usage)))
}

/// `usage` of OpenAI's image models: input is text and images, output is images unless stated otherwise.
fn tokens(answer: Raw<'_>) -> Option<Usage> {
    let usage = answer.member("usage")?;
    let (input, output) = (count(usage, "input_tokens")?, count(usage, "output_tokens")?);
    let of = |side: &str, name: &str| usage.member(side).and_then(|details| count(details, name));
    let image_input = of("input_tokens_details", "image_tokens").unwrap_or(0);
    let text = input.saturating_sub(image_input);
    let cache_read = of("input_tokens_details", "cached_tokens").unwrap_or(0).min(text);
    let written = of("output_tokens_details", "text_tokens").unwrap_or(0).min(output);
    Some(Usage {
        input: text - cache_read,
        cache_read,
        image_input,
        output: written,
        image_output: output - written,
        basis: Basis::Reported,
        ..Usage::default()
    })
}

fn read_gemini(expected: &Expected, answer: Raw<'_>) -> Result<Made, Refused> {
    let parts = gemini::parts(answer)?;
    if parts.data.is_empty() {
        return Err(Refused::Blocked("the model answered without a picture".to_owned()));
    }
    let images = u64::try_from(parts.data.len()).unwrap_or(u64::MAX);
    let usage = match gemini::usage(answer, Kind::Images) {
        Some(usage) => Usage { images, ..usage },
        None => Usage { images, basis: Basis::Counted, ..Usage::default() },
    };
    let data: Vec<String> =
        parts.data.iter().map(|(_, base64)| format!(r#"{{"b64_json":{}}}"#, base64.get())).collect();
    let mut out = ObjectWriter::new();
    out.raw("created", &expected.created.to_string());
    out.raw("data", &format!("[{}]", data.join(",")));
    let (input, output) = (usage.prompt(), usage.completion());
    let (text, image) = (input - usage.image_input, usage.image_input);
    out.raw(
        "usage",
        &format!(
            r#"{{"input_tokens":{input},"output_tokens":{output},"total_tokens":{},"input_tokens_details":{{"text_tokens":{text},"image_tokens":{image}}}}}"#,
            input.saturating_add(output)
        ),
    );
    Ok(Made::object(out.end(), Some(usage)))
}
