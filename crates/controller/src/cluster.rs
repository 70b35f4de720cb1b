//! The verbs of the Kubernetes API over JSON values, with errors a controller can act on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use object::{Key, Resource, meta};
use serde_json::{Value, json};

use crate::cache::Cache;
use crate::chain::chain;

/// Largest answer that is read, in bytes: a list of 50,000 small objects.
const ANSWER_LIMIT: usize = 256 * 1024 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with a `Status`.
    #[error("{message}")]
    Status {
        /// HTTP status.
        code: u16,
        /// `NotFound`, `Conflict`, `AlreadyExists`, …; may be empty.
        reason: String,
        /// The server's text.
        message: String,
        /// `details`, for causes.
        details: Value,
    },
    /// The server could not be reached, or answered with something else than the protocol's.
    #[error("cannot reach the API server: {0}")]
    Transport(String),
    /// No kind of this name is served.
    #[error("no matches for kind \"{kind}\" in version \"{api_version}\"")]
    NoKind {
        /// As asked.
        api_version: String,
        /// As asked.
        kind: String,
    },
}

impl ApiError {
    /// The HTTP status, or 0 without one.
    pub fn code(&self) -> u16 {
        match self {
            ApiError::Status { code, .. } => *code,
            _ => 0,
        }
    }

    /// The object (or kind) is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::NoKind { .. }) || self.code() == 404
    }

    /// Somebody else changed it meanwhile, or (server-side apply) owns a field.
    pub fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Status { code: 409, reason, .. } if reason != "AlreadyExists")
    }

    /// An object of this name exists.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, ApiError::Status { reason, .. } if reason == "AlreadyExists")
    }

    /// Trying the same again cannot help: the object itself is refused.
    pub fn is_terminal(&self) -> bool {
        matches!(self, ApiError::Status { code: 400 | 403 | 422, .. })
    }
}

/// The patch types of the API, with their bodies.
#[derive(Clone, Copy, Debug)]
pub enum Patch<'a> {
    /// RFC 7386.
    Merge(&'a Value),
    /// RFC 6902.
    Json(&'a Value),
    /// Strategic merge; built-in kinds only.
    Strategic(&'a Value),
    /// Server-side apply as the field manager, taking fields from others when forced.
    Apply {
        /// The whole intent.
        object: &'a Value,
        /// The field manager.
        manager: &'a str,
        /// Take conflicting fields.
        force: bool,
    },
}

/// What happens to dependents of a deleted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Deleted after their owner.
    Background,
    /// Deleted before their owner.
    Foreground,
    /// Kept.
    Orphan,
}

/// The answer to a list.
#[derive(Clone, Debug)]
pub struct List {
    /// The items, each with `apiVersion` and `kind` filled in.
    pub items: Vec<Value>,
    /// Watch from here to miss nothing.
    pub resource_version: String,
}

/// A cluster as a controller sees it. Cheap to clone; clones share watches.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: kube::Client,
    manager: String,
    caches: Mutex<HashMap<Resource, Cache>>,
    resolved: Mutex<HashMap<(String, String), Resource>>,
}

