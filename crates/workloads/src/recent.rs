//! Reading one's own writes. A watch lags behind; a controller that counts objects in it right after it created
//! some would create them twice. Kubernetes waits for "expectations"; here the list is read from the server
//! as long as the watch has not caught up with what this controller wrote.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use controller::{ApiError, Cache, Cluster};
use object::{Key, meta};
use serde_json::Value;

/// What one controller wrote lately, by owner. Pure bookkeeping beside the shared watch.
pub(crate) struct Recent {
    cluster: Cluster,
    cache: Cache,
    marks: Mutex<HashMap<Key, HashMap<Key, Mark>>>,
}

enum Mark {
    /// Wait until the watch shows the object with this uid.
    Created(String),
    /// Wait until the watch shows this object being deleted, or not at all.
    Deleted(String),
}

impl Recent {
    pub(crate) fn new(cluster: &Cluster, cache: Cache) -> Self {
        Self { cluster: cluster.clone(), cache, marks: Mutex::default() }
    }

    /// The controller of `owner` created `object`.
    pub(crate) fn created(&self, owner: &Key, object: &Value) {
        self.mark(owner, meta::key(object), Mark::Created(meta::uid(object).to_owned()));
    }

    /// The controller of `owner` deleted `object`.
    pub(crate) fn deleted(&self, owner: &Key, object: &Value) {
        self.mark(owner, meta::key(object), Mark::Deleted(meta::uid(object).to_owned()));
    }

    /// The objects in the owner's namespace, at least as new as the owner's last write.
    pub(crate) async fn list(&self, owner: &Key) -> Result<Vec<Arc<Value>>, ApiError> {
        if self.caught_up(owner) {
            return Ok(self.cache.list_in(&owner.namespace));
        }
        let list = self.cluster.list(self.cache.resource(), &owner.namespace, "").await?;
        let items: Vec<Arc<Value>> = list.items.into_iter().map(Arc::new).collect();
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_owner) = marks.get_mut(owner) {
            // What was created and is gone already will never show up in the watch.
            let there: HashMap<&str, ()> = items.iter().map(|i| (meta::uid(i), ())).collect();
            of_owner.retain(|_, mark| match mark {
                Mark::Created(uid) | Mark::Deleted(uid) => there.contains_key(uid.as_str()),
            });
        }
        Ok(items)
    }

    fn mark(&self, owner: &Key, key: Key, mark: Mark) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.entry(owner.clone()).or_default().insert(key, mark);
    }

    fn caught_up(&self, owner: &Key) -> bool {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(of_owner) = marks.get_mut(owner) else { return true };
        of_owner.retain(|key, mark| {
            let seen = self.cache.get(key);
            match mark {
                Mark::Created(uid) => seen.is_none_or(|o| meta::uid(&o) != uid),
                Mark::Deleted(uid) => {
                    seen.is_some_and(|o| meta::uid(&o) == uid && !meta::is_being_deleted(&o))
                }
            }
        });
        let done = of_owner.is_empty();
        if done {
            marks.remove(owner);
        }
        done
    }
}
