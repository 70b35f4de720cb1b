//! A gateway in front of real API servers. Pods are HTTP servers on loopback, reached by their cluster addresses through a
//! Unix socket that speaks `CONNECT`, as a node's does.

#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use apiserver::{Options, Server, User};
use bytes::Bytes;
use controller::Cluster;
use gateway::{ClusterRoute, Config, Dial, Gateway};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use object::{Key, kinds};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// For anything that is waited for.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct World {
    pub dir: TempDir,
    pub clusters: Vec<Cluster>,
    pub gateway: Gateway,
    pub stop: CancellationToken,
    pub http: reqwest::Client,
    network: Network,
    servers: Vec<Server>,
}

/// Where the addresses of pods really are.
type Network = Arc<Mutex<HashMap<SocketAddr, SocketAddr>>>;

impl World {
    pub async fn new(names: &[&str]) -> World {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let network = Network::default();
        let socket = dir.path().join("node.sock");
        tokio::spawn(node(UnixListener::bind(&socket).unwrap(), network.clone()));
        let (mut clusters, mut servers, mut routes) = (Vec::new(), Vec::new(), Vec::new());
        for name in names {
            let options = Options {
                name: name.to_string(),
                dir: dir.path().join(name),
                authenticate: Arc::new(|_| None),
                kubelets: None,
                service_cidr: "10.96.0.0/16".into(),
                external_url: "https://127.0.0.1:6443".into(),
                ca_pem: None,
                path_prefix: String::new(),
            };
            let server = Server::open(options).await.unwrap();
            let user =
                User { name: "gateway".into(), uid: String::new(), groups: vec!["system:masters".into()] };
            let cluster = Cluster::new(server.client(&user), "test");
            let dial = Dial::Node(socket.clone());
            routes.push(ClusterRoute { name: name.to_string(), cluster: cluster.clone(), dial });
            clusters.push(cluster);
            servers.push(server);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stop = CancellationToken::new();
        let gateway = Gateway::start(Config { listener, clusters: routes }, stop.clone()).unwrap();
        World { dir, clusters, gateway, stop, http: reqwest::Client::new(), network, servers }
    }

    /// Starts a pod that answers under `address` of every cluster.
    pub async fn pod(&self, address: &str) -> Pod {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let name = address.to_string();
        let ip = address.parse().unwrap();
        self.network.lock().unwrap().insert(SocketAddr::new(ip, 3000), here);
        let task = tokio::spawn(serve(listener, name.clone()));
        Pod { address: name, task }
    }

    pub async fn create(&self, cluster: usize, object: Value) {
        let api = object["apiVersion"].as_str().unwrap();
        let kind = self.clusters[cluster].resolve(api, object["kind"].as_str().unwrap()).await.unwrap();
        self.clusters[cluster].create(&kind, &object).await.unwrap();
    }

    /// A service `name` in `default` on port 80.
    pub async fn service(&self, cluster: usize, name: &str) {
        let ports = json!([{ "name": "http", "port": 80, "targetPort": 3000 }]);
        let spec = json!({ "selector": { "app": name }, "ports": ports });
        let metadata = json!({ "name": name, "namespace": "default" });
        self.create(
            cluster,
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec }),
        )
        .await;
        self.create(cluster, slice(name, &[])).await;
    }

    pub async fn ingress(&self, cluster: usize, name: &str, host: &str, service: &str) {
        let backend = json!({ "service": { "name": service, "port": { "name": "http" } } });
        let paths = json!([{ "path": "/", "pathType": "Prefix", "backend": backend }]);
        self.create(cluster, json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "ingressClassName": "portolan", "rules": [{ "host": host, "http": { "paths": paths } }] },
        }))
        .await;
    }

    /// Replaces the ready endpoints of a service.
    pub async fn endpoints(&self, cluster: usize, service: &str, addresses: &[&str]) {
        let key = Key::new("default", format!("{service}-1"));
        let patch = json!({ "endpoints": slice(service, addresses)["endpoints"] });
        let patch = controller::Patch::Merge(&patch);
        self.clusters[cluster].patch(&kinds::ENDPOINT_SLICE, &key, "", patch).await.unwrap();
    }

    pub fn request(&self, method: &str, host: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.gateway.address());
        self.http.request(method.parse().unwrap(), url).header("host", host)
    }

    /// Asks until the status is the expected one: the gateway learns of objects a moment after they are written.
    pub async fn until(&self, host: &str, status: u16) -> String {
        let asking = async {
            loop {
                let answer = self.request("GET", host, "/").send().await.unwrap();
                if answer.status().as_u16() == status {
                    return answer.text().await.unwrap();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asking)
            .await
            .unwrap_or_else(|_| panic!("{host} never answered {status}"))
    }
}

fn slice(service: &str, addresses: &[&str]) -> Value {
    let ready = json!({ "ready": true, "serving": true, "terminating": false });
    let endpoint = |address: &&str| json!({ "addresses": [address], "conditions": ready });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "name": format!("{service}-1"), "namespace": "default",
            "labels": { "kubernetes.io/service-name": service },
        },
        "ports": [{ "name": "http", "port": 3000, "protocol": "TCP" }],
        "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// A server that dies with everything it is doing when it is killed.
pub struct Pod {
    pub address: String,
    task: tokio::task::JoinHandle<()>,
}

impl Pod {
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

async fn serve(listener: TcpListener, name: String) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let name = name.clone();
        let service = service_fn(move |request| {
            let name = name.clone();
            async move { Ok::<_, Infallible>(answer(&name, request).await) }
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.with_upgrades().await) });
    }
}

async fn answer(name: &str, mut request: Request<Incoming>) -> Response<BoxBody<Bytes, hyper::Error>> {
    let text = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    match request.uri().path() {
        "/echo" => Response::new(request.into_body().boxed()),
        "/headers" => {
            let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
                format!("{name}: {}\n", value.to_str().unwrap())
            };
            Response::new(text(request.headers().iter().map(header).collect()))
        }
        "/socket" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgraded.await.unwrap());
                let mut buffer = [0; 100];
                while let Ok(n) = stream.read(&mut buffer).await {
                    if n == 0 || stream.write_all(&buffer[..n].to_ascii_uppercase()).await.is_err() {
                        break;
                    }
                }
            });
            let mut response = Response::new(text(String::new()));
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "shout".parse().unwrap());
            response
        }
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Response::new(text(name.to_string()))
        }
        _ => Response::new(text(name.to_string())),
    }
}

/// `CONNECT address:port` on a Unix socket.
async fn node(listener: UnixListener, network: Network) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let network = network.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().parse().unwrap();
            let here = network.lock().unwrap().get(&target).copied();
            let connected = match here {
                Some(here) => TcpStream::connect(here).await.ok(),
                None => None,
            };
            match connected {
                Some(mut pod) => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut pod).await;
                }
                None => {
                    drop(stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n").await)
                }
            }
        });
    }
}
