//! The garbage collector: objects go when the owners they name are gone; deletion in the foreground waits for them,
//! deletion with orphans lets go of them first (`pkg/controller/garbagecollector/garbagecollector.go`).
//!
//! It watches every kind that discovery lists, and looks again when CustomResourceDefinitions change. Keys of the work
//! queue are uids; the graph of who owns whom lives in memory and is only a hint: before anything is deleted, the
//! object and its owners are read from the server.

mod graph;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{
    ApiError, Cluster, Controller, EventType, Follower, Next, Patch, Propagation, ReconcileError, Reconciler,
    Recorder,
};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::discovery;
use graph::Graph;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// Marks queue keys that stand for a uid, as opposed to the CustomResourceDefinition that woke the collector.
const UID: &str = "uid";
/// An owner whose kind is not served is asked for again after this time.
const UNKNOWN_KIND_PAUSE: Duration = Duration::from_secs(30);

pub(crate) async fn run(cluster: Cluster, stop: CancellationToken) {
    let (hints, incoming) = mpsc::unbounded_channel();
    let collector = Arc::new(Collector {
        events: Recorder::new(&cluster, "garbage-collector-controller"),
        cluster: cluster.clone(),
        graph: Arc::default(),
        follower: Follower::new(&cluster),
        hints,
    });
    let controller =
        Controller::new("garbage-collector", &cluster, &kinds::CUSTOM_RESOURCE_DEFINITION).hints(incoming);
    // The built-in kinds are there even when no CustomResourceDefinition ever comes.
    let _ = collector.hints.send(Key::cluster("discovery"));
    controller.run(collector, stop).await;
}

struct Collector {
    cluster: Cluster,
    events: Recorder,
    graph: Arc<Mutex<Graph>>,
    follower: Follower,
    hints: mpsc::UnboundedSender<Key>,
}

impl Reconciler for Collector {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        if key.namespace != UID {
            self.watch_everything().await?;
            return Ok(Next::Done);
        }
        let place = self.graph.lock().unwrap_or_else(PoisonError::into_inner).place(&key.name);
        let Some((resource, at)) = place else { return Ok(Next::Done) };
        let Some(object) = self.cluster.get(&resource, &at).await?.filter(|o| meta::uid(o) == key.name)
        else {
            return Ok(Next::Done);
        };
        if meta::is_being_deleted(&object) {
            return match deletion(&object) {
                Some(ORPHAN) => self.orphan(&resource, &object).await,
                Some(FOREGROUND) => self.foreground(&resource, &object).await,
                _ => Ok(Next::Done),
            };
        }
        self.collect(&resource, &object).await
    }
}

/// The finalizer that says how dependents go, if one does.
fn deletion(object: &Value) -> Option<&'static str> {
    [ORPHAN, FOREGROUND].into_iter().find(|f| meta::has_finalizer(object, f))
}

impl Collector {
    /// Follows kinds that are served and not followed yet. Events have no owners and are many.
    async fn watch_everything(&self) -> Result<(), ApiError> {
        let served = discovery::served(&self.cluster).await?;
        for resource in served.resources {
            if resource.plural == "events" {
                continue;
            }
            let (graph, hints, of) = (self.graph.clone(), self.hints.clone(), resource.clone());
            self.follower.follow(&resource, move |change| {
                let affected = graph.lock().unwrap_or_else(PoisonError::into_inner).take(&of, change);
                for uid in affected {
                    let _ = hints.send(Key::new(UID, uid));
                }
            });
        }
        Ok(())
    }

    /// Deletes `object` if all its owners are gone; drops references to some that are.
    async fn collect(&self, resource: &Resource, object: &Value) -> Result<Next, ReconcileError> {
        let (mut solid, mut dangling, mut waiting) = (vec![], vec![], vec![]);
        for owner in meta::owners(object) {
            match self.owner_state(resource, object, owner).await? {
                Owner::There => solid.push(owner.clone()),
                Owner::Gone => dangling.push(owner.clone()),
                Owner::WaitsForDependents => waiting.push(owner.clone()),
                Owner::Unknown => return Ok(Next::After(UNKNOWN_KIND_PAUSE)),
            }
        }
        if dangling.is_empty() && waiting.is_empty() {
            return Ok(Next::Done);
        }
        let (key, uid) = (meta::key(object), Some(meta::uid(object)));
        let outcome = if !solid.is_empty() {
            let metadata = json!({
                "uid": meta::uid(object), "resourceVersion": meta::resource_version(object), "ownerReferences": solid,
            });
            let patch = json!({ "metadata": metadata });
            self.cluster.patch(resource, &key, "", Patch::Merge(&patch)).await.map(drop)
        } else {
            let has_dependents =
                self.graph.lock().unwrap_or_else(PoisonError::into_inner).has_dependents(meta::uid(object));
            let foreground = !waiting.is_empty() && has_dependents;
            let policy = if foreground { Propagation::Foreground } else { Propagation::Background };
            tracing::debug!(kind = %resource, %key, "deleting an object whose owners are gone");
            self.cluster.delete(resource, &key, uid, policy).await
        };
        settle(outcome)
    }

