//! WATCH: a chunked stream of one JSON event per line. The rules for the first events, bookmarks, selectors and errors are those of
//! apiserver's `cacher`.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use http::{Response, StatusCode};
use object::Cause;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Context;
use super::media::{self, Form, Shape};
use super::read::{Selection, parse_revision, partial, read_error, tabulate};
use crate::catalog::Kind;
use crate::convert;
use crate::error::ApiError;
use crate::store::{Change, Event, Watch};

/// How often a watch without changes says how far it is: kube-rs takes a silent stream for dead.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the server ends the stream.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Shortest time of a watch whose client names none; the longest is twice as long.
const MINIMUM_TIMEOUT_S: u64 = 1800;

/// Answers a watch.
pub(crate) async fn watch(
    cx: Context,
    kind: std::sync::Arc<Kind>,
    form: Form,
) -> Result<Response<Body>, ApiError> {
    if form.yaml {
        return Err(ApiError::not_acceptable("application/json, application/json;stream=watch"));
    }
    let mut session = Session::start(cx, kind, form.shape).await?;
    let first = session.initial().into();
    let body =
        stream::unfold((Some(first), session), |(first, mut session): (Option<Bytes>, _)| async move {
            match first {
                Some(bytes) if !bytes.is_empty() => {
                    Some((Ok::<_, std::convert::Infallible>(bytes), (None, session)))
                }
                _ => session.next().await.map(|bytes| (Ok(bytes), (None, session))),
            }
        });
    Ok(media::text(StatusCode::OK, "application/json", Body::from_stream(body)))
}

/// One running watch.
struct Session {
    cx: Context,
    kind: std::sync::Arc<Kind>,
    shape: Shape,
    selection: Selection,
    watch: Watch,
    /// Objects that exist at the start, with the revision of that state.
    start: Option<Vec<Bytes>>,
    bookmarks: bool,
    marks_start: bool,
    columns_sent: bool,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
}

