//! How long the server takes: durable writes one by one and together, a list of a thousand pods, one change to many watches; and what an
//! idle server costs. `cargo bench -p apiserver`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench prints and may fail loudly"
)]

use std::sync::Arc;
use std::time::Instant;

use apiserver::{Options, Server, User};
use kube::api::{Api, ListParams, PostParams, WatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;

#[tokio::main]
async fn main() {
    let before = resident_kib();
    let dir = tempfile::tempdir().unwrap();
    let mut servers = vec![];
    for name in ["dev", "qa", "prod", "platform"] {
        servers.push(Server::open(options(dir.path().join(name))).await.unwrap());
    }
    println!("four idle servers: {} KiB", resident_kib() - before);
    let admin = User { name: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] };
    let client = servers[0].client(&admin);
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let maps: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    writes(&maps).await;
    lists(&maps).await;
    fan_out(&maps).await;
}

async fn writes(maps: &Api<DynamicObject>) {
    let start = Instant::now();
    for n in 0..200 {
        create(maps, format!("one-{n}")).await;
    }
    println!("durable write, one after another: {:?} each", start.elapsed() / 200);
    let start = Instant::now();
    let tasks: Vec<_> = (0..1000)
        .map(|n| {
            let maps = maps.clone();
            tokio::spawn(async move { create(&maps, format!("many-{n}")).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("durable write, 1000 at once: {:?} each", start.elapsed() / 1000);
}

async fn lists(maps: &Api<DynamicObject>) {
    let start = Instant::now();
    for _ in 0..20 {
        assert!(maps.list(&ListParams::default()).await.unwrap().items.len() > 1000);
    }
    println!("list of 1200 objects, decoded: {:?}", start.elapsed() / 20);
    let start = Instant::now();
    for _ in 0..20 {
        maps.list(&ListParams::default().labels("a=b")).await.unwrap();
    }
    println!("list of 1200 objects by label, none selected: {:?}", start.elapsed() / 20);
}

async fn fan_out(maps: &Api<DynamicObject>) {
    use futures::StreamExt as _;
    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut watches = vec![];
    for _ in 0..200 {
        watches.push(maps.watch(&WatchParams::default(), &version).await.unwrap().boxed());
    }
    let start = Instant::now();
    create(maps, "seen-by-all".into()).await;
    for watch in &mut watches {
        watch.next().await.unwrap().unwrap();
    }
    println!("one change to 200 watches: {:?}", start.elapsed());
}

async fn create(maps: &Api<DynamicObject>, name: String) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "x".repeat(1000)}});
    maps.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn options(dir: std::path::PathBuf) -> Options {
    Options {
        name: "bench".into(),
        dir,
        authenticate: Arc::new(|_| None),
        kubelets: None,
        service_cidr: "10.96.0.0/16".into(),
        external_url: "https://127.0.0.1:6443".into(),
        ca_pem: None,
        path_prefix: String::new(),
    }
}

/// Resident memory of this process.
fn resident_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}
