//! GET of one object and LIST, with the resource version rules of Kubernetes' list and get tables.

use std::sync::Arc;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use object::selector::{FieldSelector, LabelSelector};
use object::{Cause, meta, table};
use serde_json::{Value, json};

use super::Context;
use super::media::{self, Form, Shape};
use crate::catalog::Kind;
use crate::convert;
use crate::error::ApiError;
use crate::store::{Entry, Page, ReadError};

/// GET of one object.
pub(crate) async fn get(cx: &Context, kind: &Kind, form: Form) -> Result<Response<Body>, ApiError> {
    if let Some(revision) = parse_revision(cx.query.get("resourceVersion"))? {
        cx.api.store.reached(revision).await.map_err(|e| read_error(&e))?;
    }
    let entry = cx.stored(kind)?;
    if form == Form::JSON {
        let bytes = convert::outgoing(kind, &entry.value);
        return Ok(media::text(StatusCode::OK, "application/json", bytes));
    }
    let object = convert::parse_outgoing(kind, &entry.value);
    Ok(answer(cx, kind, StatusCode::OK, object, form))
}

/// One object in the form that was asked for.
pub(crate) fn answer(
    cx: &Context,
    kind: &Kind,
    status: StatusCode,
    object: Value,
    form: Form,
) -> Response<Body> {
    let shaped = match form.shape {
        Shape::Plain => object,
        Shape::Metadata => partial(&object),
        Shape::Table => {
            let revision = meta::resource_version(&object).to_owned();
            let mut table = tabulate(cx, kind, &[object]);
            table["metadata"] = json!({"resourceVersion": revision});
            table
        }
    };
    media::object(status, &shaped, form)
}

/// LIST.
pub(crate) async fn list(cx: &Context, kind: &Kind, form: Form) -> Result<Response<Body>, ApiError> {
    let request = ListRequest::parse(cx)?;
    let selection = Selection::parse(cx, kind)?;
    let prefix = cx.prefix(kind);
    let (page, token) = select_page(cx, kind, &request, &prefix).await?;
    let chosen = choose(&page, kind, &selection, request.limit);
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(last) = chosen.cut_after {
        metadata["continue"] = encode_token(token.unwrap_or(page.revision), &format!("{last}\0")).into();
        if selection.is_everything() {
            metadata["remainingItemCount"] = (page.items.len() - chosen.items.len()).into();
        }
    }
    Ok(render_list(cx, kind, form, &metadata, &chosen.items))
}

struct ListRequest {
    limit: usize,
    token: Option<(i64, String)>,
    revision: Option<u64>,
    exact: bool,
    any: bool,
}

