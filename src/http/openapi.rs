//! The OpenAPI 3.1 document of the API: built from the route table, which says what there is and who may call it, from
//! [`operations`], which says what an endpoint is for, and from `schemas.json`. `GET /openapi.json` serves it, and
//! `kairosroute openapi` prints it; docs/openapi.json must be what it prints.

mod operations;

use super::{
    error::ApiError,
    extract::Call,
    routes::{Access, ROUTES, Route},
};
use actix_web::{
    HttpResponse,
    http::{Method, header},
};
use operations::{Body, Content, Operation, Query};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

const SCHEMAS: &str = include_str!("openapi/schemas.json");
const DESCRIPTION: &str = "A gateway between applications and the providers of large language models. Every path under \
    `/v1` exists under `/api/v1`, too. Answers carry `X-KairosRoute-…` headers and `x-request-id`. A session acts in \
    the organization it was begun in; `X-KairosRoute-Organization: org_…` names another one of the same person.";
/// What `X-KairosRoute-…` headers of an inference answer mean.
const ANSWER_HEADERS: [(&str, &str); 6] = [
    ("X-KairosRoute-Provider", "Display name of the provider that answered"),
    ("X-KairosRoute-Model", "Canonical id of the model, without the provider"),
    ("X-KairosRoute-BYOK", "true: the customer's own provider key was used"),
    ("X-KairosRoute-Receipt", "Id of the receipt"),
    ("X-KairosRoute-Attempts", "Calls made to providers"),
    ("X-KairosRoute-Cost", "Charged, in USD; not on streams"),
];

/// The document as text. It is the same for every process of one version.
pub static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

/// `GET /openapi.json`.
pub async fn get_document(_call: Call) -> Result<HttpResponse, ApiError> {
    let age = (header::CACHE_CONTROL, "public, max-age=300");
    Ok(HttpResponse::Ok().insert_header(age).content_type("application/json").body(TEXT.as_str()))
}

/// The whole document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES.iter().filter(|route| !is_twin(route)) {
        let item = paths.entry(documented_path(route.path)).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.as_str().to_lowercase(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "KairosRoute",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "tags": operations::TAGS.map(|(name, what)| json!({ "name": name, "description": what })),
        "paths": paths,
        "components": {
            "schemas": serde_json::from_str::<Value>(SCHEMAS).unwrap_or_default(),
            "securitySchemes": {
                "apiKey": { "type": "http", "scheme": "bearer", "description": "An API key, `kr-…`" },
                "apiKeyHeader": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "session": { "type": "http", "scheme": "bearer", "description": "A session token, `krs_…`" },
                "clientToken": { "type": "http", "scheme": "bearer", "description": "The token of indoxhub's client" },
            },
        },
    })
}

/// A path under `/api/v1` that exists under `/v1` is described once.
fn is_twin(route: &Route) -> bool {
    let plain = route.path.strip_prefix("/api").filter(|rest| rest.starts_with("/v1/"));
    plain.is_some_and(|plain| ROUTES.iter().any(|other| other.path == plain && other.method == route.method))
}

/// `/v1/models/{id:.+}` is `/v1/models/{id}` there.
fn documented_path(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.split_once(':') {
        Some((name, _)) if segment.starts_with('{') => format!("{name}}}"),
        _ => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}

fn find(route: &Route, path: &str) -> Option<&'static Operation> {
    operations::all().find(|one| one.method == route.method.as_str() && one.path == path)
}

fn operation(route: &Route) -> Value {
    let path = documented_path(route.path);
    let Some(known) = find(route, &path) else { return undescribed(route, &path) };
    let mut responses = Map::new();
    for (status, content) in known.replies {
        responses.insert(status.to_string(), response(known, *content));
    }
    let is_inference = matches!(known.errors, operations::Errors::Inference);
    for status in errors(route, &path, known) {
        responses.insert(status.to_string(), refusal(status, route));
    }
    if is_inference {
        let own = "An error of the customer's own provider keeps its status";
        responses.insert("4XX".to_owned(), json!({ "description": own, "content": error_content(route) }));
    }
    let mut view = json!({
        "operationId": known.id,
        "tags": [known.tag],
        "summary": known.summary,
        "security": security(route.access()),
        "parameters": parameters(&path, known.query),
        "responses": responses,
    });
    if let (Some(view), Some(body)) = (view.as_object_mut(), request_body(known.body)) {
        view.insert("requestBody".to_owned(), body);
    }
    view
}

/// An endpoint that nobody has described yet: what the route table says of it.
fn undescribed(route: &Route, path: &str) -> Value {
    let mut responses = Map::new();
    for status in [200, 201, 204] {
        responses.insert(status.to_string(), json!({ "description": "Done" }));
    }
    for status in [400, 401, 402, 403, 404, 409, 413, 415, 429, 502, 503, 504] {
        responses.insert(status.to_string(), refusal(status, route));
    }
    let words = path.split(['/', '{', '}', '-', '.']).filter(|word| !word.is_empty());
    let name = words.map(str::to_owned).collect::<Vec<_>>().join("_");
    let mut view = json!({
        "operationId": format!("{}_{name}", route.method.as_str().to_lowercase()),
        "tags": ["other"],
        "summary": format!("{} {path}", route.method),
        "security": security(route.access()),
        "parameters": parameters(path, &[]),
        "responses": responses,
    });
    let writes = !matches!(route.method, Method::GET | Method::DELETE);
    if let (true, Some(view)) = (writes, view.as_object_mut()) {
        let content = json!({ "application/json": { "schema": { "type": "object" } } });
        view.insert("requestBody".to_owned(), json!({ "required": false, "content": content }));
    }
    view
}

