//! What the gateway itself answers: short pages that say what is wrong, as HTML for browsers and as text for programs.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};

use crate::proxy::Body;

/// An error answer. `detail` is one sentence; it names services of the cluster, never hosts of others.
pub(crate) fn error(status: StatusCode, detail: &str, headers: &HeaderMap) -> Response<Body> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let title = status.canonical_reason().unwrap_or("Error");
    let (media, text) = if accept.contains("text/html") {
        ("text/html; charset=utf-8", html(status, title, detail))
    } else {
        ("text/plain; charset=utf-8", format!("{} {title}: {detail}\n", status.as_u16()))
    };
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    response
}

fn html(status: StatusCode, title: &str, detail: &str) -> String {
    let detail = detail.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{code} {title}</title><style>body{{font:1rem/1.5 system-ui,sans-serif;margin:20vh auto 0;max-width:34rem;\
         padding:0 1.5rem}}h1{{font-size:1.25rem;margin:0 0 .5rem}}p{{margin:0}}</style></head>\
         <body><h1>{code} {title}</h1><p>{detail}</p></body></html>\n",
        code = status.as_u16(),
    )
}
