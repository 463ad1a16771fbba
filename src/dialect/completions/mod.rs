//! OpenAI's text completions, for clients and providers.
#![allow(unused)]

use crate::{
    dialect::{
        Encoded, Head, Invalid, Limits, Reading, Speaking, Target, Unreadable, Unsupported,
        canonical::{self, Answer, Event},
        sse::Frame,
    },
    domain::usage::Usage,
};

/// A request that was read.
pub struct CompletionsRequest<'a> {
    pub head: Head<'a>,
    canonical: canonical::Request<'a>,
}
pub fn read<'a>(_body: &'a [u8], _limits: &Limits) -> Result<CompletionsRequest<'a>, Invalid> {
    unimplemented!()
}
impl<'a> CompletionsRequest<'a> {
    pub fn encode(&self, _target: &Target<'_>) -> Result<Encoded, Unsupported> {
        unimplemented!()
    }
    pub fn canonical(&self) -> Result<&canonical::Request<'a>, Unsupported> {
        Ok(&self.canonical)
    }
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

/// Writes streamed answers.
pub struct Writer {
    _speaking: Speaking,
}
impl Writer {
    pub fn new(speaking: Speaking) -> Self {
        Self { _speaking: speaking }
    }
    pub fn event(&mut self, _event: &Event<'_>, _out: &mut Vec<u8>) {
        unimplemented!()
    }
    pub fn conclude(&mut self, _note: &str, _billed: &Usage, _out: &mut Vec<u8>) {
        unimplemented!()
    }
}
/// Writes whole answers.
pub fn write_answer(_answer: &Answer, _speaking: &Speaking, _note: &str, _billed: &Usage) -> Vec<u8> {
    unimplemented!()
}