fn security(access: Access) -> Value {
    match access {
        Access::Public => json!([]),
        Access::ApiKey => json!([{ "apiKey": [] }, { "apiKeyHeader": [] }]),
        Access::Client => json!([{ "clientToken": [] }]),
        Access::Reader => json!([{ "apiKey": [] }, { "apiKeyHeader": [] }, { "session": [] }]),
        Access::Person | Access::Session(_) | Access::Operator => json!([{ "session": [] }]),
    }
}

fn parameters(path: &str, query: &[Query]) -> Vec<Value> {
    let in_path = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| {
        json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
    });
    let in_query = query.iter().map(|one| {
        let schema: Value = serde_json::from_str(one.schema).unwrap_or_default();
        json!({ "name": one.name, "in": "query", "required": one.required, "description": one.what,
                "schema": schema })
    });
    in_path.chain(in_query).collect()
}

fn request_body(body: Body) -> Option<Value> {
    let schema = |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
    let content = match body {
        Body::None => return None,
        Body::Json(name) | Body::OptionalJson(name) => json!({ "application/json": schema(name) }),
        Body::Form(name) => json!({ "multipart/form-data": schema(name) }),
    };
    Some(json!({ "required": !matches!(body, Body::OptionalJson(_)), "content": content }))
}

fn response(known: &Operation, content: Content) -> Value {
    let schema = |name: &str| json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } });
    let text = || json!({ "schema": { "type": "string" } });
    let content = match content {
        Content::Empty => return json!({ "description": "Done" }),
        Content::Json(name) => json!({ "application/json": schema(name) }),
        // Each event has a form of its own.
        Content::Stream(name) => json!({ "application/json": schema(name), "text/event-stream": {} }),
        Content::Csv(name) => json!({ "application/json": schema(name), "text/csv": text() }),
        Content::Text(name) => json!({ "application/json": schema(name), "text/*": text() }),
        Content::Binary(media) => json!({ media: { "schema": { "type": "string", "format": "binary" } } }),
    };
    let mut view = json!({ "description": "Done", "content": content });
    if let (operations::Errors::Inference, Some(view)) = (known.errors, view.as_object_mut()) {
        let headers = ANSWER_HEADERS.map(|(name, what)| {
            (name.to_owned(), json!({ "description": what, "schema": { "type": "string" } }))
        });
        view.insert("headers".to_owned(), Value::Object(headers.into_iter().collect()));
    }
    view
}

/// The statuses with which the endpoint refuses: by who may call it, by what it takes, and its own.
fn errors(route: &Route, path: &str, known: &Operation) -> Vec<u16> {
    let mut statuses = vec![400, 429, 503];
    if route.access() != Access::Public {
        statuses.extend([401, 403]);
    }
    if path.contains('{') {
        statuses.push(404);
    }
    if !matches!(known.body, Body::None) {
        statuses.extend([413, 415]);
    }
    match known.errors {
        operations::Errors::Plain => {}
        operations::Errors::Also(more) => statuses.extend(more),
        operations::Errors::Inference => statuses.extend([402, 404, 409, 502, 504]),
    }
    statuses
}

fn error_content(route: &Route) -> Value {
    let name = match route.envelope {
        super::error::Envelope::Anthropic => "AnthropicError",
        super::error::Envelope::OpenAi | super::error::Envelope::Indox => "Error",
    };
    json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{name}") } } })
}

fn refusal(status: u16, route: &Route) -> Value {
    let what = match status {
        400 => "A field or parameter is wrong; the message names it",
        401 => "No credential, or one that is unknown, ended or expired",
        402 => "Too little credit, or a budget or cost limit is reached",
        403 => "The credential may not do this",
        404 => "Not there, or of another organization",
        409 => "In conflict with what is there",
        413 => "The body is too large",
        415 => "A content encoding that is not supported",
        429 => "A limit is reached; `Retry-After` states the seconds to wait",
        502 => "The provider failed",
        503 => "Not available for the moment; `Retry-After` states the seconds to wait",
        _ => "The provider did not answer in time",
    };
    json!({ "description": what, "content": error_content(route) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_described_operation_is_a_route_and_has_an_id_of_its_own() {
        let routes: BTreeSet<(String, String)> =
            ROUTES.iter().map(|route| (route.method.to_string(), documented_path(route.path))).collect();
        let mut ids = BTreeSet::new();
        for one in operations::all() {
            assert!(
                routes.contains(&(one.method.to_owned(), one.path.to_owned())),
                "{} {}",
                one.method,
                one.path
            );
            assert!(ids.insert(one.id), "{} occurs twice", one.id);
        }
    }

    #[test]
    fn every_reference_leads_to_a_schema_and_every_schema_is_used() {
        let text = TEXT.as_str();
        let schemas: Map<String, Value> = serde_json::from_str(SCHEMAS).unwrap();
        let named: BTreeSet<&str> =
            text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let there: BTreeSet<&str> = schemas.keys().map(String::as_str).collect();
        assert_eq!(named, there);
    }

    #[test]
    fn the_checked_in_document_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json");
        let checked_in = std::fs::read_to_string(path).unwrap();
        assert!(checked_in == *TEXT, "run `kairosroute openapi > docs/openapi.json`");
    }
}
