//! What the reader keeps of an item of the output.

use super::super::events::Voice;

/// What is known of an item that has begun.
pub(super) struct Item {
    /// Its place in the output.
    pub index: u64,
    /// The call it is.
    pub tool: Option<u32>,
    pub call_id: Option<String>,
    /// The part that got content last.
    pub part: Option<(Voice, u64)>,
    /// Characters of text before that part.
    pub part_start: u64,
    pub citations: usize,
    pub done: bool,
    /// Its like in the final output was found: ids may come twice.
    pub settled: bool,
}

impl Item {
    /// One without content, with so many characters of text before it.
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
