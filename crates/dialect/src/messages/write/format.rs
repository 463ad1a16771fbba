//! The output format in this wire format: the model's own schema mode, else one forced tool call whose arguments are
//! the answer, else an instruction.

use super::Writing;
use crate::{
    canonical::{Format, Json, Request, ToolChoice},
    json::{Escaped, Raw, with_member},
    target::Unsupported,
};

/// The tool whose arguments are the answer.
pub(super) const TOOL: &str = "json_answer";

pub(super) const TOOL_DESCRIPTION: &str = "Gives the answer. Its input is the whole answer.";

/// The instruction for a model that has no mode for plain JSON.
pub(super) const INSTRUCTION: &str = "Answer with one valid JSON object and nothing else.";

pub(super) enum Shape<'r> {
    Free,
    /// [`INSTRUCTION`].
    Instruction,
    /// In the model's own mode.
    Schema(Json<'r>),
    /// As the arguments of [`TOOL`].
    Tool {
        description: Option<&'r Escaped<'r>>,
        schema: Json<'r>,
    },
}

/// The names of schema limits in the list of dropped fields.
const SCHEMA: &str = "response_format.json_schema.schema";

pub(super) fn of<'r>(request: &'r Request<'_>, writing: &mut Writing<'_>) -> Result<Shape<'r>, Unsupported> {
    let (description, schema) = match &request.format {
        Format::Text => return Ok(Shape::Free),
        Format::JsonObject => return Ok(Shape::Instruction),
        Format::JsonSchema { description, schema, .. } => (description.as_ref(), schema),
    };
    let abilities = writing.abilities;
    let tools_are_offered = !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::Never);
    let can_force = !abilities.no_forced_tool && !tools_are_offered;
    if abilities.json_schema {
        let described = described(schema, description);
        match super::schema::closed(described.raw()) {
            // A forced tool is sufficient.
            Some(closed) if closed.narrowed && can_force && object_schema(schema).is_some() => {}
            Some(closed) => {
                writing.drop_of_schema(SCHEMA, &closed);
                return Ok(Shape::Schema(closed.schema));
            }
            None if can_force && object_schema(schema).is_some() => {}
            None => {
                return Err(Unsupported::because(
                    "response_format",
                    ": the model's schema mode takes no schema that refers to itself",
                ));
            }
        }
    } else if abilities.no_forced_tool {
        return Err(Unsupported::because("response_format", ": the model has no schema mode"));
    }
    let schema = object_schema(schema).ok_or(Unsupported::because(
        "response_format",
        ": without a schema mode the schema must be of an object",
    ))?;
    Ok(Shape::Tool { description, schema })
}

/// The mode has no description beside the schema, which may contain one.
fn described<'r>(schema: &'r Json<'_>, description: Option<&Escaped<'_>>) -> Json<'r> {
    let borrowed = || Json::of(schema.raw());
    let Some(description) = description.filter(|_| schema.raw().member("description").is_none()) else {
        return borrowed();
    };
    let quoted = format!("\"{}\"", description.inner());
    extended(schema, "description", &quoted).unwrap_or_else(borrowed)
}

/// The schema with the `type` that this wire format requires at its root; `None` if it has another type.
pub(super) fn object_schema<'r>(schema: &'r Json<'_>) -> Option<Json<'r>> {
    let raw = schema.raw();
    match raw.member("type") {
        Some(kind) => (kind.text().as_deref() == Some("object")).then(|| Json::of(raw)),
        None => extended(schema, "type", "\"object\""),
    }
}

fn extended(schema: &Json<'_>, name: &str, value: &str) -> Option<Json<'static>> {
    let json = with_member(schema.get().as_bytes(), name, value)?;
    String::from_utf8(json).ok().map(Json::trusted)
}

impl Shape<'_> {
    /// The schema for the model's own mode.
    pub fn schema(&self) -> Option<Raw<'_>> {
        match self {
            Shape::Schema(schema) => Some(schema.raw()),
            Shape::Free | Shape::Instruction | Shape::Tool { .. } => None,
        }
    }
}
