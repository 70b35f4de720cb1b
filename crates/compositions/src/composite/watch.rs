//! Watches on the kinds that composites are made of: a change of a composed resource brings its composite back at once,
//! so that drift does not wait for the next look.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use controller::Cluster;
use object::{Key, Resource, meta};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) struct Watches {
    cluster: Cluster,
    composite: Resource,
    hints: mpsc::UnboundedSender<Key>,
    watched: Mutex<HashSet<Resource>>,
    stop: CancellationToken,
}

impl Watches {
    pub(super) fn new(
        cluster: &Cluster,
        composite: &Resource,
        hints: mpsc::UnboundedSender<Key>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            cluster: cluster.clone(),
            composite: composite.clone(),
            hints,
            watched: Mutex::default(),
            stop,
        }
    }

    /// Follows a kind from now on.
    pub(super) fn ensure(&self, resource: &Resource) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if !watched.insert(resource.clone()) {
            return;
        }
        let mut changes = self.cluster.watch(resource).subscribe();
        let (composite, hints, stop) = (self.composite.clone(), self.hints.clone(), self.stop.clone());
        tokio::spawn(async move {
            loop {
                let change = tokio::select! {
                    change = changes.recv() => change,
                    () = stop.cancelled() => None,
                };
                let Some(change) = change else { return };
                if let Some(key) = owner(change.latest(), &composite) {
                    let _ = hints.send(key);
                }
            }
        });
    }
}

/// The composite of this kind that controls an object.
fn owner(object: &Value, composite: &Resource) -> Option<Key> {
    let owner = meta::controller_of(object)?;
    let (group, _) = meta::split_api_version(owner["apiVersion"].as_str()?);
    if owner["kind"] != *composite.kind || group != composite.group {
        return None;
    }
    let namespace = if composite.namespaced { meta::namespace(object) } else { "" };
    Some(Key::new(namespace, owner["name"].as_str()?))
}
