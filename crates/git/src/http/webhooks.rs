//! Webhooks of a repository: create, list, edit, remove. Secrets go in and never come out.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::Value;

use super::access::{Administered, ApiError, Page};
use super::shapes;
use crate::Host;
use crate::host::Hosted;
use crate::host::metadata::Webhook;

/// Webhooks of one repository, as on GitHub.
const HOOK_LIMIT: usize = 20;

/// Body of a creation or an edit.
#[derive(Deserialize)]
pub(crate) struct Wanted {
    config: Option<WantedConfig>,
    events: Option<Vec<String>>,
    active: Option<bool>,
}

#[derive(Deserialize)]
struct WantedConfig {
    url: Option<String>,
    content_type: Option<String>,
    secret: Option<String>,
}

/// `GET …/hooks`.
pub(crate) async fn list(Administered(hosted, caller): Administered, uri: Uri) -> Response {
    let hooks = hosted.metadata().hooks;
    let shown = hooks.iter().map(|hook| shapes::webhook(&caller.base, &hosted.full_name, hook)).collect();
    Page::of(&uri).of_list(&caller.base, &uri, shown)
}

/// `POST …/hooks`.
pub(crate) async fn create(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
    Json(wanted): Json<Wanted>,
) -> Result<Response, ApiError> {
    let hooks = hosted.metadata().hooks;
    if hooks.len() >= HOOK_LIMIT {
        return Err(ApiError::field(
            "Hook",
            "base",
            "custom",
            "The \"push\" event cannot have more than 20 hooks",
        ));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut hook = Webhook {
        id: hooks.iter().map(|hook| hook.id).max().unwrap_or(0) + 1,
        active: true,
        events: vec!["push".to_owned()],
        url: String::new(),
        content_type: "form".to_owned(),
        secret: None,
        created_at: now.clone(),
        updated_at: now,
    };
    wanted.apply(&mut hook)?;
    let added = hook.clone();
    host.edit(&hosted, &caller.sender(), |facts| facts.hooks.push(added)).await?;
    Ok((StatusCode::CREATED, Json(shapes::webhook(&caller.base, &hosted.full_name, &hook))).into_response())
}

/// `GET …/hooks/{id}`.
pub(crate) async fn show(
    Administered(hosted, caller): Administered,
    Path((_, _, id)): Path<(String, String, u64)>,
) -> Result<Json<Value>, ApiError> {
    Ok(Json(shapes::webhook(&caller.base, &hosted.full_name, &find(&hosted, id)?)))
}

/// `PATCH …/hooks/{id}`.
pub(crate) async fn edit(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
    Path((_, _, id)): Path<(String, String, u64)>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, ApiError> {
    let mut hook = find(&hosted, id)?;
    wanted.apply(&mut hook)?;
    hook.updated_at = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let edited = hook.clone();
    host.edit(&hosted, &caller.sender(), |facts| {
        if let Some(slot) = facts.hooks.iter_mut().find(|hook| hook.id == id) {
            *slot = edited;
        }
    })
    .await?;
    Ok(Json(shapes::webhook(&caller.base, &hosted.full_name, &hook)))
}

/// `DELETE …/hooks/{id}`.
pub(crate) async fn remove(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
    Path((_, _, id)): Path<(String, String, u64)>,
) -> Result<StatusCode, ApiError> {
    find(&hosted, id)?;
    host.edit(&hosted, &caller.sender(), |facts| facts.hooks.retain(|hook| hook.id != id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Wanted {
    fn apply(self, hook: &mut Webhook) -> Result<(), ApiError> {
        if let Some(config) = self.config {
            if let Some(url) = config.url {
                hook.url = url;
            }
            if let Some(content_type) = config.content_type {
                hook.content_type = content_type;
            }
            hook.secret = config.secret.filter(|secret| !secret.is_empty()).or(hook.secret.take());
        }
        if let Some(events) = self.events {
            hook.events = events;
        }
        if let Some(active) = self.active {
            hook.active = active;
        }
        if !hook.url.starts_with("http://") && !hook.url.starts_with("https://") {
            return Err(ApiError::field("Hook", "url", "missing_field", "url must be an HTTP address"));
        }
        if !matches!(hook.content_type.as_str(), "json" | "form") {
            return Err(ApiError::field(
                "Hook",
                "content_type",
                "invalid",
                "content_type must be json or form",
            ));
        }
        Ok(())
    }
}

fn find(hosted: &Hosted, id: u64) -> Result<Webhook, ApiError> {
    hosted.metadata().hooks.into_iter().find(|hook| hook.id == id).ok_or_else(ApiError::missing)
}
