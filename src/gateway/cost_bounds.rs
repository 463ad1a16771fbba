//! The most a request's prompt can hold, for the credit that is set aside, and what stands in for media that no
//! provider reported. Sizes alone: nothing is decoded, so that it costs nothing before a call.

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

/// Tokens for each image or file: above what any provider of the catalogue charges for one.
const IMAGE_TOKENS_MAX: u64 = 50_000;
const FILE_TOKENS_MAX: u64 = 200_000;
/// Tokens for each audio part at the least: five minutes at the 32 a second of the provider that counts most.
const AUDIO_TOKENS_MIN: u64 = 10_000;
/// Or one token for so many bytes of base64. Speech coded at 5 kbit/s, below which hardly anything goes, makes 833 of
/// them a second: 41 tokens. Long silence coded at a variable rate can pass this; the context then bounds what the
/// balance goes below zero by.
const AUDIO_BYTES_PER_TOKEN_MIN: u64 = 20;
/// The same for an estimate: recordings are mostly coded at 64 kbit/s or more, 10,700 bytes of base64 a second.
const AUDIO_BYTES_PER_TOKEN: u64 = 500;
/// And of an image: what providers charge for a photograph, between 258 and 4,800.
const IMAGE_TOKENS: u64 = 1_500;
/// Of a document at the least, two pages of text and picture; or one token for so many bytes of base64, which is
/// between written pages (few bytes, many tokens) and scanned ones.
const FILE_TOKENS: u64 = 5_000;
const FILE_BYTES_PER_TOKEN: u64 = 20;

/// Output tokens that a customer's credit must cover when the client set no limit.
const OUTPUT_TOKENS_FLOOR: u64 = 1_024;
/// Tokens for each picture to be made: above what the largest of the highest quality takes, and what an ordinary one
/// takes.
const DRAWN_TOKENS_MAX: u64 = 16_384;
const DRAWN_TOKENS: u64 = 1_600;
/// Tokens for each picture to be drawn from.
const SOURCE_TOKENS_MAX: u64 = 20_000;
/// What a character may take to be said, and what it takes as a rule.
const SPOKEN_MS_MAX: u64 = 400;
const SPOKEN_MS: u64 = 70;
/// Tokens of a second of audio, by the provider that counts most.
const AUDIO_TOKENS_PER_SECOND: u64 = 32;
/// Pages of a document whose pages are not named: what a provider reads at the most, and what is enough to begin.
const PAGES_MAX: u64 = 1_000;
const PAGES: u64 = 10;
/// Searches of the web where the request sets no limit: what they may cost at most, and how many weigh in the prompt.
const SEARCHES_MAX: u64 = 50;
const SEARCHES: u64 = 10;
/// Tokens of what one search finds. Every step of such an answer reads the prompt anew.
const SEARCH_TOKENS: u64 = 10_000;
/// Documents that cost one search of a rerank.
const CHUNKS_PER_QUERY: u64 = 100;

/// The most a conversation can consume, and what a customer's credit must cover.
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

/// With so many searches, of which `steps` are read with the whole prompt.
fn searched(usage: &Usage, searches: u64, steps: u64) -> Usage {
    let again = usage.prompt().saturating_add(SEARCH_TOKENS).saturating_mul(steps);
    Usage { input: usage.input.saturating_add(again), searches, ..*usage }
}

/// Whether the catalogue knows what a search of the web costs with this model.
pub fn has_search_price(model: Option<&Model>, at: OffsetDateTime) -> bool {
    let period = model.and_then(|model| model.prices.as_ref()).and_then(|prices| prices.at(at));
    period.is_some_and(|period| period.per(Unit::WebSearchCall).is_some())
}

/// The most a provider can truthfully report of a conversation; the output as far as the client limits it. `None` where
/// the conversation is shortened first, and where it is read again with what searches find.
pub fn reportable(head: &Head<'_>, model: Option<&Model>) -> Option<Usage> {
    let answers = head.n.max(head.drafts);
    let output = head.output_limit.map_or(u64::MAX, |limit| answers.saturating_mul(limit));
    let prompt = prompt(&head.facts, model.and_then(|model| model.context_tokens));
    (!head.facts.compacts && !may_search(head, model)).then_some(Usage { output, ..prompt })
}

/// The same for a request of another kind.
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
            // Models that also write have a limit for both together.
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

/// A conversation that is first shortened, and then answered.
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

/// How many times longer than usual the speech that was asked for may last.
fn slowness(request: &KindRequest<'_>) -> u64 {
    if request.is_slowed() { 4 } else { 1 }
}

fn audio_tokens(ms: u64) -> u64 {
    (ms / 1_000).saturating_add(1).saturating_mul(AUDIO_TOKENS_PER_SECOND)
}

/// An upper bound of the prompt's tokens, together at most `context`: a token of text is at least one byte. Media go
/// first, for their tokens are never the cheaper.
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
    // What is said to be a document may be text throughout, and a video of any length.
    let files = pieces(facts.files, FILE_TOKENS_MAX).max(facts.document_bytes);
    let videos = if facts.videos > 0 { context } else { 0 };
    let text = facts.text_bytes.saturating_add(files).saturating_add(videos);
    let input = text.min(context.saturating_sub(audio_input).saturating_sub(image_input));
    Usage { input, audio_input, image_input, ..Usage::default() }
}

/// Tokens of the prompt's media where the provider keeps them to itself: too many for some and too few for others, but
/// never nothing, which would make every large prompt free to who hangs up.
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

/// Whether the audio a request holds and asks for has prices of its own. Without one it would be billed as text,
/// which need not be what the operator pays.
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
