//! The most a request's prompt can hold, for the credit that is set aside, and what stands in for audio that no
//! provider reported. Sizes alone: nothing is decoded, so that it costs nothing before a call.

use crate::{
    dialect::Facts,
    domain::{catalog::Model, usage::Usage},
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
    let text = facts.text_bytes.saturating_add(pieces(facts.files, FILE_TOKENS_MAX));
    let input = text.min(context.saturating_sub(audio_input).saturating_sub(image_input));
    Usage { input, audio_input, image_input, ..Usage::default() }
}

/// Tokens of the prompt's audio where the provider keeps them to itself.
pub fn audio_estimate(facts: &Facts) -> u64 {
    facts.audio_bytes / AUDIO_BYTES_PER_TOKEN
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
mod tests {
    use super::*;
    use crate::domain::catalog::Catalog;
    use time::macros::datetime;

    #[test]
    fn every_part_counts_and_the_context_bounds_them_all() {
        let facts = Facts { text_bytes: 100, images: 2, files: 1, ..Facts::default() };
        let bound = prompt(&facts, None);
        assert_eq!((bound.input, bound.image_input, bound.audio_input), (200_100, 100_000, 0));
        let heard = Facts { text_bytes: 100, audio_parts: 2, audio_bytes: 1_000_000, ..Facts::default() };
        assert_eq!(prompt(&heard, None).audio_input, 20_000 + 50_000);
        let bound = prompt(&heard, Some(70_040));
        assert_eq!((bound.input, bound.audio_input), (40, 70_000));
        assert_eq!(prompt(&facts, Some(1_000)).prompt(), 1_000);
        assert_eq!(prompt(&Facts { audio_parts: u32::MAX, ..facts }, Some(8)).audio_input, 8);
    }

    #[test]
    fn an_estimate_of_audio_is_within_its_bound() {
        for audio_bytes in [0, 1, 499, 1_000_000, u64::MAX] {
            let facts = Facts { audio_parts: 1, audio_bytes, ..Facts::default() };
            assert!(audio_estimate(&facts) <= prompt(&facts, None).audio_input, "{audio_bytes}");
        }
    }

    #[test]
    fn audio_needs_a_price_of_its_own_for_each_way_it_goes() {
        let at = datetime!(2026-11-20 00:00 UTC);
        let catalog = Catalog::built_in().unwrap();
        let hears = Facts { audio_parts: 1, ..Facts::default() };
        let speaks = Facts { wants_audio_output: true, ..Facts::default() };
        for (model, hearing, speaking) in [
            ("openai/gpt-audio-1.5", true, true),
            ("google/gemini-3.5-flash", true, false),
            ("openai/gpt-4o", false, false),
            ("openai/whisper-1", false, false),
        ] {
            let model = catalog.get(model).unwrap();
            assert!(has_audio_prices(&Facts::default(), Some(model), at));
            assert_eq!(has_audio_prices(&hears, Some(model), at), hearing, "{}", model.id);
            assert_eq!(has_audio_prices(&speaks, Some(model), at), speaking, "{}", model.id);
        }
        assert!(!has_audio_prices(&hears, None, at), "a model the catalogue does not list");
    }
}
