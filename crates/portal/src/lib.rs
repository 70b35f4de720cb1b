//! The portal: web pages over the platform's public HTTP APIs.
//!
//! The portal keeps nothing. What a page shows is read from the catalog, the git host, the pipelines and the clusters
//! with the token of the person who looks, so that what they may not read they do not see; what a page does is a
//! commit or an API write in their name. Pages are made on the server and read without JavaScript; a small script adds
//! live parts, the search palette and themes.

mod assets;
mod caller;
mod failure;
mod fleet;
mod layout;
mod live;
mod marks;
mod pages;
mod promotion;
mod session;
mod when;

use std::sync::Arc;

use axum::Router;
use axum::http::Uri;
use identity::{Claims, Keyring};

pub use caller::Caller;

/// A cluster as pages show it: its name is the environment's.
#[derive(Clone)]
pub struct Environment {
    /// `dev`, `qa`, `prod`: also the name of the overlay in deploy repositories. Order is left to right.
    pub name: String,
    /// A client that acts as the person, under the cluster's own RBAC.
    pub client: Arc<dyn Fn(&Claims) -> kube::Client + Send + Sync>,
}

/// A person whom the sign-in page offers (local mode only).
#[derive(Clone)]
pub struct SignInChoice {
    /// What they do, for example "Release manager".
    pub role: String,
    /// Makes fresh claims for a session.
    pub claims: fn(&str) -> Option<Claims>,
    /// Login name.
    pub login: String,
    /// Full name.
    pub name: String,
}

/// What the portal is given.
#[derive(Clone)]
pub struct Config {
    /// Signs and checks sessions.
    pub keyring: Keyring,
    /// Who may sign in by choosing; empty: nobody.
    pub people: Vec<SignInChoice>,
    /// The platform's HTTP APIs (`/api/catalog`, `/api/scaffolder`, `/api/v3`, `/api/pipelines`), with their own
    /// authentication in front; called in process with the person's token.
    pub services: Router,
    /// The clusters, left to right.
    pub environments: Vec<Environment>,
    /// The organisation in the git host.
    pub organisation: String,
    /// Where browsers reach this portal, for example `http://127.0.0.1:7007`.
    pub base_url: String,
    /// Where browsers reach the gateway, for example `http://localhost:8080`; hosts of routes replace the host part.
    pub gateway_url: String,
}

/// The pages. Everything but the sign-in page, health and assets needs a session.
pub fn routes(config: Config) -> Router {
    let organisation = config.organisation.clone();
    let state = Arc::new(config);
    // What does not exist needs a session too: a stranger learns nothing about addresses.
    let pages = pages::routes()
        .fallback(async move |uri: Uri| pages::elsewhere(&organisation, uri.path()))
        .layer(axum::middleware::from_fn_with_state(state.clone(), session::require))
        .with_state(state.clone());
    let open = Router::new().merge(session::routes().with_state(state)).merge(assets::routes());
    pages.merge(open).layer(axum::middleware::map_response(session::security_headers))
}
