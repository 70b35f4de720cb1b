//! GitHub's git data API: blobs, trees, commits, tags and refs, with which clients build commits by hand.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{ApiError, Caller, Readable, Writable, query};
use super::contents::GivenPerson;
use super::shapes;
use crate::host::{Hosted, RefUpdate};
use crate::names::{check_ref, is_object_id};
use crate::write::{TreeChange, ZERO};
use crate::{Error, Host, Signature};

/// Body of `POST …/git/blobs`.
#[derive(Deserialize)]
pub(crate) struct NewBlob {
    content: String,
    encoding: Option<String>,
}

/// `POST …/git/blobs`.
pub(crate) async fn create_blob(
    Writable(hosted, caller): Writable,
    Json(wanted): Json<NewBlob>,
) -> Result<Response, ApiError> {
    let bytes = if wanted.encoding.as_deref() == Some("base64") {
        let text: String = wanted.content.chars().filter(|c| !c.is_whitespace()).collect();
        STANDARD.decode(text).map_err(|_| ApiError::field("Blob", "content", "invalid", "not Base64"))?
    } else {
        wanted.content.into_bytes()
    };
    let sha = hosted.git.write_blob(bytes.into()).await?;
    let url = format!("{}/api/v3/repos/{}/git/blobs/{sha}", caller.base, hosted.full_name);
    Ok((StatusCode::CREATED, Json(json!({ "sha": sha, "url": url }))).into_response())
}

/// `GET …/git/blobs/{sha}`.
pub(crate) async fn blob(
    Readable(hosted, _): Readable,
    Path((_, _, sha)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let content = hosted.git.read_blob(&sha).await?;
    let encoded = STANDARD.encode(&content);
    Ok(Json(json!({ "sha": sha, "size": content.len(), "encoding": "base64", "content": encoded })))
}

/// Body of `POST …/git/trees`.
#[derive(Deserialize)]
pub(crate) struct NewTree {
    base_tree: Option<String>,
    tree: Vec<NewEntry>,
}

#[derive(Deserialize)]
struct NewEntry {
    path: String,
    mode: String,
    /// Absent: `content` is written; null: the path is removed.
    #[serde(default, deserialize_with = "present")]
    sha: Option<Option<String>>,
    content: Option<String>,
}

/// Tells a null from an absent field.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(deserializer).map(Some)
}

/// `POST …/git/trees`.
pub(crate) async fn create_tree(
    Writable(hosted, caller): Writable,
    Json(wanted): Json<NewTree>,
) -> Result<Response, ApiError> {
    let mut changes = Vec::new();
    for entry in wanted.tree {
        let id = match (entry.sha, entry.content) {
            (Some(None), _) => None,
            (Some(Some(sha)), _) if is_object_id(&sha) => Some(sha),
            (None, Some(content)) => Some(hosted.git.write_blob(content.into()).await?),
            _ => return Err(ApiError::field("Tree", "tree", "invalid", "an entry needs `sha` or `content`")),
        };
        if !matches!(entry.mode.as_str(), "100644" | "100755" | "120000") {
            return Err(ApiError::field("Tree", "mode", "invalid", "mode must be 100644, 100755 or 120000"));
        }
        changes.push(TreeChange { path: entry.path, entry: id.map(|id| (entry.mode, id)) });
    }
    let sha = hosted.git.write_tree(wanted.base_tree.as_deref(), &changes).await?;
    Ok((StatusCode::CREATED, Json(shown_tree(&hosted, &caller, &sha, false).await?)).into_response())
}

