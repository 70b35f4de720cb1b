//! From shared watches to the current routing table: any change wakes one task, which builds the table anew from the caches.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use controller::{Cache, Cluster};
use object::{Key, Resource, kinds};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::State;
use crate::table::{Conflict, Input, Table};

const HTTP_ROUTE: Resource =
    Resource::fixed("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", true);
const HTTP_ROUTE_CRD: &str = "httproutes.gateway.networking.k8s.io";

/// What is watched in one cluster.
struct Watched {
    name: String,
    cluster: Cluster,
    ingresses: Cache,
    classes: Cache,
    services: Cache,
    slices: Cache,
    crds: Cache,
    /// Only once the kind is served.
    routes: Option<Cache>,
}

/// Starts the watches. Keys of Ingresses whose conflicts changed go to `hints`, one sender for each cluster.
pub(crate) fn start(
    state: &Arc<State>,
    hints: Vec<mpsc::UnboundedSender<Key>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let wake = Arc::new(Notify::new());
    let mut watched: Vec<Watched> =
        state.clusters.iter().map(|route| Watched::start(&route.name, &route.cluster)).collect();
    for one in &watched {
        for cache in [&one.ingresses, &one.classes, &one.services, &one.slices, &one.crds] {
            tasks.spawn(wake_on_change(cache.clone(), wake.clone(), stop.clone()));
        }
    }
    let (state, tracker, stop) = (state.clone(), tasks.clone(), stop.clone());
    tasks.spawn(async move {
        let mut told = HashSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = wake.notified() => {}
            }
            for one in &mut watched {
                if let Some(routes) = one.find_routes() {
                    tracker.spawn(wake_on_change(routes, wake.clone(), stop.clone()));
                }
            }
            let inputs: Vec<Input> = watched.iter().map(Watched::input).collect();
            let table = Table::build(&inputs);
            told = tell(&table.conflicts, &told, &hints);
            let next = Arc::new(state.live().next(table, &state.clusters));
            *state.live.write().unwrap_or_else(PoisonError::into_inner) = next;
        }
    });
}

impl Watched {
    fn start(name: &str, cluster: &Cluster) -> Watched {
        Watched {
            name: name.to_string(),
            cluster: cluster.clone(),
            ingresses: cluster.watch(&kinds::INGRESS),
            classes: cluster.watch(&kinds::INGRESS_CLASS),
            services: cluster.watch(&kinds::SERVICE),
            slices: cluster.watch(&kinds::ENDPOINT_SLICE),
            crds: cluster.watch(&kinds::CUSTOM_RESOURCE_DEFINITION),
            routes: None,
        }
    }

    /// Starts to watch HTTPRoutes when their CRD has appeared.
    fn find_routes(&mut self) -> Option<Cache> {
        if self.routes.is_some() || self.crds.get(&Key::cluster(HTTP_ROUTE_CRD)).is_none() {
            return None;
        }
        self.routes = Some(self.cluster.watch(&HTTP_ROUTE));
        self.routes.clone()
    }

    /// The cluster as far as it is known; nothing before all of it is: half a cluster would answer with errors.
    fn input(&self) -> Input {
        let name = self.name.clone();
        let needed = [&self.ingresses, &self.classes, &self.services, &self.slices];
        if !needed.iter().all(|cache| cache.is_synced()) {
            return Input { name, ..Input::default() };
        }
        let served = self.crds.get(&Key::cluster(HTTP_ROUTE_CRD)).is_some();
        let routes = self.routes.as_ref().filter(|_| served);
        Input {
            name,
            ingresses: self.ingresses.list(),
            ingress_classes: self.classes.list(),
            http_routes: routes.map(Cache::list).unwrap_or_default(),
            services: self.services.list(),
            endpoint_slices: self.slices.list(),
        }
    }
}

/// One wake-up for any number of changes: the notification is not counted.
async fn wake_on_change(cache: Cache, wake: Arc<Notify>, stop: CancellationToken) {
    let mut changes = cache.subscribe();
    tokio::select! {
        () = cache.synced() => wake.notify_one(),
        () = stop.cancelled() => return,
    }
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Some(_) => wake.notify_one(),
                None => return,
            },
            () = stop.cancelled() => return,
        }
    }
}

/// Sends the Ingresses with new conflicts to the status controller.
fn tell(
    conflicts: &[Conflict],
    told: &HashSet<(usize, Key, String)>,
    hints: &[mpsc::UnboundedSender<Key>],
) -> HashSet<(usize, Key, String)> {
    let mut now = HashSet::new();
    for conflict in conflicts {
        let identity = (conflict.cluster, conflict.ingress.clone(), conflict.host.clone());
        if !told.contains(&identity)
            && let Some(hint) = hints.get(conflict.cluster)
        {
            // A controller that has stopped needs no hint.
            let _ = hint.send(conflict.ingress.clone());
        }
        now.insert(identity);
    }
    now
}
