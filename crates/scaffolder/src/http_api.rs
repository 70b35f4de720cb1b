//! Backstage's scaffolder REST API (`/api/scaffolder`): the same paths and shapes, so that its clients work unchanged.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use futures::Stream;
use identity::Claims;
use serde_json::{Map, Value, json};

use crate::Scaffolder;
use crate::actions;
use crate::engine::{Task, lock};
use crate::record::{Event, Phase, Record, user_ref};
use crate::submit::{Order, Refusal};

/// Longest request body, in bytes (Backstage's limit for a dry run).
const BODY_MAX_BYTES: usize = 10 << 20;
/// How long `…/events` waits for something new.
const LONG_POLL: Duration = Duration::from_secs(30);
/// Tasks of one page of the listing when the caller names no limit.
const LIMIT_DEFAULT: usize = 100;

/// The router; every request must carry an `identity::Claims` extension.
pub(crate) fn routes(scaffolder: Scaffolder) -> Router {
    let inner = Router::new()
        .route("/v2/templates/{namespace}/{kind}/{name}/parameter-schema", get(parameter_schema))
        .route("/v2/actions", get(list_actions))
        .route("/v2/tasks", get(list_tasks).post(submit))
        .route("/v2/tasks/{id}", get(get_task))
        .route("/v2/tasks/{id}/cancel", post(cancel))
        .route("/v2/tasks/{id}/retry", post(retry))
        .route("/v2/tasks/{id}/eventstream", get(eventstream))
        .route("/v2/tasks/{id}/events", get(events))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(envelope))
        .with_state(scaffolder);
    Router::new().nest("/api/scaffolder", inner)
}

/// An error on its way into Backstage's envelope.
#[derive(Debug, Clone)]
struct Failure {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl Failure {
    fn new(status: StatusCode, name: &'static str, message: impl Into<String>) -> Self {
        Self { status, name, message: message.into() }
    }

    fn no_task(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFoundError", format!("No task with id '{id}' found"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Values(errors) => {
                (StatusCode::BAD_REQUEST, Json(json!({ "errors": errors }))).into_response()
            }
            Refusal::Input(message) => {
                Failure::new(StatusCode::BAD_REQUEST, "InputError", message).into_response()
            }
            Refusal::NoTemplate(message) => {
                Failure::new(StatusCode::NOT_FOUND, "NotFoundError", message).into_response()
            }
            Refusal::Unavailable(message) => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", message)
                    .into_response()
            }
        }
    }
}

/// Refuses callers without identity and wraps failures into `{error, request, response}`.
async fn envelope(
    claims: Option<Extension<Claims>>,
    method: Method,
    uri: Uri,
    request: Request,
    next: Next,
) -> Response {
    let response = match claims {
        Some(_) => next.run(request).await,
        None => Failure::new(StatusCode::UNAUTHORIZED, "AuthenticationError", "Missing credentials")
            .into_response(),
    };
    let Some(failure) = response.extensions().get::<Failure>().cloned() else { return response };
    let body = json!({
        "error": {"name": failure.name, "message": failure.message},
        "request": {"method": method.as_str(), "url": format!("/api/scaffolder{uri}")},
        "response": {"statusCode": failure.status.as_u16()},
    });
    (failure.status, Json(body)).into_response()
}

async fn parameter_schema(
    State(scaffolder): State<Scaffolder>,
    Extension(user): Extension<Claims>,
    Path((namespace, kind, name)): Path<(String, String, String)>,
) -> Result<Json<Value>, Refusal> {
    let template = scaffolder.template(&user, &format!("{kind}:{namespace}/{name}")).await?;
    Ok(Json(template.parameter_schema()))
}

async fn list_actions() -> Json<Value> {
    Json(actions::listing())
}

async fn submit(
    State(scaffolder): State<Scaffolder>,
    Extension(user): Extension<Claims>,
    Json(body): Json<Value>,
) -> Result<Response, Refusal> {
    let map = |field: &str| match &body[field] {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map.clone()),
        _ => Err(Refusal::Input(format!("{field}: must be a map"))),
    };
    let template_ref = body["templateRef"].as_str().unwrap_or_default().to_owned();
    let order = Order { template_ref, values: map("values")?, secrets: map("secrets")? };
    let id = scaffolder.submit(&user, order).await?;
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

async fn list_tasks(
    State(scaffolder): State<Scaffolder>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, Failure> {
    let number = |name: &str, default: usize| match query.get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            Failure::new(StatusCode::BAD_REQUEST, "InputError", format!("{name}: \"{text}\" is not a number"))
        }),
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", LIMIT_DEFAULT)?);
    let wanted = |record: &Record| {
        let author = query.get("createdBy").is_none_or(|author| *author == user_ref(&record.spec.user));
        let status = query.get("status").is_none_or(|status| status == record.status.phase.as_str());
        author && status
    };
    let mut all: Vec<Arc<Task>> = scaffolder.all().into_iter().filter(|task| task.with(wanted)).collect();
    if query.get("order").is_some_and(|order| order.starts_with("asc")) {
        all.reverse();
    }
    let tasks: Vec<Value> =
        all.iter().skip(offset).take(limit).map(|task| task.with(Record::serialized)).collect();
    Ok(Json(json!({"tasks": tasks, "totalTasks": all.len()})))
}

