//! Compositions: Crossplane's XRDs, Compositions and composite resources, with patch-and-transform in process.
//!
//! A composite resource is expanded by a pure pipeline (`pipeline`) into composed resources, which are applied by
//! server-side apply; what is no longer wanted goes. Crossplane's names of fields, labels, annotations, field owners,
//! conditions and reasons are kept, so that its tools and manifests work unchanged.

mod api;
mod composite;
mod definition;
mod fieldpath;
mod function;
mod functions;
mod gofmt;
mod pipeline;
mod revision;

use controller::Cluster;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use api::{COMPOSITION, DEFINITION, FUNCTION, REVISION, crds};

/// Runs the composition controllers until `stop`. The CustomResourceDefinitions of [`crds`] must be there.
pub async fn run(cluster: Cluster, stop: CancellationToken) {
    let mut controllers = JoinSet::new();
    controllers.spawn(definition::run(cluster.clone(), stop.clone()));
    controllers.spawn(revision::run(cluster.clone(), stop.clone()));
    controllers.spawn(functions::run(cluster, stop));
    while controllers.join_next().await.is_some() {}
}
