//! Images generated from text, and from other images. OpenAI bills them by tokens, xAI by piece, Gemini by tokens that
//! it reports by modality.

use super::{
    super::{json::quoted, request::Asked},
    Amounts, Answer, Kind, Verdict, count, in_turn, is_true, joined, list, member, number, number_within,
    one_of, refuse_if, text,
};
use serde_json::Value;

/// A black dot, as PNG.
const DOT: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==";

pub(super) fn judge(kind: Kind, provider: &str, body: &Value) -> Verdict {
    number_within(body, "n", 1..=10)?;
    if provider == "xai" {
        one_of(body, "response_format", &["url", "b64_json"])?;
        return one_of(body, "resolution", &["1k", "2k"]);
    }
    let images = ["image", "image[]"].into_iter().any(|name| member(body, name).is_some_and(is_file));
    refuse_if(kind == Kind::ImageEdit && !images, "image", "field required")?;
    one_of(body, "output_format", &["png", "jpeg", "webp", "gif", "svg"])?;
    one_of(body, "background", &["transparent", "opaque", "auto"])?;
    refuse_if(text(body, "prompt").is_empty(), "prompt", "must be text")
}

fn is_file(value: &Value) -> bool {
    value.get("filename").is_some() || value.as_array().is_some_and(|files| files.iter().all(is_file))
}

/// Gemini's images and speech are refused alike.
pub(super) fn judge_gemini(kind: Kind, body: &Value) -> Verdict {
    let config = member(body, "generationConfig").unwrap_or(&Value::Null);
    let known = ["TEXT", "IMAGE", "AUDIO"];
    let unknown = |modality: &Value| !known.iter().any(|known| modality == known);
    let modalities = list(config, "responseModalities");
    refuse_if(modalities.iter().any(unknown), "generationConfig.responseModalities", "is unknown")?;
    let several = kind == Kind::GeminiSpeech && modalities.len() > 1;
    refuse_if(several, "generationConfig.responseModalities", "speech comes alone")?;
    let voice =
        config.pointer("/speechConfig/voiceConfig/prebuiltVoiceConfig/voiceName").and_then(Value::as_str);
    let speakers = config.pointer("/speechConfig/multiSpeakerVoiceConfig");
    let mute = kind == Kind::GeminiSpeech && voice.unwrap_or_default().is_empty() && speakers.is_none();
    refuse_if(mute, "generationConfig.speechConfig", "a voice is required")?;
    let parts = list(body, "contents").iter().flat_map(|content| list(content, "parts"));
    refuse_if(parts.count() == 0, "contents", "needs parts")
}

pub(super) fn answer(kind: Kind, asked: &Asked<'_>, body: &Value) -> Answer {
    let script = &asked.script.kinds;
    let wanted = member(body, "n").and_then(number).and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    let made = script.image_count.unwrap_or(wanted);
    let amounts = Amounts { images: count(made), ..Amounts::default() };
    if asked.row.id == "xai" {
        let as_base64 = text(body, "response_format") == "b64_json";
        let image = |index| {
            if as_base64 {
                format!(r#"{{"b64_json":{},"mime_type":"image/jpeg"}}"#, image(asked, index))
            } else {
                format!(
                    r#"{{"url":"https://imgen.x.ai/simulated/{}-{index}.jpeg","mime_type":"image/jpeg"}}"#,
                    asked.serial
                )
            }
        };
        return Answer::json(format!(r#"{{"data":[{}]}}"#, joined((0..made).map(image)))).amounts(amounts);
    }
    let (prompt, completion) = tokens(asked);
    let usage = openai_usage(asked, prompt, completion);
    if is_true(body, "stream") {
        return events(kind, asked, body, &usage)
            .tokens(prompt, completion)
            .amounts(Amounts { images: 1, ..amounts });
    }
    let data = joined((0..made).map(|index| format!(r#"{{"b64_json":{}}}"#, image(asked, index))));
    Answer::json(format!(
        r#"{{"created":1760000000,"background":"opaque","data":[{data}],"output_format":"png","quality":"high","size":"1024x1024","usage":{usage}}}"#
    ))
    .tokens(prompt, completion)
    .amounts(amounts)
}

/// One image, and as many unfinished ones before it as were asked for.
fn events(kind: Kind, asked: &Asked<'_>, body: &Value, usage: &str) -> Answer {
    let (partial, completed) = match kind {
        Kind::ImageEdit => ("image_edit.partial_image", "image_edit.completed"),
        _ => ("image_generation.partial_image", "image_generation.completed"),
    };
    let shape = format!(
        r#""b64_json":{},"background":"opaque","created_at":1760000000,"output_format":"png","quality":"high","size":"1024x1024""#,
        image(asked, 0)
    );
    let partials = member(body, "partial_images").and_then(number).unwrap_or(0).min(3);
    let unfinished = (0..partials)
        .map(|index| (partial, format!(r#"{{"type":"{partial}",{shape},"partial_image_index":{index}}}"#)));
    let last = (completed, format!(r#"{{"type":"{completed}",{shape},"usage":{usage}}}"#));
    Answer::events(unfinished.chain([last]).collect())
}

fn openai_usage(asked: &Asked<'_>, prompt: u64, completion: u64) -> String {
    let script = &asked.script.kinds;
    let (images_in, text_out) =
        (script.image_prompt_tokens.min(prompt), script.image_text_tokens.min(completion));
    format!(
        r#"{{"total_tokens":{},"input_tokens":{prompt},"input_tokens_details":{{"text_tokens":{},"image_tokens":{images_in}}},"output_tokens":{completion},"output_tokens_details":{{"text_tokens":{text_out},"image_tokens":{}}}}}"#,
        prompt + completion,
        prompt - images_in,
        completion - text_out,
    )
}

pub(super) fn answer_gemini(asked: &Asked<'_>) -> Answer {
    let script = &asked.script.kinds;
    let made = script.image_count.unwrap_or(1);
    let parts = (0..made).map(|index| {
        format!(r#"{{"inlineData":{{"mimeType":"image/png","data":{}}}}}"#, image(asked, index))
    });
    let (prompt, completion) = tokens(asked);
    let text_out = script.image_text_tokens.min(completion);
    let details = format!(
        r#"[{{"modality":"IMAGE","tokenCount":{}}},{{"modality":"TEXT","tokenCount":{text_out}}}]"#,
        completion - text_out
    );
    gemini(asked, &joined(parts), &details)
        .tokens(prompt, completion)
        .amounts(Amounts { images: count(made), ..Amounts::default() })
}

/// A Gemini answer of these parts.
pub(super) fn gemini(asked: &Asked<'_>, parts: &str, details: &str) -> Answer {
    let (prompt, completion) = tokens(asked);
    Answer::json(format!(
        r#"{{"candidates":[{{"content":{{"parts":[{parts}],"role":"model"}},"finishReason":"STOP","index":0}}],"usageMetadata":{{"promptTokenCount":{prompt},"candidatesTokenCount":{completion},"totalTokenCount":{},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{prompt}}}],"candidatesTokensDetails":{details}}},"modelVersion":{},"responseId":"simulated{}"}}"#,
        prompt + completion,
        quoted(&asked.model),
        asked.serial,
    ))
}

/// Of the prompt and of the answer.
fn tokens(asked: &Asked<'_>) -> (u64, u64) {
    (asked.script.prompt_tokens, asked.script.completion_tokens.unwrap_or(100))
}

/// Quoted base64.
fn image(asked: &Asked<'_>, index: usize) -> String {
    quoted(in_turn(&asked.script.kinds.images, index).map_or(DOT, String::as_str))
}
