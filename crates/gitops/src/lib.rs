//! GitOps as Flux does it: `GitRepository` and `Kustomization` objects, and a small kind of our own that makes them for
//! every repository of an organisation that asks for it.
//!
//! - `source`: fetches what a GitRepository names; its status says which commit the artifact is.
//! - `kustomization`: builds a directory of that commit, applies it, prunes what left it, mends what drifted, waits for
//!   health.
//! - `discovery`: lists an organisation's repositories by topic, listens to the git host's hints.
//!
//! Everything is pulled: a hint only says that looking now is worth it.

pub mod api;
mod conditions;
mod discovery;
mod kustomization;
mod source;

use std::path::PathBuf;
use std::sync::Arc;

use controller::{Cluster, Controller};
use object::{Resource, kinds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use api::crds;
use api::git_repository::GIT_REPOSITORY;
use api::kustomization::KUSTOMIZATION;
use api::repository_discovery::REPOSITORY_DISCOVERY;
use kustomization::run::{dependents_of, users_of};

/// What the controllers of one cluster need.
pub struct Config {
    /// The cluster that they run for.
    pub cluster: Cluster,
    /// Where fetched repositories are kept. A cache: it can be removed while nothing runs.
    pub cache_dir: PathBuf,
}

/// The kinds of this slice.
pub fn kinds() -> [Resource; 3] {
    [GIT_REPOSITORY, KUSTOMIZATION, REPOSITORY_DISCOVERY]
}

/// The objects that make a cluster deploy what an organisation marks with the topic `flux-managed`: to be created
/// once, with [`crds`] before and the Secret `secret` (with `username` and `password`) beside them in `flux-system`.
pub fn discovery(api: &str, organisation: &str, environment: &str, secret: &str) -> Vec<Value> {
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "flux-system"}}),
        json!({
            "apiVersion": REPOSITORY_DISCOVERY.api_version(),
            "kind": REPOSITORY_DISCOVERY.kind,
            "metadata": {"name": organisation, "namespace": "flux-system"},
            "spec": {
                "api": api,
                "organisation": organisation,
                "topic": "flux-managed",
                "environment": environment,
                "path": "./overlays/<environment>",
                "interval": "1m",
                "prune": true,
                "secretRef": {"name": secret},
            },
        }),
    ]
}

/// Runs the three controllers until `stop`. The [`crds`] have to be there, or to come soon.
pub async fn run(config: Config, stop: CancellationToken) {
    let Config { cluster, cache_dir } = config;
    let (discoveries, discovery_hints) = mpsc::unbounded_channel();
    let (sources, source_hints) = mpsc::unbounded_channel();
    let (drifted, drift_hints) = mpsc::unbounded_channel();
    let hinted = source::Hinted::default();

    let hints = discovery::Hints {
        discoveries,
        sources,
        hinted_discoveries: source::Hinted::default(),
        hinted_sources: hinted.clone(),
    };
    let discovery = Arc::new(discovery::DiscoveryReconciler::new(&cluster, hints));
    let discovery = Controller::new("discovery", &cluster, &REPOSITORY_DISCOVERY)
        .hints(discovery_hints)
        .run(discovery, stop.clone());

    let reconciler =
        Arc::new(source::SourceReconciler::new(&cluster, cache_dir.clone(), hinted, stop.clone()));
    let source = Controller::new("source", &cluster, &GIT_REPOSITORY)
        .hints(source_hints)
        .run(reconciler, stop.clone());

    let reconciler = Arc::new(kustomization::KustomizationReconciler::new(&cluster, &cache_dir, drifted));
    let (users, dependents) = (cluster.watch(&KUSTOMIZATION), cluster.watch(&KUSTOMIZATION));
    let kustomization = Controller::new("kustomization", &cluster, &KUSTOMIZATION)
        .watches(&GIT_REPOSITORY, move |changed| users_of(changed, &users))
        .watches(&KUSTOMIZATION, move |changed| dependents_of(changed, &dependents))
        .watches(&kinds::CUSTOM_RESOURCE_DEFINITION, reconciler.definition_changed())
        .hints(drift_hints)
        .run(reconciler, stop);

    tokio::join!(discovery, source, kustomization);
}