impl ListRequest {
    fn parse(cx: &Context) -> Result<Self, ApiError> {
        let query = &cx.query;
        let invalid = |field: &str, detail: &str| {
            let causes = [Cause::forbidden(field, detail)];
            ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &causes)
        };
        let revision_text = query.get("resourceVersion");
        let matching = query.get("resourceVersionMatch");
        if query.has("sendInitialEvents") {
            return Err(invalid("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        if matching.is_some() && revision_text.is_none() {
            let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            return Err(invalid("resourceVersionMatch", detail));
        }
        if matching == Some("Exact") && revision_text == Some("0") {
            let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            return Err(invalid("resourceVersionMatch", detail));
        }
        if let Some(other) = matching.filter(|m| !matches!(*m, "Exact" | "NotOlderThan")) {
            let supported = ["Exact".to_owned(), "NotOlderThan".to_owned()];
            let causes = [Cause::not_supported("resourceVersionMatch", &other.into(), &supported)];
            return Err(ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &causes));
        }
        let token = query.get("continue").map(decode_token).transpose()?;
        if token.is_some() && revision_text.is_some_and(|r| r != "0") {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let any = revision_text == Some("0");
        let limit = usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(0);
        let revision = parse_revision(revision_text)?;
        let exact = revision.is_some() && (matching == Some("Exact") || (matching.is_none() && limit > 0));
        Ok(Self { limit: if any && token.is_none() { 0 } else { limit }, token, revision, exact, any })
    }
}

/// The snapshot that the request asks for; and of a continued list, the revision that further tokens carry.
async fn select_page(
    cx: &Context,
    kind: &Kind,
    request: &ListRequest,
    prefix: &str,
) -> Result<(Page, Option<u64>), ApiError> {
    let store = &cx.api.store;
    if let Some((revision, start)) = &request.token {
        let Ok(revision) = u64::try_from(*revision) else {
            let mut page = store.list(&kind.collection, prefix);
            page.items.retain(|(key, _)| **key >= **start);
            return Ok((page, None));
        };
        return match store.list_at(&kind.collection, prefix, start, revision) {
            Ok(page) => Ok((page, Some(revision))),
            Err(ReadError::Compacted { .. }) => Err(continue_expired(start)),
            Err(error) => Err(read_error(&error)),
        };
    }
    match request.revision {
        Some(revision) if request.exact && !request.any => {
            match store.list_at(&kind.collection, prefix, "", revision) {
                Ok(page) => Ok((page, None)),
                Err(ReadError::Compacted { .. }) => {
                    Err(ApiError::expired("The resourceVersion for the provided list is too old."))
                }
                Err(ReadError::Future { .. }) => {
                    store.reached(revision).await.map_err(|e| read_error(&e))?;
                    Ok((store.list(&kind.collection, prefix), None))
                }
            }
        }
        Some(revision) => {
            store.reached(revision).await.map_err(|e| read_error(&e))?;
            Ok((store.list(&kind.collection, prefix), None))
        }
        None => Ok((store.list(&kind.collection, prefix), None)),
    }
}

struct Chosen {
    items: Vec<Bytes>,
    /// The last key of a page that is not the last page.
    cut_after: Option<Arc<str>>,
}

fn choose(page: &Page, kind: &Kind, selection: &Selection, limit: usize) -> Chosen {
    let mut items: Vec<Bytes> = vec![];
    let mut last: Option<&Arc<str>> = None;
    for (key, entry) in &page.items {
        if !selection.matches(kind, key, &entry.value) {
            continue;
        }
        if limit > 0 && items.len() == limit {
            return Chosen { items, cut_after: last.cloned() };
        }
        items.push(convert::outgoing(kind, &entry.value));
        last = Some(key);
    }
    Chosen { items, cut_after: None }
}

fn render_list(cx: &Context, kind: &Kind, form: Form, metadata: &Value, items: &[Bytes]) -> Response<Body> {
    let api_version = kind.resource.api_version();
    if form == Form::JSON {
        let head = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":[",
            kind.list_kind
        );
        let mut bytes = Vec::with_capacity(head.len() + 2 + items.iter().map(|i| i.len() + 1).sum::<usize>());
        bytes.extend_from_slice(head.as_bytes());
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            bytes.extend_from_slice(item);
        }
        bytes.extend_from_slice(b"]}");
        return media::text(StatusCode::OK, "application/json", bytes);
    }
    let objects: Vec<Value> =
        items.iter().map(|i| serde_json::from_slice(i).unwrap_or(Value::Null)).collect();
    let body = match form.shape {
        Shape::Plain => {
            json!({"kind": kind.list_kind, "apiVersion": api_version, "metadata": metadata, "items": objects})
        }
        Shape::Metadata => json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            "items": objects.iter().map(partial).collect::<Vec<_>>(),
        }),
        Shape::Table => {
            let mut table = tabulate(cx, kind, &objects);
            table["metadata"] = metadata.clone();
            table
        }
    };
    media::object(StatusCode::OK, &body, form)
}

/// A Table of objects, as `includeObject` wants it.
pub(crate) fn tabulate(cx: &Context, kind: &Kind, objects: &[Value]) -> Value {
    let include = match cx.query.get("includeObject") {
        Some("None") => table::Include::None,
        Some("Object") => table::Include::Object,
        _ => table::Include::Metadata,
    };
    let columns = kind.custom.as_ref().map(|c| &c.columns);
    table::table(&kind.resource, columns, objects, jiff::Timestamp::now(), include)
}

/// An object's metadata alone.
pub(crate) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// As much of an object as a label selector looks at: the rest is skipped over, not built.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Head {
    metadata: Labels,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Labels {
    labels: Value,
}

/// The label and field selectors of a list, watch or deletecollection.
pub(crate) struct Selection {
    labels: LabelSelector,
    fields: FieldSelector,
    name: Option<String>,
}

