//! A shared watch: the objects of one kind, kept current by one list and one stream.
//!
//! Semantics follow client-go's reflector: list, then watch from the list's resource version; bookmarks move the
//! version; a 410 lists again; a broken stream resumes from the last version seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt as _;
use object::{Key, Resource, meta};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::cluster::{ApiError, Cluster, WeakCluster, fill_type, status_error};

/// A real server ends watches after 30 to 60 minutes; asking for less keeps dead connections short.
const WATCH_TIMEOUT_S: u32 = 290;
/// Longest single watch event: an object's 3 MiB and its frame.
const EVENT_LIMIT: usize = 8 * 1024 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How one object changed. `before` and `after` are never both empty.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object as it was; none: new.
    pub before: Option<Arc<Value>>,
    /// The object as it is; none: gone.
    pub after: Option<Arc<Value>>,
}

impl Change {
    /// The newest state there is, the last one for a deleted object.
    pub fn latest(&self) -> &Value {
        match (&self.after, &self.before) {
            (Some(object), _) | (None, Some(object)) => object,
            (None, None) => &Value::Null,
        }
    }
}

/// The current objects of one kind. Clones share it. Objects come without `metadata.managedFields`.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

struct Shared {
    resource: Resource,
    state: Mutex<State>,
    synced: watch::Sender<bool>,
    task: Mutex<Option<tokio::task::AbortHandle>>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Arc<Value>>,
    subscribers: Vec<mpsc::UnboundedSender<Change>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Cache {
    pub(crate) fn start(cluster: WeakCluster, resource: Resource) -> Self {
        let shared = Arc::new(Shared {
            resource,
            state: Mutex::default(),
            synced: watch::Sender::new(false),
            task: Mutex::default(),
        });
        let task = tokio::spawn(follow(cluster, Arc::downgrade(&shared)));
        *shared.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Self { shared }
    }

    /// The kind.
    pub fn resource(&self) -> &Resource {
        &self.shared.resource
    }

    /// Waits until the first list has been read.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives as long as this cache does, so waiting can only end with `true`.
        let _ = synced.wait_for(|done| *done).await;
    }

