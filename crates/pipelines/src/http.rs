//! `/api/pipelines`: runs, their logs, re-run and cancel.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use controller::Patch;
use futures::{Stream, StreamExt as _};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::api::{self, RunSpec, WORKFLOW_RUN};
use crate::runner::{Runner, Shared};

/// Runs that one answer lists unless asked otherwise, and at most.
const LIST_SIZE: usize = 50;
const LIST_LIMIT: usize = 500;
/// Longest piece of a log that is read at once.
const READ_SIZE: u64 = 256 << 10;

/// The routes of a runner.
pub fn routes(runner: &Runner) -> axum::Router {
    axum::Router::new()
        .route("/api/pipelines/runs", get(list))
        .route("/api/pipelines/runs/{name}", get(show))
        .route("/api/pipelines/runs/{name}/rerun", post(rerun))
        .route("/api/pipelines/runs/{name}/cancel", post(cancel))
        .route("/api/pipelines/runs/{name}/jobs/{job}/log", get(log))
        .route("/api/pipelines/runs/{name}/jobs/{job}/summary", get(summary))
        .with_state(runner.shared.clone())
}

struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "message": self.1 }))).into_response()
    }
}

fn missing() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "Not Found".to_owned())
}

/// What `GET /api/pipelines/runs` filters by.
#[derive(Deserialize)]
struct Filter {
    repository: Option<String>,
    sha: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
    limit: Option<usize>,
}

