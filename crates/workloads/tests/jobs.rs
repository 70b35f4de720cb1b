//! Jobs and StatefulSets on a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation fails"
)]

mod support;

use object::{Key, kinds, meta};
use serde_json::{Value, json};

fn job(name: &str, exit: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"completions": 2, "parallelism": 2, "backoffLimit": 0, "template": {
            "metadata": {"labels": {"test/exit": exit}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_end_and_leave_nothing_behind() {
    let world = support::world().await;
    world.namespace("shop").await;
    world.create(&kinds::JOB, job("good", "0")).await;
    world.create(&kinds::JOB, job("bad", "1")).await;
    let good = world
        .until(&kinds::JOB, &Key::new("shop", "good"), "complete", |j| meta::condition_is_true(j, "Complete"))
        .await;
    assert_eq!(good["status"]["succeeded"], 2);
    let bad = world
        .until(&kinds::JOB, &Key::new("shop", "bad"), "failed", |j| meta::condition_is_true(j, "Failed"))
        .await;
    assert_eq!(meta::condition(&bad, "Failed").unwrap()["reason"], "BackoffLimitExceeded");
    for name in ["good", "bad"] {
        let key = Key::new("shop", name);
        world.cluster.delete(&kinds::JOB, &key, None, controller::Propagation::Background).await.unwrap();
    }
    world.until_all(&kinds::POD, "shop", "gone", <[_]>::is_empty).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_keeps_names_and_claims() {
    let world = support::world().await;
    world.namespace("shop").await;
    let key = Key::new("shop", "web");
    let set = json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "template": support::template("web", "a:1"),
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]},
    });
    world.create(&kinds::STATEFUL_SET, set).await;
    world.until(&kinds::STATEFUL_SET, &key, "ready", |s| s["status"]["readyReplicas"] == 2).await;
    world
        .patch(&kinds::STATEFUL_SET, &key, json!({"spec": {"template": support::template("web", "a:2")}}))
        .await;
    world
        .until(&kinds::STATEFUL_SET, &key, "updated", |s| {
            let status = &s["status"];
            status["updatedReplicas"] == 2
                && status["readyReplicas"] == 2
                && status["currentRevision"] == status["updateRevision"]
                && status["observedGeneration"] == 2
        })
        .await;
    world.patch(&kinds::STATEFUL_SET, &key, json!({"spec": {"replicas": 0}})).await;
    world.until_all(&kinds::POD, "shop", "gone", <[_]>::is_empty).await;
    let claims = world.cluster.list(&kinds::PERSISTENT_VOLUME_CLAIM, "shop", "").await.unwrap().items;
    assert_eq!(
        claims.iter().map(meta::name).collect::<Vec<_>>(),
        ["data-web-0", "data-web-1"],
        "claims stay"
    );
}
