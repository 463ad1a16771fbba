//! Token counts of an answer in OpenAI's wire, and where each provider writes them. The counts come from the
//! script alone.

use super::{
    super::{
        rows::{Usage, UsageForm},
        script::{Script, UsagePlace},
    },
    Answer, Piece,
};

/// Tokens of one answer, and how many of them were emitted.
pub(super) struct Counts {
    pub completion: u64,
    prompt: u64,
    cached: u64,
    reasoning: u64,
    /// Pieces of the whole answer and of the part emitted, over which the tokens are spread.
    pieces: u64,
    pieces_emitted: u64,
    emitted: u64,
}

impl Counts {
    pub(super) fn new(script: &Script, completion: u64, reasoning: u64, pieces: usize) -> Self {
        Self {
            completion,
            prompt: script.prompt_tokens,
            cached: script.cached_tokens.min(script.prompt_tokens),
            reasoning: reasoning.min(completion),
            pieces: u64::try_from(pieces).unwrap_or(0),
            pieces_emitted: 0,
            emitted: 0,
        }
    }

    /// The tokens of the next `pieces`.
    pub(super) fn emit(&mut self, pieces: usize) -> u64 {
        self.pieces_emitted += u64::try_from(pieces).unwrap_or(0);
        let share = u128::from(self.completion) * u128::from(self.pieces_emitted);
        let due = share.checked_div(u128::from(self.pieces)).unwrap_or(0);
        self.reach(u64::try_from(due).unwrap_or(self.completion))
    }

    /// The tokens that no piece carried.
    pub(super) fn rest(&mut self) -> u64 {
        self.reach(self.completion)
    }

    fn reach(&mut self, due: u64) -> u64 {
        let more = due.saturating_sub(self.emitted);
        self.emitted += more;
        more
    }
}

impl Answer<'_> {
    pub(super) fn counts(&self) -> Counts {
        let choices = self.choices;
        let number = |count: usize| u64::try_from(count).unwrap_or(0);
        let pieces = self.pieces();
        let weight: usize = pieces.iter().map(|piece| self.weight(piece)).sum::<usize>() * choices;
        let shown = pieces.iter().filter(|piece| matches!(piece, Piece::Reasoning(_))).count() * choices;
        let reasoning = self.script.reasoning_tokens.unwrap_or(number(shown));
        let hidden = if shown == 0 { reasoning } else { 0 };
        let completion = self.script.completion_tokens.unwrap_or(number(weight).saturating_add(hidden));
        Counts::new(self.script, completion, reasoning, weight)
    }

    /// The usage object for what was emitted so far.
    pub(super) fn usage_json(&self, counts: &Counts) -> String {
        let Counts { prompt, cached, emitted, .. } = *counts;
        let reasoning = counts.reasoning.min(emitted);
        let total = prompt.saturating_add(emitted);
        let form = self.row.usage_form;
        let completion =
            if form == UsageForm::ReasoningOutside { emitted.saturating_sub(reasoning) } else { emitted };
        let details = format!(
            r#","prompt_tokens_details":{{"cached_tokens":{cached},"audio_tokens":0}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#
        );
        let more = match form {
            UsageForm::Details => details,
            UsageForm::ReasoningOutside => {
                format!(r#"{details},"num_sources_used":0,"cost_in_usd_ticks":0"#)
            }
            UsageForm::NumCached => format!(r#","num_cached_tokens":{cached}"#),
            UsageForm::CacheHitAndMiss => format!(
                r#"{details},"prompt_cache_hit_tokens":{cached},"prompt_cache_miss_tokens":{}"#,
                prompt.saturating_sub(cached)
            ),
            UsageForm::Timed => format!(
                r#"{details},"queue_time":0.001,"prompt_time":0.002,"completion_time":0.01,"total_time":0.012"#
            ),
            UsageForm::CachedAtTop => format!(r#","cached_tokens":{cached}"#),
        };
        format!(
            r#"{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}{more}}}"#
        )
    }

    pub(super) fn usage_in_extra_chunk(&self) -> bool {
        match self.row.usage {
            Usage::ExtraChunk { unasked } => {
                self.script.usage == UsagePlace::Normal && (unasked || self.usage_asked)
            }
            Usage::FinishChunk { .. } | Usage::FinishChunkAndXGroq => false,
        }
    }

    /// Inside a choice, after the finish reason. `last` is the chunk that ends the last choice.
    pub(super) fn usage_in_choice(&self, last: bool, counts: &Counts) -> String {
        if last && self.script.usage == UsagePlace::InChoice {
            format!(r#","usage":{}"#, self.usage_json(counts))
        } else {
            String::new()
        }
    }

    /// In a chunk, after the choices.
    pub(super) fn usage_after_choices(&self, last: bool, first: bool, counts: &Counts) -> String {
        let present = || format!(r#","usage":{}"#, self.usage_json(counts));
        let x_groq = || format!(r#","x_groq":{{"id":"req_simulated","usage":{}}}"#, self.usage_json(counts));
        let opening =
            if first && self.row.id == "groq" { r#","x_groq":{"id":"req_simulated","seed":1}"# } else { "" };
        let own = match self.script.usage {
            UsagePlace::Missing | UsagePlace::InChoice => String::new(),
            UsagePlace::EveryChunk => present(),
            UsagePlace::InFinishChunk if last => present(),
            UsagePlace::XGroq if last => x_groq(),
            UsagePlace::InFinishChunk | UsagePlace::XGroq => String::new(),
            UsagePlace::Normal => match self.row.usage {
                Usage::FinishChunk { unasked } if last && (unasked || self.usage_asked) => present(),
                Usage::FinishChunkAndXGroq if last => format!("{}{}", present(), x_groq()),
                // Asked for, it is there as null until its time.
                Usage::ExtraChunk { unasked: false } | Usage::FinishChunk { unasked: false }
                    if self.usage_asked =>
                {
                    r#","usage":null"#.to_owned()
                }
                _ => String::new(),
            },
        };
        format!("{opening}{own}")
    }

    /// In a reply that is not streamed.
    pub(super) fn usage_in_body(&self, counts: &Counts) -> String {
        let usage = self.usage_json(counts);
        let x_groq = if self.row.id == "groq" { r#","x_groq":{"id":"req_simulated"}"# } else { "" };
        match self.script.usage {
            UsagePlace::Missing | UsagePlace::InChoice => x_groq.to_owned(),
            UsagePlace::XGroq => format!(r#","x_groq":{{"id":"req_simulated","usage":{usage}}}"#),
            _ => format!(r#","usage":{usage}{x_groq}"#),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_the_pieces_add_up_to_the_whole() {
        for (completion, pieces) in [(7, 3), (3, 7), (50, 50), (0, 4), (5, 0)] {
            let mut counts = Counts::new(&Script::default(), completion, 0, pieces);
            let emitted: u64 = (0..pieces).map(|_| counts.emit(1)).sum();
            assert!(emitted <= completion);
            assert_eq!(emitted + counts.rest(), completion);
        }
    }
}
