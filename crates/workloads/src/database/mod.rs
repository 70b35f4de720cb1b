//! PostgreSQL: the part of CloudNativePG's API that applications need (`postgresql.cnpg.io/v1`): a Cluster becomes pods,
//! claims, services and secrets under CloudNativePG's names; Backup and ScheduledBackup write dumps.
//!
//! No instance manager runs beside PostgreSQL: the pod's own scripts initialise and start it, so that any image with
//! bash and PostgreSQL's programs will do. Replicas stream from the primary; there is no failover.

mod api;
mod backup;
mod cluster;
mod objects;
mod scheduled;
mod scripts;
mod status;

use controller::Cluster;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use api::{BACKUP, CLUSTER, SCHEDULED_BACKUP, crds};

/// Runs the database controllers until `stop`. The CustomResourceDefinitions of [`crds`] must be there.
pub async fn run(cluster: Cluster, stop: CancellationToken) {
    let mut controllers = JoinSet::new();
    controllers.spawn(cluster::run(cluster.clone(), stop.clone()));
    controllers.spawn(backup::run(cluster.clone(), stop.clone()));
    controllers.spawn(scheduled::run(cluster, stop));
    while controllers.join_next().await.is_some() {}
}