impl Session {
    async fn start(cx: Context, kind: std::sync::Arc<Kind>, shape: Shape) -> Result<Self, ApiError> {
        let selection = Selection::parse(&cx, &kind)?;
        let initial = check_options(&cx)?;
        let revision = parse_revision(cx.query.get("resourceVersion"))?;
        let prefix = cx.prefix(&kind);
        let store = &cx.api.store;
        if let (Some(revision), Some(true)) = (revision, initial) {
            store.reached(revision).await.map_err(|e| read_error(&e))?;
        }
        let (start, from) = match (revision, initial) {
            (Some(revision), None | Some(false)) => (None, revision),
            (None, Some(false)) => (None, store.revision()),
            _ => {
                let page = store.list(&kind.collection, &prefix);
                let chosen = page.items.iter().filter(|(key, e)| selection.matches(&kind, key, &e.value));
                (Some(chosen.map(|(_, e)| e.value.clone()).collect()), page.revision)
            }
        };
        let watch = store.watch(&kind.collection, &prefix, from).map_err(|e| read_error(&e));
        let timeout =
            match cx.query.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0) {
                Some(seconds) => Duration::from_secs(seconds),
                None => {
                    Duration::from_secs(MINIMUM_TIMEOUT_S + rand::rng().random_range(0..MINIMUM_TIMEOUT_S))
                }
            };
        let bookmarks = cx.query.boolean("allowWatchBookmarks")?;
        let now = Instant::now();
        Ok(Self {
            watch: watch?,
            shape,
            selection,
            start,
            bookmarks,
            marks_start: bookmarks && initial == Some(true),
            columns_sent: false,
            next_bookmark: now + BOOKMARK_EVERY.min(timeout.saturating_sub(LAST_BOOKMARK)),
            deadline: now + timeout,
            ended: false,
            cx,
            kind,
        })
    }

    /// The events for what exists at the start.
    fn initial(&mut self) -> Vec<u8> {
        let mut out = vec![];
        let Some(start) = self.start.take() else { return out };
        for value in start {
            self.line(&mut out, "ADDED", &value);
        }
        if self.marks_start {
            out.extend_from_slice(&self.bookmark(true));
        }
        out
    }

    /// The next chunk; none ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        while !self.ended {
            let mut out = vec![];
            tokio::select! {
                biased;
                () = self.cx.api.closing.cancelled() => return None,
                events = self.watch.next() => match events {
                    Ok(events) => for event in &events {
                        self.event(&mut out, event);
                    },
                    Err(error) => {
                        self.ended = true;
                        let status = read_error(&error).status();
                        out.extend_from_slice(format!("{{\"type\":\"ERROR\",\"object\":{status}}}\n").as_bytes());
                    }
                },
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    out = self.bookmark(false);
                    let last = self.deadline.checked_sub(LAST_BOOKMARK).unwrap_or(self.deadline);
                    let regular = self.next_bookmark + BOOKMARK_EVERY;
                    self.next_bookmark = if self.next_bookmark >= last { self.deadline + BOOKMARK_EVERY } else { regular.min(last) };
                }
                () = tokio::time::sleep_until(self.deadline) => return None,
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        None
    }

    /// One change as this watch's selectors see it.
    fn event(&mut self, out: &mut Vec<u8>, event: &Event) {
        let (kind, key) = (std::sync::Arc::clone(&self.kind), &event.key);
        let matches = |value: &[u8]| self.selection.matches(&kind, key, value);
        let before = event.previous.as_ref().is_some_and(|previous| matches(previous));
        let after = event.change != Change::Deleted && matches(&event.value);
        match (before, after) {
            (false, true) => self.line(out, "ADDED", &event.value),
            (true, true) => self.line(out, "MODIFIED", &event.value),
            (true, false) if event.change == Change::Deleted => self.line(out, "DELETED", &event.value),
            (true, false) => {
                // It left the selection: the client knows the previous content, and needs the new revision.
                let previous = event.previous.as_ref().unwrap_or(&event.value);
                let mut object = convert::parse_outgoing(&self.kind, previous);
                object["metadata"]["resourceVersion"] = event.revision.to_string().into();
                self.object_line(out, "DELETED", object);
            }
            (false, false) => {}
        }
    }

    fn line(&mut self, out: &mut Vec<u8>, kind: &str, value: &Bytes) {
        if self.shape == Shape::Plain {
            out.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
            out.extend_from_slice(&convert::outgoing(&self.kind, value));
            out.extend_from_slice(b"}\n");
        } else {
            self.object_line(out, kind, convert::parse_outgoing(&self.kind, value));
        }
    }

    fn object_line(&mut self, out: &mut Vec<u8>, kind: &str, object: Value) {
        let shaped = match self.shape {
            Shape::Plain => object,
            Shape::Metadata => partial(&object),
            Shape::Table => {
                let revision = object["metadata"]["resourceVersion"].clone();
                let mut table = tabulate(&self.cx, &self.kind, std::slice::from_ref(&object));
                table["metadata"] = json!({"resourceVersion": revision});
                if std::mem::replace(&mut self.columns_sent, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
        };
        out.extend_from_slice(json!({"type": kind, "object": shaped}).to_string().as_bytes());
        out.push(b'\n');
    }

    fn bookmark(&mut self, initial_events_end: bool) -> Vec<u8> {
        let revision = self.watch.advance().to_string();
        let mut metadata = json!({"resourceVersion": revision, "creationTimestamp": null});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, api_version) = match self.shape {
            Shape::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            _ => (self.kind.resource.kind.to_string(), self.kind.resource.api_version()),
        };
        let object = match self.shape {
            Shape::Table => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {"resourceVersion": revision},
                "columnDefinitions": null, "rows": [],
            }),
            _ => json!({"kind": kind, "apiVersion": api_version, "metadata": metadata}),
        };
        let mut line = json!({"type": "BOOKMARK", "object": object}).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

/// `sendInitialEvents`, checked with what depends on it.
fn check_options(cx: &Context) -> Result<Option<bool>, ApiError> {
    let invalid = |field: &str, detail: &str| {
        ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &[Cause::forbidden(field, detail)])
    };
    let matching = cx.query.get("resourceVersionMatch");
    if !cx.query.has("sendInitialEvents") {
        if matching.is_some() {
            let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(invalid("resourceVersionMatch", detail));
        }
        return Ok(None);
    }
    let wanted = cx.query.boolean("sendInitialEvents")?;
    if matching != Some("NotOlderThan") {
        let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(invalid("resourceVersionMatch", detail));
    }
    Ok(Some(wanted))
}
