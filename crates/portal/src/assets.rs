//! The style sheet and scripts, compiled in; named by their content so that browsers may keep them for good.

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const FILES: &[(&str, &str, &str)] = &[
    ("portal.css", "text/css; charset=utf-8", include_str!("../assets/portal.css")),
    ("portal.js", "text/javascript; charset=utf-8", include_str!("../assets/portal.js")),
    ("theme.js", "text/javascript; charset=utf-8", include_str!("../assets/theme.js")),
    ("icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// The URL of an asset, with its content's fingerprint in it.
pub(crate) fn url(name: &str) -> String {
    let content = FILES.iter().find(|(file, ..)| *file == name).map_or("", |(_, _, content)| content);
    format!("/assets/{:016x}/{name}", fingerprint(content))
}

pub(crate) fn routes() -> Router {
    Router::new().route("/assets/{fingerprint}/{name}", get(serve))
}

async fn serve(Path((_, name)): Path<(String, String)>) -> Response {
    match FILES.iter().find(|(file, ..)| *file == name) {
        Some((_, media, content)) => {
            let keep = "public, max-age=31536000, immutable";
            ([(header::CONTENT_TYPE, *media), (header::CACHE_CONTROL, keep)], *content).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// FNV-1a: only has to differ when the content does.
fn fingerprint(content: &str) -> u64 {
    content
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
