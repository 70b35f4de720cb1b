//! History: commits with their files, comparisons, branches with their protection, tags.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{StatusCode, Uri};
use serde_json::{Value, json};

use super::access::{Administered, ApiError, Caller, Page, Readable, query};
use super::{shapes, statuses};
use crate::Host;
use crate::diff::FileDiff;
use crate::host::Hosted;
use crate::repository::Log;

/// Files that a commit or comparison lists, as on GitHub.
const FILE_LIMIT: usize = 300;
/// Commits that a comparison lists, as on GitHub.
const COMPARE_LIMIT: usize = 250;

/// `GET …/commits?sha=&path=`.
pub(crate) async fn list(Readable(hosted, caller): Readable, uri: Uri) -> Result<Response, ApiError> {
    let page = Page::of(&uri);
    let revision = query(&uri, "sha").unwrap_or_else(|| hosted.metadata().default_branch);
    let path = query(&uri, "path").filter(|path| !path.is_empty());
    if hosted.git.refs("refs/heads/").await?.is_empty() {
        return Err(ApiError::new(StatusCode::CONFLICT, "Git Repository is empty."));
    }
    // One more than the page tells whether there is a next one.
    let log = Log {
        revision: &revision,
        exclude: None,
        path: path.as_deref(),
        limit: page.size + 1,
        skip: page.skip(),
    };
    let commits = hosted.git.log(&log).await?;
    let shown: Vec<Value> =
        commits.iter().take(page.size).map(|c| shapes::commit(&caller.base, &hosted.full_name, c)).collect();
    Ok(page.answer(&caller.base, &uri, Value::Array(shown), commits.len() > page.size, None))
}

/// `GET …/commits/{ref}`, `…/commits/{ref}/status` and `…/commits/{ref}/statuses`; a ref may contain slashes.
pub(crate) async fn show(
    Readable(hosted, caller): Readable,
    Path((_, _, rest)): Path<(String, String, String)>,
    uri: Uri,
    headers: http::HeaderMap,
) -> Result<Response, ApiError> {
    if let Some(revision) = rest.strip_suffix("/status") {
        return statuses::combined(&hosted, &caller, revision).await;
    }
    if let Some(revision) = rest.strip_suffix("/statuses") {
        return statuses::list(&hosted, &caller, revision, &uri).await;
    }
    let id = hosted.git.resolve(&rest).await?;
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains(".sha") {
        return Ok(([(CONTENT_TYPE, "application/vnd.github.sha; charset=utf-8")], id).into_response());
    }
    let commit = hosted.git.commit_at(&id).await?;
    let files = hosted.git.diff(commit.parents.first().map(String::as_str), &id).await?;
    let mut shown = shapes::commit(&caller.base, &hosted.full_name, &commit);
    let sum = |count: fn(&FileDiff) -> u64| files.iter().map(count).sum::<u64>();
    let (additions, deletions) = (sum(|file| file.additions), sum(|file| file.deletions));
    shown["stats"] =
        json!({ "additions": additions, "deletions": deletions, "total": additions + deletions });
    shown["files"] = files.iter().take(FILE_LIMIT).map(shapes::file).collect();
    Ok(Json(shown).into_response())
}