/// Now, as Kubernetes prints times: RFC 3339 in UTC, whole seconds.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Cluster {
    /// Over any client. `manager` is the field manager of plain writes.
    pub fn new(client: kube::Client, manager: &str) -> Self {
        let inner = Inner {
            client,
            manager: manager.to_owned(),
            caches: Mutex::default(),
            resolved: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The client underneath, for what has no verb here (logs, proxies).
    pub fn client(&self) -> &kube::Client {
        &self.inner.client
    }

    /// One object, or none when it does not exist.
    pub async fn get(&self, resource: &Resource, key: &Key) -> Result<Option<Value>, ApiError> {
        match self.call(Method::GET, &resource.object_path(key), None, b"").await {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The objects of a kind in one namespace (`""`: all) that match a label selector (`""`: all).
    pub async fn list(&self, resource: &Resource, namespace: &str, labels: &str) -> Result<List, ApiError> {
        let mut path = resource.collection_path(namespace);
        if !labels.is_empty() {
            path = format!("{path}?labelSelector={}", encode(labels));
        }
        let mut answer = self.call(Method::GET, &path, None, b"").await?;
        let resource_version = meta::resource_version(&answer).to_owned();
        let Value::Array(mut items) = answer["items"].take() else {
            return Ok(List { items: vec![], resource_version });
        };
        for item in &mut items {
            fill_type(item, resource);
        }
        Ok(List { items, resource_version })
    }

    /// Creates; the answer is the object as stored.
    pub async fn create(&self, resource: &Resource, object: &Value) -> Result<Value, ApiError> {
        let path = self.managed(&resource.collection_path(meta::namespace(object)));
        self.call(Method::POST, &path, Some("application/json"), &bytes_of(object)).await
    }

    /// Replaces; with a `resourceVersion` in it, only if that is still the newest.
    pub async fn replace(&self, resource: &Resource, object: &Value) -> Result<Value, ApiError> {
        let path = self.managed(&resource.object_path(&meta::key(object)));
        self.call(Method::PUT, &path, Some("application/json"), &bytes_of(object)).await
    }

    /// Patches the object, or with `subresource` (`"status"`, `"scale"`) that part of it.
    pub async fn patch(
        &self,
        resource: &Resource,
        key: &Key,
        subresource: &str,
        patch: Patch<'_>,
    ) -> Result<Value, ApiError> {
        let mut path = resource.object_path(key);
        if !subresource.is_empty() {
            path = format!("{path}/{subresource}");
        }
        let (media, body, query) = match patch {
            Patch::Merge(body) => ("application/merge-patch+json", body, self.manager_query()),
            Patch::Json(body) => ("application/json-patch+json", body, self.manager_query()),
            Patch::Strategic(body) => ("application/strategic-merge-patch+json", body, self.manager_query()),
            Patch::Apply { object, manager, force } => (
                "application/apply-patch+yaml",
                object,
                format!("fieldManager={}&force={force}", encode(manager)),
            ),
        };
        self.call(Method::PATCH, &format!("{path}?{query}"), Some(media), &bytes_of(body)).await
    }

    /// Server-side apply, taking fields from others.
    pub async fn apply(&self, resource: &Resource, object: &Value, manager: &str) -> Result<Value, ApiError> {
        let patch = Patch::Apply { object, manager, force: true };
        self.patch(resource, &meta::key(object), "", patch).await
    }

    /// Server-side apply that stores nothing: what would be there afterwards.
    pub async fn dry_apply(
        &self,
        resource: &Resource,
        object: &Value,
        manager: &str,
    ) -> Result<Value, ApiError> {
        let path = resource.object_path(&meta::key(object));
        let path = format!("{path}?fieldManager={}&force=true&dryRun=All", encode(manager));
        self.call(Method::PATCH, &path, Some("application/apply-patch+yaml"), &bytes_of(object)).await
    }

    /// Writes `status` when it differs from the one in `observed`; nothing otherwise.
    /// The patch carries no resource version: a controller owns its status.
    pub async fn write_status(
        &self,
        resource: &Resource,
        observed: &Value,
        status: &Value,
    ) -> Result<(), ApiError> {
        if observed["status"] == *status {
            return Ok(());
        }
        let patch = merge_difference(&observed["status"], status);
        let body = json!({ "status": patch });
        self.patch(resource, &meta::key(observed), "status", Patch::Merge(&body)).await.map(|_| ())
    }

    /// Deletes; an object that is already gone is not an error. With `uid`, only that very object.
    pub async fn delete(
        &self,
        resource: &Resource,
        key: &Key,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<(), ApiError> {
        let policy = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy});
        if let Some(uid) = uid {
            options["preconditions"] = json!({ "uid": uid });
        }
        let path = resource.object_path(key);
        match self.call(Method::DELETE, &path, Some("application/json"), &bytes_of(&options)).await {
            Ok(_) => Ok(()),
            Err(e) if e.is_not_found() => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Any other request of the API, for example `POST …/serviceaccounts/x/token`.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        media: Option<&str>,
        body: &[u8],
    ) -> Result<Value, ApiError> {
        let response = self.send(method, path, media, body).await?;
        let status = response.status();
        let limited = http_body_util::Limited::new(response.into_body(), ANSWER_LIMIT);
        let bytes = limited.collect().await.map_err(|e| ApiError::Transport(e.to_string()))?.to_bytes();
        if !status.is_success() {
            return Err(status_error(status, &bytes));
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| ApiError::Transport(format!("the answer is not JSON: {e}")))
    }

    /// A request whose answer is a stream, such as a watch or a log; errors are read already.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        media: Option<&str>,
        body: &[u8],
    ) -> Result<http::Response<Body>, ApiError> {
        let mut request = Request::builder().method(method).uri(path).header("accept", "application/json");
        if let Some(media) = media {
            request = request.header("content-type", media);
        }
        let request =
            request.body(Body::from(body.to_vec())).map_err(|e| ApiError::Transport(e.to_string()))?;
        self.inner.client.send(request).await.map_err(|e| ApiError::Transport(chain(&e)))
    }

    /// The kind's address, from discovery; remembered once found.
    pub async fn resolve(&self, api_version: &str, kind: &str) -> Result<Resource, ApiError> {
        let wanted = (api_version.to_owned(), kind.to_owned());
        let known = self.inner.resolved.lock().unwrap_or_else(PoisonError::into_inner).get(&wanted).cloned();
        if let Some(resource) = known {
            return Ok(resource);
        }
        let missing = || ApiError::NoKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let path = if api_version.contains('/') {
            format!("/apis/{api_version}")
        } else {
            format!("/api/{api_version}")
        };
        let answer = match self.call(Method::GET, &path, None, b"").await {
            Ok(answer) => answer,
            Err(e) if e.is_not_found() => return Err(missing()),
            Err(e) => return Err(e),
        };
        let resource = find_kind(&answer, api_version, kind).ok_or_else(missing)?;
        self.inner.resolved.lock().unwrap_or_else(PoisonError::into_inner).insert(wanted, resource.clone());
        Ok(resource)
    }

    /// Forgets what discovery said of a group, for example after a CRD changed or went away.
    pub fn forget_kinds(&self, group: &str) {
        let mut resolved = self.inner.resolved.lock().unwrap_or_else(PoisonError::into_inner);
        resolved.retain(|_, resource| resource.group != group);
    }

    /// The shared watch of a kind; started by its first user, and then kept.
    pub fn watch(&self, resource: &Resource) -> Cache {
        let mut caches = self.inner.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Cache::start(Arc::downgrade(&self.inner).into(), resource.clone());
        caches.entry(resource.clone()).or_insert_with(start).clone()
    }

    pub(crate) fn upgrade(inner: &WeakCluster) -> Option<Self> {
        inner.upgrade().map(|inner| Self { inner })
    }

    fn manager_query(&self) -> String {
        format!("fieldManager={}", encode(&self.inner.manager))
    }

    fn managed(&self, path: &str) -> String {
        format!("{path}?{}", self.manager_query())
    }
}

/// What a watch keeps of its cluster, so that a dropped cluster ends its watches.
#[derive(Clone)]
pub(crate) struct WeakCluster(std::sync::Weak<Inner>);

impl WeakCluster {
    fn upgrade(&self) -> Option<Arc<Inner>> {
        self.0.upgrade()
    }
}

impl From<std::sync::Weak<Inner>> for WeakCluster {
    fn from(weak: std::sync::Weak<Inner>) -> Self {
        Self(weak)
    }
}

/// `apiVersion` and `kind` as list items lack them.
pub(crate) fn fill_type(item: &mut Value, resource: &Resource) {
    if let Value::Object(map) = item {
        if !map.contains_key("kind") {
            map.insert("kind".into(), resource.kind.as_ref().into());
        }
        if !map.contains_key("apiVersion") {
            map.insert("apiVersion".into(), resource.api_version().into());
        }
    }
}

/// The error in a non-2xx answer; also understands servers that do not answer with a `Status`.
pub(crate) fn status_error(status: StatusCode, body: &Bytes) -> ApiError {
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let message = match parsed["message"].as_str() {
        Some(message) => message.to_owned(),
        None => format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]).trim()),
    };
    ApiError::Status {
        code: status.as_u16(),
        reason: parsed["reason"].as_str().unwrap_or_default().to_owned(),
        message,
        details: parsed["details"].clone(),
    }
}

