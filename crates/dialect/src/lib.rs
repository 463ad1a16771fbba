//! Wire formats as pure functions, used for clients and for providers alike. No I/O, no clock, no policy. Where
//! client and provider speak the same one the bytes pass; elsewhere a request is read into the canonical form and
//! written out in the other, and an answer comes back the same way.

mod answer_key;
pub mod canonical;
mod client;
mod cohere;
mod completions;
mod cost;
mod dropped;
mod fees;
mod gateway_options;
mod gemini;
pub mod json;
pub mod kinds;
pub mod messages;
mod names;
mod normalize;
mod notes;
pub mod openai_chat;
mod prompt;
mod request;
pub mod responses;
mod routing;
mod session;
mod shared_account;
pub mod sse;
mod stated;
mod target;
mod upstream;

pub use answer_key::answer_key;
pub use client::{ClientRequest, ClientWriter, WriterContext, write_answer};
pub use fees::{Fee, Fees};
pub use gateway_options::{CacheWish, GatewayOptions, brought_key};
pub use kairosroute_domain::provider::Dialect;
pub use names::Replaced;
pub use normalize::{mentions_mcp_servers, normalize};
pub use prompt::{Prompt, of as prompt_of, prompt};
pub use request::{Facts, Head, Invalid, Limits};
pub use responses::failed_event;
pub use routing::{RoutingOptions, Sort};
pub use session::{Session, session};
pub use target::{Encoded, Reading, Target, Unsupported};
pub use upstream::{AnswerReader, Unreadable, opens, write};
