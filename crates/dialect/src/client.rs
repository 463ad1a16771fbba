//! The client's side: a request in its dialect, and the answer in that dialect. The only code that lists the dialects
//! of clients.

use super::{
    Dialect, Encoded, Head, Invalid, Limits, Target, Unsupported,
    canonical::{self, Answer, Effort, Event, Thinking},
    completions::{self, CompletionsRequest},
    dropped,
    json::{Member, Raw},
    messages::{self, MessagesRequest},
    openai_chat::{self, ChatRequest},
    responses::{self, ResponsesRequest},
    upstream,
};
use kairosroute_domain::{provider::ProviderId, usage::Usage};
use std::borrow::Cow;

/// A parsed request.
pub enum ClientRequest<'a> {
    Chat(Box<ChatRequest<'a>>),
    Completions(Box<CompletionsRequest<'a>>),
    Messages(Box<MessagesRequest<'a>>),
    Responses(Box<ResponsesRequest<'a>>),
}

/// The values for writing an answer, besides its events.
#[derive(Clone, Debug)]
pub struct WriterContext {
    /// Unique for the request, only letters and digits; ids in the client's dialect are derived from it.
    pub seed: String,
    /// Seconds since 1970.
    pub created: i64,
    /// Provider and model, for the tags on signatures.
    pub provider: ProviderId,
    pub upstream_model: String,
    /// The client wants a usage chunk (chat, completions).
    pub include_usage: bool,
    /// The members of the request that the answer must repeat (Responses): JSON members, without braces.
    pub echo: String,
}

/// Writes a streamed answer in the client's dialect.
pub enum ClientWriter {
    Chat(Box<openai_chat::Writer>),
    Completions(Box<completions::Writer>),
    Messages(Box<messages::Writer>),
    Responses(Box<responses::Writer>),
}

impl<'a> ClientRequest<'a> {
    /// Parses a request in a client's dialect. An error means that it must not be sent to any provider.
    pub fn read(dialect: Dialect, body: &'a [u8], limits: &Limits) -> Result<Self, Invalid> {
        let request = match dialect {
            Dialect::Chat => Self::Chat(Box::new(openai_chat::read(body, limits)?)),
            Dialect::Completions => Self::Completions(Box::new(completions::read(body, limits)?)),
            Dialect::Messages => Self::Messages(Box::new(messages::read(body, limits)?)),
            Dialect::Responses => Self::Responses(Box::new(responses::read(body, limits)?)),
            Dialect::Gemini | Dialect::Cohere => {
                return Err(Invalid { param: None, message: "no client is served in this dialect".into() });
            }
        };
        request.heeding(limits)
    }

    /// Parses a Messages request for token counting: the same, without a limit on the answer.
    pub fn read_for_count(body: &'a [u8], limits: &Limits) -> Result<Self, Invalid> {
        Self::Messages(Box::new(messages::read_for_count(body, limits)?)).heeding(limits)
    }

    /// With its options for the gateway itself.
    fn heeding(mut self, limits: &Limits) -> Result<Self, Invalid> {
        self.head_mut().apply_limits(limits)?;
        Ok(self)
    }

    fn head_mut(&mut self) -> &mut Head<'a> {
        match self {
            Self::Chat(request) => &mut request.head,
            Self::Completions(request) => &mut request.head,
            Self::Messages(request) => &mut request.head,
            Self::Responses(request) => &mut request.head,
        }
    }

    pub fn head(&self) -> &Head<'a> {
        match self {
            Self::Chat(request) => &request.head,
            Self::Completions(request) => &request.head,
            Self::Messages(request) => &request.head,
            Self::Responses(request) => &request.head,
        }
    }

    /// The members as the client sent them, without the gateway's own.
    pub(crate) fn members(&self) -> &[Member<'a>] {
        match self {
            Self::Chat(request) => &request.members,
            Self::Completions(request) => request.members(),
            Self::Messages(request) => request.members(),
            Self::Responses(request) => request.members(),
        }
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Chat(_) => Dialect::Chat,
            Self::Completions(_) => Dialect::Completions,
            Self::Messages(_) => Dialect::Messages,
            Self::Responses(_) => Dialect::Responses,
        }
    }

    /// The body for `target`: the client's bytes with small edits if it uses the client's dialect, otherwise a
    /// translation.
    pub fn encode(&self, target: &Target<'_>) -> Result<Encoded, Unsupported> {
        if target.dialect != self.dialect() {
            return self.translate(&*self.canonical()?, target);
        }
        let mut encoded = match self {
            Self::Chat(request) => request.encode(target),
            Self::Completions(request) => request.encode(target),
            Self::Messages(request) => request.encode(target),
            Self::Responses(request) => request.encode(target),
        }?;
        dropped::sanitize_names(&mut encoded.dropped);
        Ok(encoded)
    }

    /// `request`, which is this one in the canonical form, for a target with another dialect. Dropped and refused
    /// fields are reported by the client's names.
    pub fn translate(
        &self,
        request: &canonical::Request<'_>,
        target: &Target<'_>,
    ) -> Result<Encoded, Unsupported> {
        let dialect = self.dialect();
        match upstream::write(request, target) {
            Ok(mut encoded) => {
                encoded.dropped.iter_mut().for_each(|name| *name = called(dialect, std::mem::take(name)));
                dropped::sanitize_names(&mut encoded.dropped);
                Ok(encoded)
            }
            Err(unsupported) => Err(self.named(unsupported)),
        }
    }

    /// The same refusal with the client's name of the field.
    pub fn named(&self, unsupported: Unsupported) -> Unsupported {
        let place = unsupported.tool_type.as_deref().and_then(|typed| self.place_of_tool(typed));
        let field = place.map_or_else(|| called(self.dialect(), unsupported.field), Cow::Owned);
        Unsupported { field, ..unsupported }
    }

    /// The place of the first tool of a type, such as `tools[1]`.
    fn place_of_tool(&self, typed: &str) -> Option<String> {
        let is = |tool: Raw<'_>| tool.member("type").and_then(Raw::text).is_some_and(|own| own == typed);
        let tools = self.members().iter().find(|member| member.key == "tools")?.value.elements();
        tools.into_iter().enumerate().find_map(|(index, tool)| {
            if is(tool) {
                return Some(format!("tools[{index}]"));
            }
            let inner = tool.member("tools")?.elements().into_iter().position(is)?;
            Some(format!("tools[{index}].tools[{inner}]"))
        })
    }

    /// The request in the canonical form.
    pub fn canonical(&self) -> Result<Cow<'_, canonical::Request<'a>>, Unsupported> {
        Ok(match self {
            Self::Chat(request) => Cow::Owned(request.canonical()?),
            Self::Completions(request) => Cow::Borrowed(request.canonical()?),
            Self::Messages(request) => Cow::Borrowed(request.canonical()),
            Self::Responses(request) => Cow::Borrowed(request.canonical()?),
        })
    }

    /// The requested reasoning effort.
    pub fn thinking(&self) -> Thinking {
        match self {
            Self::Chat(request) => Thinking {
                effort: request.reasoning_effort.as_deref().and_then(Effort::by_name),
                ..Thinking::default()
            },
            Self::Completions(_) => Thinking::default(),
            Self::Messages(request) => request.canonical().thinking,
            Self::Responses(request) => request.canonical().map(|said| said.thinking).unwrap_or_default(),
        }
    }

    /// See [`WriterContext::echo`].
    pub fn echo(&self) -> String {
        match self {
            Self::Responses(request) => request.echo(),
            Self::Chat(_) | Self::Completions(_) | Self::Messages(_) => String::new(),
        }
    }
}