    /// Whether the first list has been read.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Value>> {
        self.lock().objects.get(key).cloned()
    }

    /// All objects, by namespace and name.
    pub fn list(&self) -> Vec<Arc<Value>> {
        self.lock().objects.values().cloned().collect()
    }

    /// The objects of one namespace, by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<Value>> {
        let state = self.lock();
        let from = Key::new(namespace, "");
        state
            .objects
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, o)| o.clone())
            .collect()
    }

    /// The objects that the owner with this uid controls, in one namespace.
    pub fn controlled_by(&self, namespace: &str, owner_uid: &str) -> Vec<Arc<Value>> {
        let mut objects = self.list_in(namespace);
        objects.retain(|object| meta::is_controlled_by(object, owner_uid));
        objects
    }

    /// Every change from now on, after one synthetic change for each object that is there.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.lock();
        for object in state.objects.values() {
            let _ = sender.send(Change { before: None, after: Some(object.clone()) });
        }
        state.subscribers.push(sender);
        receiver
    }

    /// Waits until an object satisfies `done`; `None` stands for "not there". For tests and start-up, where a bound
    /// is set from outside by a timeout.
    pub async fn wait_for(&self, key: &Key, done: impl Fn(Option<&Value>) -> bool) -> Option<Arc<Value>> {
        let mut changes = self.subscribe();
        self.synced().await;
        loop {
            let current = self.get(key);
            if done(current.as_deref()) {
                return current;
            }
            changes.recv().await?;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a whole list in place of what was there, and says what changed.
    fn replace(&self, items: Vec<Value>) {
        let mut state = self.lock();
        let mut fresh = BTreeMap::new();
        for item in items {
            fresh.insert(meta::key(&item), Arc::new(without_managed_fields(item)));
        }
        let old = std::mem::replace(&mut state.objects, fresh);
        let mut changes = vec![];
        for (key, after) in &state.objects {
            let before = old.get(key).cloned();
            if before.as_ref().is_none_or(|b| meta::resource_version(b) != meta::resource_version(after)) {
                changes.push(Change { before, after: Some(after.clone()) });
            }
        }
        for (key, before) in old {
            if !state.objects.contains_key(&key) {
                changes.push(Change { before: Some(before), after: None });
            }
        }
        changes.into_iter().for_each(|change| publish(&mut state, change));
    }

    fn put(&self, object: Value) {
        let object = Arc::new(without_managed_fields(object));
        let mut state = self.lock();
        let before = state.objects.insert(meta::key(&object), object.clone());
        publish(&mut state, Change { before, after: Some(object) });
    }

    fn remove(&self, object: Value) {
        let mut state = self.lock();
        state.objects.remove(&meta::key(&object));
        publish(&mut state, Change { before: Some(Arc::new(object)), after: None });
    }
}

fn publish(state: &mut State, change: Change) {
    state.subscribers.retain(|subscriber| subscriber.send(change.clone()).is_ok());
}

fn without_managed_fields(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object
}

/// Lists and watches until the cluster or the cache is dropped.
async fn follow(cluster: WeakCluster, cache: std::sync::Weak<Shared>) {
    let mut version = String::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let (Some(cluster), Some(shared)) = (Cluster::upgrade(&cluster), cache.upgrade()) else { return };
        let cache = Cache { shared };
        let outcome = async {
            if version.is_empty() {
                let list = cluster.list(cache.resource(), "", "").await?;
                cache.replace(list.items);
                cache.shared.synced.send_replace(true);
                version = list.resource_version;
            }
            stream(cluster, &cache, &mut version).await
        }
        .await;
        match outcome {
            Ok(()) => pause = FIRST_PAUSE,
            Err(error) => {
                if error.code() == 410 || error.is_not_found() {
                    version.clear();
                }
                if error.code() != 410 {
                    tracing::debug!(kind = %cache.resource(), %error, "watch ended; will try again");
                }
                drop(cache);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// One watch, until the server ends it.
async fn stream(cluster: Cluster, cache: &Cache, version: &mut String) -> Result<(), ApiError> {
    let path = format!(
        "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_TIMEOUT_S}&resourceVersion={version}",
        cache.resource().collection_path("")
    );
    let response = cluster.send(Method::GET, &path, None, b"").await?;
    drop(cluster);
    let status = response.status();
    let mut body = response.into_body();
    if !status.is_success() {
        let bytes = body.collect().await.map_err(|e| ApiError::Transport(e.to_string()))?.to_bytes();
        return Err(status_error(status, &bytes));
    }
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| ApiError::Transport(e.to_string()))?;
        if let Ok(data) = frame.into_data() {
            buffer.extend_from_slice(&data);
        }
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line = buffer.split_to(end + 1).freeze();
            take_event(cache, &line, version)?;
        }
        if buffer.len() > EVENT_LIMIT {
            return Err(ApiError::Transport(format!("a watch event is larger than {EVENT_LIMIT} bytes")));
        }
    }
    Ok(())
}

fn take_event(cache: &Cache, line: &Bytes, version: &mut String) -> Result<(), ApiError> {
    let mut event: Value = serde_json::from_slice(line)
        .map_err(|e| ApiError::Transport(format!("a watch event is not JSON: {e}")))?;
    let mut object = event["object"].take();
    fill_type(&mut object, cache.resource());
    let kind = event["type"].as_str().unwrap_or_default();
    if kind == "ERROR" {
        let code = object["code"].as_u64().and_then(|c| u16::try_from(c).ok()).unwrap_or(500);
        let text = object.to_string();
        let status = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        return Err(status_error(status, &Bytes::from(text)));
    }
    *version = meta::resource_version(&object).to_owned();
    match kind {
        "ADDED" | "MODIFIED" => cache.put(object),
        "DELETED" => cache.remove(object),
        _ => {}
    }
    Ok(())
}
