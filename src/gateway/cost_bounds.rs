//! Upper bounds of a request's usage for its hold, and estimates for media that no provider reported. It uses sizes
//! only and decodes nothing, so it costs nothing before a call.

use crate::{
    billing::price,
    dialect::{Facts, Head, kinds::KindRequest},
    domain::{
        catalog::{Flag, Model, Unit},
        kind::Kind,
        usage::Usage,
    },
};
use time::OffsetDateTime;

/// Tokens for each image or file: more than any provider of the catalogue charges for one.
const IMAGE_TOKENS_MAX: u64 = 50_000;
const FILE_TOKENS_MAX: u64 = 200_000;
/// Minimum tokens for each audio part: five minutes at 32 tokens a second, the rate of the provider that counts most.
const AUDIO_TOKENS_MIN: u64 = 10_000;
/// Or one token for this many bytes of base64. Speech at 5 kbit/s, the practical minimum, has 833 such bytes a second:
/// 41 tokens. Long silence at a variable bit rate can exceed this; then the model's context bounds how far the balance
/// can fall below zero.
const AUDIO_BYTES_PER_TOKEN_MIN: u64 = 20;
/// The same for an estimate: most recordings use 64 kbit/s or more, 10,700 bytes of base64 a second.
const AUDIO_BYTES_PER_TOKEN: u64 = 500;
/// The same for an image: providers charge between 258 and 4,800 tokens for a photograph.
const IMAGE_TOKENS: u64 = 1_500;
/// Minimum for a document: two pages of text and images. Or one token for this many bytes of base64, a value between
/// written pages (few bytes, many tokens) and scanned ones.
const FILE_TOKENS: u64 = 5_000;
const FILE_BYTES_PER_TOKEN: u64 = 20;

/// Output tokens that a customer's credit must cover when the client set no limit.
const OUTPUT_TOKENS_FLOOR: u64 = 1_024;
/// Tokens for each image that is generated: more than the largest of the highest quality takes, and what an ordinary
/// one takes.
const DRAWN_TOKENS_MAX: u64 = 16_384;
const DRAWN_TOKENS: u64 = 1_600;
/// Tokens for each input image of an edit.
const SOURCE_TOKENS_MAX: u64 = 20_000;
/// Tokens of one character as audio: the upper bound, and the usual value.
const SPOKEN_MS_MAX: u64 = 400;
const SPOKEN_MS: u64 = 70;
/// Tokens of a second of audio, by the provider that counts most.
const AUDIO_TOKENS_PER_SECOND: u64 = 32;
/// Pages of a document without a stated page list: the maximum that a provider reads, and the number that must be
/// affordable.
const PAGES_MAX: u64 = 1_000;
const PAGES: u64 = 10;
/// Web searches if the request sets no limit: the number that bounds the fee, and the number that is counted in the
/// prompt.
const SEARCHES_MAX: u64 = 50;
const SEARCHES: u64 = 10;
/// Tokens of the results of one search. Every step of such an answer reads the prompt again.
const SEARCH_TOKENS: u64 = 10_000;
/// Documents that cost one search of a rerank.
const CHUNKS_PER_QUERY: u64 = 100;

/// The maximum usage of a conversation, and the usage that the customer's credit must cover.
pub fn conversation(head: &Head<'_>, model: &Model) -> (Usage, Usage) {
    let prompt = prompt(&head.facts, model.context_tokens);
    let output = price::output_bound(model, head.n.max(head.drafts), head.output_limit);
    let with = |output| match head.facts.wants_audio_output {
        true => Usage { audio_output: output, ..prompt },
        false => Usage { output, ..prompt },
    };
    let least = if head.output_limit.is_some() { output } else { output.min(OUTPUT_TOKENS_FLOOR) };
    let most = if head.facts.compacts { twice(&with(output)) } else { with(output) };
    if !may_search(head, Some(model)) {
        return (most, with(least));
    }
    let searches = head.facts.searches_max.unwrap_or(SEARCHES_MAX);
    let steps = searches.min(SEARCHES);
    (searched(&most, searches, steps), searched(&with(least), 1, 0))
}

