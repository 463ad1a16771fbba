//! Tables as CSV (RFC 4180: commas, CRLF, quotes where needed), safe to open in a spreadsheet: a text that a
//! spreadsheet would read as a formula gets an apostrophe before it. Figures are written by the caller as digits.

/// A cell of a table.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// A text of a user, or from a fixed set.
    Text(&'a str),
    /// A number or an amount, as its own digits.
    Figure(&'a str),
}

/// Writes rows into a buffer that can be emptied between rows, so a long table needs little memory.
#[derive(Default)]
pub struct TableWriter {
    buffer: Vec<u8>,
}

impl TableWriter {
    /// Adds one row.
    pub fn row<'c>(&mut self, cells: impl IntoIterator<Item = Cell<'c>>) {
        let mut writer = csv::WriterBuilder::new()
            .terminator(csv::Terminator::CRLF)
            .flexible(true)
            .buffer_capacity(256)
            .from_writer(&mut self.buffer);
        for cell in cells {
            // Writing into memory does not fail.
            let _ = match cell {
                Cell::Text(text) if is_formula(text) => writer.write_field(format!("'{text}")),
                Cell::Text(text) | Cell::Figure(text) => writer.write_field(text),
            };
        }
        let _ = writer.write_record(None::<&[u8]>);
        let _ = writer.flush();
    }

    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The rows written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// The rows as text; every cell was text.
    pub fn into_text(self) -> String {
        String::from_utf8(self.buffer).unwrap_or_default()
    }
}

/// A spreadsheet may execute a text that begins like this, with or without spaces before it.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_never_read_as_formulas() {
        let mut table = TableWriter::default();
        table.row([Cell::Text("=cmd()"), Cell::Text("a,\"b\""), Cell::Figure("-1.5")]);
        table.row([Cell::Text("+1"), Cell::Text("@x"), Cell::Text("-x")]);
        table.row([Cell::Text("\tx"), Cell::Text("  =x"), Cell::Text("plain é"), Cell::Text("")]);
        assert_eq!(
            table.into_text(),
            "'=cmd(),\"a,\"\"b\"\"\",-1.5\r\n'+1,'@x,'-x\r\n'\tx,'  =x,plain é,\r\n"
        );
    }

    #[test]
    fn rows_can_be_taken_out_as_they_are_written() {
        let mut table = TableWriter::default();
        table.row([Cell::Text("a")]);
        assert_eq!(table.take(), b"a\r\n");
        assert!(table.is_empty());
        table.row([Cell::Text("b")]);
        assert_eq!(table.take(), b"b\r\n");
    }
}
