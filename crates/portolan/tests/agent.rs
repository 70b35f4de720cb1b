//! `portolan agent`: the controllers of one cluster as a process of their own. The cluster is an API server behind real
//! TLS that the agent knows from a kubeconfig only; workloads are run beside it, as a real cluster brings its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use apiserver::{Options, Server, User};
use controller::{Cluster, Patch};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use identity::{Claims, Keyring};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use object::{Key, Resource, kinds, meta};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Far more than anything here takes; only a failure waits for it.
const DEADLINE: Duration = Duration::from_secs(60);
const PREFIX: &str = "/clusters/far";
const TOKEN: &str = "the-agents-token";
const KEY: &[u8] = b"a key for tests, long enough to sign";

const GREETING: Resource = Resource::fixed("example.org", "v1", "greetings", "Greeting", true);
const GIT_REPOSITORY: Resource =
    Resource::fixed("source.toolkit.fluxcd.io", "v1", "gitrepositories", "GitRepository", true);
const KUSTOMIZATION: Resource =
    Resource::fixed("kustomize.toolkit.fluxcd.io", "v1", "kustomizations", "Kustomization", true);

/// A cluster that the test reaches in process, and everybody else through its listener.
struct World {
    cluster: Cluster,
    kubeconfig: PathBuf,
    folder: TempDir,
    _server: Server,
    _stop: DropGuard,
}

impl World {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let server = Server::open(options(folder.path())).await.unwrap();
        let admin = User { name: "admin".into(), uid: String::new(), groups: vec!["system:masters".into()] };
        let cluster = Cluster::new(server.client(&admin), "test");
        let stop = CancellationToken::new();
        let own = workloads::Config { cluster: cluster.clone(), root_ca: String::new() };
        tokio::spawn(workloads::run(own, stop.clone()));
        let (address, ca) = serve(&server).await;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_for(&format!("https://{address}{PREFIX}"), &ca)).unwrap();
        Self { cluster, kubeconfig, folder, _server: server, _stop: stop.drop_guard() }
    }

    /// Applies a manifest as a user would, waiting until its kind is served.
    async fn apply(&self, manifest: &str) {
        let object = yaml::parse(manifest, yaml::Resolver::Kubectl).unwrap();
        let begun = Instant::now();
        let resource = loop {
            match self.cluster.resolve(meta::api_version(&object), meta::kind(&object)).await {
                Ok(resource) => break resource,
                Err(error) => assert!(error.is_not_found() && begun.elapsed() < DEADLINE, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        self.cluster.apply(&resource, &object, "user").await.unwrap();
    }

    async fn until(&self, resource: &Resource, key: &Key, what: &str, done: impl Fn(&Value) -> bool) {
        let seen = self.cluster.watch(resource);
        let wait = seen.wait_for(key, |object| object.is_some_and(&done));
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("{resource} {key} never {what}: {:#}", seen.get(key).as_deref().unwrap_or(&Value::Null));
        }
    }

    async fn until_ready(&self, resource: &Resource, key: &Key) {
        self.until(resource, key, "Ready", |object| meta::condition_is_true(object, "Ready")).await;
    }
}

fn options(folder: &Path) -> Options {
    let agent = |token: &str| {
        let groups = vec!["system:masters".to_owned()];
        (token == TOKEN).then(|| User { name: "agent".into(), uid: String::new(), groups })
    };
    Options {
        name: "far".into(),
        dir: folder.join("cluster"),
        authenticate: Arc::new(agent),
        kubelets: None,
        service_cidr: "10.96.0.0/16".into(),
        external_url: format!("https://127.0.0.1:6443{PREFIX}"),
        ca_pem: None,
        path_prefix: PREFIX.into(),
    }
}

/// Serves a cluster behind TLS: where, and the certificate to trust.
async fn serve(server: &Server) -> (std::net::SocketAddr, String) {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().nest(PREFIX, server.router());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
            });
        }
    });
    (address, certified.cert.pem())
}

/// A kubeconfig whose current context is a wrong one, so that `--context` counts.
fn kubeconfig_for(url: &str, ca: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let context = |name: &str, user: &str| json!({"name": name, "context": {"cluster": "far", "user": user}});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stranger",
        "clusters": [{"name": "far", "cluster": {"server": url, "certificate-authority-data": ca}}],
        "users": [{"name": "agent", "user": {"token": TOKEN}}, {"name": "stranger", "user": {"token": "wrong"}}],
        "contexts": [context("far", "agent"), context("stranger", "stranger")],
    })
    .to_string()
}

fn agent(kubeconfig: &Path, context: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.arg("agent").arg("--kubeconfig").arg(kubeconfig).args(["--context", context]);
    // A proxy of the machine is none of this test's business.
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
        command.env_remove(name);
    }
    command
}

/// An agent that runs until the test ends, or ends it.
fn start(kubeconfig: &Path, cache: &Path) -> Child {
    let mut command = agent(kubeconfig, "far");
    command.arg("--cache").arg(cache).stdout(Stdio::piped()).stderr(Stdio::inherit());
    tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap()
}

