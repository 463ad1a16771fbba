//! The answer to a path that no route has, which shows what is wrong with a client's base URL.

use super::{
    error::{ApiError, Code},
    routes::{ROUTES, Route},
};
use actix_web::HttpRequest;

/// What clients ask of other gateways and providers and is not here, by a segment of the path, and what to do instead.
const GAPS: &[(&str, &str)] = &[
    ("videos", "videos are not offered"),
    ("variations", "variations of images are not offered: use /v1/images/edits"),
    ("deferred-completion", "deferred completions are not offered: send the request without `deferred`"),
    ("batches", "batches are not offered: send each request by itself"),
    ("files", "files are not stored here: send the data of a file inside the request"),
    ("uploads", "files are not stored here: send the data of a file inside the request"),
    ("vector_stores", "vector stores are not offered: use /v1/embeddings and a store of your own"),
    ("assistants", "assistants are not offered: use /v1/responses or /v1/chat/completions"),
    (
        "threads",
        "threads are not offered: send the whole conversation to /v1/responses or /v1/chat/completions",
    ),
    ("conversations", "conversations are not stored here: send the whole conversation to /v1/responses"),
    ("responses", "responses are not stored here: send the whole conversation to POST /v1/responses"),
    ("fine_tuning", "fine-tuning is not offered"),
    ("realtime", "realtime sessions are not offered: use /v1/chat/completions with `stream`"),
    ("containers", "containers are not offered"),
    ("skills", "skills are not stored here"),
    ("evals", "evaluations are not offered"),
    ("engines", "engines are not offered: use /v1/completions and name the model in the body"),
    ("deployments", "deployments are not offered: use /v1/chat/completions and name the model in the body"),
    (":generateContent", GOOGLE),
    (":streamGenerateContent", GOOGLE),
    (":countTokens", GOOGLE),
    (":embedContent", GOOGLE),
    ("v1beta", GOOGLE),
];
const GOOGLE: &str = "Google's own form of requests is not offered: send OpenAI's to /v1/chat/completions";

fn is_named(segment: &str, name: &str) -> bool {
    segment == name || name.starts_with(':') && segment.ends_with(name)
}

/// The error of a path that no row has. A path that ends as one of ours does shows what is wrong with the base URL.
pub fn unknown_path(request: &HttpRequest) -> ApiError {
    let path = request.path();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).take(16).collect();
    let gap = GAPS.iter().find(|(name, _)| segments.iter().any(|segment| is_named(segment, name)));
    let advice = match (meant(&segments), gap) {
        (Some(meant), _) => format!(
            "; did you mean {meant}? The base URL is this host with /v1 for OpenAI's SDKs, and this host alone for Anthropic's"
        ),
        (None, Some((_, gap))) => format!("; {gap}"),
        (None, None) => {
            "; see the documentation for the endpoints, which begin with /v1/ or /api/".to_owned()
        }
    };
    ApiError::new(Code::NotFound, shortened(&format!("There is no endpoint {path}{advice}")))
}

/// The longest of our paths that these segments end with, `/v1` aside.
fn meant(segments: &[&str]) -> Option<&'static str> {
    (0..segments.len()).find_map(|from| {
        let rest = segments.get(from..)?;
        let rest = rest.strip_prefix(&["v1"]).unwrap_or(rest);
        let known = |route: &&Route| {
            let own = route.path.strip_prefix("/v1/").into_iter().flat_map(|path| path.split('/'));
            route.path.starts_with("/v1/") && own.eq(rest.iter().copied())
        };
        ROUTES.iter().find(known).map(|route| route.path)
    })
}

/// A message that repeats a path of the client's stays short.
pub fn shortened(message: &str) -> String {
    message.chars().filter(|letter| !letter.is_control()).take(600).collect()
}
