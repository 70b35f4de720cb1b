//! The embedded clusters: an API server each, their controllers on in-process clients, a node as a child process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use apiserver::{Server, User};
use axum::Router;
use controller::Cluster;
use identity::{Claims, Keyring};
use object::{Key, kinds, meta};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::agent::{self, Slice};
use super::servers;
use crate::cli::node;
use crate::config::{Config, ENVIRONMENTS, RECORDS, cluster_path};
use crate::data::{DataDir, write_private};
use crate::people::{self, ORGANISATION};
use crate::tls::Tls;
use ::node::supervise::{Program, Supervisor};

/// Where ClusterIPs come from in every cluster; each has a network namespace of its own.
const SERVICE_CIDR: &str = "10.96.0.0/16";

/// All API servers by name.
pub(super) struct Clusters {
    servers: BTreeMap<&'static str, Server>,
}

impl Clusters {
    /// Opens every server at once.
    pub(super) async fn open(config: &Config, data: &DataDir, keyring: &Keyring, tls: &Tls) -> Result<Self> {
        let mut opening = vec![];
        for name in servers() {
            let keyring = keyring.clone();
            let options = apiserver::Options {
                name: name.to_owned(),
                dir: data.folder(&format!("clusters/{name}"))?,
                authenticate: Arc::new(move |token| people::cluster_user(&keyring, name, token)),
                kubelets: (name != RECORDS).then(|| dialled(data, name)).transpose()?,
                service_cidr: SERVICE_CIDR.to_owned(),
                external_url: config.cluster_url(name),
                ca_pem: Some(tls.ca_pem.clone()),
                path_prefix: cluster_path(name),
            };
            opening.push(async move {
                let server =
                    Server::open(options).await.with_context(|| format!("cannot open the cluster {name}"))?;
                anyhow::Ok((name, server))
            });
        }
        let servers = futures::future::try_join_all(opening).await?;
        Ok(Self { servers: servers.into_iter().collect() })
    }

    /// Every server below its path; one that does not exist is a plain 404.
    pub(super) fn router(&self) -> Router {
        let nest = |router: Router, (name, server): (&&str, &Server)| {
            router.nest(&cluster_path(name), server.router())
        };
        self.servers.iter().fold(Router::new(), nest)
    }

    /// A client for one of the platform's own parts on the server of records.
    pub(super) fn records_client(&self, part: &str) -> kube::Client {
        self.servers[RECORDS].client(&robot(part))
    }

    /// A cluster as the portal shows it.
    pub(super) fn environment(&self, name: &str) -> portal::Environment {
        let (server, cluster) = (self.servers[name].clone(), name.to_owned());
        let client = move |claims: &Claims| server.client(&people::user_of(claims, &cluster));
        portal::Environment { name: name.to_owned(), client: Arc::new(client) }
    }

    /// Starts what every cluster needs beside its server.
    pub(super) async fn run(
        &self,
        config: &Config,
        data: &DataDir,
        keyring: &Keyring,
        tls: &Tls,
        listener: TcpListener,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Result<()> {
        self.bind_people().await?;
        for name in ENVIRONMENTS {
            let cluster = self.cluster(name, "controllers");
            let workloads = workloads::Config { cluster: cluster.clone(), root_ca: tls.ca_pem.clone() };
            tasks.spawn(workloads::run(workloads, stop.clone()));
            let (cache, stop) = (data.folder(&format!("cache/gitops/{name}"))?, stop.clone());
            let pulled = pulled(config, keyring, name);
            tasks.spawn(async move {
                match pull_from(&cluster, pulled).await {
                    Ok(()) => agent::run(cluster, &Slice::ALL, cache, stop).await,
                    Err(error) => {
                        tracing::error!(cluster = name, error = %crate::one_line(&error), "cannot start")
                    }
                }
            });
        }
        let mut routes = vec![];
        for name in ENVIRONMENTS {
            let dial = gateway::Dial::Node(dialled(data, name)?);
            routes.push(gateway::ClusterRoute {
                name: (*name).to_owned(),
                cluster: self.cluster(name, "gateway"),
                dial,
            });
        }
        gateway::Gateway::start(gateway::Config { listener, clusters: routes }, stop.clone())?;
        Ok(())
    }

    /// Starts a node for each environment. They stop with the returned supervisors.
    pub(super) fn start_nodes(
        config: &Config,
        data: &DataDir,
        keyring: &Keyring,
        tls: &Tls,
    ) -> Result<Vec<Supervisor>> {
        let start = |name: &&'static str| {
            let settings = node_settings(config, data, keyring, tls, name)?;
            let path = data.folder(&format!("nodes/{name}"))?.join("settings.json");
            write_private(&path, &serde_json::to_vec_pretty(&settings)?)?;
            let args = vec!["node".into(), "--settings".into(), path.into_os_string()];
            let program = Program { program: "/proc/self/exe".into(), args, env: vec![] };
            Supervisor::start(program).context("cannot start a node")
        };
        ENVIRONMENTS.iter().map(start).collect()
    }