const DEFINITION: &str = "
apiVersion: apiextensions.crossplane.io/v2
kind: CompositeResourceDefinition
metadata: {name: greetings.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Greeting, plural: greetings}
  versions:
  - name: v1
    served: true
    referenceable: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {name: {type: string}}
";

const FUNCTION: &str = "
apiVersion: pkg.crossplane.io/v1
kind: Function
metadata: {name: function-patch-and-transform}
spec: {package: 'xpkg.crossplane.io/crossplane-contrib/function-patch-and-transform:v0.9.0'}
";

const COMPOSITION: &str = "
apiVersion: apiextensions.crossplane.io/v1
kind: Composition
metadata: {name: greetings}
spec:
  compositeTypeRef: {apiVersion: example.org/v1, kind: Greeting}
  mode: Pipeline
  pipeline:
  - step: resources
    functionRef: {name: function-patch-and-transform}
    input:
      apiVersion: pt.fn.crossplane.io/v1beta1
      kind: Resources
      resources:
      - name: text
        base: {apiVersion: v1, kind: ConfigMap, data: {}}
        readinessChecks: [{type: None}]
        patches:
        - type: FromCompositeFieldPath
          fromFieldPath: spec.name
          toFieldPath: data.text
          transforms: [{type: string, string: {type: Format, fmt: 'hello %s'}}]
      - name: server
        base:
          apiVersion: apps/v1
          kind: Deployment
          spec:
            replicas: 0
            selector: {matchLabels: {app: greeting}}
            template:
              metadata: {labels: {app: greeting}}
              spec: {containers: [{name: server, image: 'nginx:1'}]}
        readinessChecks: [{type: MatchCondition, matchCondition: {type: Available, status: 'True'}}]
";

const GREETING_OF_SASHA: &str = "
apiVersion: example.org/v1
kind: Greeting
metadata: {name: sasha, namespace: default}
spec: {name: Sasha}
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn composite_resources_become_ready_and_a_signal_ends_the_agent() {
    let world = World::start().await;
    let mut agent = start(&world.kubeconfig, &world.folder.path().join("cache"));
    for manifest in [DEFINITION, FUNCTION, COMPOSITION, GREETING_OF_SASHA] {
        world.apply(manifest).await;
    }
    let sasha = Key::new("default", "sasha");
    world.until_ready(&GREETING, &sasha).await;
    let composed = world.cluster.list(&kinds::CONFIG_MAP, "default", "crossplane.io/composite=sasha").await;
    let texts: Vec<Value> = composed.unwrap().items.iter().map(|map| map["data"]["text"].clone()).collect();
    assert_eq!(texts, ["hello Sasha"]);

    assert_eq!(stop(&mut agent).await, Some(0), "a signal ends the agent in good order");

    // What was asked for while no agent ran is done by the next one.
    let change = json!({"spec": {"name": "Rachel"}});
    world.cluster.patch(&GREETING, &sasha, "", Patch::Merge(&change)).await.unwrap();
    let text = Key::new("default", meta::name(&composed_text(&world).await));
    let _second = start(&world.kubeconfig, &world.folder.path().join("cache"));
    world.until(&kinds::CONFIG_MAP, &text, "changed", |map| map["data"]["text"] == "hello Rachel").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_cluster_has_already_is_left_out() {
    let world = World::start().await;
    let mut command = agent(&world.kubeconfig, "far");
    command.args(["--without", "database,gitops"]).stdout(Stdio::null()).stderr(Stdio::inherit());
    let _agent = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    // Compositions work, so everything that the agent brings is there.
    for manifest in [DEFINITION, FUNCTION, COMPOSITION, GREETING_OF_SASHA] {
        world.apply(manifest).await;
    }
    world.until_ready(&GREETING, &Key::new("default", "sasha")).await;
    let kinds = world.cluster.list(&kinds::CUSTOM_RESOURCE_DEFINITION, "", "").await.unwrap().items;
    let groups: Vec<&str> = kinds.iter().filter_map(|kind| kind["spec"]["group"].as_str()).collect();
    let left_out = |group: &str| group == "postgresql.cnpg.io" || group.ends_with(".toolkit.fluxcd.io");
    assert!(!groups.iter().any(|group| left_out(group)), "{groups:?}");
}

async fn composed_text(world: &World) -> Value {
    let found = world.cluster.list(&kinds::CONFIG_MAP, "default", "crossplane.io/composite=sasha").await;
    found.unwrap().items.remove(0)
}

/// Asks the agent to end; its exit code.
async fn stop(agent: &mut Child) -> Option<i32> {
    kill(Pid::from_raw(agent.id().unwrap().cast_signed()), Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), agent.wait()).await;
    ended.expect("the agent did not end within 10 s").unwrap().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_agent_pulls_from_a_git_host() {
    if git::command::version().await.is_err() {
        println!("skipped: git is not installed");
        return;
    }
    let world = World::start().await;
    let host = GitHost::start(&world.folder.path().join("git")).await;
    let deployment = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: 'nginx:1'}]}}
