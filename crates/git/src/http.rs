//! The host's HTTP side: Git's smart protocol and GitHub's REST API v3, both behind the same token check.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get, patch, post};

use crate::Host;

mod access;
mod commits;
mod contents;
mod events;
mod objects;
mod repositories;
pub(crate) mod shapes;
mod smart;
mod statuses;
mod webhooks;

/// Git processes that serve clients at once; further requests wait. Each needs a few MiB and part of a core.
pub(crate) const PROCESS_LIMIT: usize = 16;
/// Largest JSON body: contents come base64-encoded in it. GitHub's own limit for contents is 100 MB.
const BODY_LIMIT: usize = 128 << 20;

/// All routes of the host. They are written out whole, not nested: handlers make links from the request's address.
pub(crate) fn router(host: Host) -> Router {
    let smart = Router::new()
        .route("/{owner}/{repo}/info/refs", get(smart::advertise))
        .route("/{owner}/{repo}/git-upload-pack", post(smart::upload_pack))
        .route("/{owner}/{repo}/git-receive-pack", post(smart::receive_pack))
        // Packs are streamed; their limits are git's.
        .layer(DefaultBodyLimit::disable());
    let rest = accounts().merge(repository()).merge(history()).merge(object_routes());
    let rest = rest.layer(DefaultBodyLimit::max(BODY_LIMIT));
    Router::new().merge(smart).merge(rest).with_state(host)
}

fn accounts() -> Router<Host> {
    let at = |path: &str| format!("/api/v3{path}");
    Router::new()
        .route(&at("/user"), get(repositories::user))
        .route(&at("/users/{name}"), get(repositories::named_user))
        .route(&at("/orgs/{name}"), get(repositories::named_user))
        .route(&at("/orgs/{name}/repos"), get(repositories::list).post(repositories::create))
        .route(&at("/users/{name}/repos"), get(repositories::list))
        .route(&at("/search/repositories"), get(repositories::search))
        .route(&at("/portolan/events"), get(events::stream))
        .route(&at("/{*rest}"), any(access::unknown))
}

/// The address of one repository's resource.
fn of_repository(path: &str) -> String {
    format!("/api/v3/repos/{{owner}}/{{repo}}{path}")
}

fn repository() -> Router<Host> {
    let at = of_repository;
    Router::new()
        .route(&at(""), get(repositories::show).patch(repositories::edit).delete(repositories::remove))
        .route(&at("/topics"), get(repositories::topics).put(repositories::set_topics))
        .route(&at("/activity"), get(repositories::activity))
        .route(&at("/dispatches"), post(repositories::dispatch))
        .route(&at("/actions/workflows/{workflow}/dispatches"), post(repositories::dispatch_workflow))
        .route(&at("/contents"), get(contents::root))
        .route(&at("/contents/"), get(contents::root))
        .route(&at("/contents/{*path}"), get(contents::show).put(contents::put).delete(contents::remove))
        .route(&at("/readme"), get(contents::readme))
        .route(&at("/tarball"), get(contents::tarball_of_default))
        .route(&at("/tarball/{*revision}"), get(contents::tarball))
        .route(&at("/hooks"), get(webhooks::list).post(webhooks::create))
        .route(&at("/hooks/{id}"), get(webhooks::show).patch(webhooks::edit).delete(webhooks::remove))
}

fn history() -> Router<Host> {
    let at = of_repository;
    Router::new()
        .route(&at("/commits"), get(commits::list))
        .route(&at("/commits/{*rest}"), get(commits::show))
        .route(&at("/compare/{*range}"), get(commits::compare))
        .route(&at("/branches"), get(commits::branches))
        .route(
            &at("/branches/{*rest}"),
            get(commits::branch).put(commits::protect).delete(commits::unprotect),
        )
        .route(&at("/tags"), get(commits::tags))
        .route(&at("/statuses/{sha}"), post(statuses::create))
}

fn object_routes() -> Router<Host> {
    let at = of_repository;
    Router::new()
        .route(&at("/git/blobs"), post(objects::create_blob))
        .route(&at("/git/blobs/{sha}"), get(objects::blob))
        .route(&at("/git/trees"), post(objects::create_tree))
        .route(&at("/git/trees/{*revision}"), get(objects::tree))
        .route(&at("/git/commits"), post(objects::create_commit))
        .route(&at("/git/commits/{sha}"), get(objects::commit))
        .route(&at("/git/tags"), post(objects::create_tag))
        .route(&at("/git/refs"), post(objects::create_ref))
        .route(&at("/git/ref/{*name}"), get(objects::reference))
        .route(&at("/git/matching-refs/{*prefix}"), get(objects::matching))
        .route(&at("/git/refs/{*name}"), patch(objects::update_ref).delete(objects::delete_ref))
}
