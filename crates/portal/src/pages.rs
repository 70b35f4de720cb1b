//! One file per page; this one says which page is where.

mod board;
mod catalog;
mod create;
mod entity;
mod environments;
mod home;
mod repositories;
mod runs;
mod search;
mod task;
mod voyage;

use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::{get, post};

use crate::Config;
use crate::failure::Failure;

/// Every page that needs a session.
pub(crate) fn routes() -> Router<Arc<Config>> {
    Router::new()
        .route("/", get(home::page))
        .route("/home/live", get(home::live))
        .route("/search", get(search::page))
        .route("/catalog", get(catalog::page))
        .route("/catalog/{namespace}/{kind}/{name}", get(entity::page))
        .route("/catalog/{namespace}/{kind}/{name}/live", get(entity::live))
        .route("/create", get(create::choose))
        .route("/create/{namespace}/{name}", get(create::form).post(create::submit))
        .route("/tasks", get(task::list))
        .route("/tasks/{id}", get(task::page))
        .route("/tasks/{id}/live", get(task::live))
        .route("/tasks/{id}/retry", post(task::retry))
        .route("/environments", get(environments::page))
        .route("/environments/live", get(environments::live))
        .route("/environments/promote", get(environments::review).post(environments::promote))
        .route(
            "/environments/rollback",
            get(environments::rollback::review).post(environments::rollback::apply),
        )
        .route("/repositories", get(repositories::list))
        .route("/repositories/{owner}/{name}", get(repositories::files_root))
        .route("/repositories/{owner}/{name}/tree/{reference}/{*path}", get(repositories::files))
        .route("/repositories/{owner}/{name}/commits", get(repositories::commits))
        .route("/repositories/{owner}/{name}/commit/{sha}", get(repositories::commit))
        .route("/voyages/{owner}/{name}/{sha}", get(voyage::page))
        .route("/voyages/{owner}/{name}/{sha}/live", get(voyage::live))
        .route("/pipelines", get(runs::list))
        .route("/pipelines/runs/{run}", get(runs::page))
        .route("/pipelines/runs/{run}/live", get(runs::live))
}

/// For any other path: the addresses that the git host's API gives for people (`/org/x/blob/main/y`) lead to the pages
/// that show those things.
pub(crate) fn elsewhere(organisation: &str, path: &str) -> Result<Redirect, Failure> {
    let place =
        path.trim_start_matches('/').strip_prefix(organisation).and_then(|rest| rest.strip_prefix('/'));
    let place = place.filter(|place| !place.is_empty() && !place.contains("//"));
    let Some(place) = place else { return Err(Failure::not_found("There is no page at this address.")) };
    // Files and folders share one page.
    let place = place.replacen("/blob/", "/tree/", 1).replacen("/edit/", "/tree/", 1);
    Ok(Redirect::to(&format!("/repositories/{organisation}/{place}")))
}
