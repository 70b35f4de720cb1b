//! What every Kubernetes cluster has beside its API server: the controllers that turn workloads into pods, the
//! scheduler that gives pods a node, Service endpoints, garbage collection, namespaces; and PostgreSQL ([`database`]).
//!
//! Each controller observes, plans with a pure function, and acts. They reach the cluster only through
//! [`controller::Cluster`], so they run as well against any other API server.

pub mod cron;
pub mod database;

mod claim;
mod cron_job;
mod daemon_set;
mod deployment;
mod discovery;
mod endpoints;
mod garbage;
mod hash;
mod job;
mod namespaces;
mod pod_garbage;
mod pods;
mod recent;
mod replica_set;
mod scheduler;
mod service_accounts;
mod stateful_set;

use controller::{Cluster, Recorder};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the controllers need to run.
#[derive(Clone)]
pub struct Config {
    /// The cluster they work on.
    pub cluster: Cluster,
    /// The certificate authority of the API server, as PEM: content of the ConfigMap `kube-root-ca.crt`.
    pub root_ca: String,
}

/// Runs all workload controllers until `stop`; what is under way then is finished first.
pub async fn run(config: Config, stop: CancellationToken) {
    let mut controllers = JoinSet::new();
    controllers.spawn(deployment::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(replica_set::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(stateful_set::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(daemon_set::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(job::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(cron_job::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(endpoints::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(scheduler::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(namespaces::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(service_accounts::run(config.cluster.clone(), config.root_ca, stop.clone()));
    controllers.spawn(garbage::run(config.cluster.clone(), stop.clone()));
    controllers.spawn(pod_garbage::run(config.cluster.clone(), stop));
    while controllers.join_next().await.is_some() {}
}

/// A cluster and a voice in it: what each reconciler here holds.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) cluster: Cluster,
    pub(crate) events: Recorder,
}

impl Work {
    pub(crate) fn new(cluster: &Cluster, component: &str) -> Self {
        Self { cluster: cluster.clone(), events: Recorder::new(cluster, component) }
    }
}
