//! What the endpoints are for: a row for each route that is described. Access and path parameters are the route table's.

mod account;
mod inference;
mod operator;
mod recovery;

use Body::None as NoBody;
use Errors::{Also, Inference, Plain};

pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub query: &'static [Query],
    pub body: Body,
    pub replies: &'static [(u16, Content)],
    pub errors: Errors,
}

/// A parameter of the query.
pub struct Query {
    pub name: &'static str,
    /// JSON text.
    pub schema: &'static str,
    pub what: &'static str,
    pub required: bool,
}

#[derive(Clone, Copy)]
pub enum Body {
    None,
    /// JSON of this schema.
    Json(&'static str),
    /// The same, or no body.
    OptionalJson(&'static str),
    /// Multipart of this schema.
    Form(&'static str),
}

#[derive(Clone, Copy)]
pub enum Content {
    Empty,
    Json(&'static str),
    /// JSON, or events where the request asks for a stream.
    Stream(&'static str),
    /// JSON, or CSV where the request asks for it.
    Csv(&'static str),
    /// JSON, or text where the request asks for it.
    Text(&'static str),
    Binary(&'static str),
}

/// How else than by access an endpoint refuses.
#[derive(Clone, Copy)]
pub enum Errors {
    Plain,
    Also(&'static [u16]),
    Inference,
}

pub const TAGS: [(&str, &str); 11] = [
    ("inference", "Conversations and the other endpoints of models"),
    ("models", "Models, prices and measurements"),
    ("receipts", "What was decided, done and charged for a request"),
    ("account", "Signing up, sessions and passwords"),
    ("keys", "API keys and the provider keys in them"),
    ("members", "The people of an organization"),
    ("alerts", "Where alerts about budgets, credit, keys and spend are sent"),
    ("billing", "Balance, ledger and usage"),
    ("operator", "The operator of the installation"),
    ("process", "The process itself"),
    ("other", "Endpoints without a description"),
];

const fn query(name: &'static str, schema: &'static str, what: &'static str) -> Query {
    Query { name, schema, what, required: false }
}

const TEXT: &str = r#"{"type":"string"}"#;

const fn infer(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    body: Body,
    replies: &'static [(u16, Content)],
) -> Operation {
    Operation {
        method: "POST",
        path,
        id,
        tag: "inference",
        summary,
        query: &[],
        body,
        replies,
        errors: Inference,
    }
}

const fn read(
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    query: &'static [Query],
    replies: &'static [(u16, Content)],
) -> Operation {
    Operation { method: "GET", path, id, tag, summary, query, body: NoBody, replies, errors: Plain }
}

const fn change(
    method: &'static str,
    path: &'static str,
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    body: Body,
    replies: &'static [(u16, Content)],
) -> Operation {
    Operation { method, path, id, tag, summary, query: &[], body, replies, errors: Plain }
}

impl Operation {
    const fn with_query(mut self, query: &'static [Query]) -> Self {
        self.query = query;
        self
    }

    const fn also(mut self, statuses: &'static [u16]) -> Self {
        self.errors = Also(statuses);
        self
    }
}

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Operation> {
    inference::OPERATIONS
        .iter()
        .chain(account::OPERATIONS)
        .chain(operator::OPERATIONS)
        .chain(recovery::OPERATIONS)
}
