//! Pods from objects to processes and back: a real API server, a real node, real programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking and says why it was skipped"
)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use controller::{Cluster, Propagation};
use futures::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use object::{Key, kinds};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// How long anything in these tests may take before it counts as failed.
const LIMIT: Duration = Duration::from_secs(60);

fn ready() -> bool {
    let node = Command::new("node").arg("--version").output().is_ok();
    if !node {
        println!("skipped: node is not installed");
    }
    let abilities = sandbox::Abilities::detect();
    if !abilities.privileged {
        println!("skipped: not root: {}", abilities.missing.join(" "));
    }
    node && abilities.privileged
}

const TOKEN: &str = "admin-token";
const SOCKET: &str = "kubelet.sock";

fn admin() -> apiserver::User {
    apiserver::User { name: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] }
}

struct Platform {
    cluster: Cluster,
    server: apiserver::Server,
    dir: tempfile::TempDir,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<Result<(), node::NodeError>>>,
}

impl Platform {
    async fn start() -> Platform {
        let dir = tempfile::tempdir().unwrap();
        let server = apiserver::Server::open(apiserver::Options {
            name: "test".into(),
            dir: dir.path().join("api"),
            authenticate: Arc::new(|token| (token == TOKEN).then(admin)),
            kubelets: Some(dir.path().join(SOCKET)),
            service_cidr: "10.96.0.0/16".into(),
            external_url: "https://127.0.0.1:6443/clusters/test".into(),
            ca_pem: None,
            path_prefix: String::new(),
        })
        .await
        .unwrap();
        let cluster = Cluster::new(server.client(&admin()), "test");
        let mut platform = Platform { cluster, server, dir, stop: CancellationToken::new(), running: None };
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}});
        let _ = platform.cluster.create(&kinds::SERVICE_ACCOUNT, &account).await;
        let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "namespace": "default"}, "data": {"ca.crt": "x"}});
        let _ = platform.cluster.create(&kinds::CONFIG_MAP, &ca).await;
        platform.start_node();
        platform
    }

    fn start_node(&mut self) {
        self.stop = CancellationToken::new();
        let kubelet = apiserver::User {
            name: "system:node:one".into(),
            uid: String::new(),
            groups: vec!["system:masters".into(), "system:nodes".into()],
        };
        let config = node::Config {
            cluster_name: format!(
                "test-{}-{}",
                std::process::id(),
                self.dir.path().file_name().unwrap().to_str().unwrap()
            ),
            node_name: "one".into(),
            client: self.server.client(&kubelet),
            data_dir: self.dir.path().join("node"),
            socket: self.socket_path(),
            images: registry::pull::Config {
                dir: self.dir.path().join("images"),
                offline: true,
                ..Default::default()
            },
            registry_host: "localhost:7007".into(),
            registry_auth: registry::client::Auth::None,
            launcher: sandbox::Launcher {
                program: PathBuf::from(env!("CARGO_BIN_EXE_node-init")),
                args: vec![],
            },
        };
        self.running = Some(tokio::spawn(node::run(config, self.stop.clone())));
    }

    async fn stop_node(&mut self) {
        self.stop.cancel();
        let running = self.running.take().unwrap();
        tokio::time::timeout(Duration::from_secs(10), running)
            .await
            .expect("the node stops")
            .unwrap()
            .unwrap();
    }

    fn socket_path(&self) -> PathBuf {
        self.dir.path().join(SOCKET)
    }

    async fn pod(&self, name: &str, spec: Value) {
        let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec});
        object["spec"]["nodeName"] = "one".into();
        self.cluster.create(&kinds::POD, &object).await.unwrap();
    }

    /// Waits until the pod is as wanted; shows what it was when it did not come.
    async fn wait(&self, name: &str, what: &str, done: impl Fn(Option<&Value>) -> bool) -> Value {
        let cache = self.cluster.watch(&kinds::POD);
        let key = Key::new("default", name);
        match tokio::time::timeout(LIMIT, cache.wait_for(&key, done)).await {
            Ok(found) => found.map(|object| object.as_ref().clone()).unwrap_or_default(),
            Err(_) => {
                let events = self.cluster.list(&kinds::EVENT, "default", "").await.unwrap();
                let events: Vec<String> =
                    events.items.iter().map(|one| format!("{} {}", one["reason"], one["message"])).collect();
                let status = cache.get(&key).map(|pod| pod["status"].clone());
                panic!("{name} did not become {what}: {status:?}\n{}", events.join("\n"));
            }
        }
    }

    async fn wait_ready(&self, name: &str) -> Value {
        self.wait(name, "ready", |pod| pod.is_some_and(|pod| object::meta::condition_is_true(pod, "Ready")))
            .await
    }

    /// A GET to the kubelet's API.
    async fn get(&self, path: &str) -> (u16, String) {
        let stream = UnixStream::connect(self.socket_path()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request =
            http::Request::get(path).header("host", "node").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// A request to an address of the pod network through `CONNECT`; the whole answer.
    async fn fetch(&self, address: &str, path: &str) -> String {
        let mut stream = UnixStream::connect(self.socket_path()).await.unwrap();
        stream
            .write_all(format!("CONNECT {address} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// A WebSocket with the node.
    async fn socket(&self, path: &str, protocol: &str) -> WebSocketStream<UnixStream> {
        let stream = UnixStream::connect(self.socket_path()).await.unwrap();
        let request = http::Request::get(format!("ws://node{path}"))
            .header("host", "node")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", protocol)
            .body(())
            .unwrap();
        let (socket, answer) = tokio_tungstenite::client_async(request, stream).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], protocol);
        socket
    }

    /// Runs a command in a container over the exec WebSocket: output and final status.
    async fn exec(&self, path: &str, input: &str) -> (String, Value) {
        let mut socket = self.socket(path, "v5.channel.k8s.io").await;
        if !input.is_empty() {
            socket.send(Message::binary([b"\0", input.as_bytes()].concat())).await.unwrap();
            socket.send(Message::binary(vec![255, 0])).await.unwrap();
        }
        hear(&mut socket).await
    }

    async fn events(&self, name: &str) -> Vec<String> {
        let events = self.cluster.list(&kinds::EVENT, "default", "").await.unwrap();
        let of = |one: &&Value| one["involvedObject"]["name"] == name;
        events
            .items
            .iter()
            .filter(of)
            .map(|one| one["reason"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

/// What comes over channels until the end: output, and the final status.
async fn hear(socket: &mut WebSocketStream<UnixStream>) -> (String, Value) {
    let (mut out, mut status) = (String::new(), Value::Null);
    while let Some(Ok(message)) = tokio::time::timeout(LIMIT, socket.next()).await.expect("an end") {
        if let Message::Binary(data) = message {
            match data[0] {
                3 => status = serde_json::from_slice(&data[1..]).unwrap(),
                _ => out.push_str(&String::from_utf8_lossy(&data[1..])),
            }
        }
    }
    (out, status)
}

fn server_pod() -> Value {
    let script = "const fs = require('fs'); console.log('starting ' + process.env.GREETING); \
        require('http').createServer((q, r) => r.end([process.env.GREETING, process.env.MY_IP, fs.readFileSync('/config/text'), \
        fs.readFileSync('/shared/init')].join(' '))).listen(8080)";
    json!({
        "initContainers": [{"name": "first", "image": "busybox:1.36", "command": ["sh", "-c", "echo from-init > /shared/init"],
            "volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}],
        "containers": [{
            "name": "web", "image": "node:20-slim", "args": ["node", "-e", script],
            "ports": [{"name": "http", "containerPort": 8080}],
            "env": [
                {"name": "GREETING", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "greeting"}}},
                {"name": "MY_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            ],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
            "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            "lifecycle": {"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /shared/stopped"]}}},
            "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "shared", "mountPath": "/shared"}],
        }],
        "volumes": [{"name": "config", "configMap": {"name": "settings"}}, {"name": "shared", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 5,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_lives_is_reached_and_ends() {
    if !ready() {
        return;
    }
    let platform = Platform::start().await;
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "default"},
        "data": {"greeting": "hello", "text": "configured"}});
    platform.cluster.create(&kinds::CONFIG_MAP, &settings).await.unwrap();
    platform.pod("web", server_pod()).await;
    let pod = platform.wait_ready("web").await;
    let ip = pod["status"]["podIP"].as_str().unwrap().to_owned();
    assert_eq!(
        (pod["status"]["phase"].as_str(), pod["status"]["qosClass"].as_str()),
        (Some("Running"), Some("BestEffort"))
    );
    assert_eq!(pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");

    let answer = platform.fetch(&format!("{ip}:8080"), "/").await;
    assert!(answer.ends_with(&format!("hello {ip} configured from-init\n")), "{answer}");
    let (code, text) = platform.get("/containerLogs/default/web/web?tailLines=1").await;
    assert_eq!((code, text.as_str()), (200, "starting hello\n"));
    let (code, text) = platform.get("/containerLogs/default/web/web?previous=true").await;
    assert_eq!(
        (code, text.as_str()),
        (400, "previous terminated container \"web\" in pod \"web\" not found\n")
    );
    let (out, status) = platform
        .exec(
            "/exec/default/web/web?command=sh&command=-c&command=cat;hostname;exit+3&stdin=true&stdout=true",
            "typed\n",
        )
        .await;
    assert_eq!(out, "typed\nweb\n");
    assert_eq!(status["details"]["causes"][0]["message"], "3", "{status}");
    let (out, status) = platform.exec("/exec/default/web/web?command=tty&stdin=true&tty=true", "").await;
    assert!(out.contains("/dev") || out.contains("not a tty"), "{out}");
    assert!(status["status"].is_string());

    let events = platform.events("web").await;
    for reason in ["Pulling", "Pulled", "Created", "Started", "HostImage"] {
        assert!(events.iter().any(|one| one == reason), "{reason} is not in {events:?}");
    }
    platform
        .cluster
        .delete(&kinds::POD, &Key::new("default", "web"), None, Propagation::Background)
        .await
        .unwrap();
    platform.wait("web", "gone", |pod| pod.is_none()).await;
    let mut platform = platform;
    platform.stop_node().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_names_and_addresses() {
    if !ready() {
        return;
    }
    let mut platform = Platform::start().await;
    let script = "require('http').createServer((q, r) => r.end(require('os').hostname())).listen(8080)";
    let server = json!({"containers": [{"name": "a", "image": "node:20", "command": ["node", "-e", script],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}], "terminationGracePeriodSeconds": 0});
    platform.pod("one", server.clone()).await;
    platform.pod("two", server).await;
    let mut endpoints = Vec::new();
    for name in ["one", "two"] {
        let pod = platform.wait_ready(name).await;
        endpoints.push(json!({"addresses": [pod["status"]["podIP"]], "conditions": {"ready": true}}));
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.77", "ports": [{"port": 80, "targetPort": 8080}]}});
    platform.cluster.create(&kinds::SERVICE, &service).await.unwrap();
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}], "endpoints": endpoints});
    platform.cluster.create(&kinds::ENDPOINT_SLICE, &slice).await.unwrap();
    let client = "const ask = async () => { const seen = new Set(); for (let i = 0; i < 200 && seen.size < 2; i++) { \
        try { seen.add(await (await fetch('http://web', {headers: {connection: 'close'}})).text()) } catch (e) { await new Promise(r => setTimeout(r, 50)) } } \
        console.log([...seen].sort().join(' ')); process.exit(seen.size == 2 ? 0 : 1) }; ask()";
    platform
        .pod("client", json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "node:20", "command": ["node", "-e", client]}]}))
        .await;
    let pod = platform
        .wait("client", "over", |pod| {
            pod.is_some_and(|pod| ["Succeeded", "Failed"].iter().any(|one| pod["status"]["phase"] == *one))
        })
        .await;
    let (_, log) = platform.get("/containerLogs/default/client/c").await;
    assert_eq!(pod["status"]["phase"], "Succeeded", "{log}");
    assert_eq!(log, "one two\n");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    platform.stop_node().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_and_restarted() {
    if !ready() {
        return;
    }
    let mut platform = Platform::start().await;
    let one = |container: Value| {
        let mut container = container;
        container["name"] = "c".into();
        container["image"] = "busybox".into();
        container["imagePullPolicy"] = "IfNotPresent".into();
        json!({"containers": [container], "terminationGracePeriodSeconds": 0})
    };
    platform.pod("crash", one(json!({"command": ["sh", "-c", "echo dying; exit 7"], "terminationMessagePolicy": "FallbackToLogsOnError"}))).await;
    platform.pod("no-secret", one(json!({"command": ["true"], "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}))).await;
    platform.pod("no-program", one(json!({"command": ["no-such-program"]}))).await;
    platform.pod("unhealthy", one(json!({"command": ["sleep", "60"], "livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}}))).await;
    platform.pod("no-image", json!({"containers": [{"name": "c", "image": "example.invalid/x/y:1"}]})).await;
    platform.pod("eater", one(json!({"command": ["sh", "-c", "head -c 200m /dev/zero | tail"], "resources": {"limits": {"memory": "32Mi"}}}))).await;

    let waiting = |pod: Option<&Value>, reason: &str| {
        pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason)
    };
    let pod = platform.wait("crash", "backing off", |pod| waiting(pod, "CrashLoopBackOff")).await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 7);
    assert_eq!(status["lastState"]["terminated"]["message"], "dying\n");
    let message = status["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("back-off 10s restarting failed container=c pod=crash_default("),
        "{message}"
    );
    let (_, log) = platform.get("/containerLogs/default/crash/c?previous=true").await;
    assert_eq!(log, "dying\n");

    let pod = platform.wait("no-secret", "refused", |pod| waiting(pod, "CreateContainerConfigError")).await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"],
        "secret \"s\" not found"
    );
    let pod = platform.wait("no-program", "backing off", |pod| waiting(pod, "CrashLoopBackOff")).await;
    let last = &pod["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!((last["exitCode"].as_i64(), last["reason"].as_str()), (Some(128), Some("StartError")));
    assert!(last["message"].as_str().unwrap().contains("executable file not found in $PATH"), "{last}");
    platform
        .wait("unhealthy", "restarted", |pod| {
            pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0))
        })
        .await;
    platform.wait("no-image", "backing off", |pod| waiting(pod, "ImagePullBackOff")).await;
    if sandbox::Abilities::detect().limits {
        let pod = platform
            .wait("eater", "killed", |pod| {
                pod.is_some_and(|pod| {
                    pod["status"]["containerStatuses"][0]["lastState"]["terminated"].is_object()
                })
            })
            .await;
        assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"], "OOMKilled");
    }
    let events = platform.events("unhealthy").await;
    assert!(
        events.iter().any(|one| one == "Unhealthy") && events.iter().any(|one| one == "Killing"),
        "{events:?}"
    );
    platform.stop_node().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_and_their_volumes_outlive_the_node() {
    if !ready() {
        return;
    }
    let mut platform = Platform::start().await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    platform.cluster.create(&kinds::PERSISTENT_VOLUME_CLAIM, &claim).await.unwrap();
    platform
        .pod("keeper", json!({
            "containers": [{"name": "c", "image": "busybox", "imagePullPolicy": "IfNotPresent",
                "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
                "command": ["sh", "-c", "trap 'exit 0' TERM; echo run >> /data/runs; cat /data/runs | wc -l; sleep 600 & wait"],
                "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        }))
        .await;
    let once = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox", "command": ["echo", "done"]}]});
    platform.pod("once", once).await;
    let succeeded = |pod: Option<&Value>| pod.is_some_and(|pod| pod["status"]["phase"] == "Succeeded");
    platform.wait("once", "over", succeeded).await;
    let before = platform.wait_ready("keeper").await;
    platform.stop_node().await;
    platform.start_node();
    let after = platform
        .wait("keeper", "restarted", |pod| {
            pod.is_some_and(|pod| {
                let status = &pod["status"]["containerStatuses"][0];
                status["restartCount"] == 1 && status["state"]["running"].is_object()
            })
        })
        .await;
    assert_eq!(after["status"]["podIP"], before["status"]["podIP"]);
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    let (_, log) = platform.get("/containerLogs/default/keeper/c?follow=true&limitBytes=2").await;
    assert_eq!(log, "2\n");
    let once = platform.wait("once", "over", succeeded).await;
    assert_eq!(once["status"]["containerStatuses"][0]["restartCount"], 0);
    // The API knows that it is over before the new node has taken it up.
    let log = async {
        loop {
            if let (200, log) = platform.get("/containerLogs/default/once/c").await {
                return log;
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(20), log).await.unwrap(), "done\n");
    // A finalizer holds the object after the pod is over: it must not be started again.
    let key = Key::new("default", "keeper");
    let held = json!({"metadata": {"finalizers": ["test.example/hold"]}});
    platform.cluster.patch(&kinds::POD, &key, "", controller::Patch::Merge(&held)).await.unwrap();
    platform.cluster.delete(&kinds::POD, &key, None, Propagation::Background).await.unwrap();
    let ended = |pod: Option<&Value>| {
        pod.is_some_and(|pod| pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object())
    };
    platform.wait("keeper", "ended", ended).await;
    let free = json!({"metadata": {"finalizers": null}});
    platform.cluster.patch(&kinds::POD, &key, "", controller::Patch::Merge(&free)).await.unwrap();
    platform.wait("keeper", "gone", |pod| pod.is_none()).await;
    platform.stop_node().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_runs_on_the_machine_s_programs() {
    if !ready() {
        return;
    }
    if Command::new("postgres").arg("--version").output().is_err() {
        println!("skipped: postgres is not installed");
        return;
    }
    let mut platform = Platform::start().await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "pg-1", "namespace": "default"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    platform.cluster.create(&kinds::PERSISTENT_VOLUME_CLAIM, &claim).await.unwrap();
    let mounts = json!([{"name": "data", "mountPath": "/var/lib/postgresql/data"}, {"name": "run", "mountPath": "/controller/run"}]);
    let image = "ghcr.io/cloudnative-pg/postgresql:16.4";
    platform
        .pod("pg-1", json!({
            "securityContext": {"runAsUser": 26, "runAsGroup": 26, "fsGroup": 26, "runAsNonRoot": true},
            "initContainers": [{"name": "initdb", "image": image, "volumeMounts": mounts,
                "command": ["sh", "-c", "initdb -D /var/lib/postgresql/data/pgdata -A trust -U postgres >/dev/null && echo \"host all all all trust\" >> /var/lib/postgresql/data/pgdata/pg_hba.conf"]}],
            "containers": [{"name": "postgres", "image": image, "volumeMounts": mounts,
                "command": ["postgres", "-D", "/var/lib/postgresql/data/pgdata", "-c", "listen_addresses=*", "-c", "unix_socket_directories=/controller/run"],
                "readinessProbe": {"exec": {"command": ["pg_isready", "-h", "/controller/run"]}, "periodSeconds": 1, "timeoutSeconds": 5}}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "pg-1"}}, {"name": "run", "emptyDir": {}}],
        }))
        .await;
    let pod = platform.wait_ready("pg-1").await;
    let ip = pod["status"]["podIP"].as_str().unwrap();
    platform
        .pod(
            "client",
            json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": image,
            "command": ["psql", "-h", ip, "-U", "postgres", "-Atc", "select 6 * 7"]}]}),
        )
        .await;
    platform
        .wait("client", "over", |pod| {
            pod.is_some_and(|pod| ["Succeeded", "Failed"].iter().any(|one| pod["status"]["phase"] == *one))
        })
        .await;
    let (_, log) = platform.get("/containerLogs/default/client/c").await;
    assert_eq!(log, "42\n");
    platform.stop_node().await;
}

/// A pod whose server listens for the pod alone.
fn private_pod() -> Value {
    let script =
        "require('http').createServer((q, r) => r.end('private ' + q.url)).listen(8080, '127.0.0.1')";
    json!({
        "containers": [{"name": "web", "image": "node:20-slim", "args": ["node", "-e", script],
            "readinessProbe": {"exec": {"command": ["node", "-e", "require('net').connect(8080, '127.0.0.1').on('error', () => process.exit(1)).on('connect', () => process.exit(0))"]}, "periodSeconds": 1}}],
        "terminationGracePeriodSeconds": 0,
    })
}

/// One GET on a connection of its own, through `connection`.
async fn get_through(
    mut connection: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    path: &str,
) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}

/// `kubectl port-forward`, over both of its transports: WebSockets, and SPDY as older ones have it.
#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded() {
    if !ready() {
        return;
    }
    let platform = Platform::start().await;
    platform.pod("web", private_pod()).await;
    platform.wait_ready("web").await;
    platform.forward_over_channels().await;
    let (code, text) = platform.get("/portForward/default/web").await;
    assert_eq!(code, 400);
    assert!(text.contains("\"ports\" is required"), "{text}");
    let Some(server) = platform.for_kubectl().await else { return };
    for websockets in ["true", "false"] {
        let mut kubectl = kubectl(&server, &["port-forward", "pod/web", ":8080", ":9"])
            .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
        let mut ports = vec![];
        while ports.len() < 2 {
            let line = tokio::time::timeout(LIMIT, lines.next_line()).await.unwrap().unwrap();
            let Some(line) = line else { panic!("{:?}", kubectl.wait_with_output().await) };
            if let Some(rest) = line.strip_prefix("Forwarding from 127.0.0.1:") {
                ports.push(rest.split(' ').next().unwrap().parse::<u16>().unwrap());
            }
        }
        let connect = |index: usize| TcpStream::connect(("127.0.0.1", ports[index]));
        let get = async |path: &str| get_through(connect(0).await.unwrap(), path).await;
        let (one, two) = tokio::join!(get("/one"), get("/two"));
        assert!(one.ends_with("private /one") && two.ends_with("private /two"), "{websockets}: {one} {two}");
        let refused = get_through(connect(1).await.unwrap(), "/").await;
        assert_eq!(refused, "");
        let mut errors = BufReader::new(kubectl.stderr.take().unwrap()).lines();
        let error =
            tokio::time::timeout(LIMIT, errors.next_line()).await.unwrap().unwrap().unwrap_or_default();
        assert!(
            error.contains("error forwarding port 9 to pod web") && error.contains("Connection refused"),
            "{error}"
        );
    }
}

/// `kubectl exec`, over WebSockets and over SPDY as 1.29 and older have it: both inputs and outputs, the exit code.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_commands() {
    if !ready() {
        return;
    }
    let platform = Platform::start().await;
    let Some(server) = platform.for_kubectl().await else { return };
    platform.pod("box", json!({"containers": [{"name": "box", "image": "busybox:1.36", "command": ["sleep", "600"]}], "terminationGracePeriodSeconds": 0})).await;
    platform.wait_ready("box").await;
    for websockets in ["true", "false"] {
        let script = "cat; echo more >&2; head -c 300000 /dev/zero | tr '\\0' x; exit 3";
        let mut kubectl = kubectl(&server, &["exec", "-i", "box", "--", "sh", "-c", script])
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = kubectl.stdin.take().unwrap();
        input.write_all(b"typed\n").await.unwrap();
        drop(input);
        let output = tokio::time::timeout(LIMIT, kubectl.wait_with_output()).await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{errors}");
        assert!(errors.starts_with("more\n"), "{errors}");
        assert_eq!(output.stdout, ["typed\n", &"x".repeat(300_000)].concat().as_bytes());
    }
}

/// `kubectl attach` over both transports, and a terminal: what a container hears, once or again, and what it says.
#[tokio::test(flavor = "multi_thread")]
async fn containers_are_attached_to() {
    if !ready() {
        return;
    }
    let platform = Platform::start().await;
    let pod = |script: &str, more: Value| {
        let mut container =
            json!({"name": "box", "image": "busybox:1.36", "stdin": true, "command": ["sh", "-c", script]});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0})
    };
    let echo = "while read -r line; do echo got $line; done; echo bye; exit 5";
    platform.pod("again", pod(echo, json!({}))).await;
    platform.pod("once", pod(echo, json!({"stdinOnce": true}))).await;
    platform
        .pod("terminal", pod("read -r line; test -t 0 && echo $line and $(stty size)", json!({"tty": true})))
        .await;
    for name in ["again", "once", "terminal"] {
        platform.wait_ready(name).await;
    }
    let mut socket = platform
        .socket("/attach/default/terminal/box?stdin=true&stdout=true&tty=true", "v5.channel.k8s.io")
        .await;
    socket.send(Message::binary(&b"\x04{\"Width\":81,\"Height\":25}"[..])).await.unwrap();
    socket.send(Message::binary(&b"\0typed\r"[..])).await.unwrap();
    let (out, status) = hear(&mut socket).await;
    assert!(out.contains("typed and 25 81\r\n") && status["status"] == "Success", "{out:?} {status}");

    let Some(server) = platform.for_kubectl().await else { return };
    for (name, websockets, end) in [("again", "true", ""), ("again", "false", ""), ("once", "false", "bye\n")]
    {
        let mut kubectl = kubectl(&server, &["attach", "-i", name])
            .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = kubectl.stdin.take().unwrap();
        let mut lines = BufReader::new(kubectl.stdout.take().unwrap());
        input.write_all(b"one\n").await.unwrap();
        let mut line = String::new();
        tokio::time::timeout(LIMIT, lines.read_line(&mut line)).await.unwrap().unwrap();
        assert_eq!(line, "got one\n", "{name} {websockets}");
        drop(input);
        if !end.is_empty() {
            line.clear();
            tokio::time::timeout(LIMIT, lines.read_to_string(&mut line)).await.unwrap().unwrap();
            assert_eq!(line, end);
        }
    }
    let ended =
        platform.wait("once", "ended", |pod| pod.is_some_and(|pod| pod["status"]["phase"] == "Failed")).await;
    assert_eq!(ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"], 5);
    let (_, log) = platform.get("/containerLogs/default/again/box").await;
    assert_eq!(log, "got one\ngot one\n");
}

fn kubectl(server: &str, arguments: &[&str]) -> tokio::process::Command {
    let mut kubectl = tokio::process::Command::new("kubectl");
    kubectl.arg(server).args(arguments).env("KUBECONFIG", "/dev/null").kill_on_drop(true);
    kubectl
}

impl Platform {
    /// Serves the API for kubectl until the test ends; none where kubectl is not installed.
    async fn for_kubectl(&self) -> Option<String> {
        if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
            println!("skipped: kubectl is not installed");
            return None;
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("--server=http://{}", listener.local_addr().unwrap());
        // kubectl sends no token without TLS.
        let sign_in = |mut request: axum::extract::Request| async {
            let token = format!("Bearer {TOKEN}").parse().unwrap();
            request.headers_mut().insert("authorization", token);
            request
        };
        let router = self.server.router().layer(axum::middleware::map_request(sign_in));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Some(server)
    }

    /// As kube-rs does it: a WebSocket with two channels for each port.
    async fn forward_over_channels(&self) {
        let mut socket = self.socket("/portForward/default/web?ports=8080,9", "v4.channel.k8s.io").await;
        let mut seen = [const { vec![] }; 4];
        let request = b"GET /three HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        socket.send(Message::binary([&b"\0"[..], request].concat())).await.unwrap();
        let is_done = |seen: &[Vec<u8>; 4]| seen[0].ends_with(b"private /three") && seen[3].len() > 2;
        while !is_done(&seen) {
            let message = tokio::time::timeout(LIMIT, socket.next()).await.unwrap().unwrap().unwrap();
            if let Message::Binary(data) = message {
                seen[usize::from(data[0])].extend_from_slice(&data[1..]);
            }
        }
        let begins = seen.each_ref().map(|data| u16::from_le_bytes([data[0], data[1]]));
        assert_eq!(begins, [8080, 8080, 9, 9]);
        assert!(String::from_utf8_lossy(&seen[3]).contains("error forwarding port 9 to pod web"));
    }
}