/// Whether the provider may search the web for the answer.
fn may_search(head: &Head<'_>, model: Option<&Model>) -> bool {
    head.fees.are_searches() || model.is_some_and(|model| model.flags.has(Flag::AlwaysSearches))
}

/// With this many searches; `steps` of them read the whole prompt again.
fn searched(usage: &Usage, searches: u64, steps: u64) -> Usage {
    let again = usage.prompt().saturating_add(SEARCH_TOKENS).saturating_mul(steps);
    Usage { input: usage.input.saturating_add(again), searches, ..*usage }
}

/// Whether the catalogue has a price for a web search with this model.
pub fn has_search_price(model: Option<&Model>, at: OffsetDateTime) -> bool {
    let period = model.and_then(|model| model.prices.as_ref()).and_then(|prices| prices.at(at));
    period.is_some_and(|period| period.per(Unit::WebSearchCall).is_some())
}

/// The maximum usage that a provider can correctly report for a conversation; the output as far as the client limits
/// it. `None` if the provider first shortens the conversation, or reads it again with search results.
pub fn reportable(head: &Head<'_>, model: Option<&Model>) -> Option<Usage> {
    let answers = head.n.max(head.drafts);
    let output = head.output_limit.map_or(u64::MAX, |limit| answers.saturating_mul(limit));
    let prompt = prompt(&head.facts, model.and_then(|model| model.context_tokens));
    (!head.facts.compacts && !may_search(head, model)).then_some(Usage { output, ..prompt })
}

/// The same for a request of another endpoint kind.
pub fn kind(request: &KindRequest<'_>, model: &Model) -> (Usage, Usage) {
    let content = &request.content;
    let text = request.head.facts.text_bytes.saturating_add(content.token_ids);
    let known = Usage { input: text, ..content.usage };
    let output = price::output_bound(model, 1, None);
    match request.kind {
        Kind::Embeddings => {
            let context = model.context_tokens.unwrap_or(u64::MAX);
            let most = Usage { input: text.min(context.saturating_mul(content.pieces.max(1))), ..known };
            (most, most)
        }
        Kind::Images | Kind::ImageEdits => {
            let n = request.head.n;
            let drawn = |tokens: u64, output: u64| Usage {
                images: n,
                input_images: content.images,
                image_input: content.images.saturating_mul(SOURCE_TOKENS_MAX),
                image_output: n.saturating_mul(tokens),
                output,
                ..known
            };
            // Models that also write text have one limit for both together.
            let written = model.output_tokens_max.unwrap_or(OUTPUT_TOKENS_FLOOR);
            (drawn(DRAWN_TOKENS_MAX, written), drawn(DRAWN_TOKENS, OUTPUT_TOKENS_FLOOR.min(written)))
        }
        Kind::Speech => {
            let spoken = |ms_each: u64| {
                let audio_ms =
                    content.usage.characters.saturating_mul(ms_each).saturating_mul(slowness(request));
                let audio_output = audio_tokens(audio_ms).min(output);
                Usage { audio_ms, audio_output, ..known }
            };
            (spoken(SPOKEN_MS_MAX), spoken(SPOKEN_MS))
        }
        Kind::Transcription | Kind::Translation => {
            let heard = |audio_ms: u64, output: u64| {
                let audio_input = audio_tokens(audio_ms).min(model.context_tokens.unwrap_or(u64::MAX));
                Usage {
                    audio_ms,
                    audio_input,
                    output,
                    input: text.saturating_add(OUTPUT_TOKENS_FLOOR),
                    ..known
                }
            };
            let least = heard(content.usage.audio_ms, output.min(OUTPUT_TOKENS_FLOOR));
            (heard(content.audio_ms_max, output), least)
        }
        Kind::Rerank => {
            let queries = content.chunks.div_ceil(CHUNKS_PER_QUERY).max(content.usage.queries);
            (Usage { queries, ..known }, known)
        }
        Kind::Ocr => {
            let pages = content.pages.unwrap_or(PAGES_MAX);
            (Usage { pages, ..known }, Usage { pages: pages.min(PAGES), ..known })
        }
        Kind::Moderation | Kind::Conversation(_) => (known, known),
    }
}

