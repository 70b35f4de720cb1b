//! The registry's HTTP face: the OCI distribution protocol v2 below `/v2/`.

mod auth;
mod blobs;
mod errors;
mod manifests;
mod route;

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};

use crate::client::ClientError;
use crate::remote::Remote;
use crate::store::{Store, StoreError};

use errors::{Code, Failure};
use route::Route;

/// Who may do what.
#[derive(Clone)]
pub enum Access {
    /// Everybody everything: for tests and throw-away registries on loopback.
    Open,
    /// Tokens of this key, by their scopes `registry:<repository>:pull|push|delete`.
    Keyring(Box<identity::Keyring>),
}

/// How a registry behaves.
#[derive(Clone)]
pub struct Options {
    pub access: Access,
    /// Never ask another registry for what is not here.
    pub offline: bool,
}

/// Why a registry cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("opening the registry's store")]
    Store(#[from] StoreError),
    #[error("preparing to ask other registries")]
    Client(#[from] ClientError),
}

/// An OCI registry on a directory.
pub struct Registry {
    store: Arc<Store>,
    remote: Remote,
    access: Access,
}

impl Registry {
    /// Opens the registry in `dir`, made if missing.
    pub fn open(dir: &Path, options: Options) -> Result<Registry, OpenError> {
        let store = Arc::new(Store::open(dir)?);
        let remote = Remote::new(store.clone(), options.offline)?;
        Ok(Registry { store, remote, access: options.access })
    }

    /// Images of `registry` (`docker.io`) are asked for at `base`, an organisation's own proxy for instance.
    pub fn with_upstream(mut self, registry: &str, base: &str) -> Registry {
        self.remote.redirect(registry, base);
        self
    }

    /// Everything below `/v2/`.
    pub fn router(self: &Arc<Registry>) -> Router {
        Router::new()
            .route("/v2", any(serve))
            .route("/v2/", any(serve))
            .route("/v2/{*path}", any(serve))
            .with_state(self.clone())
    }

    /// The content, for garbage collection and for pages that list repositories and tags.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

async fn serve(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let origin = auth::origin(&parts.headers);
    let mut response = match handle(&registry, &parts, body).await {
        Ok(response) => response,
        Err(failure) => failure.respond(&origin),
    };
    let version = HeaderValue::from_static("registry/2.0");
    response.headers_mut().insert("docker-distribution-api-version", version);
    response
}

async fn handle(registry: &Arc<Registry>, request: &Parts, body: Body) -> Result<Response, Failure> {
    let Some(route) = Route::parse(request.uri.path()) else {
        return Err(Failure::new(Code::NameUnknown, "there is nothing at this path"));
    };
    if route == Route::Token {
        return auth::token(registry, request);
    }
    let caller = auth::caller(registry, &request.headers)?;
    if let Some((repository, action)) = route.needs(&request.method) {
        caller.require(repository, action)?;
    }
    match route {
        Route::Base => Ok(json(StatusCode::OK, &serde_json::json!({}))),
        Route::Catalog => manifests::catalog(registry, &caller, request),
        Route::Tags { repository } => manifests::tags(registry, repository, request),
        Route::Referrers { repository, digest } => {
            manifests::referrers(registry, repository, digest, request)
        }
        Route::Manifest { repository, reference } => {
            manifests::serve(registry, repository, reference, request, body).await
        }
        Route::Blob { repository, digest } => blobs::serve(registry, repository, digest, request).await,
        Route::Uploads { repository } if request.method == Method::POST => {
            blobs::begin(registry, &caller, repository, request, body).await
        }
        Route::Upload { repository, id } => blobs::upload(registry, repository, id, request, body).await,
        Route::Uploads { .. } | Route::Token => Err(errors::method_not_allowed()),
    }
}

/// One value of the query string, percent-decoded.
fn query(request: &Parts, name: &str) -> Option<String> {
    let text = request.uri.query()?;
    let pair = text.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(percent_decode(pair))
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *first == b'%').and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// An answer without a body, with these headers.
fn empty(status: StatusCode, headers: &[(&str, String)]) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(*name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Runs what waits for files away from the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Failure::from),
        Err(_) => Err(Failure::new(Code::Unknown, "the registry failed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_escapes_are_decoded() {
        assert_eq!(percent_decode("sha256%3Aab+c%zz%4"), "sha256:ab c%zz%4");
    }
}
