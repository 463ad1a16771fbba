//! The canonical form between the wire formats: a client's request and a model's answer, independent of any provider.
//! Every dialect has a reader into it and a writer out of it; if both sides use the same dialect, it is not used and
//! the bytes pass through. Text stays as it was written ([`Escaped`]); numbers and schemas stay raw.

mod allowed;
mod answer;
mod event;
mod kept;
mod pictures;
mod request;
mod signature;
mod web_search;

pub use allowed::Allowed;
pub use answer::{Answer, AnswerPart, Choice};
pub use event::{Citation, Delta, Event, Finish};
pub use pictures::move_images_to_user;
pub use request::{
    Cache, Effort, Format, Json, Logprobs, Part, Reasoning, Request, Role, Setting, Source, Thinking, Tool,
    ToolCall, ToolChoice, ToolKind, ToolResult, Turn, What, is_kept_at,
};
pub use signature::{MARK, Place, Signature};
pub use web_search::WebSearch;
