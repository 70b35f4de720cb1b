//! Watching what was applied: a change of a live object brings its Kustomization back to work.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use controller::{Change, Cluster, Follower};
use object::{Key, Resource, meta};
use tokio::sync::mpsc;

use super::apply::Applier;
use super::render::owner_of;

/// Keys of Kustomizations, by what they wait for.
#[derive(Default)]
pub(crate) struct Attention {
    /// An object was changed or deleted: apply again.
    drifted: HashSet<Key>,
    /// Health is being waited for: status changes matter.
    waiting: HashSet<Key>,
    /// A kind was not served: a new definition matters.
    missing_kind: HashSet<Key>,
}

/// One watch for each kind of applied object, shared by all Kustomizations.
pub(crate) struct Drift {
    applier: Arc<Applier>,
    hints: mpsc::UnboundedSender<Key>,
    attention: Arc<Mutex<Attention>>,
    follower: Follower,
}

impl Drift {
    pub(crate) fn new(cluster: &Cluster, applier: Arc<Applier>, hints: mpsc::UnboundedSender<Key>) -> Self {
        Self { applier, hints, attention: Arc::default(), follower: Follower::new(cluster) }
    }

    /// Follows the objects of a kind from now on.
    pub(crate) fn follow(&self, resource: &Resource) {
        let (of, applier) = (resource.clone(), self.applier.clone());
        let (hints, attention) = (self.hints.clone(), self.attention.clone());
        self.follower.follow(resource, move |change| notice(&of, &applier, &attention, &hints, change));
    }

    /// Whether drift was seen since the last call.
    pub(crate) fn take(&self, key: &Key) -> bool {
        self.lock().drifted.remove(key)
    }

    pub(crate) fn set_waiting(&self, key: &Key, waiting: bool) {
        let mut attention = self.lock();
        if waiting {
            attention.waiting.insert(key.clone())
        } else {
            attention.waiting.remove(key)
        };
    }

    pub(crate) fn is_waiting(&self, key: &Key) -> bool {
        self.lock().waiting.contains(key)
    }

    pub(crate) fn set_missing_kind(&self, key: &Key) {
        self.lock().missing_kind.insert(key.clone());
    }

    /// Keys that a new definition may help; each is given once.
    pub(crate) fn definition_changed(&self) -> Vec<Key> {
        let mut attention = self.lock();
        let keys: Vec<Key> = attention.missing_kind.drain().collect();
        attention.drifted.extend(keys.iter().cloned());
        keys
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Attention> {
        self.attention.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn notice(
    resource: &Resource,
    applier: &Applier,
    attention: &Mutex<Attention>,
    hints: &mpsc::UnboundedSender<Key>,
    change: &Change,
) {
    // Whoever takes the labels off an object has changed it too.
    let mut owners =
        [&change.before, &change.after].into_iter().flatten().filter_map(|object| owner_of(object));
    let Some(owner) = owners.next_back() else { return };
    let key = meta::key(change.latest());
    let drifted = applier.is_drift(resource, &key, change.after.as_deref());
    let mut attention = attention.lock().unwrap_or_else(PoisonError::into_inner);
    if drifted {
        attention.drifted.insert(owner.clone());
    }
    if drifted || attention.waiting.contains(&owner) {
        drop(hints.send(owner));
    }
}
