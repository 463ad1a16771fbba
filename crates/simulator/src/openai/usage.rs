//! The usage object of OpenAI's chat wire, and where each provider writes it. It must hold no count of its own.

use super::{
    super::{
        counts::Counts,
        rows::{Usage, UsageForm},
        script::UsagePlace,
    },
    Answer,
};

impl Answer<'_> {
    /// The usage object for what was emitted so far.
    pub(super) fn usage_json(&self, counts: &Counts) -> String {
        let Counts { prompt, cached, audio_prompt, .. } = *counts;
        let (emitted, reasoning) = (counts.emitted(), counts.reasoning());
        let audio_completion = counts.audio_completion.min(emitted);
        let written = match counts.written.saturating_add(counts.written_1h) {
            0 => String::new(),
            written => format!(r#""cache_write_tokens":{written},"#),
        };
        let total = prompt.saturating_add(emitted);
        let form = self.row.usage_form;
        let completion =
            if form == UsageForm::ReasoningOutside { emitted.saturating_sub(reasoning) } else { emitted };
        let details = format!(
            r#","prompt_tokens_details":{{"cached_tokens":{cached},{written}"audio_tokens":{audio_prompt}}},"completion_tokens_details":{{"reasoning_tokens":{reasoning},"audio_tokens":{audio_completion},"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}"#
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