async fn get_task(
    State(scaffolder): State<Scaffolder>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let task = scaffolder.task(&id).ok_or_else(|| Failure::no_task(&id))?;
    Ok(Json(task.with(Record::serialized)))
}

async fn cancel(
    State(scaffolder): State<Scaffolder>,
    Extension(user): Extension<Claims>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Failure> {
    let task = scaffolder.task(&id).ok_or_else(|| Failure::no_task(&id))?;
    only_by_owner(&task, &user)?;
    lock(&task.cancel).cancel();
    Ok(Json(json!({"status": if task.with(|record| record.status.phase.is_final()) {
        task.with(|record| record.status.phase.as_str())
    } else {
        "cancelled"
    }})))
}

/// Goes on from the failed step with the rights of the person who started the task; secrets that are gone (they are
/// never stored) can be handed in again.
async fn retry(
    State(scaffolder): State<Scaffolder>,
    Extension(user): Extension<Claims>,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Response, Failure> {
    let task = scaffolder.task(&id).ok_or_else(|| Failure::no_task(&id))?;
    only_by_owner(&task, &user)?;
    // The body is optional, and so is its content type.
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if let Some(secrets) = body["secrets"].as_object() {
        for secret in secrets.values().filter_map(Value::as_str) {
            lock(&task.redactor).hide(secret);
        }
        lock(&task.secrets).extend(secrets.clone());
    }
    let reopened = task.update(|record| {
        if !matches!(record.status.phase, Phase::Failed | Phase::Cancelled) {
            return Err(record.status.phase.as_str());
        }
        record.status.phase = Phase::Open;
        // Rights may have changed since: the newest ones of the same person count.
        record.spec.user = user.clone();
        for step in &mut record.status.steps {
            if !matches!(step.status, Phase::Completed | Phase::Skipped) {
                step.status = Phase::Open;
                step.error = None;
            }
        }
        Ok(())
    });
    reopened.map_err(|phase| {
        let message = format!("only a failed or cancelled task can be retried; this one is {phase}");
        Failure::new(StatusCode::CONFLICT, "ConflictError", message)
    })?;
    task.store(scaffolder.services())
        .await
        .map_err(|error| Failure::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableError", error))?;
    scaffolder.launch(task);
    Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response())
}

/// A task acts with its owner's rights, so only the owner may steer it.
fn only_by_owner(task: &Task, user: &Claims) -> Result<(), Failure> {
    let owner = task.with(|record| record.spec.user.subject.clone());
    if owner == user.subject {
        return Ok(());
    }
    let message = format!("only {owner}, who started the task, may do this");
    Err(Failure::new(StatusCode::FORBIDDEN, "NotAllowedError", message))
}

fn event_json(task_id: &str, event: &Event) -> Value {
    json!({
        "id": event.id, "taskId": task_id, "type": event.kind, "createdAt": event.created_at, "body": event.body,
        "isTaskRecoverable": false,
    })
}

/// Events after `after`, and whether more may follow.
fn events_after(task: &Task, after: u64) -> (Vec<Event>, bool) {
    task.with(|record| {
        let new = record.status.events.iter().filter(|event| event.id > after).cloned().collect();
        (new, !record.status.phase.is_final())
    })
}

fn after_of(query: &BTreeMap<String, String>) -> u64 {
    query.get("after").and_then(|after| after.parse().ok()).unwrap_or(0)
}

async fn events(
    State(scaffolder): State<Scaffolder>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Json<Value>, Failure> {
    let task = scaffolder.task(&id).ok_or_else(|| Failure::no_task(&id))?;
    let after = after_of(&query);
    let mut changed = task.changed.subscribe();
    let deadline = tokio::time::Instant::now() + LONG_POLL;
    loop {
        let (new, more) = events_after(&task, after);
        if !new.is_empty() || !more {
            let new: Vec<Value> = new.iter().map(|event| event_json(&id, event)).collect();
            return Ok(Json(Value::Array(new)));
        }
        if !matches!(tokio::time::timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
            return Ok(Json(json!([])));
        }
    }
}

async fn eventstream(
    State(scaffolder): State<Scaffolder>,
    Path(id): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Result<Response, Failure> {
    let task = scaffolder.task(&id).ok_or_else(|| Failure::no_task(&id))?;
    let stream = stream_of(task, id, after_of(&query));
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// All events after `after` as they come; the stream ends when the task has ended.
fn stream_of(task: Arc<Task>, id: String, after: u64) -> impl Stream<Item = Result<sse::Event, Infallible>> {
    let changed = task.changed.subscribe();
    let start = (task, id, after, changed, std::collections::VecDeque::<Event>::new());
    futures::stream::unfold(start, |(task, id, mut after, mut changed, mut waiting)| async move {
        loop {
            if let Some(event) = waiting.pop_front() {
                after = event.id;
                let data = event_json(&id, &event).to_string();
                let sent = sse::Event::default().event(event.kind).id(event.id.to_string()).data(data);
                return Some((Ok(sent), (task, id, after, changed, waiting)));
            }
            let (new, more) = events_after(&task, after);
            waiting.extend(new);
            if waiting.is_empty() && (!more || changed.changed().await.is_err()) {
                return None;
            }
        }
    })
}
