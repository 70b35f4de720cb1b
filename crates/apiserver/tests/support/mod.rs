//! A server in a temporary directory, as the binary runs it: in process, and behind TLS for real clients.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests; each binary uses its part"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use apiserver::{Options, Server, User};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const PREFIX: &str = "/clusters/dev";

pub fn options(dir: &Path) -> Options {
    Options {
        name: "dev".into(),
        dir: dir.to_owned(),
        authenticate: Arc::new(|token| match token {
            "admin-token" => {
                Some(User { name: "admin".into(), uid: "1".into(), groups: vec!["system:masters".into()] })
            }
            "bob-token" => Some(User { name: "bob".into(), uid: "2".into(), groups: vec![] }),
            _ => None,
        }),
        kubelets: None,
        service_cidr: "10.96.0.0/16".into(),
        external_url: "https://127.0.0.1:6443/clusters/dev".into(),
        ca_pem: Some("pem".into()),
        path_prefix: PREFIX.into(),
    }
}

pub fn admin() -> User {
    User { name: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] }
}

pub struct Cluster {
    pub server: Server,
    pub dir: TempDir,
}

pub async fn cluster() -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::open(options(dir.path())).await.unwrap();
    Cluster { server, dir }
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

impl Cluster {
    pub async fn send_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        use http_body_util::BodyExt as _;
        use tower::ServiceExt as _;
        let mut request =
            http::Request::builder().method(method).uri(path).header("authorization", "Bearer admin-token");
        for (name, value) in headers {
            if *name == "authorization" {
                request.headers_mut().unwrap().remove("authorization");
            }
            request = request.header(*name, *value);
        }
        let response =
            self.server.router().oneshot(request.body(axum::body::Body::from(body)).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    pub async fn send(&self, method: &str, path: &str, body: Value) -> Answer {
        let content = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let bytes = if body.is_null() { vec![] } else { body.to_string().into_bytes() };
        self.send_with(method, path, &[("content-type", content)], bytes).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Value::Null).await
    }

    /// Creates and expects 201.
    pub async fn create(&self, path: &str, body: Value) -> Value {
        let answer = self.send("POST", path, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()
    }

    pub async fn apply(&self, path: &str, manager: &str, force: bool, body: Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}&force={force}");
        self.send_with(
            "PATCH",
            &path,
            &[("content-type", "application/apply-patch+yaml")],
            body.to_string().into_bytes(),
        )
        .await
    }

    /// An open watch, whose events are read one by one.
    pub async fn watch(&self, path: &str) -> Watch {
        use tower::ServiceExt as _;
        let request = http::Request::builder().uri(path).header("authorization", "Bearer admin-token");
        let response =
            self.server.router().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        Watch { body: response.into_body(), buffer: String::new() }
    }
}

pub struct Watch {
    body: axum::body::Body,
    buffer: String,
}

impl Watch {
    /// The next event; none when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        use http_body_util::BodyExt as _;
        loop {
            if let Some(end) = self.buffer.find('\n') {
                let line: String = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_str(&line).unwrap());
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), self.body.frame())
                .await
                .expect("no event in 10 s")?;
            self.buffer.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
        }
    }

    /// Type, name and one more field of the next event.
    pub async fn brief(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch has ended");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

/// Serves a cluster behind TLS and gives a kubeconfig for it.
pub struct Listener {
    pub kubeconfig: PathBuf,
    pub address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn listen(cluster: &Cluster) -> Listener {
    let certified =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let key = tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = tokio_rustls::rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().nest(PREFIX, cluster.server.router());
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { return };
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = TowerToHyperService::new(router);
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    });
    let kubeconfig = cluster.dir.path().join("kubeconfig");
    let ca = cluster.dir.path().join("ca.pem");
    std::fs::write(&ca, certified.cert.pem()).unwrap();
    let user = |name: &str, token: &str| json!({"name": name, "user": {"token": token}});
    let context = |name: &str| json!({"name": name, "context": {"cluster": "dev", "user": name}});
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "admin",
        "clusters": [{"name": "dev", "cluster": {"server": format!("https://{address}{PREFIX}"), "certificate-authority": ca}}],
        "users": [user("admin", "admin-token"), user("bob", "bob-token"), user("bad", "wrong")],
        "contexts": [context("admin"), context("bob"), context("bad")],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    Listener { kubeconfig, address, task }
}

/// Runs kubectl; none when it is not installed.
pub async fn kubectl(listener: &Listener, arguments: &[&str], stdin: &str) -> (bool, String) {
    let mut command = Command::new("kubectl");
    command
        .arg("--kubeconfig")
        .arg(&listener.kubeconfig)
        .arg("--cache-dir")
        .arg(listener.kubeconfig.with_file_name("kubectl-cache"))
        .args(arguments)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let stdin = stdin.to_owned();
    let output = tokio::task::spawn_blocking(move || {
        use std::io::Write as _;
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

/// Whether kubectl is there; prints a notice if not.
pub fn has_kubectl() -> bool {
    let found = Command::new("kubectl").args(["version", "--client"]).output().is_ok();
    if !found {
        println!("skipped: kubectl is not installed");
    }
    found
}