";
    let overlay =
        "resources: [web.yaml]\nnamespace: default\nconfigMapGenerator: [{name: words, literals: [a=b]}]\n";
    let revision = host.commit(&[("dev/kustomization.yaml", overlay), ("dev/web.yaml", deployment)]).await;

    let mut agent = start(&world.kubeconfig, &world.folder.path().join("cache"));
    world.apply(&host.secret()).await;
    let source = format!(
        "
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: web, namespace: default}}
spec: {{url: '{}/platform/web.git', interval: 1m, ref: {{branch: main}}, secretRef: {{name: git-host}}}}
",
        host.url
    );
    world.apply(&source).await;
    world
        .apply(
            "
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: web, namespace: default}
spec:
  sourceRef: {kind: GitRepository, name: web}
  path: ./dev
  interval: 1m
  prune: true
  wait: true
  timeout: 1m
",
        )
        .await;
    let web = Key::new("default", "web");
    world.until_ready(&GIT_REPOSITORY, &web).await;
    world.until_ready(&KUSTOMIZATION, &web).await;
    let applied = world.cluster.get(&KUSTOMIZATION, &web).await.unwrap().unwrap();
    assert_eq!(applied["status"]["lastAppliedRevision"], format!("main@sha1:{revision}"));
    world.until(&kinds::DEPLOYMENT, &web, "Available", |d| meta::condition_is_true(d, "Available")).await;
    assert_eq!(stop(&mut agent).await, Some(0));
}

/// A git host with one repository, `platform/web`.
struct GitHost {
    host: git::Host,
    url: String,
}

impl GitHost {
    async fn start(folder: &Path) -> Self {
        let options = git::Options { organizations: vec!["platform".to_owned()], ..git::Options::default() };
        let host = git::Host::open(folder, Keyring::from_bytes(KEY), options).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = host.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let metadata = git::host::metadata::Metadata {
            default_branch: "main".to_owned(),
            ..git::host::metadata::Metadata::default()
        };
        host.create("platform", "web", metadata, &sender()).await.unwrap();
        Self { host, url }
    }

    /// A first commit with these files; its name.
    async fn commit(&self, files: &[(&str, &str)]) -> String {
        let hosted = self.host.repository("platform/web").unwrap();
        let author = git::Signature::now("Sasha", "sasha@example.com");
        let write = |(path, text): &(&str, &str)| ((*path).to_owned(), git::Change::file((*text).to_owned()));
        let new = git::NewCommit {
            reference: "refs/heads/main".to_owned(),
            parent: None,
            author: author.clone(),
            committer: author,
            message: "Deploy the web server".to_owned(),
            changes: files.iter().map(write).collect(),
        };
        self.host.commit(&hosted, &new, &sender()).await.unwrap()
    }

    /// What the cluster reads the repository with.
    fn secret(&self) -> String {
        let claims = Claims {
            subject: "system:gitops:far".to_owned(),
            name: "GitOps".to_owned(),
            email: "gitops@example.com".to_owned(),
            groups: vec![],
            scopes: vec!["repo:platform/*:read".to_owned()],
            expires_at_s: None,
        };
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "git-host", "namespace": "default"},
            "stringData": {"username": "gitops", "password": Keyring::from_bytes(KEY).sign(&claims)},
        })
        .to_string()
    }
}

fn sender() -> git::host::Sender {
    git::host::Sender { login: "sasha".into(), name: "Sasha".into(), email: "sasha@example.com".into() }
}

/// Runs an agent that cannot start; the one line that it prints.
async fn refused(command: Command) -> String {
    let ended = tokio::time::timeout(DEADLINE, tokio::process::Command::from(command).output()).await;
    let output = ended.expect("it should have ended by itself").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "one clear line, not: {said}");
    assert!(output.stdout.is_empty(), "nothing runs: {:?}", String::from_utf8_lossy(&output.stdout));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_used_is_one_clear_line() {
    let world = World::start().await;
    let folder = world.folder.path();

    let missing = folder.join("nowhere");
    let said = refused(agent(&missing, "far")).await;
    assert!(said.contains(&*missing.to_string_lossy()) && said.contains("No such file"), "{said}");

    let said = refused(agent(&world.kubeconfig, "moon")).await;
    assert!(said.contains("moon"), "the context is named: {said}");

    let said = refused(agent(&world.kubeconfig, "stranger")).await;
    assert!(said.contains("Unauthorized"), "a token that the cluster does not know: {said}");

    // A port that was free a moment ago: nobody listens.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let dead = folder.join("dead");
    std::fs::write(&dead, kubeconfig_for(&format!("https://{address}"), "")).unwrap();
    let said = refused(agent(&dead, "far")).await;
    assert!(said.contains(&address.to_string()) && said.contains("refused"), "{said}");
}

/// Connections are taken and nothing is ever said: the agent asks for as long as it has to, and no longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent");
    std::fs::write(&silent, kubeconfig_for(&format!("https://{address}"), "")).unwrap();
    let said = refused(agent(&silent, "far")).await;
    assert!(said.contains(&address.to_string()) && said.contains("no answer within 10 s"), "{said}");
}
