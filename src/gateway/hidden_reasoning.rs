//! An estimate of hidden reasoning that no provider reported because an answer broke off. It uses only time and sizes.
//! It must never be zero for a model that was made to reason.

use crate::{
    dialect::{
        canonical::{Effort, Thinking},
        openai_chat::Traits,
    },
    domain::{catalog::Flag, provider::Thoughts},
    routing::plan::Candidate,
};
use std::time::{Duration, Instant};

/// The minimum number of tokens that models of every provider write in a second of work. Queues and long prompts also
/// take time before the answer, so the figure is low.
const TOKENS_PER_SECOND: u128 = 50;

/// The reasoning of one answer.
pub struct HiddenReasoning {
    since: Instant,
    /// When the answer began, and how many bytes of reasoning were shown until then.
    answered: Option<(Duration, usize)>,
    answers: u64,
    /// The token limit of all answers together.
    most: u64,
}

/// Whether the model reasons about this request without showing it.
pub fn thinks(candidate: &Candidate, thinking: Thinking) -> bool {
    let Some(flags) = candidate.model.as_ref().map(|model| model.flags) else { return false };
    let thoughts = candidate.provider.row().thoughts;
    if thoughts == Thoughts::Shown || !flags.has(Flag::Reasoning) {
        return false;
    }
    let unasked = || {
        thoughts == Thoughts::HiddenByDefault
            || Traits::of(candidate.provider, &candidate.upstream).reasons(None)
    };
    flags.has(Flag::ThinkAlways)
        || match thinking.effort {
            Some(effort) => effort != Effort::None,
            None => thinking.budget_tokens.is_some() || unasked(),
        }
}

impl HiddenReasoning {
    /// From now on the model reasons about this many answers, with this many tokens for reasoning and answers.
    pub fn begin(answers: u64, most: u64) -> Self {
        Self { since: Instant::now(), answered: None, answers: answers.max(1), most }
    }

    /// The answer itself has begun, after this much text.
    pub fn answer(&mut self, shown_bytes: usize) {
        let since = self.since;
        self.answered.get_or_insert_with(|| (since.elapsed(), shown_bytes));
    }

    /// Tokens of reasoning that were not shown, if `text_bytes` of text were shown, which are `text_tokens` tokens. A
    /// shown token has about four bytes.
    pub fn tokens(&self, text_bytes: usize, text_tokens: u64) -> u64 {
        let (took, shown_bytes) = self.answered.unwrap_or_else(|| (self.since.elapsed(), text_bytes));
        let thought = took.as_millis().saturating_mul(TOKENS_PER_SECOND).div_ceil(1_000).max(1);
        let thought = u64::try_from(thought).unwrap_or(u64::MAX).saturating_mul(self.answers);
        let hidden = thought.saturating_sub(u64::try_from(shown_bytes / 4).unwrap_or(u64::MAX));
        hidden.min(self.most.saturating_sub(text_tokens)).max(1)
    }
}
