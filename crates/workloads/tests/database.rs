//! A PostgreSQL Cluster on a real API server: everything under CloudNativePG's names, replaced when its spec changes,
//! and gone with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation fails"
)]

mod support;

use object::{Key, kinds, meta};
use serde_json::json;
use workloads::database::{BACKUP, CLUSTER};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_becomes_healthy_and_is_backed_up() {
    let world = support::world().await;
    world.namespace("shop").await;
    let key = Key::new("shop", "pg");
    let cluster = json!({
        "apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg", "namespace": "shop"},
        "spec": {"instances": 2, "storage": {"size": "1Gi"}, "bootstrap": {"initdb": {"database": "metrics", "owner": "metrics"}}},
    });
    world.create(&CLUSTER, cluster).await;
    let healthy = world.until(&CLUSTER, &key, "healthy", |c| meta::condition_is_true(c, "Ready")).await;
    let status = &healthy["status"];
    assert_eq!(status["phase"], "Cluster in healthy state");
    assert_eq!((&status["currentPrimary"], &status["readyInstances"]), (&json!("pg-1"), &json!(2)));
    let secret = world.cluster.get(&kinds::SECRET, &Key::new("shop", "pg-app")).await.unwrap().unwrap();
    assert!(secret["data"]["uri"].is_string() && secret["data"]["password"].is_string());
    for name in ["pg-rw", "pg-ro", "pg-r"] {
        assert!(
            world.cluster.get(&kinds::SERVICE, &Key::new("shop", name)).await.unwrap().is_some(),
            "{name}"
        );
    }
    let first = world.cluster.get(&kinds::POD, &Key::new("shop", "pg-1")).await.unwrap().unwrap();

    let parameters = json!({"spec": {"postgresql": {"parameters": {"max_connections": "50"}}}});
    world.patch(&CLUSTER, &key, parameters).await;
    world
        .until(&kinds::POD, &Key::new("shop", "pg-1"), "replaced", |p| {
            meta::uid(p) != meta::uid(&first)
                && p["spec"]["containers"][0]["command"].to_string().contains("max_connections=50")
        })
        .await;
    world
        .until(&CLUSTER, &key, "healthy again", |c| c["status"]["phase"] == "Cluster in healthy state")
        .await;

    let backup = json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup",
        "metadata": {"name": "b", "namespace": "shop"}, "spec": {"cluster": {"name": "pg"}}});
    world.create(&BACKUP, backup).await;
    world.until(&BACKUP, &Key::new("shop", "b"), "completed", |b| b["status"]["phase"] == "completed").await;
    world
        .until(&CLUSTER, &key, "knows its backup", |c| meta::condition_is_true(c, "LastBackupSucceeded"))
        .await;

    world.cluster.delete(&CLUSTER, &key, None, controller::Propagation::Background).await.unwrap();
    world.until_all(&kinds::POD, "shop", "gone", <[_]>::is_empty).await;
    world.until_gone(&kinds::SECRET, &Key::new("shop", "pg-app")).await;
}
