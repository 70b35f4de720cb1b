//! The sample composition on a real API server: from the XRD to composed resources, their readiness, drift, removal, and
//! the error that a base without a spec meets. A test plays the controllers of the composed kinds by writing their status.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation fails"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Options, Server, User};
use controller::{Cluster, Patch, Propagation};
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(60);
const APP: Resource = Resource::fixed("platform.io", "v1", "xnodeapps", "XNodeApp", true);
const DATABASE: Resource = Resource::fixed("postgresql.cnpg.io", "v1", "clusters", "Cluster", true);
const SCHEDULE: Resource =
    Resource::fixed("postgresql.cnpg.io", "v1", "scheduledbackups", "ScheduledBackup", true);

struct World {
    cluster: Cluster,
    _server: Server,
    _dir: TempDir,
    _stop: DropGuard,
}

async fn world() -> World {
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
    let crossplane = Cluster::new(server.client(&user("crossplane")), "crossplane");
    let cluster = Cluster::new(server.client(&user("admin")), "test");
    let stop = CancellationToken::new();
    let world = World { cluster, _server: server, _dir: dir, _stop: stop.clone().drop_guard() };
    for crd in compositions::crds().into_iter().chain([free_crd(&DATABASE), free_crd(&SCHEDULE)]) {
        world.create(&kinds::CUSTOM_RESOURCE_DEFINITION, crd.clone()).await;
        let key = meta::key(&crd);
        world
            .until(&kinds::CUSTOM_RESOURCE_DEFINITION, &key, "established", |c| {
                meta::condition_is_true(c, "Established")
            })
            .await;
    }
    tokio::spawn(compositions::run(crossplane, stop));
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dashboard-dev"}});
    world.create(&kinds::NAMESPACE, namespace).await;
    world
}

fn free_crd(resource: &Resource) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", resource.plural, resource.group)},
        "spec": {"group": resource.group, "scope": "Namespaced",
            "names": {"kind": resource.kind, "plural": resource.plural, "singular": resource.kind.to_lowercase()},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema}}]},
    })
}

impl World {
    async fn create(&self, resource: &Resource, object: Value) -> Value {
        self.cluster.create(resource, &object).await.unwrap_or_else(|e| panic!("{e}: {object:#}"))
    }

    async fn create_from(&self, resource: &Resource, file: &str) -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../samples/template-node-development/platform")
            .join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let object = yaml::parse(&text, yaml::Resolver::Kubectl).unwrap();
        // The XRD is written in its second version.
        let version = meta::split_api_version(meta::api_version(&object)).1.to_owned();
        self.create(&Resource { version: version.into(), ..resource.clone() }, object).await
    }

    async fn until(
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

    async fn until_gone(&self, resource: &Resource, key: &Key) {
        let cache = self.cluster.watch(resource);
        let gone = |o: Option<&Value>| o.is_none_or(meta::is_being_deleted);
        let outcome = tokio::time::timeout(PATIENCE, cache.wait_for(key, gone)).await;
        assert!(outcome.is_ok(), "{resource} {key} is still there");
    }

    async fn write_status(&self, resource: &Resource, key: &Key, status: Value) {
        let patch = json!({"status": status});
        self.cluster.patch(resource, key, "status", Patch::Merge(&patch)).await.unwrap();
    }

    /// The sample XRD, functions and composition.
    async fn platform(&self) {
        self.create_from(&compositions::DEFINITION, "xnodeapp.yaml").await;
        self.create_from(&compositions::FUNCTION, "function.yaml").await;
        let definition = Key::cluster("xnodeapps.platform.io");
        self.until(&compositions::DEFINITION, &definition, "established", |d| {
            meta::condition_is_true(d, "Established")
        })
        .await;
    }
}

fn key(name: &str) -> Key {
    Key::new("dashboard-dev", name)
}

fn app() -> Value {
    json!({"apiVersion": "platform.io/v1", "kind": "XNodeApp", "metadata": {"name": "dashboard", "namespace": "dashboard-dev"},
        "spec": {"frontend": {"image": "r/front", "tag": "sha-1"}, "backend": {"image": "r/back", "tag": "sha-1", "port": 3001},
            "database": {"name": "metrics"}, "host": "dashboard.dev.localhost", "owner": "platform-team",
            "environment": "dev", "monitoring": true}})
}

