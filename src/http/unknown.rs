//! The answer to a path that no route has, which shows what is wrong with a client's base URL.

use super::{
    error::{ApiError, Code},
    routes::{ROUTES, Route},
};
use actix_web::HttpRequest;

/// The error of a path that no row has. A path that ends as one of ours does shows what is wrong with the base URL.
pub fn unknown_path(request: &HttpRequest) -> ApiError {
    let path = request.path();
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).take(16).collect();
    let is_gap = |gap: &str| segments.contains(&gap);
    let advice = if is_gap("videos") {
        "; videos are not offered".to_owned()
    } else if is_gap("variations") {
        "; variations of images are not offered: use /v1/images/edits".to_owned()
    } else if is_gap("deferred-completion") {
        "; deferred completions are not offered: send the request without `deferred`".to_owned()
    } else {
        match meant(&segments) {
            Some(meant) => format!(
                "; did you mean {meant}? The base URL is this host with /v1 for OpenAI's SDKs, and this host alone for Anthropic's"
            ),
            None => "; see the documentation for the endpoints, which begin with /v1/ or /api/".to_owned(),
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
