//! What every namespace has from the start: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`
//! (`pkg/controller/serviceaccount`, `pkg/controller/certificates/rootcacertpublisher`).

use std::sync::Arc;

use controller::{ApiError, Cache, Cluster, Controller, Next, Patch, ReconcileError, Reconciler};
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ROOT_CA: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";

pub(crate) async fn run(cluster: Cluster, root_ca: String, stop: CancellationToken) {
    let in_namespace = |name: &'static str| {
        move |object: &Value| {
            if meta::name(object) == name { vec![Key::cluster(meta::namespace(object))] } else { vec![] }
        }
    };
    let reconciler = ServiceAccounts {
        namespaces: cluster.watch(&kinds::NAMESPACE),
        accounts: cluster.watch(&kinds::SERVICE_ACCOUNT),
        config_maps: cluster.watch(&kinds::CONFIG_MAP),
        cluster: cluster.clone(),
        root_ca,
    };
    let controller = Controller::new("service-account", &cluster, &kinds::NAMESPACE)
        .watches(&kinds::SERVICE_ACCOUNT, in_namespace("default"))
        .watches(&kinds::CONFIG_MAP, in_namespace(ROOT_CA));
    controller.run(Arc::new(reconciler), stop).await;
}

struct ServiceAccounts {
    cluster: Cluster,
    namespaces: Cache,
    accounts: Cache,
    config_maps: Cache,
    root_ca: String,
}

impl Reconciler for ServiceAccounts {
    async fn reconcile(&self, key: &Key) -> Result<Next, ReconcileError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(Next::Done) };
        if meta::is_being_deleted(&namespace) {
            return Ok(Next::Done);
        }
        if self.accounts.get(&Key::new(&*key.name, "default")).is_none() {
            let account = json!({
                "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": key.name},
            });
            exists_is_fine(self.cluster.create(&kinds::SERVICE_ACCOUNT, &account).await)?;
        }
        let data = json!({"ca.crt": self.root_ca});
        match self.config_maps.get(&Key::new(&*key.name, ROOT_CA)) {
            None => {
                let map = json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": ROOT_CA, "namespace": key.name,
                                 "annotations": {"kubernetes.io/description": DESCRIPTION}},
                    "data": data,
                });
                exists_is_fine(self.cluster.create(&kinds::CONFIG_MAP, &map).await)?;
            }
            Some(map) if map["data"] != data => {
                let patch = json!({"data": data});
                self.cluster.patch(&kinds::CONFIG_MAP, &meta::key(&map), "", Patch::Merge(&patch)).await?;
            }
            Some(_) => {}
        }
        Ok(Next::Done)
    }
}

/// A namespace that goes away meanwhile refuses new content, which is as well.
fn exists_is_fine(outcome: Result<Value, ApiError>) -> Result<(), ReconcileError> {
    match outcome {
        Err(error) if !error.is_already_exists() && !error.is_not_found() && error.code() != 403 => {
            Err(error.into())
        }
        _ => Ok(()),
    }
}
