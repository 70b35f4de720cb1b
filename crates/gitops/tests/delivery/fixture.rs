//! Git host, API server and the controllers on loopback, and what the tests do with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use controller::{Cluster, Patch, Propagation};
use git::host::metadata::Metadata;
use git::host::{Host, Sender};
use git::{Change, NewCommit, Signature};
use identity::{Claims, Keyring};
use object::{Key, Resource};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Far more than anything here takes; only a failure waits for it.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) cluster: Cluster,
    host: Host,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
    server: apiserver::Server,
    _folder: tempfile::TempDir,
}

fn claims() -> Claims {
    Claims {
        subject: "system:gitops:dev".to_owned(),
        name: "GitOps".to_owned(),
        email: "gitops@example.com".to_owned(),
        groups: vec![],
        scopes: vec!["repo:platform/*:read".to_owned()],
        expires_at_s: None,
    }
}

fn sender() -> Sender {
    Sender { login: "sasha".to_owned(), name: "Sasha".to_owned(), email: "sasha@example.com".to_owned() }
}

impl Fixture {
    /// Everything runs, and the cluster discovers the organisation's repositories. None: git is not installed.
    pub(crate) async fn start() -> Option<Self> {
        if git::command::version().await.is_err() {
            println!("skipped: git is not installed");
            return None;
        }
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let folder = tempfile::tempdir().unwrap();
        let key = b"a key for tests, long enough to sign";
        let options = git::Options { organizations: vec!["platform".to_owned()], ..git::Options::default() };
        let host = Host::open(&folder.path().join("git"), Keyring::from_bytes(key), options).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = host.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let server = apiserver::Server::open(apiserver::Options {
            name: "dev".to_owned(),
            dir: folder.path().join("cluster"),
            authenticate: Arc::new(|_| None),
            kubelets: None,
            service_cidr: "10.96.0.0/16".to_owned(),
            external_url: "https://127.0.0.1:6443".to_owned(),
            ca_pem: None,
            path_prefix: String::new(),
        })
        .await
        .unwrap();
        let user = apiserver::User {
            name: "gitops".to_owned(),
            uid: String::new(),
            groups: vec!["system:masters".to_owned()],
        };
        let cluster = Cluster::new(server.client(&user), "gitops");
        let stop = CancellationToken::new();
        let config = gitops::Config { cluster: cluster.clone(), cache_dir: folder.path().join("cache") };
        let running = Some(tokio::spawn(gitops::run(config, stop.clone())));
        let fixture = Self { cluster, host, stop, running, server, _folder: folder };
        for definition in gitops::crds() {
            fixture.make(&definition).await;
        }
        for definition in gitops::crds() {
            let key = object::meta::key(&definition);
            let crds = fixture.cluster.watch(&object::kinds::CUSTOM_RESOURCE_DEFINITION);
            crds.wait_for(&key, |o| o.is_some_and(|o| object::meta::condition_is_true(o, "Established")))
                .await;
        }
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git-host", "namespace": "flux-system"},
            "stringData": {"username": "gitops", "password": Keyring::from_bytes(key).sign(&claims())},
        });
        let mut objects = gitops::discovery(&format!("{url}/api/v3"), "platform", "dev", "git-host");
        objects.insert(1, secret);
        for object in objects {
            fixture.make(&object).await;
        }
        Some(fixture)
    }

    /// A repository with files; with the topic, it is deployed.
    pub(crate) async fn repository(&self, name: &str, topics: &[&str], files: &[(&str, &str)]) {
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let metadata = Metadata { topics, default_branch: "main".to_owned(), ..Metadata::default() };
        self.host.create("platform", name, metadata, &sender()).await.unwrap();
        let files: Vec<(&str, Option<&str>)> =
            files.iter().map(|(path, text)| (*path, Some(*text))).collect();
        self.commit(name, &files).await;
    }

    /// A commit that writes and removes files, as a push would bring it.
    pub(crate) async fn commit(&self, name: &str, files: &[(&str, Option<&str>)]) -> String {
        let hosted = self.host.repository(&format!("platform/{name}")).unwrap();
        let parent = hosted.git.tip("refs/heads/main").await.unwrap();
        let author = Signature::now("Sasha", "sasha@example.com");
        let changes = files.iter().map(|(path, text)| {
            let change = text.map_or(Change::Delete, |text| Change::file(text.to_owned()));
            ((*path).to_owned(), change)
        });
        let new = NewCommit {
            reference: "refs/heads/main".to_owned(),
            parent,
            author: author.clone(),
            committer: author,
            message: "Change the manifests".to_owned(),
            changes: changes.collect(),
        };
        self.host.commit(&hosted, &new, &sender()).await.unwrap()
    }

    pub(crate) async fn set_topics(&self, name: &str, topics: &[&str]) {
        let hosted = self.host.repository(&format!("platform/{name}")).unwrap();
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        self.host.edit(&hosted, &sender(), |metadata| metadata.topics = topics).await.unwrap();
    }

    /// Applies an object as a user would.
    pub(crate) async fn make(&self, object: &Value) {
        let (api_version, kind) = (object::meta::api_version(object), object::meta::kind(object));
        let deadline = Instant::now() + DEADLINE;
        let resource = loop {
            match self.cluster.resolve(api_version, kind).await {
                Ok(resource) => break resource,
                Err(error) => assert!(error.is_not_found() && Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        self.cluster.apply(&resource, object, "user").await.unwrap();
    }

    pub(crate) async fn change(&self, resource: &Resource, key: &Key, subresource: &str, patch: Value) {
        self.cluster.patch(resource, key, subresource, Patch::Merge(&patch)).await.unwrap();
    }

    pub(crate) async fn delete(&self, resource: &Resource, key: &Key) {
        self.cluster.delete(resource, key, None, Propagation::Background).await.unwrap();
    }

    /// Waits until an object satisfies a condition (`null`: it is not there); how long that took.
    #[track_caller]
    pub(crate) fn until(
        &self,
        resource: &Resource,
        key: &Key,
        done: impl Fn(&Value) -> bool,
    ) -> impl Future<Output = Duration> {
        let caller = std::panic::Location::caller();
        async move {
            let since = Instant::now();
            let cache = self.cluster.watch(resource);
            let waited = cache.wait_for(key, |object| done(object.unwrap_or(&Value::Null)));
            if tokio::time::timeout(DEADLINE, waited).await.is_err() {
                let last = cache.get(key);
                let kustomizations = self.cluster.list(&gitops::kinds()[1], "", "").await.unwrap().items;
                let statuses: Vec<&Value> = kustomizations.iter().map(|k| &k["status"]).collect();
                panic!("{caller}: {resource} {key} did not get there: {last:?}\n{statuses:?}");
            }
            since.elapsed()
        }
    }

    /// Stops the controllers.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        if let Some(running) = self.running.take() {
            tokio::time::timeout(DEADLINE, running).await.unwrap().unwrap();
        }
        self.server.close().await;
    }
}

/// The `Ready` condition's status, reason and message.
pub(crate) fn ready(object: &Value) -> (String, String, String) {
    let condition = object::meta::condition(object, "Ready").cloned().unwrap_or_default();
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), text("message"))
}
