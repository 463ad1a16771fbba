//! Tokens of one answer, and how many of them were emitted. Every number comes from the script: nothing here
//! may count text, and no wire format may count for itself.

use super::script::Script;

pub(super) struct Counts {
    /// All that is generated, reasoning included.
    pub completion: u64,
    pub prompt: u64,
    /// Parts of the prompt, which together are never more than it.
    pub cached: u64,
    pub written: u64,
    pub written_1h: u64,
    pub audio_prompt: u64,
    pub audio_completion: u64,
    reasoning: u64,
    /// Pieces of the whole answer and of the part emitted, over which the tokens are spread.
    pieces: u64,
    pieces_emitted: u64,
    emitted: u64,
}

impl Counts {
    pub(super) fn new(script: &Script, completion: u64, reasoning: u64, pieces: usize) -> Self {
        let prompt = script.prompt_tokens;
        let cached = script.cached_tokens.min(prompt);
        let written = script.cache_write_tokens.min(prompt.saturating_sub(cached));
        let rest = prompt.saturating_sub(cached).saturating_sub(written);
        Self {
            completion,
            prompt,
            cached,
            written,
            written_1h: script.cache_write_1h_tokens.min(rest),
            audio_prompt: script.audio_prompt_tokens.min(prompt),
            audio_completion: script.audio_completion_tokens.min(completion),
            reasoning: reasoning.min(completion),
            pieces: number(pieces),
            pieces_emitted: 0,
            emitted: 0,
        }
    }

    /// For an answer of `pieces`, of which `reasoning` are reasoning that is shown.
    pub(super) fn of(script: &Script, pieces: usize, reasoning: usize) -> Self {
        let shown = script.reasoning_tokens.unwrap_or(number(reasoning));
        let hidden = if reasoning == 0 { shown } else { 0 };
        let completion = script.completion_tokens.unwrap_or(number(pieces).saturating_add(hidden));
        Self::new(script, completion, shown, pieces)
    }

    /// The tokens of the next `pieces`.
    pub(super) fn emit(&mut self, pieces: usize) -> u64 {
        self.pieces_emitted += number(pieces);
        let share = u128::from(self.completion) * u128::from(self.pieces_emitted);
        let due = share.checked_div(u128::from(self.pieces)).unwrap_or(0);
        self.reach(u64::try_from(due).unwrap_or(self.completion))
    }

    /// The tokens that no piece carried.
    pub(super) fn rest(&mut self) -> u64 {
        self.reach(self.completion)
    }

    pub(super) fn emitted(&self) -> u64 {
        self.emitted
    }

    /// The reasoning among the tokens emitted: it comes first.
    pub(super) fn reasoning(&self) -> u64 {
        self.reasoning.min(self.emitted)
    }

    fn reach(&mut self, due: u64) -> u64 {
        let more = due.saturating_sub(self.emitted);
        self.emitted += more;
        more
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(0)
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

    #[test]
    fn the_parts_of_a_prompt_are_never_more_than_it() {
        let script = Script {
            prompt_tokens: 10,
            cached_tokens: 6,
            cache_write_tokens: 3,
            cache_write_1h_tokens: 9,
            ..Script::default()
        };
        let counts = Counts::of(&script, 1, 0);
        assert_eq!((counts.cached, counts.written, counts.written_1h), (6, 3, 1));
    }
}
