//! Fields that have no business on an account which many customers share: they name something that a provider keeps
//! for one account (files, agents, stored answers), or order something that has fees of its own (searches, retrieval).
//! A request with such a field is served on its customer's own key alone. What is documented is judged where it is
//! read; this judges the fields that would pass unread. Among those with a suspicious name, only listed ones are allowed.

use crate::json::{Kind, Member, Raw};

/// Parts of names that speak of stored objects or of what has fees of its own.
const SUSPICIOUS: &[&str] = &[
    "agent",
    "agents",
    "assistant",
    "assistants",
    "attachment",
    "attachments",
    "background",
    "batch",
    "browse",
    "browser",
    "browsing",
    "cached",
    "collection",
    "collections",
    "compound",
    "connector",
    "connectors",
    "container",
    "containers",
    "conversation",
    "corpora",
    "corpus",
    "crawl",
    "dataset",
    "datasets",
    "document",
    "documents",
    "documenturl",
    "file",
    "files",
    "grounding",
    "knowledge",
    "libraries",
    "library",
    "mcp",
    "memories",
    "memory",
    "plugin",
    "plugins",
    "retrieval",
    "retriever",
    "search",
    "searches",
    "skill",
    "skills",
    "store",
    "stored",
    "thread",
    "threads",
    "vector",
    "websearch",
];

/// Ends of names that refer to something by its id.
const REFERENCES: [&str; 3] = ["id", "ids", "ref"];

/// Names that look like one of these and are labels of the caller's, switches that turn something off, or filters of
/// what a model does anyway.
const ALLOWED: &[&str] = &[
    "client_id",
    "correlation_id",
    "customer_id",
    "disable_search",
    "end_user_id",
    "memory_efficient",
    "request_id",
    "return_documents",
    "run_id",
    "search_after_date_filter",
    "search_before_date_filter",
    "search_domain_filter",
    "search_language_filter",
    "search_mode",
    "search_recency_filter",
    "session_id",
    "span_id",
    "trace_id",
    "user_id",
];

/// Members whose own members are fields, too.
const WRAPPERS: &[&str] = &[
    "anthropic",
    "extra_body",
    "google",
    "mistral",
    "openai",
    "options",
    "parameters",
    "provider_options",
    "vertex",
];

/// How deep wrappers stand within each other.
const DEPTH_MAX: u32 = 4;

/// The path of the first such field in a member that is not documented.
pub(crate) fn undocumented(member: &Member<'_>) -> Option<String> {
    find(&member.key, member.value, DEPTH_MAX)
}

/// `store`, where it asks a provider to keep the answer.
pub(crate) fn stores(member: &Member<'_>) -> Option<String> {
    (member.key == "store" && member.value.get() == "true").then(|| "store".to_owned())
}

fn find(name: &str, value: Raw<'_>, depth: u32) -> Option<String> {
    if value.is_idle() || value.get() == "false" {
        return None;
    }
    if is_restricted(name) {
        return Some(name.chars().take(100).collect());
    }
    if depth == 0 || value.kind() != Kind::Object || !WRAPPERS.contains(&name.to_ascii_lowercase().as_str()) {
        return None;
    }
    let inside = value.members().into_iter().find_map(|member| find(&member.key, member.value, depth - 1))?;
    Some(format!("{name}.{inside}"))
}

fn is_restricted(name: &str) -> bool {
    let snake = snake_case(name);
    if ALLOWED.contains(&snake.as_str()) {
        return false;
    }
    let is_reference = snake.rsplit('_').next().is_some_and(|last| REFERENCES.contains(&last));
    is_reference || snake.split('_').any(|word| SUSPICIOUS.contains(&word))
}

/// `cachedContent`, `Cached-Content` and `cached_content` are one name.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    let mut lower_before = false;
    for letter in name.chars().take(200) {
        if letter.is_uppercase() && lower_before {
            snake.push('_');
        }
        lower_before = letter.is_lowercase() || letter.is_numeric();
        match letter {
            '-' | '.' | ' ' | ':' => snake.push('_'),
            letter => snake.extend(letter.to_lowercase()),
        }
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn first(body: &str) -> Option<String> {
        json::read_object(body.as_bytes(), 32, 100).unwrap().iter().find_map(undocumented)
    }

    #[test]
    fn fields_that_name_stored_objects_or_have_fees_are_found() {
        for (body, field) in [
            (r#"{"documents":[{"text":"a"}]}"#, "documents"),
            (r#"{"search_settings":{"country":"de"}}"#, "search_settings"),
            (r#"{"search_parameters":{"mode":"on"}}"#, "search_parameters"),
            (r#"{"agent_id":"ag_1"}"#, "agent_id"),
            (r#"{"agentId":"ag_1"}"#, "agentId"),
            (r#"{"assistant_id":"a"}"#, "assistant_id"),
            (r#"{"thread_id":"a"}"#, "thread_id"),
            (r#"{"file_ids":["f"]}"#, "file_ids"),
            (r#"{"vector_store_ids":["v"]}"#, "vector_store_ids"),
            (r#"{"container":"c"}"#, "container"),
            (r#"{"cachedContent":"cachedContents/1"}"#, "cachedContent"),
            (
                r#"{"extra_body":{"google":{"cached_content":"cachedContents/1"}}}"#,
                "extra_body.google.cached_content",
            ),
            (r#"{"plugins":[{"id":"web"}]}"#, "plugins"),
            (r#"{"compound_custom":{"tools":{}}}"#, "compound_custom"),
            (r#"{"enable_search":true}"#, "enable_search"),
            (r#"{"enable_web_search":true}"#, "enable_web_search"),
            (r#"{"response_id":"resp_1"}"#, "response_id"),
            (r#"{"knowledge_base":"k"}"#, "knowledge_base"),
            (r#"{"background":true}"#, "background"),
        ] {
            assert_eq!(first(body).as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn other_fields_pass() {
        for body in [
            r#"{"top_k":4,"min_p":0.1,"repetition_penalty":1,"chat_template_kwargs":{"enable_thinking":false}}"#,
            r#"{"thinking":{"type":"enabled"},"enable_thinking":true,"safe_prompt":true,"random_seed":4}"#,
            r#"{"user_id":"u","session_id":"s","trace_id":"t","requestId":"r"}"#,
            r#"{"documents":[],"agent_id":null,"store_it":false,"search_settings":{}}"#,
            r#"{"search_mode":"academic","search_domain_filter":["a.org"],"disable_search":true}"#,
            r#"{"guided_json":{"properties":{"file_id":{"type":"string"}}},"restored":true,"profile":"x"}"#,
            r#"{"extra_body":{"google":{"thinking_config":{"include_thoughts":true}}}}"#,
        ] {
            assert_eq!(first(body), None, "{body}");
        }
    }
}
