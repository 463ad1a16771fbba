//! Tools that a client of Responses runs itself and that only this dialect has a form for: free-form tools, shells,
//! patches, and the search among the client's own tools. In other wire formats each of them is a function; a call of
//! that function becomes an item of the tool's kind again. Must never make a function of a tool that the provider runs.

use super::{
    items::{member, needed, string},
    output::Status,
    tools::{joined, split},
};
use crate::{
    canonical::{Json, ToolKind},
    json::{Escaped, Kind, Member, ObjectWriter, Raw},
    request::Invalid,
};

/// Separates the name of a function in the canonical form from the kind of tool that it replaces. No name contains it,
/// so every target gets another name, and the kind is restored with the client's name.
pub(crate) const KIND_MARK: char = '\u{1e}';
const KIND_MARK_INNER: &str = "\\u001e";

/// One kind of tool.
#[derive(Debug)]
pub(super) struct ClientTool {
    /// The type of the tool, and the marker of its kind.
    pub tool: &'static str,
    /// The types of the items for a call and its result.
    pub call: &'static str,
    pub result: &'static str,
    /// How ids of its calls begin.
    pub id_prefix: &'static str,
    /// The member of a call that contains the model's output.
    written: &'static str,
    form: Form,
    description: &'static str,
    /// The function's parameters, if the tool has none of its own.
    parameters: &'static str,
}

/// The form of the model's output in the item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// One text.
    Text,
    /// The arguments as an object of this type, if it has one; lists and required members.
    Object {
        typed: Option<&'static str>,
        lists: &'static [&'static str],
        rest: &'static [(&'static str, &'static str)],
    },
}

/// The name of the one member of a free-form tool's function.
const INPUT: &str = "input";

const KINDS: [ClientTool; 5] = [
    ClientTool {
        tool: "custom",
        call: "custom_tool_call",
        result: "custom_tool_call_output",
        id_prefix: "ctc_",
        written: INPUT,
        form: Form::Text,
        description: "",
        parameters: r#"{"type":"object","properties":{"input":{"type":"string","description":"The whole input of the tool, as plain text."}},"required":["input"],"additionalProperties":false}"#,
    },
    ClientTool {
        tool: "local_shell",
        call: "local_shell_call",
        result: "local_shell_call_output",
        id_prefix: "lsh_",
        written: "action",
        form: Form::Object { typed: Some("exec"), lists: &["command"], rest: &[("env", "{}")] },
        description: "Runs a command on the user's computer and returns its output.",
        parameters: r#"{"type":"object","properties":{"command":{"type":"array","items":{"type":"string"},"description":"The program and its arguments."},"working_directory":{"type":"string"},"timeout_ms":{"type":"integer"}},"required":["command"],"additionalProperties":false}"#,
    },
    ClientTool {
        tool: "shell",
        call: "shell_call",
        result: "shell_call_output",
        id_prefix: "sh_",
        written: "action",
        form: Form::Object {
            typed: None,
            lists: &["commands"],
            rest: &[("timeout_ms", "null"), ("max_output_length", "null")],
        },
        description: "Runs shell commands on the user's computer and returns their output.",
        parameters: r#"{"type":"object","properties":{"commands":{"type":"array","items":{"type":"string"},"description":"The commands, which may run at the same time."},"timeout_ms":{"type":"integer"},"max_output_length":{"type":"integer","description":"Characters of output that are returned."}},"required":["commands"],"additionalProperties":false}"#,
    },
    ClientTool {
        tool: "apply_patch",
        call: "apply_patch_call",
        result: "apply_patch_call_output",
        id_prefix: "apc_",
        written: "operation",
        form: Form::Object { typed: None, lists: &[], rest: &[] },
        description: "Creates, updates or deletes one file on the user's computer. `diff` is a V4A diff: sections that begin with @@, lines that begin with a space, + or -.",
        parameters: r#"{"type":"object","properties":{"type":{"type":"string","enum":["create_file","update_file","delete_file"]},"path":{"type":"string"},"diff":{"type":"string","description":"Left out when the file is deleted."}},"required":["type","path"],"additionalProperties":false}"#,
    },
    ClientTool {
        tool: "tool_search",
        call: "tool_search_call",
        result: "tool_search_output",
        id_prefix: "tsc_",
        written: "arguments",
        form: Form::Object { typed: None, lists: &[], rest: &[] },
        description: "Searches for further tools. The tools found can be called from then on.",
        parameters: r#"{"type":"object","properties":{"query":{"type":"string"}},"required":["query"],"additionalProperties":false}"#,
    },
];

