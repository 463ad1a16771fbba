//! Judgements about a text, and the text of a document.

use super::{
    super::{json::quoted, request::Asked},
    Amounts, Answer, Kind, Verdict, count, joined, member, refuse_if, text,
};
use serde_json::Value;

const OPENAI_CATEGORIES: &[&str] = &[
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

const MISTRAL_CATEGORIES: &[&str] = &[
    "sexual",
    "hate_and_discrimination",
    "violence_and_threats",
    "dangerous_and_criminal_content",
    "selfharm",
    "health",
    "financial",
    "law",
    "pii",
];

pub(super) fn judge(kind: Kind, body: &Value) -> Verdict {
    if kind == Kind::Moderation {
        let known = |input: &Value| input.is_string() || input.get("type").is_some();
        let input = member(body, "input").unwrap_or(&Value::Null);
        let good = input.is_string() || input.as_array().is_some_and(|inputs| inputs.iter().all(known));
        return refuse_if(!good, "input", "must be text or a list");
    }
    let document = member(body, "document").unwrap_or(&Value::Null);
    let place = match text(document, "type") {
        "document_url" => "document_url",
        "image_url" => "image_url",
        "file" => "file_id",
        _ => return refuse_if(true, "document.type", "must be one of document_url, image_url, file"),
    };
    refuse_if(member(document, place).is_none(), &format!("document.{place}"), "field required")
}

/// Free. OpenAI judges the parts of a list of images and texts as one.
pub(super) fn moderation(asked: &Asked<'_>, body: &Value) -> Answer {
    let openai = asked.row.id == "openai";
    let inputs = match member(body, "input").and_then(Value::as_array) {
        Some(inputs) if inputs.iter().all(Value::is_string) => inputs.len(),
        _ => 1,
    };
    let flagged = &asked.script.kinds.flagged;
    let found = |name: &str| flagged.iter().any(|flagged| flagged == name);
    let known = if openai { OPENAI_CATEGORIES } else { MISTRAL_CATEGORIES };
    let categories = joined(known.iter().map(|name| format!(r#""{name}":{}"#, found(name))));
    let scores = joined(
        known.iter().map(|name| format!(r#""{name}":{}"#, if found(name) { "0.97" } else { "3.1e-5" })),
    );
    let result = if openai {
        let kinds = joined(known.iter().map(|name| format!(r#""{name}":["text"]"#)));
        format!(
            r#"{{"flagged":{},"categories":{{{categories}}},"category_scores":{{{scores}}},"category_applied_input_types":{{{kinds}}}}}"#,
            !flagged.is_empty()
        )
    } else {
        format!(r#"{{"categories":{{{categories}}},"category_scores":{{{scores}}}}}"#)
    };
    let results = joined(std::iter::repeat_n(result, inputs));
    let model = if asked.model.is_empty() { "omni-moderation-latest" } else { &asked.model };
    Answer::json(format!(
        r#"{{"id":"modr-simulated{}","model":{},"results":[{results}]}}"#,
        asked.serial,
        quoted(model)
    ))
}

pub(super) fn ocr(asked: &Asked<'_>) -> Answer {
    let script = asked.script;
    let pages = script.kinds.pages.clone().unwrap_or_else(|| vec![script.chunks.concat()]);
    let read = pages.iter().enumerate().map(|(index, markdown)| {
        format!(
            r#"{{"index":{index},"markdown":{},"images":[],"dimensions":{{"dpi":200,"height":2200,"width":1700}}}}"#,
            quoted(markdown)
        )
    });
    let processed = count(pages.len());
    Answer::json(format!(
        r#"{{"pages":[{}],"model":{},"document_annotation":null,"usage_info":{{"pages_processed":{processed},"doc_size_bytes":3002}}}}"#,
        joined(read),
        quoted(&asked.model),
    ))
    .amounts(Amounts { pages: processed, ..Amounts::default() })
}
