//! The tool calls of one choice while they arrive. Hosts number them, or not; name them in every piece, or in one; send
//! them whole or in pieces, several at a time. A call is emitted when its name is known; it gets an id of ours if the
//! host gives none. Arguments are passed on and not collected, except for a call without a name.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::{
    extent::Extent,
    reader::{Emit, last},
};
use crate::{
    Unreadable,
    canonical::{Delta, Event},
    json::{Escaped, Kind, Raw},
};

/// Maximum calls in one answer.
const CALLS_MAX: usize = 512;
/// Maximum bytes of all calls without a name.
const EARLY_BYTES_MAX: usize = 1024 * 1024;

/// The calls of one choice.
#[derive(Default)]
pub(in super::super) struct Calls {
    calls: Vec<Call>,
    /// The latest call for each of the host's numbers, and the call of each id.
    by_index: HashMap<u64, usize>,
    by_id: HashMap<u64, usize>,
    /// Calls that were emitted.
    told: u32,
    /// Bytes of the calls that were not.
    early_bytes: usize,
}

/// The call of a piece.
pub(in super::super) struct Place {
    pub number: u64,
    /// It is the first piece of its call.
    pub began: bool,
}

#[derive(Default)]
struct Call {
    /// Its number in an answer that passes through: the host's, or its position if the host gives none.
    number: u64,
    /// From the host's id, for comparison.
    id_hash: Option<u64>,
    /// Our number, after it was emitted.
    tool: Option<u32>,
    /// While it has no name.
    early: Early,
    said_arguments: bool,
    extent: Extent,
    closed: bool,
}

#[derive(Default)]
struct Early {
    id: Escaped<'static>,
    arguments: Escaped<'static>,
    signature: Option<Escaped<'static>>,
}

/// The content of one piece of a call.
struct Piece<'a> {
    index: Option<u64>,
    id: Option<Escaped<'a>>,
    name: Option<Escaped<'a>>,
    arguments: Option<Escaped<'a>>,
    signature: Option<Escaped<'a>>,
}

impl Calls {
    pub(in super::super) fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// There are calls, and the arguments of each are complete.
    pub(in super::super) fn are_whole(&self) -> bool {
        self.any() && self.calls.iter().all(|call| call.extent.is_whole())
    }

    /// Takes an element of `tool_calls`, and its position if there are several.
    pub(super) fn take(
        &mut self,
        raw: Raw<'_>,
        position: Option<usize>,
        choice: u32,
        seed: &str,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let Some(piece) = Piece::of(raw) else { return Ok(()) };
        let at = match self.find(&piece, position) {
            Some(at) => at,
            None => self.begin(&piece)?,
        };
        self.piece(at, piece, choice, seed, emit)
    }

    /// Takes the older `function_call`: at most one call, without an id.
    pub(super) fn take_legacy(
        &mut self,
        raw: Raw<'_>,
        choice: u32,
        seed: &str,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let Some(piece) = Piece::of_function(raw) else { return Ok(()) };
        let at = match self.calls.len().checked_sub(1) {
            Some(at) => at,
            None => self.begin(&piece)?,
        };
        self.piece(at, piece, choice, seed, emit)
    }

    /// Ends every call that is still open.
    pub(super) fn close(&mut self, choice: u32, seed: &str, emit: Emit<'_>) {
        for at in 0..self.calls.len() {
            // A call whose name never arrived is emitted without one: it must not be lost.
            self.tell(at, Escaped::default(), choice, seed, emit);
            let Some(call) = self.calls.get_mut(at).filter(|call| !call.closed) else { continue };
            call.closed = true;
            if let Some(tool) = call.tool {
                emit(Event::Said { choice, delta: Delta::ToolEnd { tool } });
            }
        }
    }

    /// The position of an element of `tool_calls`, for answers that pass through; `None` if there are too many calls.
    pub(in super::super) fn place(&mut self, raw: Raw<'_>, position: Option<usize>) -> Option<Place> {
        let piece = Piece::of(raw)?;
        let (at, began) = match self.find(&piece, position) {
            Some(at) => (at, false),
            None => (self.begin(&piece).ok()?, true),
        };
        self.note_id(at, piece.id.as_ref());
        let call = self.calls.get_mut(at)?;
        if let Some(arguments) = &piece.arguments {
            call.extent.feed(arguments.inner());
        }
        Some(Place { number: call.number, began })
    }

    /// The open call of a piece.
    fn find(&self, piece: &Piece<'_>, position: Option<usize>) -> Option<usize> {
        let hash = piece.id.as_ref().map(hash);
        let open = |at: &usize| self.calls.get(*at).is_some_and(|call| !call.closed);
        let Some(index) = piece.index else {
            let by_id = hash.and_then(|hash| self.by_id.get(&hash)).copied().filter(open);
            // Without a number and an id: a piece with a name begins a call; a piece without one continues a call,
            // several in their order and a single one the latest.
            let goes_on = piece.id.is_none() && piece.name.is_none();
            let latest = self.calls.len().checked_sub(1).filter(|_| goes_on);
            return by_id.or(latest.map(|latest| position.map_or(latest, |place| place.min(latest))));
        };
        let at = self.by_index.get(&index).copied().filter(open)?;
        let known = self.calls.get(at)?.id_hash;
        // Another id and a name with a used number: a host that gives every call the same number.
        let another = known.zip(hash).is_some_and(|(known, new)| known != new) && piece.name.is_some();
        if !another {
            return Some(at);
        }
        // An earlier call with the same number.
        hash.and_then(|hash| self.by_id.get(&hash)).copied().filter(open)
    }