    async fn owner_state(
        &self,
        resource: &Resource,
        object: &Value,
        owner: &Value,
    ) -> Result<Owner, ApiError> {
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let kind = match self.cluster.resolve(text("apiVersion"), text("kind")).await {
            Ok(kind) => kind,
            Err(ApiError::NoKind { .. }) => return Ok(Owner::Unknown),
            Err(error) => return Err(error),
        };
        if kind.namespaced && !resource.namespaced {
            let message = format!(
                "ownerRef [{}/{}, namespace: , name: {}, uid: {}] does not exist in namespace \"\"",
                text("apiVersion"),
                text("kind"),
                text("name"),
                text("uid")
            );
            self.events.record(object, EventType::Warning, "OwnerRefInvalidNamespace", &message).await;
            return Ok(Owner::There);
        }
        let namespace = if kind.namespaced { meta::namespace(object) } else { "" };
        let live = self.cluster.get(&kind, &Key::new(namespace, text("name"))).await?;
        let Some(live) = live.filter(|live| meta::uid(live) == text("uid")) else { return Ok(Owner::Gone) };
        let waits = meta::is_being_deleted(&live) && meta::has_finalizer(&live, FOREGROUND);
        Ok(if waits { Owner::WaitsForDependents } else { Owner::There })
    }

    /// The dependents that block go first, then the owner is let go.
    async fn foreground(&self, resource: &Resource, object: &Value) -> Result<Next, ReconcileError> {
        let dependents =
            self.graph.lock().unwrap_or_else(PoisonError::into_inner).dependents(meta::uid(object));
        if dependents.iter().any(|dependent| dependent.blocks) {
            for dependent in dependents {
                let _ = self.hints.send(Key::new(UID, dependent.uid));
            }
            // The end of the last one wakes this key again.
            return Ok(Next::Done);
        }
        self.drop_finalizer(resource, object, FOREGROUND).await
    }

    async fn orphan(&self, resource: &Resource, object: &Value) -> Result<Next, ReconcileError> {
        let dependents =
            self.graph.lock().unwrap_or_else(PoisonError::into_inner).dependents(meta::uid(object));
        for dependent in dependents {
            let Some(live) = self.cluster.get(&dependent.resource, &dependent.key).await? else { continue };
            let keep = |o: &&Value| o["uid"].as_str() != Some(meta::uid(object));
            let owners: Vec<Value> = meta::owners(&live).filter(keep).cloned().collect();
            let metadata = json!({
                "uid": dependent.uid, "resourceVersion": meta::resource_version(&live), "ownerReferences": owners,
            });
            let patch = json!({ "metadata": metadata });
            match self.cluster.patch(&dependent.resource, &dependent.key, "", Patch::Merge(&patch)).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        self.drop_finalizer(resource, object, ORPHAN).await
    }

    async fn drop_finalizer(
        &self,
        resource: &Resource,
        object: &Value,
        name: &str,
    ) -> Result<Next, ReconcileError> {
        let left: Vec<&str> = meta::finalizers(object).filter(|f| *f != name).collect();
        let metadata = json!({"resourceVersion": meta::resource_version(object), "finalizers": left});
        let patch = json!({ "metadata": metadata });
        settle(self.cluster.patch(resource, &meta::key(object), "", Patch::Merge(&patch)).await.map(drop))
    }
}

enum Owner {
    There,
    Gone,
    /// It is being deleted in the foreground: its dependents go first.
    WaitsForDependents,
    /// Its kind is not served, perhaps not yet.
    Unknown,
}

/// Somebody else was faster: look again; gone: nothing to do.
fn settle(outcome: Result<(), ApiError>) -> Result<Next, ReconcileError> {
    match outcome {
        Ok(()) => Ok(Next::Done),
        Err(error) if error.is_not_found() => Ok(Next::Done),
        Err(error) if error.is_conflict() => Ok(Next::After(Duration::from_millis(100))),
        Err(error) => Err(error.into()),
    }
}
