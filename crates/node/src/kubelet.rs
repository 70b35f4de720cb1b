//! The node itself: its parts, and the loop that gives every pod its worker.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use controller::{Cache, Cluster, Recorder};
use object::{kinds, meta};
use registry::client::Auth;
use sandbox::{Abilities, Cgroups, Launcher};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::images::Images;
use crate::network::{self, BRIDGE, Network, NetworkError};
use crate::pod::{Pod, worker};
use crate::{api, node_object, storage};

/// How long pods may take to end when the node stops: PostgreSQL's fast shutdown takes part of a second, and the
/// whole platform stops within ten.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// What a node needs to know.
#[derive(Clone)]
pub struct Config {
    /// `dev`; names the control groups.
    pub cluster_name: String,
    /// The Node object's name.
    pub node_name: String,
    pub client: kube::Client,
    /// Logs, volumes and pods' directories. Absolute.
    pub data_dir: PathBuf,
    /// Where the kubelet's HTTP API is served.
    pub socket: PathBuf,
    /// Where images are kept and how they are found.
    pub images: registry::pull::Config,
    /// The registry that gets `registry_auth`, as image names write it: `localhost:7007`.
    pub registry_host: String,
    pub registry_auth: Auth,
    /// Starts [`sandbox::init::main`].
    pub launcher: Launcher,
}

/// Why the node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("{0}")]
    Unable(String),
    #[error("{path}")]
    File { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("the image cache")]
    Images(#[source] registry::pull::ImageError),
}

/// What the node's tasks share.
pub(crate) struct Kubelet {
    pub(crate) config: Config,
    pub(crate) cluster: Cluster,
    pub(crate) recorder: Recorder,
    pub(crate) images: Images,
    pub(crate) network: Network,
    pub(crate) cgroups: Option<Cgroups>,
    pub(crate) abilities: Abilities,
    pub(crate) services: Cache,
    pub(crate) stop: CancellationToken,
    pods: Mutex<HashMap<String, Arc<Pod>>>,
}

impl Kubelet {
    /// The node's own address, as pods see it.
    pub(crate) fn host_ip(&self) -> String {
        BRIDGE.to_string()
    }

    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        // Of two pods of one name the one that is not ending.
        let mut found = self.pods();
        found.retain(|pod| pod.key.namespace == namespace && pod.key.name == name);
        found.sort_by_key(|pod| pod.ending.is_cancelled());
        found.into_iter().next()
    }
}

/// Runs the node until `stop`; then ends its pods and returns.
///
/// # Errors
/// Only at the start: what the machine does not allow, or a directory that cannot be used.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), NodeError> {
    let abilities = Abilities::detect();
    if !abilities.usable() {
        return Err(NodeError::Unable(abilities.missing.join(" ")));
    }
    // The platform warns once for all nodes; the Node object says the same.
    for missing in &abilities.missing {
        tracing::info!(cluster = config.cluster_name, "{missing}");
    }
    for name in ["pods", "logs", "volumes"] {
        make_dir(&config.data_dir.join(name))?;
    }
    let cluster = Cluster::new(config.client.clone(), "kubelet");
    let network = Network::start().await?;
    let kubelet = Arc::new(Kubelet {
        recorder: Recorder::new(&cluster, "kubelet"),
        images: Images::open(&config).map_err(NodeError::Images)?,
        cgroups: Cgroups::open(&config.cluster_name).filter(|_| abilities.limits),
        services: cluster.watch(&kinds::SERVICE),
        abilities,
        network: network.clone(),
        cluster: cluster.clone(),
        stop: stop.clone(),
        pods: Mutex::default(),
        config,
    });
    let socket = kubelet.config.socket.clone();
    let server = api::bind(&socket).map_err(|source| NodeError::File { path: socket, source })?;
    let ended = CancellationToken::new();
    let tasks = TaskTracker::new();
    tasks.spawn(api::serve(kubelet.clone(), server, ended.clone()));
    tasks.spawn(node_object::keep(kubelet.clone(), ended.clone()));
    tasks.spawn(network::follow(cluster.clone(), network, ended.clone()));
    tasks.spawn(storage::provision(kubelet.clone(), ended.clone()));
    let workers = TaskTracker::new();
    tokio::select! {
        () = follow_pods(&kubelet, &workers) => {}
        () = stop.cancelled() => {}
    }
    kubelet.pods().iter().for_each(|pod| pod.end_within(STOP_GRACE));
    workers.close();
    workers.wait().await;
    ended.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(cgroups) = &kubelet.cgroups {
        cgroups.close();
    }
    let _ = std::fs::remove_file(&kubelet.config.socket);
    Ok(())
}

