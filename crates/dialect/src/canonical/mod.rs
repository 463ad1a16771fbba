//! The one form between the wire formats: what a client asks and what a model answers, in no provider's words.
//! Every dialect has a reader into it and a writer out of it; where both ends speak the same dialect it is not
//! used and the bytes pass. Text stays as it was written ([`Escaped`]), numbers and schemas stay raw.

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
