//! Files by path: read files and directories, write one file per commit, archives.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{ApiError, Caller, Readable, Writable, query};
use super::shapes;
use crate::host::Hosted;
use crate::repository::Entry;
use crate::{Change, Error, Host, NewCommit, Signature};

/// How often a file write is tried again when another commit came between; each try sees the newer branch.
const TRIES: usize = 5;

/// `GET …/contents`: the root directory.
pub(crate) async fn root(Readable(hosted, caller): Readable, uri: Uri) -> Result<Response, ApiError> {
    let revision = revision(&hosted, &uri);
    let entries = hosted.git.read_tree(&revision, "", false).await?;
    Ok(Json(directory(&caller, &hosted, &revision, &entries)).into_response())
}

/// `GET …/contents/{path}`: a file with its content, or a directory's entries; `Accept: …raw` gives the bytes.
pub(crate) async fn show(
    Readable(hosted, caller): Readable,
    Path((_, _, path)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let revision = revision(&hosted, &uri);
    one(&hosted, &caller, path.trim_end_matches('/'), &revision, &headers).await
}

/// `GET …/readme`.
pub(crate) async fn readme(
    Readable(hosted, caller): Readable,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let revision = revision(&hosted, &uri);
    let entries = hosted.git.read_tree(&revision, "", false).await?;
    let is_readme = |entry: &&Entry| entry.path.to_lowercase().starts_with("readme") && entry.kind == "blob";
    let entry = entries.iter().find(is_readme).ok_or_else(ApiError::missing)?;
    one(&hosted, &caller, &entry.path, &revision, &headers).await
}

/// Body of a file write or removal.
#[derive(Deserialize)]
pub(crate) struct FileWrite {
    message: String,
    /// Base64, with line ends allowed.
    content: Option<String>,
    /// The blob that is replaced; required when there is one.
    sha: Option<String>,
    branch: Option<String>,
    author: Option<GivenPerson>,
    committer: Option<GivenPerson>,
}

/// An author or committer in a request.
#[derive(Deserialize)]
pub(crate) struct GivenPerson {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) date: Option<String>,
}

impl GivenPerson {
    pub(crate) fn signature(&self) -> Result<Signature, ApiError> {
        let when = match &self.date {
            None => None,
            Some(date) => {
                Some(date.parse().map_err(|_| ApiError::field("Commit", "date", "invalid", "not RFC 3339"))?)
            }
        };
        Ok(Signature { name: self.name.clone(), email: self.email.clone(), when })
    }
}

/// `PUT …/contents/{path}`: creates or replaces one file by a commit.
pub(crate) async fn put(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Path((_, _, path)): Path<(String, String, String)>,
    Json(wanted): Json<FileWrite>,
) -> Result<Response, ApiError> {
    let encoded: String =
        wanted.content.iter().flat_map(|text| text.chars()).filter(|c| !c.is_whitespace()).collect();
    let content = STANDARD
        .decode(encoded)
        .map_err(|_| ApiError::field("Content", "content", "invalid", "not Base64"))?;
    let content = Bytes::from(content);
    let done = commit_file(&host, &hosted, &caller, &path, &wanted, Some(content)).await?;
    let entry = hosted.git.entry(&done.commit, &path).await?;
    let body = json!({
        "content": shapes::content(&caller.base, &hosted.full_name, &done.branch, &entry),
        "commit": shown_commit(&caller, &hosted, &done.commit).await?,
    });
    let status = if done.existed { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(body)).into_response())
}

/// `DELETE …/contents/{path}`.
pub(crate) async fn remove(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Path((_, _, path)): Path<(String, String, String)>,
    Json(wanted): Json<FileWrite>,
) -> Result<Json<Value>, ApiError> {
    let done = commit_file(&host, &hosted, &caller, &path, &wanted, None).await?;
    Ok(Json(json!({ "content": null, "commit": shown_commit(&caller, &hosted, &done.commit).await? })))
}

/// `GET …/tarball`: of the default branch.
pub(crate) async fn tarball_of_default(Readable(hosted, _): Readable) -> Result<Response, ApiError> {
    let branch = hosted.metadata().default_branch;
    archive(&hosted, &branch).await
}

/// `GET …/tarball/{revision}`: gzipped, everything below `owner-repo-sha/` as on GitHub.
pub(crate) async fn tarball(
    Readable(hosted, _): Readable,
    Path((_, _, revision)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    archive(&hosted, &revision).await
}

async fn archive(hosted: &Hosted, revision: &str) -> Result<Response, ApiError> {
    use std::io::Write as _;
    let id = hosted.git.resolve(revision).await?;
    let prefix = format!("{}-{}-{}", hosted.owner(), hosted.name(), &id[..7]);
    let tar = hosted.git.archive(&id, &prefix).await?;
    let compress = move || {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&tar).and_then(|()| encoder.finish())
    };
    let failed = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot compress");
    let bytes =
        tokio::task::spawn_blocking(compress).await.map_err(|_| ApiError::missing())?.map_err(failed)?;
    let disposition = format!("attachment; filename={prefix}.tar.gz");
    Ok(([(CONTENT_TYPE, "application/x-gzip"), (CONTENT_DISPOSITION, &disposition)], bytes).into_response())
}

