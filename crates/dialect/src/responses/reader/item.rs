//! The reader's state of an output item.

use super::super::events::Voice;

/// The known facts about an item that has begun.
pub(super) struct Item {
    /// Its index in the output.
    pub index: u64,
    /// The call, if it is one.
    pub tool: Option<u32>,
    pub call_id: Option<String>,
    /// The part that got content last.
    pub part: Option<(Voice, u64)>,
    /// Characters of text before that part.
    pub part_start: u64,
    pub citations: usize,
    pub done: bool,
    /// Its counterpart in the final output was found: ids may be repeated.
    pub settled: bool,
}

impl Item {
    /// An item without content, with this many characters of text before it.
    pub fn new(index: u64, part_start: u64) -> Self {
        Self {
            index,
            tool: None,
            call_id: None,
            part: None,
            part_start,
            citations: 0,
            done: false,
            settled: false,
        }
    }
}
