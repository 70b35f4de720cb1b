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

/// Makes the kinds of every slice known to a cluster.
pub(crate) async fn prepare(cluster: &Cluster) -> Result<()> {
    apply_kinds(cluster, [gitops::crds(), compositions::crds(), workloads::database::crds()].concat()).await
}

/// Runs the slices' controllers on a prepared cluster until `stop`. `cache` holds fetched repositories; losing it
/// costs time.
pub(crate) async fn run(cluster: Cluster, cache: PathBuf, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    tasks.spawn(compositions::run(cluster.clone(), stop.clone()));
    tasks.spawn(workloads::database::run(cluster.clone(), stop.clone()));
    tasks.spawn(gitops::run(gitops::Config { cluster, cache_dir: cache }, stop));
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
