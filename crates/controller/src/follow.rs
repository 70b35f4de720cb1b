//! Kinds that turn up while a controller runs: of composed resources, of applied objects, of everything that is served.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use object::Resource;
use tokio::task::JoinSet;

use crate::{Change, Cluster};

/// Follows kinds, each once, until it is dropped.
pub struct Follower {
    cluster: Cluster,
    followed: Mutex<(HashSet<Resource>, JoinSet<()>)>,
}

impl Follower {
    /// Follows nothing yet.
    pub fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), followed: Mutex::default() }
    }

    /// Tells of every change of a kind from now on; a kind that is followed already stays as it is.
    pub fn follow(&self, resource: &Resource, heard: impl Fn(&Change) + Send + 'static) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if !followed.0.insert(resource.clone()) {
            return;
        }
        let mut changes = self.cluster.watch(resource).subscribe();
        followed.1.spawn(async move {
            while let Some(change) = changes.recv().await {
                heard(&change);
            }
        });
    }
}
