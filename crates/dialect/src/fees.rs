//! Which tools have a separate fee at the provider, decided by the tool's type. A tool that the client runs has none.
//! Every other type is assumed to have one, because no answer is certain to report it.

use super::{canonical::WebSearch, json::Raw};

/// Maximum types that are named.
const FEES_MAX: usize = 32;
/// The client chooses the text of a type.
const WHAT_CHARS_MAX: usize = 64;
/// Namespaces nested deeper than this are not read as tools.
const NAMESPACES_MAX: u32 = 4;

/// Types of Anthropic's tools that the client runs, or that only search the request's own tools. A date follows.
const RUN_BY_MESSAGES_CLIENTS: [&str; 5] =
    ["bash_", "text_editor_", "memory_", "computer_", "tool_search_tool_"];

/// One part of a request with a fee.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fee {
    /// Its place, such as `tools[1]`.
    pub path: String,
    /// The type of the tool, or the name of the field.
    pub what: String,
}

/// The parts of a request with a fee, the first of each type.
#[derive(Clone, Default, Debug)]
pub struct Fees(Vec<Fee>);

impl Fees {
    pub(crate) fn add(&mut self, path: &str, what: &str) {
        let what: String = what.chars().take(WHAT_CHARS_MAX).collect();
        if self.0.len() < FEES_MAX && self.0.iter().all(|fee| fee.what != what) {
            self.0.push(Fee { path: path.to_owned(), what });
        }
    }

    pub(crate) fn extend(&mut self, more: Fees) {
        more.0.iter().for_each(|fee| self.add(&fee.path, &fee.what));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether web search is the only part with a fee; answers count searches.
    pub fn are_searches(&self) -> bool {
        !self.is_empty() && self.0.iter().all(|fee| WebSearch::is(&fee.what))
    }

    /// The part that a refusal names: one that no answer counts has priority over a search.
    pub fn foremost(&self) -> Option<&Fee> {
        self.0.iter().find(|fee| !WebSearch::is(&fee.what)).or(self.0.first())
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fee> {
        self.0.iter()
    }

    /// Records a tool of a Responses request, and the tools inside it.
    pub(crate) fn add_responses_tool(&mut self, tool: Raw<'_>, path: &str) {
        self.responses_tool(tool, path, NAMESPACES_MAX);
    }

    fn responses_tool(&mut self, tool: Raw<'_>, path: &str, depth: u32) {
        let typed = tool.member("type").and_then(Raw::text).unwrap_or_default();
        let word =
            |member: Option<Raw<'_>>, is: &str| member.and_then(Raw::text).is_some_and(|word| word == is);
        let is_free = match typed.as_ref() {
            "function" | "custom" | "local_shell" | "apply_patch" | "computer" | "computer_use_preview" => {
                true
            }
            "tool_search" => word(tool.member("execution"), "client"),
            "shell" => {
                word(tool.member("environment").and_then(|environment| environment.member("type")), "local")
            }
            "namespace" => {
                let inner = tool.member("tools").map(Raw::elements).unwrap_or_default();
                for (index, tool) in inner.into_iter().enumerate().filter(|_| depth > 0) {
                    self.responses_tool(tool, &format!("{path}.tools[{index}]"), depth.saturating_sub(1));
                }
                depth > 0
            }
            _ => false,
        };
        if !is_free {
            self.add(path, &typed);
        }
    }

    /// Records a tool of a Messages request by its type; a tool without a type is run by the client.
    pub(crate) fn add_messages_tool(&mut self, typed: &str, path: &str) {
        let is_free =
            typed == "custom" || RUN_BY_MESSAGES_CLIENTS.iter().any(|prefix| typed.starts_with(prefix));
        if !is_free {
            self.add(path, typed);
        }
    }

    /// Records a tool of a chat request by its type.
    pub(crate) fn add_chat_tool(&mut self, typed: &str, path: &str) {
        if !matches!(typed, "function" | "custom") {
            self.add(path, typed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::read_object;

    fn of_responses(tool: &str) -> Vec<(String, String)> {
        let body = format!(r#"{{"tool":{tool}}}"#);
        let members = read_object(body.as_bytes(), 32, 8).unwrap();
        let mut fees = Fees::default();
        fees.add_responses_tool(members[0].value, "tools[0]");
        fees.iter().map(|fee| (fee.path.clone(), fee.what.clone())).collect()
    }

    #[test]
    fn tools_that_the_client_runs_bear_no_fee() {
        for tool in [
            r#"{"type":"function","name":"f"}"#,
            r#"{"type":"custom","name":"f"}"#,
            r#"{"type":"local_shell"}"#,
            r#"{"type":"apply_patch"}"#,
            r#"{"type":"computer","environment":"browser"}"#,
            r#"{"type":"computer_use_preview"}"#,
            r#"{"type":"tool_search","execution":"client"}"#,
            r#"{"type":"shell","environment":{"type":"local","skills":[]}}"#,
            r#"{"type":"namespace","name":"n","tools":[]}"#,
            r#"{"type":"namespace","name":"n","tools":[{"type":"function"},{"type":"namespace","tools":[{"type":"custom"}]}]}"#,
        ] {
            assert_eq!(of_responses(tool), [], "{tool}");
        }
    }

    #[test]
    fn tools_that_the_provider_runs_are_named_with_their_place() {
        for (tool, path, what) in [
            (r#"{"type":"web_search"}"#, "tools[0]", "web_search"),
            (r#"{"type":"tool_search"}"#, "tools[0]", "tool_search"),
            (r#"{"type":"tool_search","execution":"server"}"#, "tools[0]", "tool_search"),
            (r#"{"type":"shell","environment":{"type":"container_auto"}}"#, "tools[0]", "shell"),
            (r#"{"type":"shell"}"#, "tools[0]", "shell"),
            (r#"{"type":"mcp","server_url":"https://x.test"}"#, "tools[0]", "mcp"),
            (r#"{"type":"not_known_yet"}"#, "tools[0]", "not_known_yet"),
            (
                r#"{"type":"namespace","tools":[{"type":"function"},{"type":"code_interpreter"}]}"#,
                "tools[0].tools[1]",
                "code_interpreter",
            ),
        ] {
            assert_eq!(of_responses(tool), [(path.to_owned(), what.to_owned())], "{tool}");
        }
        let deep = (0..6).fold(r#"{"type":"mcp"}"#.to_owned(), |inner, _| {
            format!(r#"{{"type":"namespace","tools":[{inner}]}}"#)
        });
        assert_eq!(of_responses(&deep).len(), 1, "what is too deep to be looked at is not taken to be free");
    }

    #[test]
    fn messages_and_chat_are_judged_by_their_types() {
        for (typed, is_free) in [
            ("custom", true),
            ("bash_20250124", true),
            ("text_editor_20250728", true),
            ("memory_20250818", true),
            ("computer_20251124", true),
            ("tool_search_tool_regex_20251119", true),
            ("web_search_20250305", false),
            ("web_fetch_20250910", false),
            ("code_execution_20250825", false),
            ("mcp_toolset", false),
        ] {
            let mut fees = Fees::default();
            fees.add_messages_tool(typed, "tools[0]");
            assert_eq!(fees.is_empty(), is_free, "{typed}");
        }
        let mut fees = Fees::default();
        for (typed, path) in
            [("function", "tools[0]"), ("custom", "tools[1]"), ("browser_search", "tools[2]")]
        {
            fees.add_chat_tool(typed, path);
        }
        assert_eq!(fees.iter().next().map(|fee| fee.path.as_str()), Some("tools[2]"));
    }
}
