//! Vectors of texts. Their numbers are sent as the script writes them; base64 is made of the floats they mean.

use super::{
    super::request::Asked, Answer, Verdict, Wrong, in_turn, joined, list, member, number, number_within,
    refuse_if, text,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

const GEMINI_TASKS: &[&str] = &[
    "RETRIEVAL_QUERY",
    "RETRIEVAL_DOCUMENT",
    "SEMANTIC_SIMILARITY",
    "CLASSIFICATION",
    "CLUSTERING",
    "QUESTION_ANSWERING",
    "FACT_VERIFICATION",
    "CODE_RETRIEVAL_QUERY",
];

pub(super) fn judge(provider: &str, body: &Value) -> Verdict {
    let formats: &[&str] =
        if provider == "perplexity" { &["base64_int8", "base64_binary"] } else { &["float", "base64"] };
    super::one_of(body, "encoding_format", formats)?;
    let refuses_size = provider == "openai" && text(body, "model") == "text-embedding-ada-002";
    refuse_if(
        refuses_size && member(body, "dimensions").is_some(),
        "dimensions",
        "not supported with this model",
    )?;
    number_within(body, "dimensions", 1..=4096)?;
    number_within(body, "output_dimension", 1..=4096)?;
    let input = member(body, "input").unwrap_or(&Value::Null);
    let takes_tokens = provider == "openai";
    let good = |input: &Value| match input {
        Value::String(text) => !text.is_empty(),
        Value::Array(tokens) => takes_tokens && !tokens.is_empty() && tokens.iter().all(Value::is_u64),
        _ => false,
    };
    let whole = good(input);
    let each = input.as_array().is_some_and(|inputs| inputs.len() <= 2048 && inputs.iter().all(good));
    refuse_if(!whole && !each, "input", "must be text or a list of texts, none of them empty")?;
    refuse_if(provider == "perplexity" && texts(input) > 512, "input", "at most 512")
}

pub(super) fn judge_cohere(body: &Value) -> Verdict {
    super::one_of(
        body,
        "input_type",
        &["search_document", "search_query", "classification", "clustering", "image"],
    )?;
    super::one_of(body, "truncate", &["NONE", "START", "END"])?;
    number_within(body, "output_dimension", 1..=4096)?;
    let given = ["texts", "images", "inputs"].into_iter().filter(|name| !list(body, name).is_empty()).count();
    refuse_if(given != 1, "texts", "exactly one of texts, images and inputs is needed")?;
    refuse_if(list(body, "texts").len() > 96, "texts", "at most 96")?;
    refuse_if(!list(body, "texts").iter().all(Value::is_string), "texts", "must be texts")?;
    let unknown = |kind: &Value| !["float", "base64"].iter().any(|known| kind == known);
    refuse_if(list(body, "embedding_types").iter().any(unknown), "embedding_types", "must be float or base64")
}

pub(super) fn judge_gemini_batch(model: &str, body: &Value) -> Verdict {
    let requests = list(body, "requests");
    refuse_if(requests.len() > 100, "requests", "at most 100")?;
    for (index, request) in requests.iter().enumerate() {
        let at = format!("requests[{index}].");
        let named = text(request, "model") == format!("models/{model}");
        refuse_if(!named, &format!("{at}model"), "must be that of the path")?;
        let known = ["model", "content", "taskType", "title", "outputDimensionality"];
        let extra =
            request.as_object().and_then(|fields| fields.keys().find(|name| !known.contains(&name.as_str())));
        if let Some(name) = extra {
            return Err(Wrong::new(format!("{at}{name}"), "unknown field"));
        }
        judge_gemini(request, &at)?;
    }
    Ok(())
}

/// One text to embed, found at `at`.
pub(super) fn judge_gemini(request: &Value, at: &str) -> Verdict {
    let parts = member(request, "content").map(|content| list(content, "parts")).unwrap_or_default();
    let good = !parts.is_empty() && parts.iter().all(|part| !text(part, "text").is_empty());
    refuse_if(!good, &format!("{at}content"), "needs parts of text")?;
    let task = member(request, "taskType").map(|task| task.as_str().unwrap_or_default());
    refuse_if(
        task.is_some_and(|task| !GEMINI_TASKS.contains(&task)),
        &format!("{at}taskType"),
        "is unknown",
    )?;
    number_within(request, "outputDimensionality", 1..=4096)
}

pub(super) fn answer(asked: &Asked<'_>, body: &Value) -> Answer {
    let provider = asked.row.id;
    let size = member(body, "dimensions").or_else(|| member(body, "output_dimension")).and_then(number);
    let format = match (provider, text(body, "encoding_format")) {
        ("perplexity", "base64_binary") => Format::Bits,
        ("perplexity", _) => Format::Bytes,
        // Without a stated format it sends floats.
        ("fireworks_ai" | "together_ai", _) => Format::Floats,
        (_, "base64") => Format::Base64,
        _ => Format::Floats,
    };
    let input = member(body, "input").unwrap_or(&Value::Null);
    let data = (0..texts(input)).map(|index| {
        let vector = format.write(&numbers(asked, index, size, format));
        format!(r#"{{"object":"embedding","index":{index},"embedding":{vector}}}"#)
    });
    let data = joined(data);
    let model = super::super::json::quoted(&asked.model);
    let tokens = asked.script.prompt_tokens;
    let usage = match provider {
        "together_ai" => String::new(),
        "mistral" => {
            format!(r#","usage":{{"prompt_tokens":{tokens},"completion_tokens":0,"total_tokens":{tokens}}}"#)
        }
        _ => format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#),
    };
    let id = if provider == "mistral" { r#""id":"simulated","# } else { "" };
    let list = format!(r#"{{{id}"object":"list","data":[{data}],"model":{model}{usage}}}"#);
    Answer::json(list).tokens(tokens, 0)
}

pub(super) fn answer_cohere(asked: &Asked<'_>, body: &Value) -> Answer {
    let size = member(body, "output_dimension").and_then(number);
    let texts = ["texts", "images", "inputs"].into_iter().map(|name| list(body, name).len()).sum();
    let kinds = list(body, "embedding_types").iter().filter_map(Value::as_str).collect::<Vec<_>>();
    let kinds = if kinds.is_empty() { vec!["float"] } else { kinds };
    let by_type = kinds.into_iter().map(|kind| {
        let format = if kind == "base64" { Format::Base64 } else { Format::Floats };
        let vectors = (0..texts).map(|index| format.write(&numbers(asked, index, size, format)));
        format!(r#""{kind}":[{}]"#, joined(vectors))
    });
    let tokens = asked.script.prompt_tokens;
    Answer::json(format!(
        r#"{{"id":"simulated{}","embeddings":{{{}}},"texts":{},"response_type":"embeddings_by_type","meta":{{"api_version":{{"version":"2"}},"billed_units":{{"input_tokens":{tokens}}}}}}}"#,
        asked.serial,
        joined(by_type),
        Value::from(list(body, "texts").to_vec()),
    ))
    .tokens(tokens, 0)
}

/// There is no count in it, but it is billed by tokens all the same.
pub(super) fn answer_gemini(asked: &Asked<'_>, body: &Value) -> Answer {
    let values = |index: usize, request: &Value| {
        let size = member(request, "outputDimensionality").and_then(number);
        format!(r#"{{"values":{}}}"#, Format::Floats.write(&numbers(asked, index, size, Format::Floats)))
    };
    let body = match member(body, "requests").and_then(Value::as_array) {
        Some(requests) => {
            let each = requests.iter().enumerate().map(|(index, request)| values(index, request));
            format!(r#"{{"embeddings":[{}]}}"#, joined(each))
        }
        None => format!(r#"{{"embedding":{}}}"#, values(0, body)),
    };
    Answer::json(body).tokens(asked.script.prompt_tokens, 0)
}

/// A list of numbers is one text of tokens.
fn texts(input: &Value) -> usize {
    match input {
        Value::Array(inputs) if !inputs.iter().all(Value::is_u64) => inputs.len(),
        _ => 1,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Floats,
    /// Of floats of four bytes.
    Base64,
    /// Base64 of numbers of one byte.
    Bytes,
    /// Base64 of their signs, the first in the highest bit.
    Bits,
}

impl Format {
    fn write(self, numbers: &[String]) -> String {
        let bytes: Vec<u8> = match self {
            Format::Floats => return format!("[{}]", numbers.join(",")),
            Format::Base64 => numbers
                .iter()
                .flat_map(|number| number.parse::<f32>().unwrap_or_default().to_le_bytes())
                .collect(),
            Format::Bytes => numbers
                .iter()
                .flat_map(|number| number.parse::<i8>().unwrap_or_default().to_le_bytes())
                .collect(),
            Format::Bits => numbers
                .chunks(8)
                .map(|eight| {
                    let bit = |number: &String| u8::from(!number.starts_with('-'));
                    let bits = eight.iter().fold(0, |bits, number| bits << 1 | bit(number));
                    bits << (8 - eight.len())
                })
                .collect(),
        };
        format!("\"{}\"", STANDARD.encode(bytes))
    }
}

/// The scripted vector, or one of its own for each text, as long as was asked for.
fn numbers(asked: &Asked<'_>, index: usize, size: Option<u64>, format: Format) -> Vec<String> {
    if let Some(vector) = in_turn(&asked.script.kinds.vectors, index) {
        return vector.split(',').map(|number| number.trim().to_owned()).collect();
    }
    let size = usize::try_from(size.unwrap_or(4)).unwrap_or(4);
    let first = if format == Format::Floats || format == Format::Base64 {
        format!("{index}.5")
    } else {
        (index % 128).to_string()
    };
    let rest = if format == Format::Floats || format == Format::Base64 {
        ["-0.25", "0.125", "1"]
    } else {
        ["-64", "32", "127"]
    };
    std::iter::once(first).chain(rest.into_iter().cycle().map(str::to_owned)).take(size).collect()
}
