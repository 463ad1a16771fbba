//! Events of a stream for a client of Responses: named, numbered from 0, one JSON object each.

use crate::{json::ObjectWriter, sse};

/// The stream's events.
#[derive(Default)]
pub(super) struct Frames {
    sequence: u64,
}

impl Frames {
    /// Continues with this number.
    pub fn from(sequence: u64) -> Self {
        Self { sequence }
    }

    pub fn write(&mut self, name: &str, out: &mut Vec<u8>, fill: impl FnOnce(&mut ObjectWriter)) {
        let mut frame = ObjectWriter::new();
        frame.text("type", name);
        frame.key("sequence_number").extend(self.sequence.to_string().bytes());
        self.sequence = self.sequence.saturating_add(1);
        fill(&mut frame);
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name.as_bytes());
        out.push(b'\n');
        sse::write_data(out, &frame.end());
    }

    pub fn item(&mut self, name: &str, index: usize, item: &[u8], out: &mut Vec<u8>) {
        self.write(name, out, |frame| {
            frame.key("output_index").extend(index.to_string().bytes());
            frame.key("item").extend(item);
        });
    }

    /// An event about a part of an item; `counter` is the part's index member, if it has one.
    pub fn part(
        &mut self,
        name: &str,
        place: (usize, &str),
        counter: Option<&str>,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut ObjectWriter),
    ) {
        self.write(name, out, |frame| {
            frame.text("item_id", place.1);
            frame.key("output_index").extend(place.0.to_string().bytes());
            if let Some(counter) = counter {
                frame.raw(counter, "0");
            }
            fill(frame);
        });
    }
}