impl ClientTool {
    /// The kind of a tool of a request, if the client runs it.
    pub fn of_tool(tool: Raw<'_>, typed: &str) -> Option<&'static Self> {
        let word =
            |value: Option<Raw<'_>>, is: &str| value.and_then(Raw::text).is_some_and(|word| word == is);
        let is_run_by_client = match typed {
            "tool_search" => word(tool.member("execution"), "client"),
            "shell" => {
                let environment = tool.member("environment");
                word(environment.and_then(|environment| environment.member("type")), "local")
            }
            _ => true,
        };
        KINDS.iter().find(|kind| kind.tool == typed && is_run_by_client)
    }

    /// The kind whose calls are items of this type.
    pub fn of_call(typed: &str, members: &[Member<'_>]) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.call == typed).filter(|_| !is_run_by_provider(members))
    }

    /// The kind whose results are items of this type.
    pub fn of_result(typed: &str, members: &[Member<'_>]) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.result == typed).filter(|_| !is_run_by_provider(members))
    }

    /// The kind that a choice of this type means.
    pub fn of_choice(typed: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.tool == typed)
    }

    /// The name of its function in the canonical form.
    pub fn name(&self, namespace: Option<&Escaped<'_>>, name: Option<&Escaped<'_>>) -> Escaped<'static> {
        let name = name.map_or(self.tool, Escaped::inner);
        let marked = Escaped::from_inner(format!("{name}{KIND_MARK_INNER}{}", self.tool));
        match namespace {
            Some(namespace) => joined(namespace, &marked),
            None => marked,
        }
    }

    /// The name of the function that an item or a choice means.
    pub fn named<'a>(&self, members: &[Member<'a>], path: &str) -> Result<Escaped<'static>, Invalid> {
        let name = match self.form {
            Form::Text => Some(needed(members, "name", path)?),
            Form::Object { .. } => None,
        };
        let namespace = string(members, "namespace", path)?.filter(|namespace| !namespace.is_empty());
        Ok(self.name(namespace.as_ref(), name.as_ref()))
    }

    /// The tool as a function.
    pub fn function<'a>(
        &self,
        members: &[Member<'a>],
        namespace: Option<&Escaped<'a>>,
        path: &str,
    ) -> Result<ToolKind<'a>, Invalid> {
        let name = match self.form {
            Form::Text => Some(needed(members, "name", path)?),
            Form::Object { .. } => None,
        };
        let mut description = string(members, "description", path)?.unwrap_or_default();
        if description.is_empty() {
            description = Escaped::from_text(self.description);
        }
        if let Some(grammar) = member(members, "format").and_then(grammar) {
            description.push(&grammar);
        }
        let own = member(members, "parameters").filter(|schema| schema.kind() == Kind::Object);
        let own = own.filter(|_| self.form != Form::Text);
        Ok(ToolKind::Function {
            name: self.name(namespace, name.as_ref()),
            description: (!description.is_empty()).then_some(description),
            parameters: Some(own.map_or_else(|| Json::trusted(self.parameters.into()), Json::of)),
            strict: None,
        })
    }

    /// The arguments of the function for a call in an item.
    pub fn arguments(&self, members: &[Member<'_>]) -> Escaped<'static> {
        let Some(written) = member(members, self.written) else { return Escaped::default() };
        let mut object = ObjectWriter::new();
        let Form::Object { typed, .. } = self.form else {
            object.raw(INPUT, written.get());
            return as_text(object);
        };
        for member in written.members() {
            let is_type = typed.is_some() && member.key == "type";
            if !is_type && !member.value.is_null() {
                object.raw_key(member.raw_key).extend(member.value.get().as_bytes());
            }
        }
        as_text(object)
    }

    /// The model's output for a free-form tool; `None` for the other kinds.
    pub fn input(&self, arguments: &Escaped<'_>) -> Option<Escaped<'static>> {
        (self.form == Form::Text).then(|| input(arguments))
    }

    /// The item of a call; without arguments it only announces the call.
    pub fn item(
        &self,
        id: &str,
        status: Status,
        call_id: &Escaped<'_>,
        name: &Escaped<'_>,
        arguments: Option<&Escaped<'_>>,
    ) -> Vec<u8> {
        let mut item = ObjectWriter::new();
        item.text("id", id);
        item.text("type", self.call);
        item.text("status", status.as_str());
        call_id.push_quoted(item.key("call_id"));
        match self.form {
            Form::Text => {
                let (namespace, name) = split(name);
                if let Some(namespace) = namespace {
                    Escaped::from_inner(namespace).push_quoted(item.key("namespace"));
                }
                Escaped::from_inner(name).push_quoted(item.key("name"));
                arguments.map(input).unwrap_or_default().push_quoted(item.key(self.written));
            }
            Form::Object { .. } => {
                if self.tool == "tool_search" {
                    item.text("execution", "client");
                }
                item.key(self.written).extend(self.object(arguments));
            }
        }
        item.end()
    }

    /// The arguments as the object of the item.
    fn object(&self, arguments: Option<&Escaped<'_>>) -> Vec<u8> {
        let Form::Object { typed, lists, rest } = self.form else { return b"{}".into() };
        let text = arguments.map(Escaped::decode_json).unwrap_or_default();
        let parsed = Json::parse(text.trim().to_owned()).ok();
        let members = parsed.as_ref().map(|json| json.raw().members()).unwrap_or_default();
        let mut object = ObjectWriter::new();
        if let Some(typed) = typed {
            object.text("type", typed);
        }
        for key in lists {
            let value = member(&members, key);
            let listed = match value.map(Raw::kind) {
                Some(Kind::Array) => value.map(Raw::get).unwrap_or_default().to_owned(),
                // Some models write the one command as a text.
                Some(Kind::String) if *key == "command" => {
                    format!(r#"["bash","-lc",{}]"#, value.map(Raw::get).unwrap_or_default())
                }
                Some(Kind::String) => format!("[{}]", value.map(Raw::get).unwrap_or_default()),
                _ => "[]".to_owned(),
            };
            object.raw(key, &listed);
        }
        let is_own = |key: &str| (typed.is_some() && key == "type") || lists.contains(&key);
        for member in members.iter().filter(|member| !is_own(&member.key)) {
            object.raw_key(member.raw_key).extend(member.value.get().as_bytes());
        }
        for (key, otherwise) in rest {
            if !members.iter().any(|member| member.key == *key) {
                object.raw(key, otherwise);
            }
        }
        object.end()
    }
}

/// The kind of tool that a function of the canonical form replaces, and its name without the marker.
pub(super) fn unmarked(name: Escaped<'static>) -> (Option<&'static ClientTool>, Escaped<'static>) {
    let Some((plain, mark)) = name.inner().rsplit_once(KIND_MARK_INNER) else { return (None, name) };
    match KINDS.iter().find(|kind| kind.tool == mark) {
        Some(kind) => (Some(kind), Escaped::from_inner(plain.to_owned())),
        None => (None, name),
    }
}

/// A search that the provider ran does not concern the client; its call has no id that a result could state.
fn is_run_by_provider(members: &[Member<'_>]) -> bool {
    member(members, "execution").and_then(Raw::text).is_some_and(|execution| execution == "server")
}

/// The text argument of a function that replaces a free-form tool.
fn input(arguments: &Escaped<'_>) -> Escaped<'static> {
    let text = arguments.decode_json();
    let Ok(json) = Json::parse(text.trim().to_owned()) else { return arguments.clone().into_owned() };
    let raw = json.raw();
    if let Some(whole) = Escaped::of(raw) {
        return whole.into_owned();
    }
    let members = raw.members();
    let texts = || members.iter().filter_map(|member| Escaped::of(member.value));
    let named = member(&members, INPUT).and_then(Escaped::of);
    // A model may give the one text another name.
    let only = || texts().next().filter(|_| texts().count() == 1);
    named.or_else(only).map_or_else(|| Escaped::from_text(&text), Escaped::into_owned)
}

/// The description of a grammar that is not enforced here, for the model.
fn grammar(format: Raw<'_>) -> Option<Escaped<'static>> {
    let definition = format.member("definition").and_then(Escaped::of)?;
    let syntax = format.member("syntax").and_then(Raw::text).unwrap_or_default();
    let mut text = Escaped::from_text(&format!("\n\nThe input must follow this {syntax} grammar:\n"));
    text.push(&definition);
    Some(text)
}

/// An object as the inside of a JSON string.
fn as_text(object: ObjectWriter) -> Escaped<'static> {
    Escaped::from_text(&String::from_utf8_lossy(&object.end()))
}

/// The names of the tools that a search found, as the text of its result.
pub(super) fn found(tools: Raw<'_>) -> Escaped<'static> {
    let names: Vec<_> = tools.elements().into_iter().flat_map(listed).collect();
    let text = if names.is_empty() {
        "No tools were found.".to_owned()
    } else {
        format!("These tools can be called from now on: {}.", names.join(", "))
    };
    Escaped::from_text(&text)
}

fn listed(tool: Raw<'_>) -> Vec<String> {
    let name = tool.member("name").and_then(Raw::text).unwrap_or_default().into_owned();
    let inner = tool.member("tools").map(Raw::elements).unwrap_or_default();
    if inner.is_empty() {
        return vec![name];
    }
    // The names as targets get them, see the names of tools.
    let between = if name.ends_with("__") { "" } else { "__" };
    let inner = inner.into_iter().filter_map(|tool| tool.member("name").and_then(Raw::text));
    inner.map(|tool| format!("{name}{between}{tool}")).collect()
}
