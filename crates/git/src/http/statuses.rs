//! Commit statuses: what a workflow or a check says about a commit.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{ApiError, Caller, Page};
use super::shapes;
use crate::Host;
use crate::host::Hosted;
use crate::host::metadata::{self, Status};

/// Longest description, as on GitHub.
const DESCRIPTION_LIMIT: usize = 140;

/// Body of `POST …/statuses/{sha}`.
#[derive(Deserialize)]
pub(crate) struct NewStatus {
    state: String,
    context: Option<String>,
    description: Option<String>,
    target_url: Option<String>,
}

/// `POST …/statuses/{sha}`. A token that may write only statuses (`status:owner/repo:write`) is enough.
pub(crate) async fn create(
    State(host): State<Host>,
    Path((owner, repo, sha)): Path<(String, String, String)>,
    caller: Caller,
    Json(wanted): Json<NewStatus>,
) -> Result<Response, ApiError> {
    let full_name = format!("{owner}/{repo}");
    let only_status = caller.claims.allows(&format!("status:{full_name}:write"));
    let hosted = caller.repository(&host, &owner, &repo, if only_status { "read" } else { "write" })?;
    if !matches!(wanted.state.as_str(), "error" | "failure" | "pending" | "success") {
        return Err(ApiError::field("Status", "state", "invalid", "state is not included in the list"));
    }
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let cut = |text: String| text.chars().take(DESCRIPTION_LIMIT).collect();
    let status = Status {
        id: 0,
        state: wanted.state,
        context: wanted.context.unwrap_or_else(|| "default".to_owned()),
        description: wanted.description.map(cut),
        target_url: wanted.target_url,
        creator: caller.claims.subject.clone(),
        created_at: now.clone(),
        updated_at: now,
    };
    if !crate::names::is_object_id(&sha) {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("No commit found for SHA: {sha}"),
        ));
    }
    let status = host.set_status(&hosted, &sha, status, &caller.sender()).await?;
    Ok((StatusCode::CREATED, Json(shapes::status(&caller.base, &status))).into_response())
}

/// `GET …/commits/{ref}/statuses`: all, newest first.
pub(crate) async fn list(
    hosted: &Hosted,
    caller: &Caller,
    revision: &str,
    uri: &http::Uri,
) -> Result<Response, ApiError> {
    let sha = hosted.git.resolve(revision).await?;
    let all = metadata::statuses(hosted.git.path(), &sha).await?;
    let shown = all.iter().map(|status| shapes::status(&caller.base, status)).collect();
    Ok(Page::of(uri).of_list(&caller.base, uri, shown))
}

/// `GET …/commits/{ref}/status`: the newest of each context, and their sum.
pub(crate) async fn combined(hosted: &Hosted, caller: &Caller, revision: &str) -> Result<Response, ApiError> {
    let sha = hosted.git.resolve(revision).await?;
    let newest = newest_by_context(metadata::statuses(hosted.git.path(), &sha).await?);
    let shown: Vec<Value> = newest.iter().map(|status| shapes::status(&caller.base, status)).collect();
    let body = json!({
        "state": sum(&newest),
        "statuses": shown,
        "sha": sha,
        "total_count": newest.len(),
        "repository": shapes::repository(&caller.base, hosted),
        "commit_url": format!("{}/api/v3/repos/{}/commits/{sha}", caller.base, hosted.full_name),
    });
    Ok(Json(body).into_response())
}

fn newest_by_context(all: Vec<Status>) -> Vec<Status> {
    let mut newest: Vec<Status> = Vec::new();
    for status in all {
        if newest.iter().all(|kept| kept.context != status.context) {
            newest.push(status);
        }
    }
    newest
}

/// GitHub's sum: any failure or error is a failure; anything pending, or nothing at all, is pending.
fn sum(statuses: &[Status]) -> &'static str {
    let any = |states: &[&str]| statuses.iter().any(|status| states.contains(&status.state.as_str()));
    if any(&["failure", "error"]) {
        "failure"
    } else if statuses.is_empty() || any(&["pending"]) {
        "pending"
    } else {
        "success"
    }
}
