//! A real API server in a temporary directory, the controllers on it, and a hollow node: it says of every pod that is
//! bound to it that it runs and is ready, and lets go of pods that are being deleted. It talks the kubelet's protocol.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::Duration;

use apiserver::{Options, Server, User};
use controller::{Cluster, Patch, now};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

/// No wait in a test takes longer, unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub cluster: Cluster,
    _server: Server,
    _dir: TempDir,
    _stop: DropGuard,
}

/// A cluster with all controllers and a hollow node.
pub async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        name: "dev".into(),
        dir: dir.path().to_owned(),
        authenticate: Arc::new(|_| None),
        kubelets: None,
        service_cidr: "10.96.0.0/16".into(),
        external_url: "https://127.0.0.1:6443".into(),
        ca_pem: Some("pem".into()),
        path_prefix: String::new(),
    };
    let server = Server::open(options).await.unwrap();
    let user =
        |name: &str| User { name: name.into(), uid: String::new(), groups: vec!["system:masters".into()] };
    let manager =
        Cluster::new(server.client(&user("system:kube-controller-manager")), "kube-controller-manager");
    for crd in workloads::database::crds() {
        manager.create(&kinds::CUSTOM_RESOURCE_DEFINITION, &crd).await.unwrap();
    }
    for crd in workloads::database::crds() {
        let crds = manager.watch(&kinds::CUSTOM_RESOURCE_DEFINITION);
        let established = |o: Option<&Value>| o.is_some_and(|o| meta::condition_is_true(o, "Established"));
        tokio::time::timeout(PATIENCE, crds.wait_for(&meta::key(&crd), established)).await.unwrap();
    }
    let stop = CancellationToken::new();
    let config = workloads::Config { cluster: manager.clone(), root_ca: "pem".into() };
    tokio::spawn(workloads::run(config, stop.clone()));
    tokio::spawn(workloads::database::run(manager, stop.clone()));
    let cluster = Cluster::new(server.client(&user("admin")), "test");
    tokio::spawn(hollow_node(
        Cluster::new(server.client(&user("system:node:hollow")), "kubelet"),
        stop.clone(),
    ));
    World { cluster, _server: server, _dir: dir, _stop: stop.drop_guard() }
}

impl World {
    pub async fn create(&self, resource: &Resource, object: Value) -> Value {
        self.cluster.create(resource, &object).await.unwrap()
    }

    pub async fn patch(&self, resource: &Resource, key: &Key, patch: Value) -> Value {
        self.cluster.patch(resource, key, "", Patch::Merge(&patch)).await.unwrap()
    }

    /// Waits for one object.
    pub async fn until(
        &self,
        resource: &Resource,
        key: &Key,
        what: &str,
        done: impl Fn(&Value) -> bool,
    ) -> Value {
        let cache = self.cluster.watch(resource);
        let wait = cache.wait_for(key, |o| o.is_some_and(&done));
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(Some(object)) => (*object).clone(),
            _ => panic!(
                "{resource} {key} never {what}: {:#}",
                cache.get(key).as_deref().unwrap_or(&Value::Null)
            ),
        }
    }

    pub async fn until_gone(&self, resource: &Resource, key: &Key) {
        let cache = self.cluster.watch(resource);
        let wait = cache.wait_for(key, |o| o.is_none());
        let outcome = tokio::time::timeout(PATIENCE, wait).await;
        assert!(
            outcome.is_ok(),
            "{resource} {key} is still there: {:#}",
            cache.get(key).as_deref().unwrap_or(&Value::Null)
        );
    }

    /// Waits until the objects of a kind in a namespace are as wanted.
    pub async fn until_all(
        &self,
        resource: &Resource,
        namespace: &str,
        what: &str,
        done: impl Fn(&[Arc<Value>]) -> bool,
    ) -> Vec<Arc<Value>> {
        let cache = self.cluster.watch(resource);
        let mut changes = cache.subscribe();
        cache.synced().await;
        let wait = async {
            loop {
                let all = cache.list_in(namespace);
                if done(&all) {
                    return all;
                }
                changes.recv().await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(all) => all,
            Err(_) => panic!("{resource} in {namespace} never {what}: {:#?}", cache.list_in(namespace)),
        }
    }

    pub async fn namespace(&self, name: &str) {
        self.create(
            &kinds::NAMESPACE,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        )
        .await;
    }
}

async fn hollow_node(cluster: Cluster, stop: CancellationToken) {
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "hollow"},
        "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"},
                   "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]},
    });
    cluster.create(&kinds::NODE, &node).await.unwrap();
    cluster
        .patch(
            &kinds::NODE,
            &Key::cluster("hollow"),
            "status",
            Patch::Merge(&json!({"status": node["status"]})),
        )
        .await
        .unwrap();
    let mut changes = cluster.watch(&kinds::POD).subscribe();
    let mut addresses = 1;
    loop {
        let change = tokio::select! {
            change = changes.recv() => change,
            () = stop.cancelled() => None,
        };
        let Some(change) = change else { return };
        let Some(pod) = change.after.filter(|pod| pod["spec"]["nodeName"] == "hollow") else { continue };
        let key = meta::key(&pod);
        if meta::is_being_deleted(&pod) {
            let body =
                json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}).to_string();
            let path = kinds::POD.object_path(&key);
            let _ =
                cluster.call(http::Method::DELETE, &path, Some("application/json"), body.as_bytes()).await;
        } else if pod["status"]["phase"].as_str().is_none_or(|phase| phase == "Pending") {
            addresses += 1;
            let ended = pod["spec"]["restartPolicy"] != "Always";
            let status = if ended { finished(&pod) } else { running(addresses) };
            let _ =
                cluster.patch(&kinds::POD, &key, "status", Patch::Merge(&json!({"status": status}))).await;
        }
    }
}

fn running(address: i64) -> Value {
    json!({
        "phase": "Running", "podIP": format!("10.244.0.{address}"),
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now()}],
    })
}

/// A pod that runs to its end does so at once; the label `test/exit` says with which code.
fn finished(pod: &Value) -> Value {
    let code: i64 = meta::label(pod, "test/exit").and_then(|c| c.parse().ok()).unwrap_or(0);
    let phase = if code == 0 { "Succeeded" } else { "Failed" };
    let name = pod["spec"]["containers"][0]["name"].clone();
    json!({"phase": phase, "containerStatuses": [
        {"name": name, "state": {"terminated": {"exitCode": code, "finishedAt": now()}}}]})
}

/// A pod template with one container.
pub fn template(app: &str, image: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image,
        "ports": [{"name": "http", "containerPort": 3000}]}]}})
}
