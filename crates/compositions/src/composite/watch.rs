//! Watches on the kinds that composites are made of: a change of a composed resource brings its composite back at once,
//! so that drift does not wait for the next look.

use controller::{Cluster, Follower};
use object::{Key, Resource, meta};
use serde_json::Value;
use tokio::sync::mpsc;

pub(super) struct Watches {
    follower: Follower,
    composite: Resource,
    hints: mpsc::UnboundedSender<Key>,
}

impl Watches {
    pub(super) fn new(cluster: &Cluster, composite: &Resource, hints: mpsc::UnboundedSender<Key>) -> Self {
        Self { follower: Follower::new(cluster), composite: composite.clone(), hints }
    }

    /// Follows a kind from now on.
    pub(super) fn ensure(&self, resource: &Resource) {
        let (composite, hints) = (self.composite.clone(), self.hints.clone());
        self.follower.follow(resource, move |change| {
            if let Some(key) = owner(change.latest(), &composite) {
                let _ = hints.send(key);
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
