//! The parts of the platform that a workflow meets: git host and registry on one port, an API server in process.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use controller::Cluster;
use git::host::Sender;
use git::host::metadata::Metadata;
use git::{Change, Host, NewCommit, Signature};
use pipelines::{Builder, Config, Runner};
use registry::pull::{Images, Mirror};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// A workflow that does not end in this time hangs.
const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) host: Host,
    pub(crate) address: String,
    pub(crate) keyring: identity::Keyring,
    pub(crate) cluster: Cluster,
    pub(crate) client: reqwest::Client,
    /// Where the runner's own routes are served, once it was started.
    pub(crate) portal: String,
    server: apiserver::Server,
}

/// Git host, registry and API server, without a runner.
pub(crate) async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let keyring = identity::Keyring::from_bytes(&[7; 32]);
    let options = git::Options { organizations: vec!["platform".into()], ..git::Options::default() };
    let host = Host::open(&directory.path().join("git"), keyring.clone(), options).await.unwrap();
    let access = registry::Access::Keyring(Box::new(keyring.clone()));
    let options = registry::Options { access, offline: true };
    let registry = Arc::new(registry::Registry::open(&directory.path().join("registry"), options).unwrap());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = host.router().merge(registry.router());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let server = apiserver::Server::open(apiserver::Options {
        name: "platform".into(),
        dir: directory.path().join("cluster"),
        authenticate: Arc::new(|_| None),
        kubelets: None,
        service_cidr: "10.96.0.0/16".into(),
        external_url: "https://127.0.0.1:6443/clusters/platform".into(),
        ca_pem: None,
        path_prefix: "/clusters/platform".into(),
    });
    let server = server.await.unwrap();
    let admin =
        apiserver::User { name: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] };
    let cluster = Cluster::new(server.client(&admin), "test");
    for crd in pipelines::api::crds() {
        let resource = object::Resource::new(
            "apiextensions.k8s.io",
            "v1",
            "customresourcedefinitions",
            "CustomResourceDefinition",
            false,
        );
        cluster.apply(&resource, &crd, "test").await.unwrap();
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    World { directory, host, address, keyring, cluster, client, portal: String::new(), server }
}

/// With a runner.
pub(crate) async fn started() -> World {
    let mut world = world().await;
    world.start().await;
    world
}

