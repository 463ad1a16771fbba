//! Fields that are not allowed on an account which many customers share: they name an object that a provider stores for
//! one account (files, agents, stored answers), or request a service with separate fees (searches, retrieval). A
//! request with such a field is served only on its customer's own key. Documented fields are checked where they are
//! read; this module checks the fields that would otherwise pass unread. Settings of the model and the decoder are
//! listed by dialect and pass. For any other field every name and text is checked: a suspicious name, or a text that
//! looks like the id of a stored object, is allowed only if it is listed.

use crate::json::{Kind, Member, Raw};
use std::borrow::Cow;

/// Parts of names for stored objects or for services with separate fees.
const SUSPICIOUS: &[&str] = &[
    "adapter",
    "adapters",
    "agent",
    "agents",
    "assistant",
    "assistants",
    "async",
    "attachment",
    "attachments",
    "background",
    "batch",
    "browse",
    "browser",
    "browsing",
    "cached",
    "callback",
    "collection",
    "collections",
    "compound",
    "computer",
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
    "deferred",
    "deployment",
    "document",
    "documents",
    "documenturl",
    "fast",
    "fetch",
    "file",
    "files",
    "grounding",
    "index",
    "indexes",
    "interpreter",
    "knowledge",
    "libraries",
    "library",
    "lora",
    "mcp",
    "memories",
    "memory",
    "moderation",
    "plugin",
    "plugins",
    "premium",
    "preset",
    "presets",
    "priority",
    "project",
    "rag",
    "retrieval",
    "retriever",
    "sandbox",
    "scrape",
    "search",
    "searches",
    "skill",
    "skills",
    "store",
    "stored",
    "thread",
    "threads",
    "tier",
    "turbo",
    "upload",
    "uploads",
    "vector",
    "webhook",
    "webhooks",
    "websearch",
    "workspace",
];

/// Suffixes of names that refer to something by its id.
const REFERENCES: [&str; 6] = ["arn", "id", "ids", "ref", "uri", "uris"];

/// Prefixes of ids and addresses of stored objects.
const STORED: &[&str] = &[
    "agent_",
    "asst_",
    "audio_",
    "batch_",
    "cachedcontents/",
    "cntr_",
    "conv_",
    "corpora/",
    "file-",
    "file_",
    "files/",
    "gs://",
    "ms://",
    "msgbatch_",
    "resp_",
    "thread_",
    "tunedmodels/",
    "vs_",
];
/// A longer text is not an id.
const ID_BYTES_MAX: usize = 256;

/// Names that look like one of these but are labels of the caller, switches that turn something off, or filters of the
/// default behaviour.
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

/// Settings of the model and the decoder that pass unchanged, with any content: schemas, grammars, templates.
const COMMON: &[&str] = &[
    "add_generation_prompt",
    "chat_template",
    "chat_template_kwargs",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "json_schema",
    "logit_bias",
    "regex",
    "response_schema",
    "stop_token_ids",
    "structured_outputs",
];
/// Those of one dialect in addition.
pub(crate) const CHAT: &[&str] =
    &["generation_config", "prediction", "reasoning", "thinking", "thinking_config"];
pub(crate) const RESPONSES: &[&str] = &["reasoning", "text"];
pub(crate) const MESSAGES: &[&str] = &["output_format", "thinking"];
pub(crate) const COMPLETIONS: &[&str] = &["reasoning"];
/// All non-conversation endpoints.
pub(crate) const KINDS: &[&str] = &[];

/// A field with one of these words in its name contains the caller's own notes.
const NOTES: &[&str] = &["labels", "metadata", "tags", "telemetry", "trace", "tracing"];

/// Maximum depth to which a field is checked.
const DEPTH_MAX: u32 = 6;

/// The path of the first such field in an undocumented member; `settings` are those of its dialect.
pub(crate) fn undocumented(member: &Member<'_>, settings: &[&str]) -> Option<String> {
    let path = find(&member.key, member.value, settings, DEPTH_MAX)?;
    Some(path.chars().take(PATH_CHARS_MAX).collect())
}

/// The client chooses the text of a path.
const PATH_CHARS_MAX: usize = 100;

