//! Arguments of a call that arrive in pieces, each with the path of its value (`$.port`, `$.stops[0].name`). They are
//! assembled and emitted once. Bounded in bytes, values and depth.

use crate::{
    Unreadable,
    json::{Escaped, Kind, Raw, push_text},
};
use std::collections::HashMap;

const BYTES_MAX: usize = 1 << 20;
const NODES_MAX: usize = 8192;
const DEPTH_MAX: usize = 32;

/// The pieces so far.
pub(super) struct Arguments {
    root: Node,
    bytes: usize,
    nodes: usize,
}

enum Node {
    /// In the order of arrival, and the position of each by name.
    Object(Vec<(String, Node)>, HashMap<String, usize>),
    Array(Vec<Node>),
    /// The inside of a string, which can grow.
    Text(Escaped<'static>),
    /// Anything else, as written.
    Value(String),
}

enum Step {
    Key(String),
    Index(usize),
}

impl Default for Arguments {
    fn default() -> Self {
        Self { root: Node::object(), bytes: 0, nodes: 0 }
    }
}

impl Arguments {
    /// Takes one of `partialArgs`.
    pub(super) fn absorb(&mut self, piece: Raw<'_>) -> Result<(), Unreadable> {
        let path = piece.member("jsonPath").and_then(Raw::text).ok_or(Unreadable)?;
        let steps = steps(&path).ok_or(Unreadable)?;
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > BYTES_MAX || steps.len() > DEPTH_MAX {
            return Err(Unreadable);
        }
        let text = piece.member("stringValue").and_then(Escaped::of);
        let scalar = || {
            let is_scalar = |value: &Raw<'_>| matches!(value.kind(), Kind::Number | Kind::Bool);
            piece.member("numberValue").or_else(|| piece.member("boolValue")).filter(is_scalar)
        };
        let value = match (text, scalar()) {
            (Some(text), _) => Node::Text(text.into_owned()),
            (None, Some(scalar)) => Node::Value(scalar.get().to_owned()),
            (None, None) if piece.member("nullValue").is_some() => Node::Value("null".to_owned()),
            // It only announces the value, or ends it.
            (None, None) => return Ok(()),
        };
        let mut nodes = self.nodes;
        let node = steps
            .into_iter()
            .try_fold(&mut self.root, |node, step| node.child(step, &mut nodes))
            .ok_or(Unreadable)?;
        self.nodes = nodes;
        if self.nodes > NODES_MAX {
            return Err(Unreadable);
        }
        match (node, value) {
            (Node::Text(text), Node::Text(more)) => text.push(&more),
            (node, value) => *node = value,
        }
        Ok(())
    }

    /// The arguments as JSON.
    pub(super) fn json(&self) -> String {
        let mut out = Vec::new();
        self.root.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Node {
    fn object() -> Node {
        Node::Object(Vec::new(), HashMap::new())
    }

    /// The value under `self`, created if it is new. `None` if the path goes through a value of another kind or leaves
    /// a gap.
    fn child(&mut self, step: Step, nodes: &mut usize) -> Option<&mut Node> {
        // A new value is null until its kind is known.
        if matches!(self, Node::Value(value) if value == "null") {
            *self = match step {
                Step::Key(_) => Node::object(),
                Step::Index(_) => Node::Array(Vec::new()),
            };
        }
        let fresh = || Node::Value("null".to_owned());
        match (self, step) {
            (Node::Object(members, places), Step::Key(key)) => {
                let at = places.get(&key).copied().unwrap_or(members.len());
                if at == members.len() {
                    *nodes = nodes.saturating_add(1);
                    places.insert(key.clone(), at);
                    members.push((key, fresh()));
                }
                members.get_mut(at).map(|(_, node)| node)
            }
            (Node::Array(elements), Step::Index(index)) => {
                if index == elements.len() {
                    *nodes = nodes.saturating_add(1);
                    elements.push(fresh());
                }
                elements.get_mut(index)
            }
            _ => None,
        }
    }

    /// The depth is limited by the length of a path.
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Node::Object(members, _) => {
                out.push(b'{');
                for (index, (name, node)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    push_text(out, name);
                    out.push(b':');
                    node.write(out);
                }
                out.push(b'}');
            }
            Node::Array(elements) => {
                out.push(b'[');
                for (index, node) in elements.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    node.write(out);
                }
                out.push(b']');
            }
            Node::Text(text) => text.push_quoted(out),
            Node::Value(value) => out.extend_from_slice(value.as_bytes()),
        }
    }
}

/// The steps of a path after its `$`: `.name`, `['name']`, `["name"]`, `[0]`. At least one.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix('$')?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let step;
        (step, rest) = if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            let (name, tail) = tail.split_at_checked(end)?;
            (Step::Key(name.to_owned()), tail)
        } else if let Some(tail) = rest.strip_prefix("['") {
            let (name, tail) = tail.split_once("']")?;
            (Step::Key(name.to_owned()), tail)
        } else if let Some(tail) = rest.strip_prefix("[\"") {
            let (name, tail) = tail.split_once("\"]")?;
            (Step::Key(name.to_owned()), tail)
        } else {
            let (index, tail) = rest.strip_prefix('[')?.split_once(']')?;
            (Step::Index(index.parse().ok()?), tail)
        };
        steps.push(step);
    }
    (!steps.is_empty()).then_some(steps)
}