fn make_dir(path: &Path) -> Result<(), NodeError> {
    std::fs::create_dir_all(path).map_err(|source| NodeError::File { path: path.to_owned(), source })
}

/// Gives each pod of this node a worker, and tells it of changes.
async fn follow_pods(kubelet: &Arc<Kubelet>, workers: &TaskTracker) {
    let cache = kubelet.cluster.watch(&kinds::POD);
    cache.synced().await;
    kubelet.services.synced().await;
    let ours = |object: &Value| object["spec"]["nodeName"] == kubelet.config.node_name.as_str();
    let all = cache.list();
    let known: HashSet<&str> = all.iter().filter(|one| ours(one)).map(|one| meta::uid(one)).collect();
    sweep(&kubelet.config.data_dir.join("pods"), &known);
    sweep(&kubelet.config.data_dir.join("logs"), &known);
    for object in all.iter().filter(|one| ours(one)) {
        // Before any new pod gets an address.
        if let Some(ip) = object["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok()) {
            kubelet.network.reserve(ip);
        }
    }
    let mut changes = cache.subscribe();
    while let Some(change) = changes.recv().await {
        if let (Some(before), after) = (&change.before, &change.after)
            && after.as_ref().is_none_or(|after| meta::uid(after) != meta::uid(before))
        {
            take_away(kubelet, meta::uid(before));
        }
        if let Some(object) = change.after.filter(|object| ours(object)) {
            bring(kubelet, workers, object);
        }
    }
}

fn bring(kubelet: &Arc<Kubelet>, workers: &TaskTracker, object: Arc<Value>) {
    let mut pods = kubelet.pods.lock().unwrap_or_else(PoisonError::into_inner);
    let pod = match pods.get(meta::uid(&object)) {
        Some(pod) => {
            pod.object.send_replace(object.clone());
            pod.clone()
        }
        None => {
            let pod = Pod::new(kubelet, &object);
            pods.insert(pod.uid.clone(), pod.clone());
            let (kubelet, working) = (kubelet.clone(), pod.clone());
            workers.spawn(async move {
                worker::run(working.clone()).await;
                // It is remembered until its object is gone, which finalizers may hold: else the next change of
                // the object would start it again.
                let mut pods = kubelet.pods.lock().unwrap_or_else(PoisonError::into_inner);
                working.done.cancel();
                if working.gone.is_cancelled() {
                    pods.remove(&working.uid);
                }
            });
            pod
        }
    };
    drop(pods);
    if let Some(grace) = worker::grace_of(&object) {
        pod.end_within(grace);
    }
}

/// The object is gone, so nobody waits for the pod's end: it is ended at once.
fn take_away(kubelet: &Arc<Kubelet>, uid: &str) {
    let mut pods = kubelet.pods.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pod) = pods.get(uid).cloned() {
        pod.gone.cancel();
        pod.end_within(Duration::ZERO);
        if pod.done.is_cancelled() {
            pods.remove(uid);
        }
    }
}

/// Removes directories of pods that are no more, whose names end in the pod's uid. Volumes of claims are elsewhere.
fn sweep(directory: &Path, known: &HashSet<&str>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| !known.contains(name.rsplit('_').next().unwrap_or(name)))
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
