//! What stands in for thoughts that nobody was shown and no provider reported, because an answer broke off. Knows
//! time and sizes, nothing of money. Must never say zero for a model that was made to think.

use crate::{
    dialect::{
        canonical::{Effort, Thinking},
        openai_chat::Traits,
    },
    domain::{catalog::Flag, provider::Thoughts},
    routing::plan::Candidate,
};
use std::time::{Duration, Instant};

/// What models of every provider write at the least while they are at work. Before the answer there is nothing else
/// that they could have been at work on; queues and long prompts take time too, so that it is a low figure.
const TOKENS_PER_SECOND: u128 = 50;

/// The thoughts of one answer.
pub struct HiddenReasoning {
    since: Instant,
    /// When the answer began, and how many bytes of thought were shown until then.
    answered: Option<(Duration, usize)>,
    answers: u64,
    /// Tokens that all answers may have together.
    most: u64,
}

/// Whether the model thinks about this request without showing what it thinks.
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
    /// So many answers are thought about at a time, from now on, with so many tokens for thoughts and answers.
    pub fn begin(answers: u64, most: u64) -> Self {
        Self { since: Instant::now(), answered: None, answers: answers.max(1), most }
    }

    /// The answer itself has begun, after this much text.
    pub fn answer(&mut self, shown_bytes: usize) {
        let since = self.since;
        self.answered.get_or_insert_with(|| (since.elapsed(), shown_bytes));
    }

    /// Tokens of thought that were not shown, where `said_bytes` of text were, which are `said` tokens. A token shown
    /// is about four bytes.
    pub fn tokens(&self, said_bytes: usize, said: u64) -> u64 {
        let (took, shown_bytes) = self.answered.unwrap_or_else(|| (self.since.elapsed(), said_bytes));
        let thought = took.as_millis().saturating_mul(TOKENS_PER_SECOND).div_ceil(1_000).max(1);
        let thought = u64::try_from(thought).unwrap_or(u64::MAX).saturating_mul(self.answers);
        let hidden = thought.saturating_sub(u64::try_from(shown_bytes / 4).unwrap_or(u64::MAX));
        hidden.min(self.most.saturating_sub(said)).max(1)
    }
}
