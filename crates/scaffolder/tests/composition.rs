//! The composition of the samples, expanded by the platform's own engine in its own API server: one `XNodeApp` becomes
//! two Deployments, their Services, a database with a backup and an Ingress.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use controller::Cluster;
use object::{Key, Resource, kinds};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(60);

/// An empty cluster in which the composition controllers run, with the platform's resources applied.
async fn cluster(folder: &Path, stop: &CancellationToken) -> Cluster {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let options = apiserver::Options {
        name: "dev".to_owned(),
        dir: folder.to_path_buf(),
        authenticate: Arc::new(|_| None),
        kubelets: None,
        service_cidr: "10.96.0.0/16".to_owned(),
        external_url: "https://127.0.0.1:6443".to_owned(),
        ca_pem: None,
        path_prefix: String::new(),
    };
    let server = apiserver::Server::open(options).await.unwrap();
    let user = apiserver::User { groups: vec!["system:masters".to_owned()], ..apiserver::User::anonymous() };
    let cluster = Cluster::new(server.client(&user), "test");
    for definition in compositions::crds().into_iter().chain(workloads::database::crds()) {
        cluster.apply(&kinds::CUSTOM_RESOURCE_DEFINITION, &definition, "test").await.unwrap();
    }
    tokio::spawn(compositions::run(cluster.clone(), stop.clone()));
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/template-node-development");
    let mut tree = kustomize::MemoryTree::default();
    for folder in ["platform", "overlays/dev"] {
        for entry in std::fs::read_dir(samples.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_str().unwrap();
                tree.insert(format!("{folder}/{name}"), std::fs::read(&path).unwrap());
            }
        }
    }
    for object in kustomize::build(&tree, "overlays/dev", kustomize::Options::default()).unwrap().objects() {
        apply(&cluster, &object).await;
    }
    cluster
}

/// Applies an object of a kind that may only just be coming.
async fn apply(cluster: &Cluster, object: &Value) {
    let (version, kind) = (object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
    let applied = async {
        loop {
            if let Ok(resource) = cluster.resolve(version, kind).await {
                cluster.apply(&resource, object, "test").await.unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, applied).await.unwrap_or_else(|_| panic!("{kind} never came"));
}

/// Waits until the object is there, or is gone or going: no garbage collector runs here to end a foreground deletion.
async fn wait(cluster: &Cluster, resource: &Resource, name: &str, there: bool) -> Value {
    let key = Key::new("dashboard-dev", name);
    let found = async {
        loop {
            let found = cluster.get(resource, &key).await.unwrap();
            let found = found.filter(|object| !object::meta::is_being_deleted(object));
            if found.is_some() == there {
                return found.unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, found)
        .await
        .unwrap_or_else(|_| panic!("{resource} {name}: still not {there}"))
}

fn environment(deployment: &Value, name: &str) -> Value {
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
    let found = variables.iter().find(|variable| variable["name"] == name).unwrap();
    if found["valueFrom"].is_null() {
        found["value"].clone()
    } else {
        found["valueFrom"]["secretKeyRef"].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_resource_becomes_the_whole_application() {
    let folder = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let cluster = cluster(folder.path(), &stop).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dashboard-dev"}});
    apply(&cluster, &namespace).await;
    let example = include_str!("../../../samples/template-node-development/platform/examples/xnodeapp.yaml");
    let mut app = yaml::parse(example, yaml::Resolver::Kubectl).unwrap();
    app["spec"]["backend"]["port"] = json!(4001);
    apply(&cluster, &app).await;

    let frontend = wait(&cluster, &kinds::DEPLOYMENT, "dashboard-frontend", true).await;
    let container = &frontend["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "localhost:7007/platform/dashboard-frontend:latest");
    assert_eq!(environment(&frontend, "BACKEND_URL"), "http://dashboard-backend:4001");
    assert_eq!(environment(&frontend, "ENVIRONMENT"), "dev");
    assert_eq!(frontend["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"], "dashboard-frontend");

    let backend = wait(&cluster, &kinds::DEPLOYMENT, "dashboard-backend", true).await;
    assert_eq!(environment(&backend, "PORT"), "4001");
    assert_eq!(environment(&backend, "MONITORING"), "true");
    assert_eq!(environment(&backend, "PGPASSWORD"), json!({"name": "dashboard-db-app", "key": "password"}));
    assert_eq!(
        environment(&backend, "API_TOKEN"),
        json!({"name": "dashboard-api", "key": "token", "optional": true})
    );
    let template = &backend["spec"]["template"];
    assert_eq!(template["spec"]["containers"][0]["ports"][0]["containerPort"], 4001);
    assert_eq!(template["metadata"]["annotations"]["prometheus.io/scrape"], "true");
    assert_eq!(template["metadata"]["labels"]["backstage.io/kubernetes-id"], "dashboard-backend");

    let service = wait(&cluster, &kinds::SERVICE, "dashboard-backend", true).await;
    assert_eq!(service["spec"]["ports"][0]["port"], 4001);
    let database = wait(&cluster, &workloads::database::CLUSTER, "dashboard-db", true).await;
    assert_eq!(database["spec"]["bootstrap"]["initdb"], json!({"database": "metrics", "owner": "metrics"}));
    let backup = wait(&cluster, &workloads::database::SCHEDULED_BACKUP, "dashboard-db-daily", true).await;
    assert_eq!(backup["spec"]["cluster"]["name"], "dashboard-db");
    let ingress = wait(&cluster, &kinds::INGRESS, "dashboard-frontend", true).await;
    assert_eq!(ingress["spec"]["rules"][0]["host"], "dashboard.dev.localhost");

    // The other composition takes the address away and leaves the rest.
    app["spec"]["crossplane"] = json!({"compositionRef": {"name": "node-development-internal"}});
    apply(&cluster, &app).await;
    wait(&cluster, &kinds::INGRESS, "dashboard-frontend", false).await;
    wait(&cluster, &kinds::DEPLOYMENT, "dashboard-frontend", true).await;
    stop.cancel();
}