fn deployment_up() -> Value {
    json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{"type": "Available", "status": "True", "reason": "x"}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_becomes_a_stack_and_stays_one() {
    let world = world().await;
    world.platform().await;
    world.create_from(&compositions::COMPOSITION, "composition-node-development.yaml").await;
    world.create(&APP, app()).await;
    let waiting =
        world.until(&APP, &key("dashboard"), "synced", |x| meta::condition_is_true(x, "Synced")).await;
    let ready = meta::condition(&waiting, "Ready").unwrap();
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("Creating")));
    assert_eq!(waiting["spec"]["crossplane"]["compositionRef"]["name"], "node-development");
    let frontend = world.until(&kinds::DEPLOYMENT, &key("dashboard-frontend"), "there", |_| true).await;
    assert_eq!(frontend["spec"]["template"]["spec"]["containers"][0]["image"], "r/front:sha-1");
    assert!(meta::is_controlled_by(&frontend, meta::uid(&waiting)));
    let database = world.until(&DATABASE, &key("dashboard-db"), "there", |_| true).await;
    assert_eq!(database["spec"]["bootstrap"]["initdb"], json!({"database": "metrics", "owner": "metrics"}));

    for name in ["dashboard-frontend", "dashboard-backend"] {
        world.write_status(&kinds::DEPLOYMENT, &key(name), deployment_up()).await;
    }
    let healthy =
        json!({"phase": "Cluster in healthy state", "conditions": [{"type": "Ready", "status": "True"}]});
    world.write_status(&DATABASE, &key("dashboard-db"), healthy).await;
    let done = world.until(&APP, &key("dashboard"), "ready", |x| meta::condition_is_true(x, "Ready")).await;
    assert_eq!(done["status"]["frontendReplicas"], 1);
    assert_eq!(done["status"]["database"], "Cluster in healthy state");

    // Somebody deletes one, and changes another.
    let gone = world.cluster.get(&kinds::DEPLOYMENT, &key("dashboard-backend")).await.unwrap().unwrap();
    world
        .cluster
        .delete(&kinds::DEPLOYMENT, &key("dashboard-backend"), None, Propagation::Background)
        .await
        .unwrap();
    world
        .until(&kinds::DEPLOYMENT, &key("dashboard-backend"), "back", |d| meta::uid(d) != meta::uid(&gone))
        .await;
    let drift = json!({"spec": {"replicas": 5}});
    world
        .cluster
        .patch(&kinds::DEPLOYMENT, &key("dashboard-frontend"), "", Patch::Merge(&drift))
        .await
        .unwrap();
    world
        .until(&kinds::DEPLOYMENT, &key("dashboard-frontend"), "as composed", |d| {
            d["spec"]["replicas"] == 1 && meta::generation(d) > 1
        })
        .await;

    // A new tag reaches the composed resource; a resource that leaves the composition goes.
    let tag = json!({"spec": {"frontend": {"tag": "sha-2"}}});
    world.cluster.patch(&APP, &key("dashboard"), "", Patch::Merge(&tag)).await.unwrap();
    world
        .until(&kinds::DEPLOYMENT, &key("dashboard-frontend"), "of the new tag", |d| {
            d["spec"]["template"]["spec"]["containers"][0]["image"] == "r/front:sha-2"
        })
        .await;
    let composition = Key::cluster("node-development");
    let mut smaller = world.cluster.get(&compositions::COMPOSITION, &composition).await.unwrap().unwrap();
    let resources = smaller["spec"]["pipeline"][0]["input"]["resources"].as_array_mut().unwrap();
    resources.retain(|r| r["name"] != "ingress");
    world.cluster.replace(&compositions::COMPOSITION, &smaller).await.unwrap();
    world.until_gone(&kinds::INGRESS, &key("dashboard-frontend")).await;
    let revisions = world.cluster.list(&compositions::REVISION, "", "").await.unwrap().items;
    assert_eq!(revisions.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_short_text_of_the_first_form_is_refused_with_its_reason() {
    let world = world().await;
    world.platform().await;
    let base = |api_version: &str, kind: &str| json!({"apiVersion": api_version, "kind": kind});
    let composition = json!({
        "apiVersion": "apiextensions.crossplane.io/v1", "kind": "Composition", "metadata": {"name": "node-development"},
        "spec": {"compositeTypeRef": {"apiVersion": "platform.io/v1", "kind": "XNodeApp"}, "resources": [
            {"name": "frontend", "base": base("apps/v1", "Deployment")},
            {"name": "settings", "base": base("v1", "ConfigMap")},
        ]},
    });
    world.create(&compositions::COMPOSITION, composition).await;
    world.create(&APP, app()).await;
    let refused = world
        .until(&APP, &key("dashboard"), "refused", |x| {
            meta::condition(x, "Synced")
                .is_some_and(|c| c["status"] == "False" && c["reason"] == "ReconcileError")
        })
        .await;
    let message = meta::condition(&refused, "Synced").unwrap()["message"].as_str().unwrap().to_owned();
    assert!(
        message.starts_with("Invalid resources: frontend: ") && message.contains("spec.selector"),
        "{message}"
    );
    // What is valid is there all the same.
    let cache = world.cluster.watch(&kinds::CONFIG_MAP);
    let mut changes = cache.subscribe();
    let found = async {
        while let Some(change) = changes.recv().await {
            if meta::label(change.latest(), "crossplane.io/composite") == Some("dashboard") {
                return meta::annotation(change.latest(), "crossplane.io/composition-resource-name")
                    .map(str::to_owned);
            }
        }
        None
    };
    assert_eq!(tokio::time::timeout(PATIENCE, found).await.unwrap().as_deref(), Some("settings"));
}