/// `GET …/compare/{base}...{head}`.
pub(crate) async fn compare(
    Readable(hosted, caller): Readable,
    Path((_, _, range)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (from, to) =
        range.split_once("...").or_else(|| range.split_once("..")).ok_or_else(ApiError::missing)?;
    let git = &hosted.git;
    let (from, to) = (git.resolve(from).await?, git.resolve(to).await?);
    let base = git.merge_base(&from, &to).await?;
    let ahead =
        git.log(&Log { revision: &to, exclude: Some(&from), limit: COMPARE_LIMIT, ..Log::default() }).await?;
    let behind =
        git.log(&Log { revision: &from, exclude: Some(&to), limit: COMPARE_LIMIT, ..Log::default() }).await?;
    let files = git.diff(Some(&base), &to).await?;
    let status = match (ahead.is_empty(), behind.is_empty()) {
        (true, true) => "identical",
        (false, true) => "ahead",
        (true, false) => "behind",
        (false, false) => "diverged",
    };
    let shown = |commit: &crate::repository::Commit| shapes::commit(&caller.base, &hosted.full_name, commit);
    Ok(Json(json!({
        "status": status,
        "ahead_by": ahead.len(),
        "behind_by": behind.len(),
        "total_commits": ahead.len(),
        "base_commit": shown(&git.commit_at(&from).await?),
        "merge_base_commit": shown(&git.commit_at(&base).await?),
        "commits": ahead.iter().rev().map(shown).collect::<Vec<Value>>(),
        "files": files.iter().take(FILE_LIMIT).map(shapes::file).collect::<Vec<Value>>(),
    })))
}

/// `GET …/branches`.
pub(crate) async fn branches(Readable(hosted, caller): Readable, uri: Uri) -> Result<Response, ApiError> {
    let refs = hosted.git.refs("refs/heads/").await?;
    let shown = refs
        .iter()
        .filter_map(|(name, sha)| Some(short(&caller, &hosted, name.strip_prefix("refs/heads/")?, sha)));
    Ok(Page::of(&uri).of_list(&caller.base, &uri, shown.collect()))
}

/// `GET …/branches/{branch}` and `…/branches/{branch}/protection`.
pub(crate) async fn branch(
    Readable(hosted, caller): Readable,
    Path((_, _, rest)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (name, protection) = split_protection(&rest);
    let reference = format!("refs/heads/{name}");
    let id = hosted.git.tip(&reference).await?.ok_or_else(ApiError::missing)?;
    if protection {
        if !hosted.metadata().protected.contains(&reference) {
            return Err(ApiError::new(StatusCode::NOT_FOUND, "Branch not protected"));
        }
        return Ok(Json(shown_protection(&caller, &hosted, name)));
    }
    let mut shown = short(&caller, &hosted, name, &id);
    shown["commit"] = shapes::commit(&caller.base, &hosted.full_name, &hosted.git.commit_at(&id).await?);
    Ok(Json(shown))
}

/// `PUT …/branches/{branch}/protection`: no deletion, no force push. Other rules of GitHub's are accepted without effect.
pub(crate) async fn protect(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
    Path((_, _, rest)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let (name, true) = split_protection(&rest) else { return Err(ApiError::missing()) };
    let reference = crate::names::check_ref(&format!("refs/heads/{name}"))?.to_owned();
    host.edit(&hosted, &caller.sender(), |facts| {
        if !facts.protected.contains(&reference) {
            facts.protected.push(reference);
        }
    })
    .await?;
    Ok(Json(shown_protection(&caller, &hosted, name)))
}

/// `DELETE …/branches/{branch}/protection`.
pub(crate) async fn unprotect(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
    Path((_, _, rest)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let (name, true) = split_protection(&rest) else { return Err(ApiError::missing()) };
    let reference = format!("refs/heads/{name}");
    host.edit(&hosted, &caller.sender(), |facts| facts.protected.retain(|other| *other != reference)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET …/tags`.
pub(crate) async fn tags(Readable(hosted, caller): Readable, uri: Uri) -> Result<Response, ApiError> {
    let mut list = Vec::new();
    // Newest names first, as GitHub sorts them; annotated tags show the commit they stand for.
    for name in hosted.git.refs("refs/tags/").await?.keys().rev() {
        let Some(id) = hosted.git.tip(name).await? else { continue };
        let short = name.strip_prefix("refs/tags/").unwrap_or(name);
        let api = format!("{}/api/v3/repos/{}", caller.base, hosted.full_name);
        list.push(json!({
            "name": short,
            "commit": { "sha": id, "url": format!("{api}/commits/{id}") },
            "tarball_url": format!("{api}/tarball/{name}"),
        }));
    }
    Ok(Page::of(&uri).of_list(&caller.base, &uri, list))
}

fn split_protection(rest: &str) -> (&str, bool) {
    rest.strip_suffix("/protection").map_or((rest, false), |name| (name, true))
}

fn short(caller: &Caller, hosted: &Hosted, name: &str, sha: &str) -> Value {
    let url = format!("{}/api/v3/repos/{}/commits/{sha}", caller.base, hosted.full_name);
    let protected = hosted.metadata().protected.contains(&format!("refs/heads/{name}"));
    json!({ "name": name, "commit": { "sha": sha, "url": url }, "protected": protected })
}

fn shown_protection(caller: &Caller, hosted: &Hosted, name: &str) -> Value {
    json!({
        "url": format!("{}/api/v3/repos/{}/branches/{name}/protection", caller.base, hosted.full_name),
        "allow_force_pushes": { "enabled": false },
        "allow_deletions": { "enabled": false },
    })
}