/// Newest first; only runs of repositories that the caller may read. Payloads are left out.
async fn list(
    State(shared): State<Arc<Shared>>,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let claims = authenticate(&shared, &headers)?;
    let cache = shared.config.cluster.watch(&WORKFLOW_RUN);
    let wanted = |object: &Arc<Value>| {
        let spec = &object["spec"];
        let is =
            |field: &str, value: &Option<String>| value.as_ref().is_none_or(|value| spec[field] == **value);
        let repository = spec["repository"].as_str().unwrap_or_default();
        is("repository", &filter.repository)
            && is("sha", &filter.sha)
            && is("ref", &filter.reference)
            && claims.allows(&format!("repo:{repository}:read"))
    };
    let mut runs: Vec<Arc<Value>> = cache.list().into_iter().filter(wanted).collect();
    let created =
        |object: &Value| object["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    // Within one second, the higher number is the newer one.
    runs.sort_by_key(|object| std::cmp::Reverse((created(object), object["spec"]["runNumber"].as_i64())));
    let limit = filter.limit.unwrap_or(LIST_SIZE).min(LIST_LIMIT);
    let items: Vec<Value> = runs.iter().take(limit).map(|object| shown(object)).collect();
    Ok(Json(json!({ "total": runs.len(), "items": items })))
}

async fn show(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let (object, _) = find(&shared, &name, &headers, "read").await?;
    Ok(Json(shown(&object)))
}

/// Runs everything again, as a new attempt of the same run.
async fn rerun(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (object, spec) = find(&shared, &name, &headers, "write").await?;
    if object["status"]["status"] != "completed" {
        return Err(Refusal(StatusCode::CONFLICT, "the run is not over".to_owned()));
    }
    change(&shared, &name, json!({ "spec": { "attempt": spec.attempt + 1, "cancel": false } })).await
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (object, _) = find(&shared, &name, &headers, "write").await?;
    if object["status"]["status"] == "completed" {
        return Err(Refusal(StatusCode::CONFLICT, "the run is over".to_owned()));
    }
    change(&shared, &name, json!({ "spec": { "cancel": true } })).await
}

/// The log of a job: text, or with `Accept: text/event-stream` each line as it is written, then the event `end`.
async fn log(
    State(shared): State<Arc<Shared>>,
    Path((name, job)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    find(&shared, &name, &headers, "read").await?;
    let path = log_path(&shared, &name, &job)?;
    let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepts.contains("text/event-stream") {
        return Ok(Sse::new(follow(shared, path)).keep_alive(KeepAlive::default()).into_response());
    }
    text(path, "text/plain; charset=utf-8").await
}

/// What the job's steps wrote to `GITHUB_STEP_SUMMARY`.
async fn summary(
    State(shared): State<Arc<Shared>>,
    Path((name, job)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    find(&shared, &name, &headers, "read").await?;
    text(log_path(&shared, &name, &job)?.with_extension("summary.md"), "text/markdown; charset=utf-8").await
}

fn authenticate(shared: &Shared, headers: &HeaderMap) -> Result<identity::Claims, Refusal> {
    let claims = (shared.config.authenticate)(headers);
    claims.ok_or_else(|| Refusal(StatusCode::UNAUTHORIZED, "Requires authentication".to_owned()))
}

/// A run that the caller may `verb`; read from the API server, as the watch may be a moment behind.
async fn find(
    shared: &Shared,
    name: &str,
    headers: &HeaderMap,
    verb: &str,
) -> Result<(Value, RunSpec), Refusal> {
    let claims = authenticate(shared, headers)?;
    let found = shared.config.cluster.get(&WORKFLOW_RUN, &api::key(name)).await;
    let object =
        found.map_err(|error| Refusal(StatusCode::BAD_GATEWAY, error.to_string()))?.ok_or_else(missing)?;
    let (spec, _) = api::parse(&object);
    if !claims.allows(&format!("repo:{}:read", spec.repository)) {
        return Err(missing());
    }
    if !claims.allows(&format!("repo:{}:{verb}", spec.repository)) {
        let message = format!("{} may not do this to a run of {}", claims.subject, spec.repository);
        return Err(Refusal(StatusCode::FORBIDDEN, message));
    }
    Ok((object, spec))
}

async fn change(shared: &Shared, name: &str, body: Value) -> Result<Response, Refusal> {
    let done = shared.config.cluster.patch(&WORKFLOW_RUN, &api::key(name), "", Patch::Merge(&body)).await;
    let object = done.map_err(|error| Refusal(StatusCode::BAD_GATEWAY, error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(shown(&object))).into_response())
}

/// The object without what is only for the machine.
fn shown(object: &Value) -> Value {
    let mut shown = object.clone();
    if let Some(spec) = shown["spec"].as_object_mut() {
        spec.shift_remove("payload");
    }
    if let Some(metadata) = shown["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
    }
    shown
}

/// The log's file. Both names are single path parts, so that no request leaves the directory of logs.
fn log_path(shared: &Shared, name: &str, job: &str) -> Result<PathBuf, Refusal> {
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if plain(name) && plain(job) { Ok(shared.log_path(name, job)) } else { Err(missing()) }
}

async fn text(path: PathBuf, content_type: &'static str) -> Result<Response, Refusal> {
    let file = tokio::fs::File::open(&path).await.map_err(|_| missing())?;
    let body = axum::body::Body::from_stream(tokio_util::io::ReaderStream::new(file));
    Ok(([(CONTENT_TYPE, content_type)], body).into_response())
}

/// Where a follower is.
struct Position {
    shared: Arc<Shared>,
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
    ended: bool,
}

fn follow(shared: Arc<Shared>, path: PathBuf) -> impl Stream<Item = Result<Event, Infallible>> {
    let start = Position { shared, path, offset: 0, rest: Vec::new(), ended: false };
    let batches = futures::stream::unfold(start, |mut position| async move {
        if position.ended {
            return None;
        }
        let events = next_lines(&mut position).await;
        Some((futures::stream::iter(events.into_iter().map(Ok)), position))
    });
    batches.flatten()
}

/// The next lines, waiting for them if there are none; at the end of the log, the event `end`.
async fn next_lines(position: &mut Position) -> Vec<Event> {
    // Asked for before the file is read: what is written in between wakes the wait below.
    let mut growing = position.shared.logs.follow(&position.path);
    loop {
        let lines = read_lines(position).await;
        if !lines.is_empty() {
            return lines.into_iter().map(|line| Event::default().data(line)).collect();
        }
        let Some(length) = &mut growing else { break };
        let offset = position.offset;
        if length.wait_for(|length| *length > offset).await.is_err() {
            // The writer is gone; what it wrote last is still to be read.
            growing = None;
        }
    }
    position.ended = true;
    vec![Event::default().event("end").data("")]
}

async fn read_lines(position: &mut Position) -> Vec<String> {
    let Ok(mut file) = tokio::fs::File::open(&position.path).await else { return Vec::new() };
    let mut buffer = Vec::new();
    if file.seek(std::io::SeekFrom::Start(position.offset)).await.is_err() {
        return Vec::new();
    }
    let read = file.take(READ_SIZE).read_to_end(&mut buffer).await.unwrap_or(0);
    position.offset += read as u64;
    position.rest.extend_from_slice(&buffer);
    let Some(end) = position.rest.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
    let complete: Vec<u8> = position.rest.drain(..=end).collect();
    String::from_utf8_lossy(&complete).lines().map(str::to_owned).collect()
}
