//! The events of a model's answer. A whole answer is the same sequence at once, so streamed and whole answers cannot
//! differ in content or cost.

use super::request::Json;
use crate::json::Escaped;
use kairosroute_domain::usage::Usage;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// One event of an answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Event<'a> {
    /// The provider's own id and model name; at most once, before anything else of the answer.
    Start { id: Escaped<'a>, model: Escaped<'a> },
    /// A piece of content, by choice (0 unless `n` was requested).
    Said { choice: u32, delta: Delta<'a> },
    /// A choice is complete; at most once each.
    Finish {
        choice: u32,
        reason: Finish,
        /// The stop sequence that matched, if the wire format states it.
        stop_sequence: Option<Escaped<'a>>,
    },
    /// The prompt as the provider counts it before the answer. Used to bill an answer that breaks off; it is not the
    /// usage report.
    Prompt(Usage),
    /// All usage so far; the last report counts.
    Usage(Usage),
    /// The service tier that was used.
    ServiceTier(Cow<'a, str>),
    /// All content so far is void and is sent again.
    Restart,
    /// The provider reports an error: its JSON.
    Failed(Json<'a>),
    /// No further event follows.
    End,
}

impl Event<'_> {
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Event::Start { id, model } => Event::Start { id: id.into_owned(), model: model.into_owned() },
            Event::Said { choice, delta } => Event::Said { choice, delta: delta.into_owned() },
            Event::Finish { choice, reason, stop_sequence } => {
                Event::Finish { choice, reason, stop_sequence: stop_sequence.map(Escaped::into_owned) }
            }
            Event::Usage(usage) => Event::Usage(usage),
            Event::Prompt(usage) => Event::Prompt(usage),
            Event::ServiceTier(tier) => Event::ServiceTier(Cow::Owned(tier.into_owned())),
            Event::Restart => Event::Restart,
            Event::Failed(error) => Event::Failed(error.into_owned()),
            Event::End => Event::End,
        }
    }
}

/// A piece of content. Consecutive pieces of one kind are joined; after another kind a new part begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Delta<'a> {
    Text(Escaped<'a>),
    Reasoning(Escaped<'a>),
    /// Ends the reasoning before it, which may be empty; without a tag, as the provider wrote it.
    Signature(Escaped<'a>),
    /// A block of reasoning that only its provider can read.
    Redacted(Escaped<'a>),
    Refusal(Escaped<'a>),
    /// Calls are counted from 0 within a choice, in the order of their start.
    ToolStart {
        tool: u32,
        id: Escaped<'a>,
        name: Escaped<'a>,
        /// Data that the provider requires back with this call; without a tag.
        signature: Option<Escaped<'a>>,
    },
    ToolArguments {
        tool: u32,
        piece: Escaped<'a>,
    },
    /// The arguments are complete; readers send this for every call. A call without any piece has no arguments.
    ToolEnd {
        tool: u32,
    },
    Citation(Citation<'a>),
    /// The logprobs of the text before it, in OpenAI's chat format (`{"content": […]}`).
    Logprobs(Json<'a>),
    /// A generated image, base64.
    Image {
        media_type: Escaped<'a>,
        data: Escaped<'a>,
    },
}

impl Delta<'_> {
    fn into_owned(self) -> Delta<'static> {
        match self {
            Delta::Text(text) => Delta::Text(text.into_owned()),
            Delta::Reasoning(text) => Delta::Reasoning(text.into_owned()),
            Delta::Signature(bare) => Delta::Signature(bare.into_owned()),
            Delta::Redacted(data) => Delta::Redacted(data.into_owned()),
            Delta::Refusal(text) => Delta::Refusal(text.into_owned()),
            Delta::ToolStart { tool, id, name, signature } => Delta::ToolStart {
                tool,
                id: id.into_owned(),
                name: name.into_owned(),
                signature: signature.map(Escaped::into_owned),
            },
            Delta::ToolArguments { tool, piece } => Delta::ToolArguments { tool, piece: piece.into_owned() },
            Delta::ToolEnd { tool } => Delta::ToolEnd { tool },
            Delta::Citation(Citation { url, title, span }) => Delta::Citation(Citation {
                url: url.into_owned(),
                title: title.map(Escaped::into_owned),
                span,
            }),
            Delta::Logprobs(json) => Delta::Logprobs(json.into_owned()),
            Delta::Image { media_type, data } => {
                Delta::Image { media_type: media_type.into_owned(), data: data.into_owned() }
            }
        }
    }
}

/// A source of the text before it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Citation<'a> {
    pub url: Escaped<'a>,
    pub title: Option<Escaped<'a>>,
    /// Start and end in characters of the whole text, if the wire format states them.
    pub span: Option<(u64, u64)>,
}

/// Why an answer ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Finish {
    Stop,
    /// A stop sequence of the request matched.
    StopSequence,
    Length,
    ToolCalls,
    ContentFilter,
    /// The model refused.
    Refusal,
    /// The provider paused its own work; sending the turn back continues it.
    Pause,
}

impl Delta<'_> {
    /// Bytes of content: the memory for keeping it.
    pub fn size_bytes(&self) -> usize {
        let sum = |pieces: &[Option<&Escaped<'_>>]| {
            pieces.iter().flatten().fold(0usize, |sum, piece| sum.saturating_add(piece.inner().len()))
        };
        match self {
            Delta::Text(piece)
            | Delta::Reasoning(piece)
            | Delta::Signature(piece)
            | Delta::Redacted(piece)
            | Delta::Refusal(piece)
            | Delta::ToolArguments { piece, .. } => piece.inner().len(),
            Delta::ToolStart { id, name, signature, .. } => sum(&[Some(id), Some(name), signature.as_ref()]),
            Delta::ToolEnd { .. } => 0,
            Delta::Citation(Citation { url, title, .. }) => sum(&[Some(url), title.as_ref()]),
            Delta::Logprobs(json) => json.get().len(),
            Delta::Image { media_type, data } => sum(&[Some(media_type), Some(data)]),
        }
    }
}
