use super::*;
use crate::dialect::{ClientRequest, Dialect, Limits};
use time::macros::date;

const TODAY: Date = date!(2026 - 11 - 20);
const CHAT: Kind = Kind::Conversation(Dialect::Chat);

/// The headers by name, and members of the body.
fn scope_of<T>(
    headers: &[(&str, &str)],
    members: &str,
    kind: Kind,
    then: impl FnOnce(Result<RequestRouting<'_>, Failure>) -> T,
) -> T {
    let mut routing_headers = RoutingHeaders::default();
    for (name, value) in headers {
        match *name {
            "provider" => routing_headers.provider = ProviderId::by_name(value),
            "key" => routing_headers.key = Some(Secret::new((*value).to_owned())),
            _ => routing_headers.model = Some((*value).to_owned()),
        }
    }
    let body = format!(r#"{{{members},"messages":[{{"role":"user","content":"a"}}]}}"#);
    let request = ClientRequest::read(Dialect::Chat, body.as_bytes(), &Limits::default()).unwrap();
    let catalog = Catalog::built_in().unwrap();
    then(RequestRouting::of(&routing_headers, request.head(), kind, &catalog, TODAY))
}

/// Names, fixed provider and the key's provider, as text.
fn settled(headers: &[(&str, &str)], members: &str) -> String {
    scope_of(headers, members, CHAT, |scope| {
        let scope = scope.unwrap_or_else(|failure| panic!("{}", failure.text()));
        let pin = scope.pin.map_or("-", ProviderId::as_str);
        let key = scope.key.as_ref().map_or("-", |key| key.provider.as_str());
        format!("{} {pin} {key}", scope.names.join(","))
    })
}

fn refused(headers: &[(&str, &str)], members: &str) -> String {
    scope_of(headers, members, CHAT, |scope| match scope.err().unwrap_or_else(|| panic!("{members}")) {
        Failure::Invalid(invalid) => {
            assert!(!invalid.message.contains("canary"), "{}", invalid.message);
            invalid.param.unwrap()
        }
        Failure::UnknownProvider { param, .. } => format!("unknown provider in {param}"),
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_key_belongs_to_the_header_s_provider_else_to_the_model_s() {
    let model = r#""model":"openai/gpt-4o""#;
    for (headers, members, expected) in [
        (vec![("key", "k")], model, "openai/gpt-4o - openai"),
        (vec![("key", "k"), ("provider", "Groq")], model, "openai/gpt-4o groq groq"),
        (vec![("provider", "groq")], model, "openai/gpt-4o groq -"),
        (
            vec![("key", "k"), ("provider", "openai")],
            r#""model":["gpt-4o","groq/gpt-oss-20b"]"#,
            "gpt-4o,groq/gpt-oss-20b openai openai",
        ),
        (vec![], r#""model":"openai/gpt-4o","byok_api_key":"k""#, "openai/gpt-4o - openai"),
        (vec![("provider", "xai")], r#""model":"grok-4","byok_api_key":"k""#, "grok-4 xai xai"),
        (
            vec![],
            r#""model":"openai/gpt-4o","extra":{"byok":"k","fallback_models":["groq/gpt-oss-20b"]}"#,
            "openai/gpt-4o,groq/gpt-oss-20b - openai",
        ),
        (
            vec![],
            r#""model":"gpt-oss-20b","extra":{"byok":"k","provider":"Together AI"}"#,
            "gpt-oss-20b together_ai together_ai",
        ),
        (
            vec![],
            r#""model":"openai/gpt-4o","extra":{"byok":"k","provider":"cheap"}"#,
            "openai/gpt-4o - openai",
        ),
        (vec![], r#""model":"somebody/new","byok_api_key":" ""#, "somebody/new - -"),
        (vec![("key", "k")], r#""model":"claude/any""#, "claude/any - anthropic"),
        // A bare name: the one provider that has it, else the one whose key format matches.
        (vec![("key", "k")], r#""model":"gpt-4o""#, "gpt-4o - openai"),
        (vec![], r#""model":"claude-sonnet-4-6","byok_api_key":"k""#, "claude-sonnet-4-6 - anthropic"),
        (vec![("key", "gsk_abc")], r#""model":"gpt-oss-120b""#, "gpt-oss-120b - groq"),
        (vec![], r#""model":"gpt-oss-120b","extra":{"byok":"csk-abc"}"#, "gpt-oss-120b - cerebras"),
    ] {
        assert_eq!(settled(&headers, members), expected, "{headers:?} {members}");
    }
}

#[test]
fn two_keys_are_refused_in_every_pairing() {
    let (header, body, extra) =
        (("key", "canary-1"), r#""byok_api_key":"canary-2""#, r#""extra":{"byok":"canary-3"}"#);
    let model = r#""model":"openai/gpt-4o""#;
    assert_eq!(refused(&[header], &format!("{model},{body}")), "byok_api_key");
    assert_eq!(refused(&[header], &format!("{model},{extra}")), "extra.byok");
    assert_eq!(refused(&[], &format!("{model},{body},{extra}")), "extra.byok");
    assert_eq!(refused(&[header], &format!("{model},{body},{extra}")), "extra.byok");
    // The same key twice is also two keys.
    assert_eq!(refused(&[("key", "canary-2")], &format!("{model},{body}")), "byok_api_key");
}

#[test]
fn a_key_without_a_provider_is_asked_for_one() {
    for model in ["auto", "kr-auto", "gpt-oss-120b", "never-made"] {
        for form in [r#""byok_api_key":"canary""#, r#""extra":{"byok":"canary","provider":"fast"}"#] {
            assert_eq!(refused(&[], &format!(r#""model":"{model}",{form}"#)), "x-provider", "{model}");
        }
        assert_eq!(refused(&[("key", "canary")], &format!(r#""model":"{model}""#)), "x-provider");
    }
    // A key in the format of a provider that does not have the model decides nothing.
    assert_eq!(refused(&[("key", "sk-ant-canary")], r#""model":"gpt-oss-120b""#), "x-provider");
    assert_eq!(refused(&[("key", "k")], r#""model":"nobody/gpt-4o""#), "unknown provider in model");
    let unknown = r#""model":"openai/gpt-4o","extra":{"provider":"nobody"}"#;
    assert_eq!(refused(&[], unknown), "unknown provider in extra.provider");
    let two = r#""model":"openai/gpt-4o","extra":{"provider":"groq"}"#;
    assert_eq!(refused(&[("provider", "openai")], two), "extra.provider");
}

#[test]
fn a_model_in_the_header_counts_only_where_it_can_be_meant() {
    let first = |headers: &[(&str, &str)], model: &str, kind| {
        scope_of(headers, &format!(r#""model":"{model}""#), kind, |scope| {
            scope.ok().unwrap().names[0].clone().into_owned()
        })
    };
    let pinned = |provider, model| [("provider", provider), ("model", model)];
    for (provider, header, body, kind, expected) in [
        ("openai", "gpt-4o", "openai/gpt-4o-mini", CHAT, "gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o-mini", CHAT, "openai/gpt-4o"),
        ("openai", "ft:made-by-me", "openai/gpt-4o-mini", CHAT, "ft:made-by-me"),
        // A header value that remained from another provider or another endpoint.
        ("google", "gpt-4o", "google/gemini-2.5-pro", CHAT, "google/gemini-2.5-pro"),
        ("google", "openai/made-up", "google/gemini-2.5-pro", CHAT, "google/gemini-2.5-pro"),
        ("openai", "gpt-4o", "openai/tts-1", Kind::Speech, "openai/tts-1"),
        ("openai", "text-embedding-3-small", "openai/gpt-4o", CHAT, "openai/gpt-4o"),
        // Not in the catalogue, and so possibly from another endpoint.
        ("openai", "ft:made-by-me", "openai/tts-1", Kind::Speech, "openai/tts-1"),
        ("openai", "openai/ft:made-by-me", "openai/tts-1", Kind::Speech, "openai/tts-1"),
        ("openai", "ft:made-by-me", "openai/gpt-4o", Kind::Speech, "ft:made-by-me"),
        ("openai", "ft:made-by-me", "openai/new-voice", Kind::Speech, "ft:made-by-me"),
        // The host's own name of a model that another company made.
        ("groq", "openai/gpt-oss-20b", "openai/gpt-4o", CHAT, "openai/gpt-oss-20b"),
    ] {
        assert_eq!(first(&pinned(provider, header), body, kind), expected, "{provider} {header}");
    }
    let alone = |header| [("model", header)];
    assert_eq!(first(&alone("gpt-4o"), "openai/gpt-4o-mini", CHAT), "gpt-4o");
    assert_eq!(first(&alone("gpt-4o"), "anthropic/any", CHAT), "anthropic/any");
    assert_eq!(first(&alone("openai/gpt-4o"), "auto", CHAT), "openai/gpt-4o");
    assert_eq!(first(&alone("never-made"), "auto", CHAT), "auto");
    assert_eq!(first(&alone("openai/ft:mine"), "gpt-4o", CHAT), "openai/ft:mine");
    assert_eq!(first(&alone("openai/ft:mine"), "tts-1", Kind::Speech), "tts-1");
}