/// The name in this client's dialect of a field that writers name as in chat.
fn called(dialect: Dialect, name: Cow<'static, str>) -> Cow<'static, str> {
    let own = match (dialect, name.as_ref()) {
        (Dialect::Messages, "stop") => "stop_sequences",
        (Dialect::Messages, "response_format") => "output_config.format",
        (Dialect::Messages, "response_format.json_schema") => "output_config.format.schema",
        (Dialect::Responses, "response_format.json_schema") => "text.format.schema",
        (Dialect::Messages, "reasoning_effort") => "thinking",
        (Dialect::Messages, "max_completion_tokens") => "max_tokens",
        (Dialect::Messages, "parallel_tool_calls") => "tool_choice.disable_parallel_tool_use",
        (Dialect::Messages, "user") => "metadata.user_id",
        (Dialect::Responses, "messages") => "input",
        (Dialect::Responses, "response_format") => "text.format",
        (Dialect::Responses, "reasoning_effort") => "reasoning.effort",
        (Dialect::Responses, "verbosity") => "text.verbosity",
        (Dialect::Responses, "max_tokens" | "max_completion_tokens") => "max_output_tokens",
        // The position in the conversation is counted in turns, which differ from this client's messages or items.
        (Dialect::Messages, place) if is_placed(place) => "messages",
        (Dialect::Responses, place) if is_placed(place) => "input",
        _ => return name,
    };
    Cow::Borrowed(own)
}

/// A message by its number.
fn is_placed(name: &str) -> bool {
    let number = name.strip_prefix("messages[");
    number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

impl ClientWriter {
    /// `None` for a dialect that no client uses.
    pub fn new(dialect: Dialect, writer_context: WriterContext) -> Option<Self> {
        Some(match dialect {
            Dialect::Chat => Self::Chat(Box::new(openai_chat::Writer::new(writer_context))),
            Dialect::Completions => Self::Completions(Box::new(completions::Writer::new(writer_context))),
            Dialect::Messages => Self::Messages(Box::new(messages::Writer::new(writer_context))),
            Dialect::Responses => Self::Responses(Box::new(responses::Writer::new(writer_context))),
            Dialect::Gemini | Dialect::Cohere => return None,
        })
    }

    /// Writes the part of an event that the client gets at once. The part that finishes the answer is kept for
    /// [`Self::conclude`].
    pub fn event(&mut self, event: &Event<'_>, out: &mut Vec<u8>) {
        match self {
            Self::Chat(writer) => writer.event(event, out),
            Self::Completions(writer) => writer.event(event, out),
            Self::Messages(writer) => writer.event(event, out),
            Self::Responses(writer) => writer.event(event, out),
        }
    }

    /// Bytes of the answer that are kept for a later event or for the end, so that the caller can limit them.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Chat(writer) => writer.held_bytes(),
            // Each event is written at once.
            Self::Completions(_) => 0,
            Self::Messages(writer) => writer.held_bytes(),
            Self::Responses(writer) => writer.held_bytes(),
        }
    }

    /// Writes the end of a charged answer, with `note` (JSON) as the member `x_kairosroute` of the frame that finishes.
    pub fn conclude(&mut self, note: &str, billed: &Usage, out: &mut Vec<u8>) {
        match self {
            Self::Chat(writer) => writer.conclude(note, billed, out),
            Self::Completions(writer) => writer.conclude(note, billed, out),
            Self::Messages(writer) => writer.conclude(note, billed, out),
            Self::Responses(writer) => writer.conclude(note, billed, out),
        }
    }
}

/// A whole answer in the client's dialect, with `note` (JSON) as its member `x_kairosroute`. `None` for a dialect that
/// no client uses.
pub fn write_answer(
    dialect: Dialect,
    answer: &Answer,
    writer_context: &WriterContext,
    note: &str,
    billed: &Usage,
) -> Option<Vec<u8>> {
    Some(match dialect {
        Dialect::Chat => openai_chat::write_answer(answer, writer_context, note, billed),
        Dialect::Completions => completions::write_answer(answer, writer_context, note, billed),
        Dialect::Messages => messages::write_answer(answer, writer_context, note, billed),
        Dialect::Responses => responses::write_answer(answer, writer_context, note, billed),
        Dialect::Gemini | Dialect::Cohere => return None,
    })
}
