//! Pods come and go under load, and nobody notices.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use support::{Pod, World};

const ROLLOUTS: usize = 12;
const CLIENTS: usize = 4;

/// Replaces all pods again and again. A pod is killed as soon as its successor is written to the API, while requests are on it
/// and before it leaves the endpoints: worse than any real rollout.
async fn replace_under_load(replicas: usize) {
    let world = Arc::new(World::new(&["dev"]).await);
    world.service(0, "web").await;
    let mut pods: Vec<Pod> = Vec::new();
    let mut next = 2;
    for _ in 0..replicas {
        pods.push(world.pod(&format!("10.244.0.{next}")).await);
        next += 1;
    }
    let write = async |pods: &[Pod]| {
        let addresses: Vec<&str> = pods.iter().map(|pod| pod.address.as_str()).collect();
        world.endpoints(0, "web", &addresses).await;
    };
    write(&pods).await;
    world.ingress(0, "web", "web.test", "web").await;
    world.until("web.test", 200).await;
    let stop = Arc::new(AtomicBool::new(false));
    let answers: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(load(world.clone(), stop.clone(), answers.clone()))).collect();
    for _ in 0..ROLLOUTS {
        for _ in 0..replicas {
            let fresh = world.pod(&format!("10.244.0.{next}")).await;
            next += 1;
            let address = fresh.address.clone();
            pods.push(fresh);
            write(&pods).await;
            pods.remove(0).kill().await;
            write(&pods).await;
            // The next step comes when the new pod has answered, as a readiness gate would have it.
            let answered = async {
                while !answers.lock().unwrap().contains_key(&address) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(support::DEADLINE, answered)
                .await
                .unwrap_or_else(|_| panic!("{address} got no request"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let answers = answers.lock().unwrap();
    let failed: Vec<_> = answers.iter().filter(|(answer, _)| !answer.starts_with("10.244.")).collect();
    assert!(failed.is_empty(), "{failed:?} of {}", answers.values().sum::<usize>());
}

async fn load(world: Arc<World>, stop: Arc<AtomicBool>, answers: Arc<Mutex<BTreeMap<String, usize>>>) {
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let path = if turn % 2 == 0 { "/slow" } else { "/" };
        let answer = match world.request("GET", "web.test", path).send().await {
            Ok(response) if response.status() == 200 => {
                response.text().await.unwrap_or_else(|error| format!("body: {error}"))
            }
            Ok(response) => format!("{}: {}", response.status(), response.text().await.unwrap_or_default()),
            Err(error) => format!("{error:?}"),
        };
        *answers.lock().unwrap().entry(answer).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_are_replaced_without_a_failed_request() {
    replace_under_load(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_is_replaced_without_a_failed_request() {
    replace_under_load(1).await;
}