/// `store`, if it asks a provider to store the answer.
pub(crate) fn stores(member: &Member<'_>) -> Option<String> {
    (member.key == "store" && member.value.get() == "true").then(|| "store".to_owned())
}

fn find<'a>(name: &'a str, value: Raw<'_>, settings: &[&str], depth: u32) -> Option<Cow<'a, str>> {
    if value.is_idle() {
        return None;
    }
    let snake = snake_case(name);
    let is_note = snake.split('_').any(|word| NOTES.contains(&word));
    if is_note || COMMON.contains(&snake.as_str()) || settings.contains(&snake.as_str()) {
        return None;
    }
    if is_restricted(&snake) || is_stored(value, &snake) {
        return Some(name.into());
    }
    let depth = depth.checked_sub(1)?;
    let inside = match value.kind() {
        Kind::Object => in_object(value, settings, depth).map(|inside| format!(".{inside}")),
        Kind::Array => value.elements().into_iter().find_map(|element| match element.kind() {
            Kind::Object => in_object(element, settings, depth).map(|inside| format!("[].{inside}")),
            _ => is_stored(element, &snake).then(|| "[]".to_owned()),
        }),
        _ => None,
    };
    inside.map(|inside| format!("{name}{inside}").into())
}

fn in_object(value: Raw<'_>, settings: &[&str], depth: u32) -> Option<String> {
    let members = value.members();
    members.iter().find_map(|member| find(&member.key, member.value, settings, depth).map(Cow::into_owned))
}

fn is_restricted(snake: &str) -> bool {
    if ALLOWED.contains(&snake) {
        return false;
    }
    let is_reference = snake.rsplit('_').next().is_some_and(|last| REFERENCES.contains(&last));
    is_reference || snake.split('_').any(|word| SUSPICIOUS.contains(&word))
}

/// Whether a text looks like the id of a stored object: a known prefix, then both letters and digits.
fn is_stored(value: Raw<'_>, snake: &str) -> bool {
    if value.kind() != Kind::String || value.get().len() > ID_BYTES_MAX || ALLOWED.contains(&snake) {
        return false;
    }
    let Some(text) = value.text() else { return false };
    let text = text.to_ascii_lowercase();
    STORED.iter().any(|begin| {
        text.strip_prefix(begin).is_some_and(|rest| {
            begin.ends_with('/') || rest.len() >= 6 && rest.bytes().any(|byte| byte.is_ascii_digit())
        })
    })
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
        let members = json::read_object(body.as_bytes(), 32, 100).unwrap();
        members.iter().find_map(|member| undocumented(member, CHAT))
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
            (r#"{"deferred_mode":true}"#, "deferred_mode"),
            (r#"{"lora":"mine"}"#, "lora"),
            (r#"{"anything":{"inner":[{"connector_id":"c"}]}}"#, "anything.inner[].connector_id"),
            (r#"{"anything":{"deep":{"x":"file-abc123def"}}}"#, "anything.deep.x"),
            (r#"{"inputs":["resp_0123456789"]}"#, "inputs[]"),
            (r#"{"attached":"gs://bucket9/object"}"#, "attached"),
            (r#"{"moderation":{"mode":"strict"}}"#, "moderation"),
            (r#"{"options":{"callback":{"to":"x"}}}"#, "options.callback"),
        ] {
            assert_eq!(first(body).as_deref(), Some(field), "{body}");
        }
    }

    #[test]
    fn settings_are_those_of_the_dialect() {
        let members = json::read_object(br#"{"reasoning":{"thread_id":"t"}}"#, 32, 100).unwrap();
        assert_eq!(undocumented(&members[0], CHAT), None);
        assert_eq!(undocumented(&members[0], MESSAGES).as_deref(), Some("reasoning.thread_id"));
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
            r#"{"x_unknown":{"list":[1,"two",{"three":null}]},"note":"file a report about resp_onse"}"#,
            r#"{"stop_token_ids":[1,2],"reasoning":{"effort":"low","id":"r"}}"#,
            r#"{"session_id":"thread_0123456789"}"#,
            r#"{"client_metadata":{"x-installation-id":"i","thread_id":"t"},"tags":["file-abc123def"]}"#,
        ] {
            assert_eq!(first(body), None, "{body}");
        }
    }
}
