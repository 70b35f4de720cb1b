//! What an Ingress tells about itself: its address, and a warning where another cluster has its host.

use std::sync::Arc;

use controller::{Controller, EventType, Next, ReconcileError, Reconciler, Recorder};
use object::{Key, kinds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::State;
use crate::table::is_ours;

/// Starts one controller for each cluster; the senders take keys of Ingresses to look at again.
pub(crate) fn start(
    state: &Arc<State>,
    port: u16,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Vec<mpsc::UnboundedSender<Key>> {
    let mut senders = Vec::new();
    for (index, route) in state.clusters.iter().enumerate() {
        let (sender, hints) = mpsc::unbounded_channel();
        senders.push(sender);
        let controller = Controller::new("ingress-status", &route.cluster, &kinds::INGRESS).hints(hints);
        let recorder = Recorder::new(&route.cluster, "portolan-gateway");
        let reconciler = Arc::new(IngressStatus { state: state.clone(), index, port, recorder });
        tasks.spawn(controller.run(reconciler, stop.clone()));
    }
    senders
}

struct IngressStatus {
    state: Arc<State>,
    /// Of the cluster.
    index: usize,
    port: u16,
    recorder: Recorder,
}

impl Reconciler for IngressStatus {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let cluster = &self.state.clusters[self.index].cluster;
        let Some(ingress) = cluster.watch(&kinds::INGRESS).get(key) else { return Ok(Next::Done) };
        let classes = cluster.watch(&kinds::INGRESS_CLASS);
        classes.synced().await;
        let classes = classes.list();
        let classes: Vec<&Value> = classes.iter().map(AsRef::as_ref).collect();
        if !is_ours(&ingress, &classes) {
            return Ok(Next::Done);
        }
        let address = json!({ "hostname": "localhost", "ports": [{ "port": self.port, "protocol": "TCP" }] });
        let status = json!({ "loadBalancer": { "ingress": [address] } });
        cluster.write_status(&kinds::INGRESS, &ingress, &status).await?;
        let live = self.state.live();
        let own =
            live.table.conflicts.iter().filter(|found| found.cluster == self.index && found.ingress == *key);
        for conflict in own {
            let what =
                if conflict.host.is_empty() { "requests for other hosts" } else { conflict.host.as_str() };
            let message = format!(
                "cluster {} already serves {what}: no request reaches this Ingress for it",
                conflict.owner
            );
            self.recorder.record(&ingress, EventType::Warning, "HostConflict", &message).await;
        }
        Ok(Next::Done)
    }
}
