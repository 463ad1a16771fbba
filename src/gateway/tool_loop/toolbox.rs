//! The tools of the servers of one request: connects to the servers in parallel, offers their tools under unique names,
//! calls them, and keeps the result of each call for the client. If a server fails, only its tools are missing.

use crate::{
    config::McpLimits,
    dialect::json::{self, ObjectWriter},
    domain::shares::Charge,
    mcp::{Bounds, McpError, Outcome, Server, Tool, naming::Names, session::Session},
    providers::transport::Transport,
};
use futures_util::future::join_all;
use std::sync::{Arc, atomic::AtomicUsize};
use tokio::time::Instant;

/// The connected servers of one request.
pub struct Toolbox {
    sessions: Vec<(String, Session)>,
    offered: Vec<Offered>,
    /// The tools as a chat request describes them.
    pub definitions: Vec<String>,
    /// The errors by server.
    pub errors: Vec<(String, ServerError)>,
}

struct Offered {
    name: String,
    session: usize,
    tool: String,
}

/// The error of a server that failed, for the model.
pub struct ServerError {
    pub code: &'static str,
    pub message: String,
}

/// A call of a server's tool, with its result.
pub struct Executed {
    pub server: String,
    pub tool: String,
    /// The server was called.
    pub made: bool,
    /// JSON text of an object.
    pub arguments: String,
    pub outcome: Outcome,
    pub duration_ms: u64,
}

impl Toolbox {
    /// Connects to every server.
    pub async fn open(
        servers: &[Server],
        transport: &Transport,
        limits: &McpLimits,
        memory: Charge,
        own_tools: &[String],
    ) -> Self {
        let bounds = Bounds {
            connect: limits.connect,
            call: limits.call,
            tools_max: limits.tools_max,
            tools_bytes: Arc::new(AtomicUsize::new(limits.tools_bytes_max)),
            message_bytes_max: limits.message_bytes_max,
            session_bytes_max: limits.session_bytes_max,
            memory: Arc::new(memory),
        };
        let opening = servers.iter().map(|server| Session::open(server, transport, &bounds));
        let mut names = Names::new(own_tools.iter().cloned());
        // The client's own tools count first towards the limit of a request.
        let room = limits.tools_max.saturating_sub(own_tools.len());
        let mut toolbox =
            Self { sessions: Vec::new(), offered: Vec::new(), definitions: Vec::new(), errors: Vec::new() };
        for (server, opened) in servers.iter().zip(join_all(opening).await) {
            match opened {
                Ok((session, tools)) => toolbox.add(server, session, tools, room, &mut names),
                Err(error) => toolbox.errors.push((server.name.clone(), ServerError::of(&error))),
            }
        }
        toolbox
    }

    fn add(&mut self, server: &Server, session: Session, tools: Vec<Tool>, most: usize, names: &mut Names) {
        let (tasks, tools): (Vec<Tool>, Vec<Tool>) = tools.into_iter().partition(|tool| tool.needs_task);
        if !tasks.is_empty() {
            let names: Vec<&str> = tasks.iter().map(|tool| tool.name.as_str()).collect();
            let message = format!(
                "these of its tools can only be called as tasks, which is not supported: {}",
                names.join(", ")
            );
            self.errors.push((server.name.clone(), ServerError { code: "tool_requires_task", message }));
        }
        let room = most.saturating_sub(self.offered.len());
        if tools.len() > room {
            let message =
                format!("only {room} of its tools are offered: beside your own there may be {most}");
            self.errors.push((server.name.clone(), ServerError { code: "too_many_tools", message }));
        }
        for tool in tools.into_iter().take(room) {
            let name = names.offer(&server.name, &tool.name);
            self.definitions.push(definition(&name, &tool));
            self.offered.push(Offered { name, session: self.sessions.len(), tool: tool.name });
        }
        self.sessions.push((server.name.clone(), session));
    }

    /// Whether a tool of this name is one of a server's.
    pub fn has(&self, name: &str) -> bool {
        self.offered.iter().any(|offered| offered.name == name)
    }