    fn begin(&mut self, piece: &Piece<'_>) -> Result<usize, Unreadable> {
        let at = self.calls.len();
        if at >= CALLS_MAX {
            return Err(Unreadable);
        }
        let own = piece.index.filter(|index| !self.by_index.contains_key(index));
        let number = own.unwrap_or_else(|| u64::try_from(at).unwrap_or(u64::MAX));
        if let Some(index) = piece.index {
            self.by_index.insert(index, at);
        }
        self.calls.push(Call { number, ..Call::default() });
        Ok(at)
    }

    /// Assigns this id to the call from now on. `true`: it had none.
    fn note_id(&mut self, at: usize, id: Option<&Escaped<'_>>) -> bool {
        let (Some(call), Some(id)) = (self.calls.get_mut(at), id) else { return false };
        if call.id_hash.is_some() {
            return false;
        }
        let hash = hash(id);
        call.id_hash = Some(hash);
        self.by_id.insert(hash, at);
        true
    }

    fn piece(
        &mut self,
        at: usize,
        piece: Piece<'_>,
        choice: u32,
        seed: &str,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        if self.calls.get(at).is_none_or(|call| call.closed) {
            return Ok(());
        }
        let is_new = self.note_id(at, piece.id.as_ref());
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        if let Some(id) = piece.id.filter(|_| is_new)
            && call.tool.is_none()
        {
            self.early_bytes = self.early_bytes.saturating_add(id.inner().len());
            call.early.id = id.into_owned();
        }
        if let Some(signature) = piece.signature.filter(|_| call.tool.is_none()) {
            self.early_bytes = self.early_bytes.saturating_add(signature.inner().len());
            call.early.signature = Some(signature.into_owned());
        }
        if let Some(name) = piece.name {
            self.tell(at, name, choice, seed, emit);
        }
        if self.early_bytes > EARLY_BYTES_MAX {
            return Err(Unreadable);
        }
        match piece.arguments {
            Some(arguments) => self.argue(at, &arguments, choice, emit),
            None => Ok(()),
        }
    }

    /// Emits the begin of the call, unless it was emitted.
    fn tell(&mut self, at: usize, name: Escaped<'_>, choice: u32, seed: &str, emit: Emit<'_>) {
        let Some(call) = self.calls.get_mut(at).filter(|call| call.tool.is_none() && !call.closed) else {
            return;
        };
        let tool = self.told;
        self.told = tool.saturating_add(1);
        call.tool = Some(tool);
        let Early { mut id, arguments, signature } = std::mem::take(&mut call.early);
        let signed = signature.as_ref().map_or(0, |value| value.inner().len());
        let freed = id.inner().len().saturating_add(arguments.inner().len()).saturating_add(signed);
        self.early_bytes = self.early_bytes.saturating_sub(freed);
        if id.is_empty() {
            id = Escaped::from_inner(format!("call_{seed}{choice}x{tool}"));
        }
        let signature = signature.filter(|value| !value.is_empty());
        emit(Event::Said { choice, delta: Delta::ToolStart { tool, id, name, signature } });
        if !arguments.is_empty() {
            call.said_arguments = true;
            emit(Event::Said { choice, delta: Delta::ToolArguments { tool, piece: arguments } });
        }
    }

    fn argue(
        &mut self,
        at: usize,
        piece: &Escaped<'_>,
        choice: u32,
        emit: Emit<'_>,
    ) -> Result<(), Unreadable> {
        let Some(call) = self.calls.get_mut(at) else { return Ok(()) };
        // Some hosts write a call without arguments as null.
        if piece.is_empty() || piece.inner() == "null" && !call.said_arguments {
            return Ok(());
        }
        call.extent.feed(piece.inner());
        match call.tool {
            Some(tool) => {
                call.said_arguments = true;
                emit(Event::Said { choice, delta: Delta::ToolArguments { tool, piece: piece.borrowed() } });
            }
            None => {
                self.early_bytes = self.early_bytes.saturating_add(piece.inner().len());
                if self.early_bytes > EARLY_BYTES_MAX {
                    return Err(Unreadable);
                }
                call.early.arguments.push(piece);
            }
        }
        Ok(())
    }
}

impl<'a> Piece<'a> {
    fn of(raw: Raw<'a>) -> Option<Piece<'a>> {
        if raw.kind() != Kind::Object {
            return None;
        }
        let members = raw.members();
        // OpenAI's free-form tools have a separate member.
        let function = last(&members, "function").or_else(|| last(&members, "custom"));
        let piece = function.and_then(Piece::of_function);
        let id = last(&members, "id").and_then(Escaped::of);
        let google = last(&members, "extra_content").and_then(|extra| extra.member("google"));
        let signature = google.and_then(|google| google.member("thought_signature")).and_then(Escaped::of);
        let (name, arguments) = piece.map_or((None, None), |piece| (piece.name, piece.arguments));
        Some(Piece {
            index: last(&members, "index").and_then(Raw::count),
            // A host writes the word null where it has no id.
            id: id.filter(|id| !id.is_empty() && id.inner() != "null"),
            name,
            arguments,
            signature,
        })
    }

    fn of_function(raw: Raw<'a>) -> Option<Piece<'a>> {
        if raw.kind() != Kind::Object {
            return None;
        }
        let members = raw.members();
        let name = last(&members, "name").and_then(Escaped::of).filter(|name| !name.is_empty());
        let arguments = last(&members, "arguments").or_else(|| last(&members, "input"));
        let arguments = arguments.map(|raw| match raw.kind() {
            Kind::String => Escaped::of(raw).unwrap_or_default(),
            // The object itself instead of its text.
            _ => Escaped::from_text(raw.get()),
        });
        Some(Piece { index: None, id: None, name, arguments, signature: None })
    }
}

fn hash(id: &Escaped<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.inner().hash(&mut hasher);
    hasher.finish()
}