    /// Lets every person read every cluster.
    async fn bind_people(&self) -> Result<()> {
        for name in servers() {
            let cluster = self.cluster(name, "bootstrap");
            for object in people::reading() {
                let role = meta::kind(&object) == "ClusterRole";
                let resource = if role { kinds::CLUSTER_ROLE } else { kinds::CLUSTER_ROLE_BINDING };
                let bound = cluster.apply(&resource, &object, "portolan").await;
                bound.with_context(|| format!("cannot let people read the cluster {name}"))?;
            }
        }
        Ok(())
    }

    /// Waits until every environment has a node that is Ready.
    pub(super) async fn ready(&self) -> Result<()> {
        for name in ENVIRONMENTS {
            // A watch ends with its cluster, so the cluster is kept until the answer is there.
            let cluster = self.cluster(name, "ready");
            let nodes = cluster.watch(&kinds::NODE);
            let ready =
                |node: Option<&serde_json::Value>| node.is_some_and(|n| meta::condition_is_true(n, "Ready"));
            nodes.wait_for(&Key::cluster(format!("{name}-node")), ready).await;
        }
        Ok(())
    }

    /// Closes every server; what was answered is on disk already.
    pub(super) async fn close(self) {
        futures::future::join_all(self.servers.into_values().map(Server::close)).await;
    }

    fn cluster(&self, name: &str, part: &str) -> Cluster {
        Cluster::new(self.servers[name].client(&robot(part)), part)
    }
}

/// What makes a cluster pull from the embedded git host: where it is, and a token that may read there.
fn pulled(config: &Config, keyring: &Keyring, cluster: &str) -> Vec<Value> {
    const SECRET: &str = "git-host";
    let reader = people::robot(&format!("gitops:{cluster}"), &["repo:platform/*:read"]);
    let api = format!("{}/api/v3", config.base_url());
    let mut objects = gitops::discovery(&api, ORGANISATION, cluster, SECRET);
    objects.insert(
        1,
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": "flux-system"},
            "stringData": {"username": "gitops", "password": keyring.sign(&reader)},
        }),
    );
    objects
}

/// Makes the slices' kinds known, then what the cluster pulls from.
async fn pull_from(cluster: &Cluster, objects: Vec<Value>) -> Result<()> {
    agent::prepare(cluster, &Slice::ALL).await?;
    for object in &objects {
        let resource = cluster.resolve(meta::api_version(object), meta::kind(object)).await?;
        cluster.apply(&resource, object, "portolan").await?;
    }
    Ok(())
}

/// What the node of one cluster is told. Its tokens reach its own cluster and may pull images, nothing else.
fn node_settings(
    config: &Config,
    data: &DataDir,
    keyring: &Keyring,
    tls: &Tls,
    cluster: &str,
) -> Result<node::Settings> {
    let kubelet = people::robot(&format!("node:{cluster}"), &[&format!("cluster:{cluster}:admin")]);
    let puller = people::robot(&format!("node:{cluster}"), &["registry:*:pull"]);
    Ok(node::Settings {
        cluster: cluster.to_owned(),
        server: config.cluster_url(cluster),
        ca_pem: tls.ca_pem.clone(),
        token: keyring.sign(&kubelet),
        data_dir: data.folder(&format!("nodes/{cluster}"))?,
        images_dir: data.folder(&format!("cache/images/{cluster}"))?,
        socket: socket(data, cluster)?,
        registry_host: config.registry(),
        registry_url: config.base_url(),
        registry_token: keyring.sign(&puller),
        offline: config.offline,
        no_host_images: config.no_host_images,
    })
}

/// The platform's own parts inside a cluster.
fn robot(part: &str) -> User {
    User {
        name: format!("system:portolan:{part}"),
        uid: String::new(),
        groups: vec!["system:masters".to_owned()],
    }
}

/// The node's Unix socket.
fn socket(data: &DataDir, cluster: &str) -> Result<PathBuf> {
    Ok(data.folder(&format!("run/{cluster}"))?.join("node.sock"))
}

/// The same socket for those who connect. The kernel takes short paths only, and data directories may be deep: then
/// the folder is reached through a handle of it, which is kept as long as this process lives.
fn dialled(data: &DataDir, cluster: &str) -> Result<PathBuf> {
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::ffi::OsStrExt as _;
    /// `sun_path` without its last zero byte.
    const LONGEST: usize = 107;
    let path = socket(data, cluster)?;
    if path.as_os_str().as_bytes().len() <= LONGEST {
        return Ok(path);
    }
    let folder = data.folder(&format!("run/{cluster}"))?;
    let handle = std::fs::File::open(&folder).with_context(|| format!("cannot open {}", folder.display()))?;
    Ok(PathBuf::from(format!("/proc/self/fd/{}/node.sock", handle.into_raw_fd())))
}