    /// Calls the tool that is offered as `name`, until `by` at the latest.
    pub async fn call(&self, name: &str, arguments: &str, limits: &McpLimits, by: Instant) -> Executed {
        let Some((offered, (server, session))) = self.find(name) else {
            return self.refused(name, arguments, "no server has this tool");
        };
        let arguments = if matches!(arguments.trim(), "" | "null") { "{}" } else { arguments };
        let Some(told) = object(arguments) else {
            return self.refused(name, arguments, "the arguments are not a JSON object");
        };
        let started = Instant::now();
        let called = tokio::time::timeout_at(by, session.call(&offered.tool, arguments)).await;
        let outcome =
            called.unwrap_or(Err(McpError::Late)).unwrap_or_else(|error| Outcome::wrong(error.to_string()));
        Executed {
            server: server.clone(),
            tool: offered.tool.clone(),
            made: true,
            arguments: told,
            outcome: within(outcome, limits.result_bytes_max),
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// A call of the tool that is offered as `name`, which is not made.
    pub fn refused(&self, name: &str, arguments: &str, why: &str) -> Executed {
        let (server, tool) = match self.find(name) {
            Some((offered, (server, _))) => (server.clone(), offered.tool.clone()),
            None => (String::new(), name.to_owned()),
        };
        let arguments = object(arguments).unwrap_or_else(|| "{}".to_owned());
        Executed { server, tool, made: false, arguments, outcome: Outcome::wrong(why), duration_ms: 0 }
    }

    fn find(&self, name: &str) -> Option<(&Offered, &(String, Session))> {
        let offered = self.offered.iter().find(|offered| offered.name == name)?;
        Some((offered, self.sessions.get(offered.session)?))
    }
}

impl ServerError {
    fn of(error: &McpError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

impl Executed {
    /// The result as the client reads it.
    pub fn write(&self) -> String {
        let mut out = ObjectWriter::new();
        out.text("server_name", &self.server);
        out.text("tool_name", &self.tool);
        out.raw("arguments", &self.arguments);
        match &self.outcome.structured {
            Some(structured) => out.raw("result", structured),
            None => out.text("result", &self.outcome.text),
        }
        out.raw("is_error", if self.outcome.is_error { "true" } else { "false" });
        out.raw("duration_ms", &self.duration_ms.to_string());
        text_of(out.end())
    }
}

/// The arguments that the model wrote, if they are an object; clients' readers require one.
fn object(arguments: &str) -> Option<String> {
    let is_object = arguments.trim_start().starts_with('{')
        && serde_json::from_str::<&serde_json::value::RawValue>(arguments).is_ok();
    is_object.then(|| arguments.to_owned())
}

/// The result, cut to the size that the model gets; the text states that it was cut.
fn within(outcome: Outcome, bytes_max: usize) -> Outcome {
    let structured = outcome.structured.filter(|json| json.len() <= bytes_max);
    if outcome.text.len() <= bytes_max {
        return Outcome { structured, ..outcome };
    }
    let mut end = bytes_max;
    while !outcome.text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let kept = outcome.text.get(..end).unwrap_or_default();
    let text = format!("{kept}\n[cut off: {end} of {} bytes are shown]", outcome.text.len());
    Outcome { text, structured: None, is_error: outcome.is_error }
}

fn definition(name: &str, tool: &Tool) -> String {
    let mut function = ObjectWriter::new();
    function.text("name", name);
    if let Some(description) = &tool.description {
        function.text("description", description);
    }
    function.raw("parameters", &parameters(&tool.parameters));
    let mut out = ObjectWriter::new();
    out.text("type", "function");
    out.key("function").extend(function.end());
    text_of(out.end())
}

/// Some providers refuse a schema of an object without `properties`.
fn parameters(schema: &str) -> String {
    let members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(schema).unwrap_or_default();
    let mut whole = schema.as_bytes().to_vec();
    for (name, value) in [("type", "\"object\""), ("properties", "{}")] {
        if !members.contains_key(name) {
            whole = json::with_member(&whole, name, value).unwrap_or(whole);
        }
    }
    text_of(whole)
}

/// Objects are written from text, so they are text.
fn text_of(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_result_is_cut_and_says_so() {
        let long = Outcome { text: "é".repeat(300), structured: Some("1".repeat(600)), is_error: false };
        let cut = within(long, 301);
        assert_eq!(cut.text, format!("{}\n[cut off: 300 of 600 bytes are shown]", "é".repeat(150)));
        assert_eq!(cut.structured, None);
        let short = Outcome { text: "é".into(), structured: Some("1".into()), is_error: true };
        assert_eq!(within(short.clone(), 301), short);
    }

    #[test]
    fn arguments_are_told_as_written_or_not_at_all() {
        assert_eq!(object(r#"{"a": 1.0 }"#).unwrap(), r#"{"a": 1.0 }"#);
        for wrong in ["[1]", "{", "7", "", "{}x", "{\"a\":\"\r\"}"] {
            assert_eq!(object(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_schema_without_properties_gets_some() {
        assert_eq!(parameters("{}"), r#"{"type":"object","properties":{}}"#);
        let whole = r#"{"type":"object","properties":{"a":{}}}"#;
        assert_eq!(parameters(whole), whole);
    }
}
