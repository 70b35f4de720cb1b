//! Events: what happened to an object, for people. Repeats are counted on one event, as client-go does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use object::{Key, kinds, meta};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Patch, now};

/// Events that are remembered to count repeats; older ones start anew.
const REMEMBERED: usize = 1024;

/// Whether an event is news or trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// Something went as it should.
    Normal,
    /// Somebody should look.
    Warning,
}

/// What makes two events the same: the object's uid, reason and message.
type Identity = (String, String, String);

/// Writes events in the name of one component.
#[derive(Clone)]
pub struct Recorder {
    cluster: Cluster,
    component: String,
    seen: Arc<Mutex<HashMap<Identity, (String, u64)>>>,
}

impl Recorder {
    /// `component` is shown as the event's source, for example `deployment-controller`.
    pub fn new(cluster: &Cluster, component: &str) -> Self {
        Self { cluster: cluster.clone(), component: component.to_owned(), seen: Arc::default() }
    }

    /// Records that something happened to `object`. An event that cannot be written is logged and dropped:
    /// events are a help to people, never a condition of the work.
    pub async fn record(&self, object: &Value, event_type: EventType, reason: &str, message: &str) {
        let message: String = message.chars().take(1024).collect();
        let identity = (meta::uid(object).to_owned(), reason.to_owned(), message.clone());
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&identity).cloned();
        let namespace = match meta::namespace(object) {
            "" => "default",
            namespace => namespace,
        };
        let written = match known {
            Some((name, count)) => self.repeat(&Key::new(namespace, name), count + 1).await,
            None => self.create(namespace, object, event_type, reason, &message).await,
        };
        match written {
            Ok((name, count)) => {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.len() >= REMEMBERED {
                    seen.clear();
                }
                seen.insert(identity, (name, count));
            }
            Err(error) => {
                self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&identity);
                tracing::debug!(component = self.component, reason, %error, "event not written");
            }
        }
    }

    async fn repeat(&self, key: &Key, count: u64) -> Result<(String, u64), crate::ApiError> {
        let patch = json!({"count": count, "lastTimestamp": now()});
        self.cluster.patch(&kinds::EVENT, key, "", Patch::Merge(&patch)).await?;
        Ok((key.name.clone(), count))
    }

    async fn create(
        &self,
        namespace: &str,
        object: &Value,
        event_type: EventType,
        reason: &str,
        message: &str,
    ) -> Result<(String, u64), crate::ApiError> {
        let (now, name) = (now(), format!("{}.{:016x}", meta::name(object), rand::random::<u64>()));
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": meta::reference(object),
            "type": match event_type { EventType::Normal => "Normal", EventType::Warning => "Warning" },
            "reason": reason,
            "message": message,
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        self.cluster.create(&kinds::EVENT, &event).await?;
        Ok((name, 1))
    }
}
