//! Cohere's chat, version 2, for providers.
#![allow(unused)]

use crate::{
    dialect::{
        Encoded, Head, Invalid, Limits, Reading, Speaking, Target, Unreadable, Unsupported,
        canonical::{self, Answer, Event},
        sse::Frame,
    },
    domain::usage::Usage,
};

/// Writes a request.
pub fn write(_request: &canonical::Request<'_>, _target: &Target<'_>) -> Result<Encoded, Unsupported> {
    unimplemented!()
}

/// Reads answers.
pub struct Reader {
    _reading: Reading,
}
impl Reader {
    pub fn new(reading: Reading) -> Self {
        Self { _reading: reading }
    }
    pub fn frame(&mut self, _frame: Frame<'_>, _emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        unimplemented!()
    }
    pub fn close(&mut self, _emit: &mut dyn FnMut(Event<'_>)) {
        unimplemented!()
    }
    pub fn body(&mut self, _json: &[u8], _emit: &mut dyn FnMut(Event<'_>)) -> Result<(), Unreadable> {
        unimplemented!()
    }
}