/// The revision that a read asks for; the default branch otherwise.
fn revision(hosted: &Hosted, uri: &Uri) -> String {
    query(uri, "ref").filter(|r| !r.is_empty()).unwrap_or_else(|| hosted.metadata().default_branch)
}

async fn one(
    hosted: &Hosted,
    caller: &Caller,
    path: &str,
    revision: &str,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    if path.is_empty() {
        let entries = hosted.git.read_tree(revision, "", false).await?;
        return Ok(Json(directory(caller, hosted, revision, &entries)).into_response());
    }
    let entry = hosted.git.entry(revision, path).await?;
    if entry.kind == "tree" {
        let entries = hosted.git.read_tree(revision, path, false).await?;
        return Ok(Json(directory(caller, hosted, revision, &entries)).into_response());
    }
    let mut shown = shapes::content(&caller.base, &hosted.full_name, revision, &entry);
    if entry.kind == "blob" {
        let content = hosted.git.read_blob(&entry.id).await?;
        let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accepts.contains(".raw") {
            let raw = HeaderValue::from_static("application/vnd.github.raw; charset=utf-8");
            return Ok(([(CONTENT_TYPE, raw)], content).into_response());
        }
        shown["encoding"] = "base64".into();
        shown["content"] = wrapped(&STANDARD.encode(&content)).into();
    }
    Ok(Json(shown).into_response())
}

fn directory(caller: &Caller, hosted: &Hosted, revision: &str, entries: &[Entry]) -> Value {
    entries.iter().map(|entry| shapes::content(&caller.base, &hosted.full_name, revision, entry)).collect()
}

/// Base64 in lines of 60 characters, as GitHub sends it.
fn wrapped(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 60 + 1);
    for chunk in text.as_bytes().chunks(60) {
        lines.push_str(&String::from_utf8_lossy(chunk));
        lines.push('\n');
    }
    lines
}

struct Done {
    commit: String,
    branch: String,
    existed: bool,
}

/// One file changed by a commit. The blob id of the request is the compare-and-swap; commits of others that leave the
/// file alone do not disturb.
async fn commit_file(
    host: &Host,
    hosted: &std::sync::Arc<Hosted>,
    caller: &Caller,
    path: &str,
    wanted: &FileWrite,
    content: Option<Bytes>,
) -> Result<Done, ApiError> {
    let branch = wanted.branch.clone().unwrap_or_else(|| hosted.metadata().default_branch);
    let branch = branch.strip_prefix("refs/heads/").unwrap_or(&branch).to_owned();
    let own = Signature::now(&caller.claims.name, &caller.claims.email);
    let given = |person: &Option<GivenPerson>| person.as_ref().map(GivenPerson::signature).transpose();
    let committer = given(&wanted.committer)?;
    let author = given(&wanted.author)?.or_else(|| committer.clone()).unwrap_or_else(|| own.clone());
    let mut commit = NewCommit {
        reference: format!("refs/heads/{branch}"),
        parent: None,
        changes: Default::default(),
        author,
        committer: committer.unwrap_or(own),
        message: wanted.message.clone(),
    };
    for attempt in 1.. {
        let tip = hosted.git.tip(&commit.reference).await?;
        let present = match &tip {
            Some(tip) => match hosted.git.entry(tip, path).await {
                Ok(entry) => Some(entry),
                Err(Error::NotFound(_)) => None,
                Err(error) => return Err(error.into()),
            },
            None => None,
        };
        check_sha(path, present.as_ref(), wanted.sha.as_deref(), content.is_none())?;
        let executable = present.as_ref().is_some_and(|entry| entry.mode == "100755");
        let change = content.clone().map_or(Change::Delete, |content| Change::Write { content, executable });
        commit.changes = [(path.to_owned(), change)].into();
        commit.parent = tip.clone();
        let existed = present.is_some();
        match host.commit(hosted, &commit, &caller.sender()).await {
            Ok(commit) => return Ok(Done { commit, branch, existed }),
            // GitHub makes an empty commit here; telling the present one changes nothing and is true.
            Err(Error::NothingToCommit) => {
                return Ok(Done { commit: tip.unwrap_or_default(), branch, existed });
            }
            Err(Error::Conflict { .. }) if attempt < TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(ApiError::new(StatusCode::CONFLICT, "the branch keeps moving"))
}

fn check_sha(
    path: &str,
    present: Option<&Entry>,
    given: Option<&str>,
    removal: bool,
) -> Result<(), ApiError> {
    match (present, given) {
        (None, _) if removal => Err(ApiError::missing()),
        (Some(entry), _) if entry.kind != "blob" => {
            Err(ApiError::field("Content", "path", "invalid", "path is a directory"))
        }
        (Some(_), None) => {
            let message = "Invalid request.\n\n\"sha\" wasn't supplied.";
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message))
        }
        (Some(entry), Some(sha)) if entry.id != sha => {
            Err(ApiError::new(StatusCode::CONFLICT, format!("{path} does not match {sha}")))
        }
        (None, Some(sha)) => Err(ApiError::new(StatusCode::CONFLICT, format!("{path} does not match {sha}"))),
        _ => Ok(()),
    }
}

async fn shown_commit(caller: &Caller, hosted: &Hosted, id: &str) -> Result<Value, ApiError> {
    Ok(shapes::git_commit(&caller.base, &hosted.full_name, &hosted.git.commit_at(id).await?))
}
