//! The controllers that every cluster runs, embedded or real: they are given a cluster and cannot tell which.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use controller::Cluster;
use object::{kinds, meta};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Field manager of the kinds that the platform brings.
const MANAGER: &str = "portolan";

/// A part of the agent that something else in a cluster may provide already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Slice {
    /// Flux's kinds.
    Gitops,
    /// Crossplane's kinds.
    Compositions,
    /// CloudNativePG's kinds.
    Database,
}

impl Slice {
    pub(crate) const ALL: [Self; 3] = [Self::Gitops, Self::Compositions, Self::Database];

    fn crds(self) -> Vec<Value> {
        match self {
            Self::Gitops => gitops::crds(),
            Self::Compositions => compositions::crds(),
            Self::Database => workloads::database::crds(),
        }
    }
}

/// Makes the kinds of slices known to a cluster.
pub(crate) async fn prepare(cluster: &Cluster, slices: &[Slice]) -> Result<()> {
    apply_kinds(cluster, slices.iter().flat_map(|slice| slice.crds()).collect()).await
}

/// Runs the slices' controllers on a prepared cluster until `stop`. `cache` holds fetched repositories; losing it
/// costs time.
pub(crate) async fn run(cluster: Cluster, slices: &[Slice], cache: PathBuf, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    for slice in slices {
        let (cluster, cache_dir, stop) = (cluster.clone(), cache.clone(), stop.clone());
        match slice {
            Slice::Gitops => tasks.spawn(gitops::run(gitops::Config { cluster, cache_dir }, stop)),
            Slice::Compositions => tasks.spawn(compositions::run(cluster, stop)),
            Slice::Database => tasks.spawn(workloads::database::run(cluster, stop)),
        };
    }
    tasks.close();
    tasks.wait().await;
}

/// Applies CustomResourceDefinitions and waits until their kinds are served.
pub(crate) async fn apply_kinds(cluster: &Cluster, definitions: Vec<Value>) -> Result<()> {
    let resource = &kinds::CUSTOM_RESOURCE_DEFINITION;
    for definition in &definitions {
        let name = meta::name(definition).to_owned();
        cluster
            .apply(resource, definition, MANAGER)
            .await
            .with_context(|| format!("cannot make the kind {name}"))?;
    }
    let served = cluster.watch(resource);
    for definition in &definitions {
        let established = |o: Option<&Value>| o.is_some_and(|o| meta::condition_is_true(o, "Established"));
        served.wait_for(&meta::key(definition), established).await;
    }
    Ok(())
}