/// A conversation that the provider shortens before it answers.
fn twice(usage: &Usage) -> Usage {
    let twice = |tokens: u64| tokens.saturating_mul(2);
    Usage {
        input: twice(usage.input),
        audio_input: twice(usage.audio_input),
        image_input: twice(usage.image_input),
        output: twice(usage.output),
        audio_output: twice(usage.audio_output),
        ..*usage
    }
}

/// How many times longer than usual the requested speech may be.
fn slowness(request: &KindRequest<'_>) -> u64 {
    if request.is_slowed() { 4 } else { 1 }
}

fn audio_tokens(ms: u64) -> u64 {
    (ms / 1_000).saturating_add(1).saturating_mul(AUDIO_TOKENS_PER_SECOND)
}

/// An upper bound of the prompt's tokens, together at most `context`: a token of text has at least one byte. Media are
/// counted first, because their tokens are never cheaper.
pub fn prompt(facts: &Facts, context: Option<u64>) -> Usage {
    let context = context.unwrap_or(u64::MAX);
    let pieces = |number: u32, each: u64| u64::from(number).saturating_mul(each);
    let audio = match facts.audio_parts {
        0 => 0,
        parts => {
            pieces(parts, AUDIO_TOKENS_MIN).saturating_add(facts.audio_bytes / AUDIO_BYTES_PER_TOKEN_MIN)
        }
    };
    let audio_input = audio.min(context);
    let image_input = pieces(facts.images, IMAGE_TOKENS_MAX).min(context);
    // A part that is declared as a document may be pure text, and a video may have any length.
    let files = pieces(facts.files, FILE_TOKENS_MAX).max(facts.document_bytes);
    let videos = if facts.videos > 0 { context } else { 0 };
    let text = facts.text_bytes.saturating_add(files).saturating_add(videos);
    let input = text.min(context.saturating_sub(audio_input).saturating_sub(image_input));
    Usage { input, audio_input, image_input, ..Usage::default() }
}

/// Tokens of the prompt's media if the provider does not report them. The value is too high for some media and too low
/// for others, but never zero: otherwise a large prompt would be free for a client that disconnects.
pub fn media_estimate(facts: &Facts) -> Usage {
    let pieces = |number: u32, each: u64| u64::from(number).saturating_mul(each);
    let documents = facts.document_bytes / FILE_BYTES_PER_TOKEN;
    Usage {
        input: pieces(facts.files, FILE_TOKENS).max(documents),
        image_input: pieces(facts.images, IMAGE_TOKENS),
        audio_input: facts.audio_bytes / AUDIO_BYTES_PER_TOKEN,
        ..Usage::default()
    }
}

/// Whether the request's audio input and output have prices. Without one they would be billed as text, which may differ
/// from what the operator pays.
pub fn has_audio_prices(facts: &Facts, model: Option<&Model>, at: OffsetDateTime) -> bool {
    if facts.audio_parts == 0 && !facts.wants_audio_output {
        return true;
    }
    let period = model.and_then(|model| model.prices.as_ref()).and_then(|prices| prices.at(at));
    period.and_then(|period| period.rates).is_some_and(|rates| {
        (facts.audio_parts == 0 || rates.media.audio_input.is_some())
            && (!facts.wants_audio_output || rates.media.audio_output.is_some())
    })
}

#[cfg(test)]
mod tests;