/// The merge patch (RFC 7386) that turns `before` into `after`.
fn merge_difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return after.clone();
    };
    let mut patch = serde_json::Map::new();
    for (field, value) in new {
        match old.get(field) {
            Some(same) if same == value => {}
            Some(other) => {
                patch.insert(field.clone(), merge_difference(other, value));
            }
            None => {
                patch.insert(field.clone(), value.clone());
            }
        }
    }
    for field in old.keys().filter(|field| !new.contains_key(*field)) {
        patch.insert(field.clone(), Value::Null);
    }
    Value::Object(patch)
}

fn find_kind(list: &Value, api_version: &str, kind: &str) -> Option<Resource> {
    let (group, version) = meta::split_api_version(api_version);
    let entry = list["resources"].as_array()?.iter().find(|r| {
        r["kind"].as_str() == Some(kind) && r["name"].as_str().is_some_and(|name| !name.contains('/'))
    })?;
    let namespaced = entry["namespaced"].as_bool().unwrap_or(true);
    Some(Resource::new(group, version, entry["name"].as_str()?, kind, namespaced))
}

fn bytes_of(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// Percent-encodes a query value.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_the_smallest_merge_patch() {
        let check = |before: Value, after: Value, expected: Value| {
            assert_eq!(merge_difference(&before, &after), expected);
        };
        check(
            json!({"a": 1, "b": {"c": 1, "d": 2}}),
            json!({"a": 1, "b": {"c": 3}}),
            json!({"b": {"c": 3, "d": null}}),
        );
        check(Value::Null, json!({"a": 1}), json!({"a": 1}));
        check(json!({"l": [1]}), json!({"l": [1, 2]}), json!({"l": [1, 2]}));
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(encode("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
