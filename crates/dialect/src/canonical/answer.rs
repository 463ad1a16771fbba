//! A whole answer, assembled from its events.

use super::{
    event::{Citation, Delta, Event, Finish},
    request::Json,
};
use crate::json::Escaped;
use kairosroute_domain::usage::Usage;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The complete answer of a model.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Answer {
    pub id: Escaped<'static>,
    pub model: Escaped<'static>,
    /// By number; at least the first exists once any content has arrived.
    pub choices: Vec<Choice>,
    pub usage: Option<Usage>,
    pub service_tier: Option<String>,
    /// The provider's error, its JSON.
    pub failed: Option<Json<'static>>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Choice {
    /// In the order in which they began.
    pub parts: Vec<AnswerPart>,
    pub finish: Option<Finish>,
    pub stop_sequence: Option<Escaped<'static>>,
    /// Pieces in OpenAI's chat format, to be read as one.
    pub logprobs: Vec<Json<'static>>,
    #[serde(skip)]
    pub(crate) calls: CallPlaces,
}

/// The position of each call in `parts`, by number, so that a piece of its arguments needs no search. It follows from
/// the parts and is not compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallPlaces(HashMap<u32, usize>);

impl PartialEq for CallPlaces {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AnswerPart {
    Text(Escaped<'static>),
    Reasoning {
        text: Escaped<'static>,
        /// Without a tag.
        signature: Option<Escaped<'static>>,
    },
    Redacted(Escaped<'static>),
    Refusal(Escaped<'static>),
    ToolCall {
        /// The number its events carry.
        tool: u32,
        id: Escaped<'static>,
        name: Escaped<'static>,
        /// As the model wrote them; may be empty.
        arguments: Escaped<'static>,
        signature: Option<Escaped<'static>>,
    },
    /// Belongs to the text before it.
    Citation(Citation<'static>),
    Image {
        media_type: Escaped<'static>,
        data: Escaped<'static>,
    },
}

/// Choices above this number are not collected: no provider offers more.
const CHOICES_MAX: u32 = 128;

impl Answer {
    /// Adds an event.
    pub fn absorb(&mut self, event: Event<'_>) {
        match event {
            Event::Start { id, model } => {
                self.id = id.into_owned();
                self.model = model.into_owned();
            }
            Event::Said { choice, delta } => {
                if let Some(choice) = self.choice(choice) {
                    choice.say(delta);
                }
            }
            Event::Finish { choice, reason, stop_sequence } => {
                if let Some(choice) = self.choice(choice) {
                    choice.finish = Some(reason);
                    choice.stop_sequence = stop_sequence.map(Escaped::into_owned);
                }
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::ServiceTier(tier) => self.service_tier = Some(tier.into_owned()),
            Event::Restart => self.choices.clear(),
            Event::Failed(error) => self.failed = Some(error.into_owned()),
            Event::Prompt(_) | Event::End => {}
        }
    }

    fn choice(&mut self, number: u32) -> Option<&mut Choice> {
        let index = usize::try_from(number).ok().filter(|_| number < CHOICES_MAX)?;
        while self.choices.len() <= index {
            self.choices.push(Choice::default());
        }
        self.choices.get_mut(index)
    }
}

impl Choice {
    fn say(&mut self, delta: Delta<'_>) {
        match delta {
            Delta::Text(more) => match self.parts.last_mut() {
                Some(AnswerPart::Text(text)) => text.push(&more),
                _ => self.parts.push(AnswerPart::Text(more.into_owned())),
            },
            Delta::Refusal(more) => match self.parts.last_mut() {
                Some(AnswerPart::Refusal(text)) => text.push(&more),
                _ => self.parts.push(AnswerPart::Refusal(more.into_owned())),
            },
            Delta::Reasoning(more) => match self.parts.last_mut() {
                Some(AnswerPart::Reasoning { text, signature: None }) => text.push(&more),
                _ => self.parts.push(AnswerPart::Reasoning { text: more.into_owned(), signature: None }),
            },
            Delta::Signature(value) => match self.parts.last_mut() {
                Some(AnswerPart::Reasoning { signature: signature @ None, .. }) => {
                    *signature = Some(value.into_owned());
                }
                _ => self.parts.push(AnswerPart::Reasoning {
                    text: Escaped::default(),
                    signature: Some(value.into_owned()),
                }),
            },
            Delta::Redacted(data) => self.parts.push(AnswerPart::Redacted(data.into_owned())),
            Delta::ToolStart { tool, id, name, signature } => {
                self.calls.0.insert(tool, self.parts.len());
                self.parts.push(AnswerPart::ToolCall {
                    tool,
                    id: id.into_owned(),
                    name: name.into_owned(),
                    arguments: Escaped::default(),
                    signature: signature.map(Escaped::into_owned),
                });
            }
            Delta::ToolArguments { tool, piece } => {
                let place = self.calls.0.get(&tool).copied();
                if let Some(AnswerPart::ToolCall { arguments, .. }) =
                    place.and_then(|place| self.parts.get_mut(place))
                {
                    arguments.push(&piece);
                }
            }
            Delta::ToolEnd { .. } => {}
            Delta::Citation(Citation { url, title, span }) => {
                let citation =
                    Citation { url: url.into_owned(), title: title.map(Escaped::into_owned), span };
                self.parts.push(AnswerPart::Citation(citation));
            }
            Delta::Logprobs(piece) => self.logprobs.push(piece.into_owned()),
            Delta::Image { media_type, data } => self
                .parts
                .push(AnswerPart::Image { media_type: media_type.into_owned(), data: data.into_owned() }),
        }
    }
}
