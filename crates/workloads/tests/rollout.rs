//! A Deployment on a real API server: pods, endpoints, a new version, the old one back, and nothing left at the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation fails"
)]

mod support;

use object::{Key, kinds, meta};
use serde_json::{Value, json};

fn is_complete(deployment: &Value, replicas: i64) -> bool {
    let status = &deployment["status"];
    let all = ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|f| status[f] == replicas);
    all && status["observedGeneration"] == deployment["metadata"]["generation"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_lives_and_dies() {
    let world = support::world().await;
    world.namespace("shop").await;
    let key = Key::new("shop", "web");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]}});
    world.create(&kinds::SERVICE, service).await;
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": support::template("web", "a:1")},
    });
    world.create(&kinds::DEPLOYMENT, deployment).await;
    let first = world.until(&kinds::DEPLOYMENT, &key, "complete", |d| is_complete(d, 3)).await;
    assert!(meta::condition_is_true(&first, "Available"));
    world
        .until_all(&kinds::ENDPOINT_SLICE, "shop", "lists three ready endpoints", |slices| {
            let endpoints = slices.iter().flat_map(|s| s["endpoints"].as_array().into_iter().flatten());
            endpoints.filter(|e| e["conditions"]["ready"] == true).count() == 3
                && slices.iter().all(|s| s["ports"][0]["port"] == 3000)
        })
        .await;

    let new = json!({"spec": {"template": support::template("web", "a:2")}});
    world.patch(&kinds::DEPLOYMENT, &key, new).await;
    world
        .until(&kinds::DEPLOYMENT, &key, "rolled out", |d| {
            is_complete(d, 3) && meta::annotation(d, "deployment.kubernetes.io/revision") == Some("2")
        })
        .await;
    let pods = world
        .until_all(&kinds::POD, "shop", "all of the new version", |pods| {
            pods.len() == 3 && pods.iter().all(|p| p["spec"]["containers"][0]["image"] == "a:2")
        })
        .await;
    assert!(pods.iter().all(|p| meta::label(p, "pod-template-hash").is_some()));

    world.patch(&kinds::DEPLOYMENT, &key, json!({"spec": {"replicas": 1}})).await;
    world.until_all(&kinds::POD, "shop", "one pod", |pods| pods.len() == 1).await;

    world.cluster.delete(&kinds::DEPLOYMENT, &key, None, controller::Propagation::Background).await.unwrap();
    world.until_all(&kinds::REPLICA_SET, "shop", "gone", <[_]>::is_empty).await;
    world.until_all(&kinds::POD, "shop", "gone", <[_]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletion_in_the_foreground_and_with_orphans() {
    let world = support::world().await;
    world.namespace("shop").await;
    for name in ["front", "orphan"] {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": support::template(name, "a:1")},
        });
        world.create(&kinds::DEPLOYMENT, deployment).await;
        world.until(&kinds::DEPLOYMENT, &Key::new("shop", name), "complete", |d| is_complete(d, 1)).await;
    }
    let front = Key::new("shop", "front");
    world
        .cluster
        .delete(&kinds::DEPLOYMENT, &front, None, controller::Propagation::Foreground)
        .await
        .unwrap();
    world.until_gone(&kinds::DEPLOYMENT, &front).await;
    let of = |name: &'static str| move |o: &&std::sync::Arc<Value>| meta::label(o, "app") == Some(name);
    let left = world.cluster.list(&kinds::POD, "shop", "app=front").await.unwrap();
    assert!(left.items.is_empty(), "dependents go before their owner: {:#?}", left.items);

    let orphan = Key::new("shop", "orphan");
    world.cluster.delete(&kinds::DEPLOYMENT, &orphan, None, controller::Propagation::Orphan).await.unwrap();
    world.until_gone(&kinds::DEPLOYMENT, &orphan).await;
    let sets = world
        .until_all(&kinds::REPLICA_SET, "shop", "without owner", |sets| {
            let mut of_it = sets.iter().filter(of("orphan"));
            of_it.clone().count() == 1 && of_it.all(|s| meta::owners(s).count() == 0)
        })
        .await;
    assert_eq!(sets.iter().filter(of("orphan")).count(), 1);
}
