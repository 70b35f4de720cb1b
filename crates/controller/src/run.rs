//! From changes to reconciles: which keys a change concerns, and one worker per key.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use object::{Key, Resource, meta};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::chain::chain;
use crate::cluster::{ApiError, Cluster};
use crate::queue::Queue;

/// Any error of a reconcile. It is logged and the key is tried again after a pause; what the user should see
/// belongs in the object's conditions, written by the reconciler itself.
pub type ReconcileError = Box<dyn std::error::Error + Send + Sync>;

/// What to do with a key after a reconcile that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until something changes.
    Done,
    /// Come back after this time, or sooner when something changes.
    After(Duration),
}

/// Brings one object to where it should be. Never called twice at once for the same key.
pub trait Reconciler: Send + Sync + 'static {
    /// `key` is a hint: the object may be gone, and everything is read again.
    fn reconcile(&self, key: &Key) -> impl Future<Output = Result<Next, ReconcileError>> + Send;
}

type Mapper = Box<dyn Fn(&Value) -> Vec<Key> + Send>;

/// Watches what a reconciler depends on and calls it.
pub struct Controller {
    name: &'static str,
    cluster: Cluster,
    sources: Vec<(Cache, Mapper)>,
    hints: Vec<mpsc::UnboundedReceiver<Key>>,
    workers: usize,
}

impl Controller {
    /// For the objects of `resource`, each under its own key.
    pub fn new(name: &'static str, cluster: &Cluster, resource: &Resource) -> Self {
        let controller = Self { name, cluster: cluster.clone(), sources: vec![], hints: vec![], workers: 4 };
        controller.watches(resource, |object| vec![meta::key(object)])
    }

    /// Also runs for the controller owner (of kind `owner_kind`) of each changed object of `resource`.
    pub fn owns(self, resource: &Resource, owner_kind: &'static str) -> Self {
        self.watches(resource, move |object| {
            let owner = meta::controller_of(object).filter(|o| o["kind"].as_str() == Some(owner_kind));
            let name = owner.and_then(|o| o["name"].as_str());
            name.map(|name| Key::new(meta::namespace(object), name)).into_iter().collect()
        })
    }

    /// Also runs for the keys that `map` gives for each changed object (its last state, when deleted; old and new
    /// state, when changed).
    pub fn watches(mut self, resource: &Resource, map: impl Fn(&Value) -> Vec<Key> + Send + 'static) -> Self {
        self.sources.push((self.cluster.watch(resource), Box::new(map)));
        self
    }

    /// Also runs for keys that come from elsewhere.
    pub fn hints(mut self, keys: mpsc::UnboundedReceiver<Key>) -> Self {
        self.hints.push(keys);
        self
    }

    /// How many keys are worked on at once; 4 unless said otherwise.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// Runs until `stop`; reconciles under way are let finish.
    pub async fn run<R: Reconciler>(self, reconciler: Arc<R>, stop: CancellationToken) {
        // Collected first: a borrow of the mappers over an await would keep this future from being sent to a thread.
        let caches: Vec<Cache> = self.sources.iter().map(|(cache, _)| cache.clone()).collect();
        for cache in &caches {
            tokio::select! {
                () = cache.synced() => {}
                () = stop.cancelled() => return,
            }
        }
        let (keys, mut incoming) = mpsc::unbounded_channel();
        let feeders = feed(self.sources, self.hints, &keys);
        let name = self.name;
        let mut queue = Queue::default();
        let mut work: JoinSet<(Key, Result<Next, ReconcileError>)> = JoinSet::new();
        loop {
            while work.len() < self.workers && !stop.is_cancelled() {
                let Some(key) = queue.take(Instant::now()) else { break };
                let reconciler = reconciler.clone();
                work.spawn(async move {
                    let outcome = AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind().await;
                    (key, outcome.unwrap_or_else(|_| Err("the reconciler panicked".into())))
                });
            }
            let timer = queue.next_timer().filter(|_| work.len() < self.workers);
            tokio::select! {
                () = stop.cancelled(), if work.is_empty() => break,
                Some(key) = incoming.recv() => queue.add(key),
                Some(Ok((key, outcome))) = work.join_next() => settle(name, &mut queue, &key, outcome),
                () = until(timer) => {}
                () = stop.cancelled(), if !work.is_empty() => {
                    while work.join_next().await.is_some() {}
                    break;
                }
            }
        }
        drop(feeders);
    }
}

/// One task for each source, which turns its changes into keys. They end with the returned set.
fn feed(
    sources: Vec<(Cache, Mapper)>,
    hints: Vec<mpsc::UnboundedReceiver<Key>>,
    keys: &mpsc::UnboundedSender<Key>,
) -> JoinSet<()> {
    let mut feeders = JoinSet::new();
    for (cache, map) in sources {
        let (mut changes, keys) = (cache.subscribe(), keys.clone());
        feeders.spawn(async move {
            while let Some(change) = changes.recv().await {
                for object in [&change.before, &change.after].into_iter().flatten() {
                    map(object).into_iter().for_each(|key| drop(keys.send(key)));
                }
            }
        });
    }
    for mut hints in hints {
        let keys = keys.clone();
        feeders.spawn(async move {
            while let Some(key) = hints.recv().await {
                drop(keys.send(key));
            }
        });
    }
    feeders
}

fn settle(name: &str, queue: &mut Queue, key: &Key, outcome: Result<Next, ReconcileError>) {
    match outcome {
        Ok(Next::Done) => queue.done(key),
        Ok(Next::After(pause)) => {
            queue.add_at(key.clone(), Instant::now() + pause);
            queue.done(key);
        }
        Err(error) => {
            let pause = queue.failed(key, Instant::now());
            // Somebody else wrote first: the next try reads what they wrote. Nobody has to know.
            if error.downcast_ref::<ApiError>().is_some_and(ApiError::is_conflict) {
                tracing::debug!(controller = name, %key, "conflict; will try again");
                return;
            }
            tracing::warn!(controller = name, %key, error = %chain(error.as_ref()), again_in_ms = pause.as_millis(), "reconcile failed");
        }
    }
}

async fn until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
