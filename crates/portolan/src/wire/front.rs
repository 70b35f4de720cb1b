//! The one listener, by path: which part answers what, and who must have signed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use identity::{Claims, Keyring};
use serde_json::json;
use tower::ServiceExt as _;

/// The portal's session cookie, which its pages' own requests carry.
const COOKIE: &str = "portolan_session";

/// The parts behind the listener.
#[derive(Clone)]
pub(crate) struct Front {
    /// Git smart HTTP and GitHub REST; authenticates by itself.
    pub(crate) git: Router,
    /// `/v2/…`; authenticates by itself.
    pub(crate) registry: Router,
    /// `/api/catalog`, `/api/scaffolder`, `/api/pipelines`, behind [`signed`].
    pub(crate) api: Router,
    /// Everything else.
    pub(crate) portal: Router,
    /// Whether every part has started; `/readyz` tells.
    pub(crate) is_ready: Arc<AtomicBool>,
}

impl Front {
    /// One router over all parts.
    pub(crate) fn router(self) -> Router {
        Router::new().fallback(async move |request: Request| {
            let part = match part_of(request.uri().path()) {
                Part::Git => self.git.clone(),
                Part::Registry => self.registry.clone(),
                Part::Api => self.api.clone(),
                Part::Portal => self.portal.clone(),
                Part::Ready => return readiness(self.is_ready.load(Ordering::Relaxed)),
            };
            match part.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }

    /// What the portal calls in process: everything but the portal.
    pub(crate) fn services(git: &Router, api: &Router) -> Router {
        let (git, api) = (git.clone(), api.clone());
        Router::new().fallback(async move |request: Request| {
            let part = if part_of(request.uri().path()) == Part::Git { git.clone() } else { api.clone() };
            match part.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    }
}

fn readiness(is_ready: bool) -> Response {
    match is_ready {
        true => (StatusCode::OK, "ready\n").into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Ready,
    Git,
    Registry,
    Api,
    Portal,
}

fn part_of(path: &str) -> Part {
    let mut segments = path.trim_start_matches('/').split('/');
    let (first, second) = (segments.next().unwrap_or_default(), segments.next().unwrap_or_default());
    match (first, second) {
        ("readyz", "") => Part::Ready,
        ("v2", _) => Part::Registry,
        ("api", "v3") => Part::Git,
        ("api", _) => Part::Api,
        (_, repository) if repository.ends_with(".git") => Part::Git,
        _ => Part::Portal,
    }
}

/// Lets a request through with the caller's claims, or answers 401. A cookie is enough to read; a write needs the
/// token in a header, which no other site can make a browser send.
pub(crate) async fn signed(keyring: Keyring, mut request: Request, next: Next) -> Response {
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    let token = bearer(request.headers()).or_else(|| reading.then(|| cookie(request.headers())).flatten());
    match token.map(|token| keyring.verify(&token)) {
        Some(Ok(claims)) => {
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        Some(Err(error)) => refused(&error.to_string()),
        None => refused("a token is needed: send it as `Authorization: Bearer …`"),
    }
}

/// Whom a request's header speaks for.
pub(crate) fn claims_of(keyring: &Keyring, headers: &HeaderMap) -> Option<Claims> {
    let token = bearer(headers).or_else(|| cookie(headers))?;
    keyring.verify(&token).ok()
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(identity::token_of)
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned())
}

/// Backstage's error envelope.
fn refused(message: &str) -> Response {
    let body = json!({"error": {"name": "AuthenticationError", "message": message}, "response": {"statusCode": 401}});
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_says_which_part_answers() {
        for (path, part) in [
            ("/", Part::Portal),
            ("/readyz", Part::Ready),
            ("/catalog/default/component/x", Part::Portal),
            ("/platform/x.git/info/refs", Part::Git),
            ("/api/v3/orgs/platform/repos", Part::Git),
            ("/api/catalog/entities", Part::Api),
            ("/v2/", Part::Registry),
            ("/repositories/platform/x", Part::Portal),
        ] {
            assert_eq!(part_of(path), part, "{path}");
        }
    }
}
