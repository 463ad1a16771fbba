//! The stylesheet and the script, compiled in. Their addresses carry a hash of their bytes, so that a browser may
//! keep them for ever and a page of an older release still finds the newest.

use crate::http::{error::ApiError, extract::Call};
use actix_web::{HttpResponse, http::header};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// One file.
pub struct Asset {
    name: &'static str,
    content_type: &'static str,
    body: &'static str,
    path: LazyLock<String>,
}

pub static STYLE: Asset = Asset {
    name: "style.css",
    content_type: "text/css; charset=utf-8",
    body: include_str!("assets/style.css"),
    path: LazyLock::new(|| path_of(&STYLE)),
};
pub static SCRIPT: Asset = Asset {
    name: "app.js",
    content_type: "text/javascript; charset=utf-8",
    body: include_str!("assets/app.js"),
    path: LazyLock::new(|| path_of(&SCRIPT)),
};
pub static ICON: Asset = Asset {
    name: "icon.svg",
    content_type: "image/svg+xml",
    body: include_str!("assets/icon.svg"),
    path: LazyLock::new(|| path_of(&ICON)),
};
static ALL: &[&Asset] = &[&STYLE, &SCRIPT, &ICON];

impl Asset {
    /// Where pages link to.
    pub fn path(&self) -> &str {
        &self.path
    }
}

fn path_of(asset: &Asset) -> String {
    let digest = Sha256::digest(asset.body.as_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("/assets/{hash}/{}", asset.name)
}

/// `GET /assets/{hash}/{name}`. An unknown hash is served too: it is a page of another release.
pub fn serve(call: &Call) -> Result<HttpResponse, ApiError> {
    let asset = ALL.iter().find(|asset| asset.name == call.path("name"));
    let asset = asset.ok_or_else(|| ApiError::not_found("page"))?;
    let is_current = call.request.path() == asset.path();
    let cache = if is_current { "public, max-age=31536000, immutable" } else { "no-store" };
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, cache))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .content_type(asset.content_type)
        .body(asset.body))
}
