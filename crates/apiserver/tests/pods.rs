//! Pods: what admission adds, graceful deletion, binding and eviction, and the ways in through the node.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod support;

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use support::{Cluster, cluster, options};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PODS: &str = "/api/v1/namespaces/default/pods";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

#[tokio::test]
async fn admission_completes_a_pod() {
    let c = cluster().await;
    let made = c.create(PODS, pod("a")).await;
    let spec = &made["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["priority"]), (&json!("default"), &json!(0)));
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(
        spec["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"],
        3607
    );
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], spec["volumes"][0]["name"]);
    assert_eq!(made["status"]["phase"], "Pending");
    assert_eq!(made["status"]["qosClass"], "BestEffort");
    let mut other = pod("b");
    other["spec"]["serviceAccountName"] = "none".into();
    let refused = c.send("POST", PODS, other).await;
    let text = "pods \"b\" is forbidden: error looking up service account default/none: serviceaccount \"none\" not found";
    assert_eq!((refused.status, refused.json()["message"].as_str()), (403, Some(text)));
    let mut other = pod("b");
    other["spec"]["priorityClassName"] = "none".into();
    let refused = c.send("POST", PODS, other).await.json();
    assert_eq!(refused["message"], "pods \"b\" is forbidden: no PriorityClass with name none was found");
}

#[tokio::test]
async fn a_scheduled_pod_is_deleted_with_grace_which_can_only_be_shortened() {
    let c = cluster().await;
    c.create(PODS, pod("a")).await;
    let binding = json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(c.create(&format!("{PODS}/a/binding"), binding.clone()).await["status"], "Success");
    let again = c.send("POST", &format!("{PODS}/a/binding"), binding).await;
    let text = "Operation cannot be fulfilled on pods \"a\": pod a is already assigned to node \"n1\"";
    assert_eq!((again.status, again.json()["message"].as_str()), (409, Some(text)));
    let grace = |answer: &Value| answer["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let going = c.send("DELETE", &format!("{PODS}/a"), Value::Null).await.json();
    assert_eq!((going["kind"].as_str(), grace(&going)), (Some("Pod"), Some(30)));
    let longer = c.send("DELETE", &format!("{PODS}/a?gracePeriodSeconds=60"), Value::Null).await.json();
    assert_eq!(grace(&longer), Some(30));
    let shorter = c.send("DELETE", &format!("{PODS}/a"), json!({"gracePeriodSeconds": 5})).await.json();
    assert_eq!(grace(&shorter), Some(5));
    let gone = c.send("DELETE", &format!("{PODS}/a?gracePeriodSeconds=0"), Value::Null).await.json();
    assert_eq!(gone["kind"], "Pod");
    assert_eq!(c.get(&format!("{PODS}/a")).await.status, 404);
}

#[tokio::test]
async fn status_and_spec_have_endpoints_of_their_own() {
    let c = cluster().await;
    let made = c.create(PODS, pod("a")).await;
    let mut changed = made.clone();
    changed["status"]["phase"] = "Running".into();
    let main = c.send("PUT", &format!("{PODS}/a"), changed.clone()).await.json();
    assert_eq!(main["status"]["phase"], "Pending", "the main endpoint ignores the status");
    changed["spec"]["containers"][0]["image"] = "other".into();
    let status = c.send("PUT", &format!("{PODS}/a/status"), changed).await.json();
    assert_eq!(
        (&status["status"]["phase"], &status["spec"]["containers"][0]["image"]),
        (&json!("Running"), &json!("x"))
    );
    assert_ne!(status["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test]
async fn a_job_selects_its_own_pods() {
    let c = cluster().await;
    let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}});
    let jobs = "/apis/batch/v1/namespaces/default/jobs";
    let job = c.create(jobs, json!({"metadata": {"name": "j"}, "spec": {"template": template}})).await;
    let uid = &job["metadata"]["uid"];
    assert_eq!(&job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], uid);
    let labels = &job["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&labels["controller-uid"], labels["job-name"].as_str()), (uid, Some("j")));
    let same =
        c.send("PATCH", &format!("{jobs}/j"), json!({"metadata": {"annotations": {"a": "b"}}})).await.json();
    assert_eq!(same["spec"], job["spec"]);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"k": "v"}});
    let secret = c.create("/api/v1/namespaces/default/secrets", secret).await;
    assert_eq!((&secret["data"], &secret["stringData"]), (&json!({"k": "dg=="}), &Value::Null));
}

