//! What a page says when it cannot be made: the cause and the remedy, in the page's own frame.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, html};
use serde_json::Value;

use crate::assets;

/// A failure on its way to a page.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// The API's whole answer, where there was one.
    pub(crate) body: Value,
}

impl Failure {
    /// Nothing is here.
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: what.into(), body: Value::Null }
    }

    /// The input cannot be used.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), body: Value::Null }
    }

    /// Not for this person, or not from here.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self { status: StatusCode::FORBIDDEN, message: message.into(), body: Value::Null }
    }

    /// The fault is ours.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.into(), body: Value::Null }
    }

    /// From an error answer of one of the APIs: Backstage's envelope, GitHub's, or Kubernetes' `Status`.
    pub(crate) fn from_api(status: StatusCode, body: &[u8]) -> Self {
        let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        let message = parsed["error"]["message"].as_str().or(parsed["message"].as_str());
        let message =
            message.map_or_else(|| String::from_utf8_lossy(body).chars().take(500).collect(), str::to_owned);
        Self { status, message, body: parsed }
    }
}

impl From<controller::ApiError> for Failure {
    fn from(error: controller::ApiError) -> Self {
        let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::BAD_GATEWAY);
        Self { status, message: error.to_string(), body: Value::Null }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(status = self.status.as_u16(), message = %self.message, "page failed");
        }
        let (title, remedy) = match self.status {
            StatusCode::NOT_FOUND => {
                ("Nothing is here", "It may have been renamed or removed. Search finds what there is.")
            }
            StatusCode::FORBIDDEN => {
                ("You may not see this", "Ask someone who owns it, or sign in as somebody else.")
            }
            StatusCode::BAD_REQUEST => {
                ("This cannot be used", "Go back, mend what is named above, and send it again.")
            }
            _ => (
                "The page could not be made",
                "Try again in a moment; if it stays, the server's log says more.",
            ),
        };
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) " · Portolan" }
                    link rel="icon" type="image/svg+xml" href=(assets::url("icon.svg"));
                    link rel="stylesheet" href=(assets::url("portal.css"));
                    script src=(assets::url("theme.js")) {}
                }
                body { main.gate {
                    h1 { (title) }
                    p.notice.bad { (self.message) }
                    p { (remedy) }
                    p { a.button href="/" { "Home" } }
                } }
            }
        };
        (self.status, page).into_response()
    }
}
