//! The embedded Kubernetes API server: one cluster's objects behind the public protocol, reached over HTTP or in process.
//!
//! A [`Server`] is opened on a directory, whose write-ahead log holds everything that was acknowledged. [`Server::router`] serves it to any
//! Kubernetes client; [`Server::client`] gives controllers of the same process a `kube::Client` without a socket, which carries an
//! identity, so that RBAC holds for them too. The server knows no peer's kind: it learns them from CustomResourceDefinitions.

mod admission;
mod api;
mod authorization;
mod bootstrap;
mod catalog;
mod cleanup;
mod convert;
mod custom;
mod error;
mod http;
mod reviews;
mod schema;
pub mod store;
mod tokens;
mod uid;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use ::http::{Request, Response, header};
use axum::body::Body;
use axum::extract::Request as AxumRequest;

pub use error::ApiError;
pub use store::OpenError;

/// Turns a bearer token into the person it speaks for; none if it is not valid.
pub type Authenticate = Arc<dyn Fn(&str) -> Option<User> + Send + Sync>;

/// Who makes a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// For example `sasha`, or `system:serviceaccount:default:default`.
    pub name: String,
    /// Stable identifier, or `""`.
    pub uid: String,
    /// For example `system:masters`. Every known user is also in `system:authenticated`.
    pub groups: Vec<String>,
}

impl User {
    /// Who sends no credentials.
    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    fn authenticated(mut self) -> Self {
        let group = "system:authenticated";
        if !self.groups.iter().any(|g| g == group || g == "system:unauthenticated") {
            self.groups.push(group.into());
        }
        self
    }
}

/// How a server is set up.
#[derive(Clone)]
pub struct Options {
    /// The cluster's name, for messages.
    pub name: String,
    /// Where the store and the signing key live; made when missing.
    pub dir: PathBuf,
    /// Whom a bearer token that is not a service account's speaks for.
    pub authenticate: Authenticate,
    /// The Unix socket of the node's kubelet HTTP API; without one, logs and exec answer 503.
    pub kubelets: Option<PathBuf>,
    /// Where ClusterIPs come from, for example `10.96.0.0/16`.
    pub service_cidr: String,
    /// The URL under which clients reach the server, without a trailing slash: issuer of tokens.
    pub external_url: String,
    /// Certificate authority of that URL, which pods get as `kube-root-ca.crt`.
    pub ca_pem: Option<String>,
    /// The path below which [`Server::router`] is nested, for example `/clusters/dev`, or `""`.
    pub path_prefix: String,
}

/// An open API server.
#[derive(Clone)]
pub struct Server {
    api: Arc<api::Api>,
}

impl Server {
    /// Opens the store, replays its log, and writes what every cluster has: namespaces, RBAC, the `kubernetes` service.
    ///
    /// # Errors
    /// The directory is in use, of a newer version, damaged or not usable.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let api = api::Api::open(options)?;
        bootstrap::run(&api).await?;
        cleanup::start(&api);
        tracing::info!(cluster = api.options.name, revision = api.store.revision(), "the API server is open");
        Ok(Self { api })
    }

    /// A client in this process, without a socket, that acts as `user`.
    pub fn client(&self, user: &User) -> kube::Client {
        let api = Arc::clone(&self.api);
        let user = user.clone().authenticated();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let (api, user) = (Arc::clone(&api), user.clone());
            async move {
                Ok::<Response<Body>, Infallible>(http::serve(api, Some(user), request.map(Body::new)).await)
            }
        });
        kube::Client::new(service, "default")
    }

    /// The HTTP service; authenticates bearer tokens. Nest it under [`Options::path_prefix`].
    pub fn router(&self) -> axum::Router {
        let api = Arc::clone(&self.api);
        axum::Router::new().fallback(move |request: AxumRequest| {
            let api = Arc::clone(&api);
            async move {
                match authenticate(&api, &request) {
                    Ok(user) => http::serve(api, user, request).await,
                    Err(error) => http::error_response(&error),
                }
            }
        })
    }

    /// Ends all watches and closes the store after the last accepted write.
    pub async fn close(self) {
        self.api.closing.cancel();
        let api = Arc::clone(&self.api);
        let closed = tokio::task::spawn_blocking(move || api.store.close()).await;
        if let Err(error) = closed {
            tracing::error!(%error, "closing the store failed");
        }
    }
}

/// The user of a request's bearer token: none without one, an error for a bad one.
fn authenticate(api: &api::Api, request: &AxumRequest) -> Result<Option<User>, ApiError> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else { return Ok(None) };
    let token =
        value.to_str().ok().and_then(|v| v.strip_prefix("Bearer ").or_else(|| v.strip_prefix("bearer ")));
    let token = token.ok_or_else(ApiError::unauthorized)?.trim();
    let user = api.authenticate(token).ok_or_else(ApiError::unauthorized)?;
    Ok(Some(user.authenticated()))
}
