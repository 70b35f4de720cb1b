//! A real platform for tests: the built binary as a child process on a directory and ports of its own, reached only
//! as anybody would reach it. What a test started ends with the test.

#![allow(dead_code, unreachable_pub, reason = "a module of several tests, each of which uses its own part")]

pub mod processes;
pub mod web;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use controller::Cluster;
use reqwest::Method;
use serde_json::Value;
use tempfile::TempDir;

/// Start-up on a busy machine with two cores, in a debug build.
pub const START: Duration = Duration::from_secs(60);
/// A reconcile, a pod, a page.
pub const SOON: Duration = Duration::from_secs(60);
/// The promise of a stop, and no more than that.
pub const STOP: Duration = Duration::from_secs(10);

/// The binary under test.
pub fn portolan() -> Command {
    Command::new(env!("CARGO_BIN_EXE_portolan"))
}

/// Asks again and again until `look` finds something, at most for `limit`.
pub async fn eventually<T, Looked>(what: &str, limit: Duration, mut look: impl FnMut() -> Looked) -> T
where
    Looked: Future<Output = Option<T>>,
{
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {} s: {what}", limit.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A running platform. Dropping it kills it and, as its nodes live in namespaces of their own, everything it started.
pub struct Platform {
    pub data: PathBuf,
    pub http: reqwest::Client,
    /// What the platform says of itself: `portal`, `registry`, `gateway`, `clusters`.
    pub endpoints: Value,
    child: Child,
    /// Kept until the child is gone.
    _folder: Option<TempDir>,
}

impl Platform {
    /// A platform on an empty directory, portal reachable.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("portolan-test-").tempdir().unwrap();
        let mut platform = Self::start_on(folder.path(), &[]).await;
        platform._folder = Some(folder);
        platform
    }

    /// A platform on a directory that outlives it.
    pub async fn start_on(data: &Path, more: &[&str]) -> Self {
        let mut command = up(data);
        command.args(more);
        Self::start_with(data, command).await
    }

    /// A platform from a command like [`up`]'s, on that directory.
    pub async fn start_with(data: &Path, mut command: Command) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let endpoints = data.join("endpoints.json");
        // What the last start wrote must not be taken for this one's.
        let _ = std::fs::remove_file(&endpoints);
        std::fs::create_dir_all(data).unwrap();
        let child = command.stdout(log(data, "up.out")).stderr(log(data, "up.err")).spawn().unwrap();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let mut platform = Self { data: data.to_owned(), http, endpoints: Value::Null, child, _folder: None };
        platform.endpoints = platform.wait_for_endpoints(&endpoints).await;
        platform
    }

    async fn wait_for_endpoints(&mut self, file: &Path) -> Value {
        let begun = Instant::now();
        loop {
            if let Some(found) =
                std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok())
            {
                let url = format!("{}/healthz", text(&found["portal"]));
                if self.http.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                    return found;
                }
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the platform ended with {ended:?}: {}", self.said());
            assert!(
                begun.elapsed() < START,
                "the portal was not reachable within {} s: {}",
                START.as_secs(),
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the platform says that it is ready.
    pub async fn ready(&self) {
        let out = self.data.join("up.out");
        let said = async || {
            std::fs::read_to_string(&out)
                .ok()
                .filter(|t| t.lines().any(|l| l.starts_with("ready")))
                .map(|_| ())
        };
        eventually("the platform is ready", START, said).await;
    }

    /// Everything the process printed, for messages of failing tests.
    pub fn said(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.data.join(name)).unwrap_or_default();
        format!("{}{}", read("up.out"), read("up.err"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn portal(&self) -> String {
        text(&self.endpoints["portal"])
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.portal())
    }

    /// The port of one of the listeners, for example `gateway`.
    pub fn port(&self, endpoint: &str) -> u16 {
        let url = text(&self.endpoints[endpoint]);
        url.rsplit(':').next().and_then(|p| p.trim_end_matches('/').parse().ok()).unwrap()
    }

    /// A person's token, from `portolan token`.
    pub fn token(&self, person: &str) -> String {
        let output = portolan().args(["token", person, "--data"]).arg(&self.data).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A JSON request with a token: status and answer.
    pub async fn ask(&self, token: &str, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Makes a repository of the organisation, through the REST API.
    pub async fn make_repository(&self, token: &str, name: &str, topics: &[&str]) {
        let body = serde_json::json!({"name": name, "private": false});
        let (status, answer) =
            self.ask(token, Method::POST, "/api/v3/orgs/platform/repos", Some(&body)).await;
        assert_eq!(status, 201, "{answer}");
        let path = format!("/api/v3/repos/platform/{name}/topics");
        let (status, answer) =
            self.ask(token, Method::PUT, &path, Some(&serde_json::json!({"names": topics}))).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// kubectl in one environment; none, with a notice, where it is not installed.
    pub fn kubectl(&self, context: &str) -> Option<Command> {
        if Command::new("kubectl").arg("version").arg("--client").output().is_err() {
            println!("skipped: kubectl is not installed");
            return None;
        }
        let mut command = Command::new("kubectl");
        command.arg("--context").arg(context).env("KUBECONFIG", self.data.join("kubeconfig"));
        // Discovery is cached by host and port, which another platform may have had.
        command.arg("--cache-dir").arg(self.data.join("kubectl-cache"));
        Some(command)
    }

    /// One environment through its listener, as the owner of the directory.
    pub async fn cluster(&self, context: &str) -> Cluster {
        let kubeconfig = kube::config::Kubeconfig::read_from(self.data.join("kubeconfig")).unwrap();
        let options =
            kube::config::KubeConfigOptions { context: Some(context.to_owned()), ..Default::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
        Cluster::new(kube::Client::try_from(config).unwrap(), "test")
    }

    /// A page through the gateway: status and text; none while nothing answers.
    pub async fn through_gateway(&self, host: &str, path: &str) -> Option<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.port("gateway"));
        let answer = self.http.get(url).header("host", host).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.text().await.ok()?))
    }

    /// SIGTERM, and how the process ended; a failure when it takes longer than promised.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        let begun = Instant::now();
        loop {
            if let Some(ended) = self.child.try_wait().unwrap() {
                return ended;
            }
            assert!(
                begun.elapsed() < STOP,
                "still running {} s after SIGTERM: {}",
                STOP.as_secs(),
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `kill -9`, and the process is gone when this returns.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A child that does not outlive its test.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `portolan up` on a directory, with free ports.
pub fn up(data: &Path) -> Command {
    let mut command = portolan();
    command.arg("up").arg("--data").arg(data).arg("--offline").stdin(Stdio::null());
    for listener in ["--listen", "--gateway", "--kubernetes"] {
        command.args([listener, "127.0.0.1:0"]);
    }
    command
}

/// The git program in a folder, with a token where no process list shows it.
pub fn remote_git(token: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder);
    for (name, value) in [
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "http.extraHeader"),
        ("GIT_AUTHOR_NAME", "Test"),
        ("GIT_AUTHOR_EMAIL", "test@portolan.example"),
        ("GIT_COMMITTER_NAME", "Test"),
        ("GIT_COMMITTER_EMAIL", "test@portolan.example"),
    ] {
        command.env(name, value);
    }
    command.env("GIT_CONFIG_VALUE_0", format!("Authorization: Bearer {token}"));
    command
}

/// A fresh file beside the data for what the process prints.
fn log(data: &Path, name: &str) -> std::fs::File {
    std::fs::File::create(data.join(name)).unwrap()
}

/// A JSON string's text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Runs a command that has to succeed; what it printed.
pub fn succeed(mut command: Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command that has to fail; what it printed to standard error.
pub fn fail(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{command:?} succeeded: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}