impl Selection {
    pub(crate) fn parse(cx: &Context, kind: &Kind) -> Result<Self, ApiError> {
        let bad = |e: object::selector::SelectorError| ApiError::bad_request(e.to_string());
        let labels = LabelSelector::parse(cx.query.get("labelSelector").unwrap_or_default()).map_err(bad)?;
        let fields = FieldSelector::parse(cx.query.get("fieldSelector").unwrap_or_default()).map_err(bad)?;
        for requirement in &fields.requirements {
            check_field(kind, &requirement.field)?;
        }
        let name = (!cx.info.name.is_empty()).then(|| cx.info.name.clone());
        Ok(Self { labels, fields, name })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything() && self.name.is_none()
    }

    /// Whether an object is selected; parses it only when the selectors look inside.
    pub(crate) fn matches(&self, kind: &Kind, key: &str, value: &[u8]) -> bool {
        if self.name.as_deref().is_some_and(|name| key.rsplit('/').next() != Some(name)) {
            return false;
        }
        if self.labels.is_everything() && self.fields.is_everything() {
            return true;
        }
        if self.fields.is_everything() {
            let head: Head = serde_json::from_slice(value).unwrap_or_default();
            return self.labels.matches(&head.metadata.labels);
        }
        let object = convert::parse_outgoing(kind, value);
        self.labels.matches(&object["metadata"]["labels"]) && self.fields.matches_object(&object)
    }
}

/// Fields that a kind can be selected by; after each kind's `conversion.go` and `strategy.go`.
fn check_field(kind: &Kind, field: &str) -> Result<(), ApiError> {
    let namespaced = kind.resource.namespaced;
    if field == "metadata.name" || (field == "metadata.namespace" && (namespaced || kind.custom.is_none())) {
        return Ok(());
    }
    let known: &[&str] = match (&*kind.resource.group, &*kind.resource.plural) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "events") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        _ => &[],
    };
    let selectable = kind.custom.as_ref().is_some_and(|c| c.selectable_fields.iter().any(|f| f == field));
    if known.contains(&field) || selectable {
        return Ok(());
    }
    if known.is_empty() {
        let text = format!(
            "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
        return Err(ApiError::bad_request(text));
    }
    Err(ApiError::bad_request(format!("field label not supported: {field}")))
}

/// A resource version as a number; `""` and `0` are none.
pub(crate) fn parse_revision(text: Option<&str>) -> Result<Option<u64>, ApiError> {
    match text {
        None | Some("" | "0") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|e| {
            let causes = [Cause::invalid("resourceVersion", &text.into(), e)];
            ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &causes)
        }),
    }
}

pub(crate) fn read_error(error: &ReadError) -> ApiError {
    match *error {
        ReadError::Compacted { asked, oldest } => {
            ApiError::expired(format!("too old resource version: {asked} ({oldest})"))
        }
        ReadError::Future { asked, current } => ApiError::future_revision(asked, current),
    }
}

fn encode_token(revision: u64, start: &str) -> String {
    URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
}

fn decode_token(token: &str) -> Result<(i64, String), ApiError> {
    let bad = || ApiError::bad_request("continue key is not valid: it was not made by this server");
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    if value["v"] != "meta.k8s.io/v1" {
        return Err(bad());
    }
    Ok((value["rv"].as_i64().ok_or_else(bad)?, value["start"].as_str().ok_or_else(bad)?.to_owned()))
}

fn continue_expired(start: &str) -> ApiError {
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the \
         continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with \
         the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the \
         first chunk was returned and now may show up in the list.",
    );
    let token = json!({"v": "meta.k8s.io/v1", "rv": -1, "start": start});
    error.continue_token = Some(URL_SAFE_NO_PAD.encode(token.to_string()));
    error
}

impl Context {
    /// The stored object that the path names.
    pub(crate) fn stored(&self, kind: &Kind) -> Result<Entry, ApiError> {
        self.stored_named(kind, &self.info.name)
    }

    /// An object of the request's namespace.
    pub(crate) fn stored_named(&self, kind: &Kind, name: &str) -> Result<Entry, ApiError> {
        let key = kind.key(&self.info.namespace, name);
        self.api.store.get(&kind.collection, &key).ok_or_else(|| ApiError::not_found(&kind.resource, name))
    }

    /// The prefix of the keys that a list covers.
    pub(crate) fn prefix(&self, kind: &Kind) -> String {
        if kind.resource.namespaced && !self.info.namespace.is_empty() {
            format!("{}/", self.info.namespace)
        } else {
            String::new()
        }
    }
}
