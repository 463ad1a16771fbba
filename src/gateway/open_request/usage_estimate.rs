//! The usage of an answer for which the provider reported none: text is counted, everything else is estimated from
//! sizes and times. Never zero for what was certainly consumed.

use super::{BYTES_PER_TOKEN, OpenRequest};
use crate::{
    dialect::{self, kinds},
    domain::{
        kind::Kind,
        tokens::{self, Family},
        usage::{Basis, Usage},
    },
};

impl OpenRequest {
    /// Replaces a usage that the provider did not report.
    pub(in crate::gateway) fn count(&mut self) {
        self.disregard_absurd();
        let Some(serving) = &mut self.serving else { return };
        let output = serving.consumed.count(|| tokens::family(serving.provider, &serving.upstream));
        let reported = serving.consumed.reported;
        let counted = match serving.consumed.prompt {
            Some(prompt) => prompt.input,
            None => {
                let family = tokens::family(serving.provider, &serving.upstream);
                count_prompt(family, self.kind, &self.body)
            }
        };
        let input = counted.saturating_add(self.prompt_tokens);
        let usage = match reported {
            None => self.usage_estimate(input, output, Basis::Counted),
            Some(usage) => completed(usage, &self.usage_estimate(input, output, Basis::Counted)),
        };
        self.report(usage);
    }

    /// The last resort: an estimate from sizes only.
    pub(in crate::gateway) fn estimate(&mut self) {
        let Some(serving) = &self.serving else { return };
        let said = u64::try_from(serving.consumed.said_bytes).unwrap_or(u64::MAX);
        let usage = self.usage_estimate(
            self.prompt_bytes / BYTES_PER_TOKEN,
            said / BYTES_PER_TOKEN,
            Basis::Estimated,
        );
        self.report(usage);
    }

    /// Counted text, with media estimated by size and hidden reasoning by time. If the provider has counted the prompt,
    /// its figures are used, including caches.
    pub(super) fn usage_estimate(&self, input: u64, said: u64, basis: Basis) -> Usage {
        let serving = self.serving.as_ref();
        let hidden_reasoning = serving.and_then(|serving| {
            Some(serving.hidden_reasoning.as_ref()?.tokens(serving.consumed.said_bytes, said))
        });
        let reasoning = hidden_reasoning.unwrap_or(0);
        let output = said.saturating_add(reasoning);
        let told = serving.and_then(|serving| serving.consumed.prompt);
        let media = &self.prompt_media;
        let guessed = reasoning > 0
            || (told.is_none() && (media.prompt() > 0 || self.measured.basis == Basis::Estimated));
        let basis = if guessed { Basis::Estimated } else { basis };
        if let Some(prompt) = told {
            return Usage { output, reasoning, basis, ..prompt };
        }
        // Together they fit into the model's context, as in the hold; media first, because they are never cheaper.
        let context = serving.and_then(|serving| serving.model.as_ref()?.context_tokens).unwrap_or(u64::MAX);
        let audio_input = media.audio_input.min(context);
        let image_input = media.image_input.min(context.saturating_sub(audio_input));
        let room = context.saturating_sub(audio_input).saturating_sub(image_input);
        Usage {
            input: input.saturating_add(media.input).min(room),
            image_input,
            audio_input,
            output,
            reasoning,
            basis,
            ..self.measured
        }
    }

    fn report(&mut self, usage: Usage) {
        if let Some(serving) = &mut self.serving {
            serving.consumed.reported = Some(usage);
        }
    }
}

/// A usage with the missing parts filled in.
fn completed(usage: Usage, known: &Usage) -> Usage {
    let or = |told: u64, known: u64| if told > 0 { told } else { known };
    Usage {
        input: or(usage.input, known.input),
        characters: or(usage.characters, known.characters),
        audio_ms: or(usage.audio_ms, known.audio_ms),
        queries: or(usage.queries, known.queries),
        pages: or(usage.pages, known.pages),
        basis: known.basis,
        ..usage
    }
}

fn count_prompt(family: Family, kind: Kind, body: &[u8]) -> u64 {
    let Kind::Conversation(dialect) = kind else {
        let texts = kinds::texts(kind, body);
        return texts.iter().fold(0, |sum, text| sum.saturating_add(family.count(text)));
    };
    let prompt = dialect::prompt(dialect, body);
    tokens::count_prompt(family, prompt.pieces.iter().map(String::as_str), prompt.messages)
}