#[tokio::test]
async fn a_budget_blocks_evictions() {
    let c = cluster().await;
    let mut object = pod("a");
    object["metadata"]["labels"] = json!({"app": "x"});
    c.create(PODS, object).await;
    c.send("PATCH", &format!("{PODS}/a/status"), json!({"status": {"phase": "Running"}})).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    c.create(budgets, json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}})).await;
    let status = json!({"status": {"disruptionsAllowed": 0, "desiredHealthy": 1, "currentHealthy": 1, "expectedPods": 1}});
    assert_eq!(c.send("PATCH", &format!("{budgets}/b/status"), status).await.status, 200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let blocked = c.send("POST", &format!("{PODS}/a/eviction"), eviction.clone()).await;
    assert_eq!(blocked.status, 429);
    let cause = "The disruption budget b needs 1 healthy pods and has 1 currently";
    assert_eq!(blocked.json()["details"]["causes"][0]["message"], cause);
    c.send("PATCH", &format!("{budgets}/b/status"), json!({"status": {"disruptionsAllowed": 1}})).await;
    assert_eq!(c.create(&format!("{PODS}/a/eviction"), eviction).await["status"], "Success");
    assert_eq!(c.get(&format!("{PODS}/a")).await.status, 404);
    assert_eq!(c.get(&format!("{budgets}/b")).await.json()["status"]["disruptionsAllowed"], 0);
}

/// A node that answers logs, and echoes whatever comes over an upgraded connection.
async fn node(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    if request.method() == http::Method::CONNECT {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let inside = hyper::service::service_fn(move |request: Request<Incoming>| {
                let text = format!("{path} {}", request.uri());
                async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text))) }
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(upgrade.await.unwrap(), inside)
                .await;
        });
        return Ok(Response::new(Full::default()));
    }
    if request.headers().contains_key("authorization") {
        return Ok(Response::builder().status(500).body(Full::from("the credentials came through")).unwrap());
    }
    if !request.headers().contains_key("upgrade") {
        return Ok(Response::new(Full::from(path)));
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    });
    let answer =
        Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "websocket");
    Ok(answer.body(Full::default()).unwrap())
}

async fn cluster_with_node() -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("kubelet.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), hyper::service::service_fn(node));
            tokio::spawn(async move { connection.with_upgrades().await });
        }
    });
    let mut options = options(&dir.path().join("data"));
    options.kubelets = Some(socket);
    let c = Cluster { server: apiserver::Server::open(options).await.unwrap(), dir };
    c.create(PODS, json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}})).await;
    c.create(PODS, json!({"metadata": {"name": "two"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}, {"name": "d", "image": "x"}]}})).await;
    c
}

#[tokio::test]
async fn logs_come_from_the_node() {
    let c = cluster_with_node().await;
    assert_eq!(
        c.get(&format!("{PODS}/a/log?follow=true&tailLines=3")).await.text,
        "/containerLogs/default/a/c?follow=true&tailLines=3"
    );
    let message = c.get(&format!("{PODS}/two/log")).await.json()["message"].clone();
    assert_eq!(message, "a container name must be specified for pod two, choose one of: [c d]");
    let message = c.get(&format!("{PODS}/two/log?container=e")).await.json()["message"].clone();
    assert_eq!(message, "container e is not valid for pod two");
    let none = cluster().await;
    none.create(PODS, json!({"metadata": {"name": "a"}, "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": "x"}]}})).await;
    assert_eq!(none.get(&format!("{PODS}/a/log")).await.status, 503);
}

#[tokio::test]
async fn an_upgrade_is_passed_through_byte_by_byte() {
    let c = cluster_with_node().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = c.server.router();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router);
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
            .await;
    });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {PODS}/a/exec?command=ls HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin-token\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}

#[tokio::test]
async fn proxies_reach_into_the_pod_network_through_the_node() {
    let c = cluster_with_node().await;
    c.send("PATCH", &format!("{PODS}/a/status"), json!({"status": {"podIP": "10.244.0.5"}})).await;
    let answer = c.get(&format!("{PODS}/a:3001/proxy/x%20y/z?q=1")).await;
    assert_eq!(answer.text, "10.244.0.5:3001 /x%20y/z?q=1");
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"clusterIP": "10.96.3.3", "ports": [{"name": "http", "port": 80}]}});
    c.create(services, service).await;
    assert_eq!(c.get(&format!("{services}/s:http/proxy/")).await.text, "10.96.3.3:80 /");
    assert_eq!(c.get(&format!("{services}/s/proxy/a")).await.text, "10.96.3.3:80 /a");
    assert_eq!(c.get(&format!("{services}/s:none/proxy/")).await.status, 503);
}
