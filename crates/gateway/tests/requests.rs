//! Requests through the gateway: routed by host, changed only where a proxy has to, refused with a reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, whatever goes wrong ends it")]

mod support;

use std::time::Duration;

use object::{Key, kinds, meta};
use serde_json::json;
use support::{DEADLINE, World};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_leads_to_its_pods_or_to_a_reason() {
    let world = World::new(&["dev"]).await;
    let unknown = world.until("unknown.test", 404).await;
    assert_eq!(unknown, "404 Not Found: No route leads to this address.\n");
    world.ingress(0, "web", "web.test", "web").await;
    assert_eq!(
        world.until("web.test", 503).await,
        "503 Service Unavailable: Service default/web does not exist.\n"
    );
    world.service(0, "web").await;
    let waiting = async { while !world.until("web.test", 503).await.contains("has no ready endpoint") {} };
    tokio::time::timeout(DEADLINE, waiting).await.unwrap();
    let page = world.request("GET", "web.test", "/").header("accept", "text/html,*/*").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("<h1>503 Service Unavailable</h1>"));
    let pod = world.pod("10.244.0.2").await;
    world.endpoints(0, "web", &["10.244.0.2"]).await;
    assert_eq!(world.until("Web.Test:8080", 200).await, "10.244.0.2");
    pod.kill().await;
    assert_eq!(
        world.until("web.test", 502).await,
        "502 Bad Gateway: Service default/web ended the connection.\n"
    );
    let metrics = world.gateway.metrics();
    let labels = r#"{cluster="dev",code="200",exported_service="default-web-http@kubernetes",method="GET",protocol="http"}"#;
    assert!(metrics.contains(&format!("traefik_service_requests_total{labels} 1\n")), "{metrics}");
    assert!(metrics.contains(r#"code="503""#) && metrics.contains(r#"code="502""#), "{metrics}");
    world.stop.cancel();
    tokio::time::timeout(DEADLINE, world.gateway.finished()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_headers_and_other_protocols_pass() {
    let world = World::new(&["dev"]).await;
    let _pod = world.pod("10.244.0.2").await;
    world.service(0, "web").await;
    world.endpoints(0, "web", &["10.244.0.2"]).await;
    world.ingress(0, "web", "web.test", "web").await;
    world.until("web.test", 200).await;
    for size in [0, 10, 64 << 10, 300_000] {
        let body = "x".repeat(size);
        let answer = world.request("POST", "web.test", "/echo").body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.text().await.unwrap(), body, "{size} bytes");
    }
    let headers = world.request("GET", "web.test", "/headers?a=b").header("x-forwarded-for", "1.2.3.4");
    let headers = headers.header("x-mine", "kept").send().await.unwrap().text().await.unwrap();
    let port = world.gateway.address().port();
    for line in [
        "host: web.test",
        "x-mine: kept",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: web.test",
        &format!("x-forwarded-port: {port}"),
    ] {
        assert!(headers.lines().any(|found| found == line), "{line} is not in\n{headers}");
    }
    let mut stream = TcpStream::connect(world.gateway.address()).await.unwrap();
    let request = "GET /socket HTTP/1.1\r\nhost: web.test\r\nconnection: Upgrade\r\nupgrade: shout\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    for word in ["hello", "again"] {
        stream.write_all(word.as_bytes()).await.unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, word.to_uppercase().as_bytes());
    }
    drop(stream);
    let counted = async {
        while !world.gateway.metrics().contains("protocol=\"websocket\"") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, counted).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingresses_tell_where_they_are_served() {
    let world = World::new(&["dev", "qa"]).await;
    world.ingress(0, "web", "web.test", "web").await;
    let address = async |cluster: usize| {
        let ingresses = world.clusters[cluster].watch(&kinds::INGRESS);
        let key = Key::new("default", "web");
        let has_status = |found: Option<&serde_json::Value>| {
            found.is_some_and(|object| {
                object["status"]["loadBalancer"]["ingress"][0]["hostname"] == "localhost"
            })
        };
        tokio::time::timeout(DEADLINE, ingresses.wait_for(&key, has_status)).await.unwrap().unwrap()
    };
    address(0).await;
    world.until("web.test", 503).await;
    world.ingress(1, "web", "web.test", "web").await;
    let loser = address(1).await;
    let mut events = world.clusters[1].watch(&kinds::EVENT).subscribe();
    let warned = async {
        loop {
            let change = events.recv().await.unwrap();
            let event = change.latest();
            if event["reason"] == "HostConflict" {
                return event.clone();
            }
        }
    };
    let event = tokio::time::timeout(DEADLINE, warned).await.unwrap();
    assert_eq!(
        event["message"],
        "cluster dev already serves web.test: no request reaches this Ingress for it"
    );
    assert_eq!(
        (event["type"].as_str(), event["involvedObject"]["uid"].as_str()),
        (Some("Warning"), Some(meta::uid(&loser)))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_routes_count_once_their_kind_is_served() {
    let world = World::new(&["dev"]).await;
    let mut pods = Vec::new();
    for (name, address) in [("stable", "10.244.0.2"), ("canary", "10.244.0.3")] {
        pods.push(world.pod(address).await);
        world.service(0, name).await;
        world.endpoints(0, name, &[address]).await;
    }
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    world
        .create(0, json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "httproutes.gateway.networking.k8s.io" },
            "spec": {
                "group": "gateway.networking.k8s.io", "scope": "Namespaced",
                "names": { "plural": "httproutes", "singular": "httproute", "kind": "HTTPRoute", "listKind": "HTTPRouteList" },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
            },
        }))
        .await;
    let refs =
        json!([{ "name": "stable", "port": 80, "weight": 3 }, { "name": "canary", "port": 80, "weight": 1 }]);
    let route = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": { "name": "web", "namespace": "default" },
        "spec": { "hostnames": ["web.test"], "rules": [{ "backendRefs": refs }] },
    });
    let kind = object::Resource::fixed("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute", true);
    let created = async {
        // A new kind is served a moment after its definition was written.
        while world.clusters[0].create(&kind, &route).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, created).await.unwrap();
    world.until("web.test", 200).await;
    let mut canary = 0;
    for _ in 0..40 {
        let answer = world.request("GET", "web.test", "/").send().await.unwrap().text().await.unwrap();
        canary += usize::from(answer == "10.244.0.3");
    }
    assert_eq!(canary, 10, "a quarter of the requests");
}