/// `GET …/git/trees/{revision}?recursive=1`.
pub(crate) async fn tree(
    Readable(hosted, caller): Readable,
    Path((_, _, revision)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let recursive = query(&uri, "recursive").is_some();
    Ok(Json(shown_tree(&hosted, &caller, &revision, recursive).await?))
}

async fn shown_tree(
    hosted: &Hosted,
    caller: &Caller,
    revision: &str,
    recursive: bool,
) -> Result<Value, ApiError> {
    let entries = hosted.git.read_tree(revision, "", recursive).await?;
    let sha = hosted.git.object_id(&format!("{revision}^{{tree}}")).await?;
    let api = format!("{}/api/v3/repos/{}/git", caller.base, hosted.full_name);
    let entry = |entry: &crate::repository::Entry| {
        let mut shown = json!({
            "path": entry.path,
            "mode": entry.mode,
            "type": entry.kind,
            "sha": entry.id,
            "url": format!("{api}/{}s/{}", entry.kind, entry.id),
        });
        if let Some(size) = entry.size {
            shown["size"] = size.into();
        }
        shown
    };
    let shown: Vec<Value> = entries.iter().map(entry).collect();
    Ok(json!({ "sha": sha, "url": format!("{api}/trees/{sha}"), "tree": shown, "truncated": false }))
}

/// Body of `POST …/git/commits`.
#[derive(Deserialize)]
pub(crate) struct NewGitCommit {
    message: String,
    tree: String,
    #[serde(default)]
    parents: Vec<String>,
    author: Option<GivenPerson>,
    committer: Option<GivenPerson>,
}

/// `POST …/git/commits`.
pub(crate) async fn create_commit(
    Writable(hosted, caller): Writable,
    Json(wanted): Json<NewGitCommit>,
) -> Result<Response, ApiError> {
    let given = |person: &Option<GivenPerson>| person.as_ref().map(GivenPerson::signature).transpose();
    let own = Signature::now(&caller.claims.name, &caller.claims.email);
    let author = given(&wanted.author)?.unwrap_or(own);
    let committer = given(&wanted.committer)?.unwrap_or_else(|| author.clone());
    let parents: Vec<&str> = wanted.parents.iter().map(String::as_str).collect();
    let id = hosted.git.commit_tree(&wanted.tree, &parents, &author, &committer, &wanted.message).await?;
    let commit = hosted.git.commit_at(&id).await?;
    Ok((StatusCode::CREATED, Json(shapes::git_commit(&caller.base, &hosted.full_name, &commit)))
        .into_response())
}

/// `GET …/git/commits/{sha}`.
pub(crate) async fn commit(
    Readable(hosted, caller): Readable,
    Path((_, _, sha)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let commit = hosted.git.commit_at(&sha).await?;
    Ok(Json(shapes::git_commit(&caller.base, &hosted.full_name, &commit)))
}

/// Body of `POST …/git/tags`.
#[derive(Deserialize)]
pub(crate) struct NewTag {
    tag: String,
    message: String,
    object: String,
    tagger: Option<GivenPerson>,
}

/// `POST …/git/tags`: an annotated tag with its ref. GitHub wants a second call for the ref; here that call finds it made.
pub(crate) async fn create_tag(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Json(wanted): Json<NewTag>,
) -> Result<Response, ApiError> {
    let own = Signature::now(&caller.claims.name, &caller.claims.email);
    let tagger = wanted.tagger.as_ref().map(GivenPerson::signature).transpose()?.unwrap_or(own);
    let sha = hosted.git.tag(&wanted.tag, &wanted.object, Some((&tagger, &wanted.message))).await?;
    let reference = format!("refs/tags/{}", wanted.tag);
    let update = RefUpdate { reference, before: ZERO.to_owned(), after: sha.clone() };
    host.updated(&hosted, vec![update], &caller.sender()).await;
    let body = json!({ "tag": wanted.tag, "sha": sha, "message": wanted.message,
        "object": { "type": "commit", "sha": wanted.object } });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Body of `POST …/git/refs` and `PATCH …/git/refs/{name}`.
#[derive(Deserialize)]
pub(crate) struct NewRef {
    #[serde(rename = "ref")]
    reference: Option<String>,
    sha: String,
    #[serde(default)]
    force: bool,
}

/// `POST …/git/refs`.
pub(crate) async fn create_ref(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Json(wanted): Json<NewRef>,
) -> Result<Response, ApiError> {
    let reference = check_ref(wanted.reference.as_deref().unwrap_or_default())?.to_owned();
    let id = existing(&hosted, &wanted.sha).await?;
    // An annotated tag made a moment ago already has its ref.
    if hosted.git.refs(&reference).await?.get(&reference) != Some(&id) {
        hosted.git.update_ref(&reference, &id, ZERO).await.map_err(|error| match error {
            Error::Conflict { .. } => {
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Reference already exists")
            }
            other => other.into(),
        })?;
        let update = RefUpdate { reference: reference.clone(), before: ZERO.to_owned(), after: id.clone() };
        host.updated(&hosted, vec![update], &caller.sender()).await;
    }
    Ok((StatusCode::CREATED, Json(shown_ref(&caller, &hosted, &reference, &id))).into_response())
}

/// `GET …/git/ref/{name}`.
pub(crate) async fn reference(
    Readable(hosted, caller): Readable,
    Path((_, _, name)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let reference = full(&name)?;
    let refs = hosted.git.refs(&reference).await?;
    let id = refs.get(&reference).ok_or_else(ApiError::missing)?;
    Ok(Json(shown_ref(&caller, &hosted, &reference, id)))
}

/// `GET …/git/matching-refs/{prefix}`.
pub(crate) async fn matching(
    Readable(hosted, caller): Readable,
    Path((_, _, prefix)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    let prefix = format!("refs/{prefix}");
    let refs = hosted.git.refs("refs/").await?;
    let matching = refs.iter().filter(|(name, _)| name.starts_with(&prefix));
    Ok(Json(matching.map(|(name, id)| shown_ref(&caller, &hosted, name, id)).collect()))
}

/// `PATCH …/git/refs/{name}`: moves a ref, by fast-forward unless forced.
pub(crate) async fn update_ref(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Path((_, _, name)): Path<(String, String, String)>,
    Json(wanted): Json<NewRef>,
) -> Result<Json<Value>, ApiError> {
    let reference = full(&name)?;
    let after = existing(&hosted, &wanted.sha).await?;
    let refuse = |message: &str| Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    let Some(before) = hosted.git.refs(&reference).await?.get(&reference).cloned() else {
        return refuse("Reference does not exist");
    };
    let protected = hosted.metadata().protected.contains(&reference);
    if (protected || !wanted.force) && !hosted.git.is_ancestor(&before, &after).await? {
        return refuse("Update is not a fast forward");
    }
    hosted.git.update_ref(&reference, &after, &before).await?;
    let update = RefUpdate { reference: reference.clone(), before, after: after.clone() };
    host.updated(&hosted, vec![update], &caller.sender()).await;
    Ok(Json(shown_ref(&caller, &hosted, &reference, &after)))
}

/// `DELETE …/git/refs/{name}`.
pub(crate) async fn delete_ref(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Path((_, _, name)): Path<(String, String, String)>,
) -> Result<StatusCode, ApiError> {
    let reference = full(&name)?;
    let facts = hosted.metadata();
    let is_default = reference == format!("refs/heads/{}", facts.default_branch);
    if is_default || facts.protected.contains(&reference) {
        let message = format!("{reference} is protected: it cannot be deleted");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    let Some(before) = hosted.git.refs(&reference).await?.get(&reference).cloned() else {
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Reference does not exist"));
    };
    hosted.git.update_ref(&reference, ZERO, &before).await?;
    let update = RefUpdate { reference, before, after: ZERO.to_owned() };
    host.updated(&hosted, vec![update], &caller.sender()).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The API writes `heads/main` in paths.
fn full(name: &str) -> Result<String, ApiError> {
    Ok(check_ref(&format!("refs/{name}"))?.to_owned())
}

async fn existing(hosted: &Hosted, sha: &str) -> Result<String, ApiError> {
    let absent = || ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Object does not exist");
    if !is_object_id(sha) {
        return Err(absent());
    }
    hosted.git.object_id(&format!("{sha}^{{object}}")).await.map_err(|_| absent())
}

fn shown_ref(caller: &Caller, hosted: &Hosted, reference: &str, id: &str) -> Value {
    let api = format!("{}/api/v3/repos/{}/git", caller.base, hosted.full_name);
    json!({
        "ref": reference,
        "url": format!("{api}/{reference}"),
        "object": { "type": "commit", "sha": id, "url": format!("{api}/commits/{id}") },
    })
}
