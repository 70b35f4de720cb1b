//! What a namespace has from the start, and that it takes everything along when it goes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where its expectation fails"
)]

mod support;

use object::{Key, kinds};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_comes_furnished_and_leaves_nothing() {
    let world = support::world().await;
    world.namespace("shop").await;
    world.until(&kinds::SERVICE_ACCOUNT, &Key::new("shop", "default"), "there", |_| true).await;
    let ca = world.until(&kinds::CONFIG_MAP, &Key::new("shop", "kube-root-ca.crt"), "there", |_| true).await;
    assert_eq!(ca["data"]["ca.crt"], "pem");
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": support::template("web", "a:1")},
    });
    world.create(&kinds::DEPLOYMENT, deployment).await;
    world.until_all(&kinds::POD, "shop", "two pods", |pods| pods.len() == 2).await;
    let namespace = Key::cluster("shop");
    world
        .cluster
        .delete(&kinds::NAMESPACE, &namespace, None, controller::Propagation::Background)
        .await
        .unwrap();
    world.until_gone(&kinds::NAMESPACE, &namespace).await;
    for resource in
        [kinds::POD, kinds::REPLICA_SET, kinds::DEPLOYMENT, kinds::CONFIG_MAP, kinds::SERVICE_ACCOUNT]
    {
        let left = world.cluster.list(&resource, "shop", "").await.unwrap().items;
        assert!(left.is_empty(), "{resource}: {left:#?}");
    }
}
