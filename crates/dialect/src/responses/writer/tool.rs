//! A tool call while its answer is being written, and its item for the client.

use super::super::{
    client_tools::ClientTool,
    output::{self, Status},
};
use crate::json::Escaped;

/// A call, from its start to its end.
pub(super) struct Tool {
    pub number: u32,
    pub call_id: Escaped<'static>,
    pub name: Escaped<'static>,
    /// Its form for the client, if it is not a function.
    pub kind: Option<&'static ClientTool>,
    pub arguments: Escaped<'static>,
    pub signature: Option<Escaped<'static>>,
    pub ended: bool,
    /// Index and id, after it was announced.
    pub place: Option<(usize, String)>,
}

impl Tool {
    /// The item; without arguments it only announces the call.
    pub fn item(&self, id: &str, status: Status, arguments: Option<&Escaped<'_>>) -> Vec<u8> {
        match self.kind {
            Some(kind) => kind.item(id, status, &self.call_id, &self.name, arguments),
            None => {
                let nothing = Escaped::default();
                let arguments = arguments.unwrap_or(&nothing);
                output::function_call(id, status, &self.call_id, &self.name, arguments)
            }
        }
    }
}