impl World {
    /// Starts a runner and its routes; the token ends it.
    pub(crate) async fn start(&mut self) -> CancellationToken {
        let stop = CancellationToken::new();
        let (mint, verify) = (self.keyring.clone(), self.keyring.clone());
        let secret = self.token("system:gitops", &["repo:platform/deploy:write"]);
        let images = Images::open(registry::pull::Config {
            dir: self.directory.path().join("images"),
            mirror: Some(Mirror { base: self.url(), auth: registry::client::Auth::None }),
            offline: true,
            no_host_images: true,
        });
        let launcher = Arc::new(sandbox::Launcher::this_program(&["none"]));
        let config = Config {
            git_url: self.url(),
            portal_url: "http://portal".into(),
            registry: self.address.clone(),
            data: self.directory.path().join("pipelines"),
            cluster: Cluster::new(self.server.client(&admin()), "runner"),
            organizations: vec!["platform".into()],
            mint: Arc::new(move |claims| mint.sign(claims)),
            secrets: Arc::new(move |_| {
                let secrets =
                    [("GITOPS_PAT", secret.clone()), ("PASSWORD", "correct horse battery".to_owned())];
                secrets.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
            variables: Arc::new(|_| BTreeMap::from([("REGION".to_owned(), "north".to_owned())])),
            authenticate: Arc::new(move |headers| {
                let header = headers.get("authorization")?.to_str().ok()?;
                verify.verify(&identity::token_of(header)?).ok()
            }),
            builder: Some(Builder { images: Arc::new(images.unwrap()), launcher }),
            concurrency: 2,
            sweep: Duration::from_millis(500),
        };
        let runner = Runner::start(config, stop.clone()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.portal = format!("http://{}", listener.local_addr().unwrap());
        let router = runner.routes();
        tokio::spawn(async move { axum::serve(listener, router).await });
        stop
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn token(&self, subject: &str, scopes: &[&str]) -> String {
        self.keyring.sign(&identity::Claims {
            subject: subject.into(),
            name: subject.into(),
            email: format!("{subject}@example.com"),
            groups: Vec::new(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            expires_at_s: None,
        })
    }

    /// Commits files to a repository as Sasha, making it when it is new; gives the commit.
    pub(crate) async fn push(&self, name: &str, message: &str, files: &[(&str, &str)]) -> String {
        let sasha = Sender { login: "sasha".into(), name: "Sasha".into(), email: "sasha@example.com".into() };
        let full_name = format!("platform/{name}");
        let hosted = match self.host.repository(&full_name) {
            Some(hosted) => hosted,
            None => self.host.create("platform", name, Metadata::default(), &sasha).await.unwrap(),
        };
        let signature = Signature::now("Sasha", "sasha@example.com");
        let commit = NewCommit {
            reference: "refs/heads/main".into(),
            parent: hosted.git.tip("refs/heads/main").await.unwrap(),
            changes: files
                .iter()
                .map(|(path, text)| ((*path).to_owned(), Change::file((*text).to_owned())))
                .collect(),
            author: signature.clone(),
            committer: signature,
            message: message.into(),
        };
        self.host.commit(&hosted, &commit, &sasha).await.unwrap()
    }

    /// Waits until the only run of a commit's workflow is as wanted.
    pub(crate) async fn wait(&self, sha: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        until(what, || async {
            let runs = self.runs(sha).await;
            assert!(runs.len() <= 1, "one push, one run");
            runs.into_iter().next().filter(|run| done(run))
        })
        .await
    }

    /// Waits for the end of the only run of a commit.
    pub(crate) async fn completed(&self, sha: &str) -> Value {
        self.wait(sha, "the run to end", |run| run["status"]["status"] == "completed").await
    }

    pub(crate) async fn runs(&self, sha: &str) -> Vec<Value> {
        let labels = format!("{}={sha}", pipelines::api::SHA_LABEL);
        self.cluster.list(&pipelines::api::WORKFLOW_RUN, "", &labels).await.unwrap().items
    }

    /// A request to the runner's routes as Sasha.
    pub(crate) async fn call(&self, method: &str, path: &str) -> (u16, String) {
        let url = format!("{}/api/pipelines{path}", self.portal);
        let request =
            self.client.request(method.parse().unwrap(), url).bearer_auth(self.token("sasha", &["*"]));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// The log of a job without its times.
    pub(crate) async fn log(&self, run: &Value, job: &str) -> String {
        let name = run["metadata"]["name"].as_str().unwrap();
        let (status, text) = self.call("GET", &format!("/runs/{name}/jobs/{job}/log")).await;
        assert_eq!(status, 200, "{text}");
        text.lines().map(|line| line.split_once(' ').unwrap().1).collect::<Vec<_>>().join("\n")
    }

    /// The combined status of a commit: state, then each context with its state.
    pub(crate) async fn statuses(&self, name: &str, sha: &str) -> (String, BTreeMap<String, String>) {
        let url = format!("{}/api/v3/repos/platform/{name}/commits/{sha}/status", self.url());
        let request = self.client.get(url).bearer_auth(self.token("x", &["*"]));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let contexts = answer["statuses"].as_array().unwrap().iter();
        (text(&answer["state"]), contexts.map(|one| (text(&one["context"]), text(&one["state"]))).collect())
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("pipelines")
    }
}

fn admin() -> apiserver::User {
    apiserver::User { name: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] }
}

/// Waits for a condition.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Conclusions of a run's jobs by name.
pub(crate) fn conclusions(run: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let jobs = run["status"]["jobs"].as_array().unwrap().iter();
    jobs.map(|job| (text(&job["name"]), text(&job["conclusion"]))).collect()
}

/// A map from pairs.
pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
