//! Puts the embedded platform together. This file and its folder are the only place that knows what is embedded: every
//! part is handed a client or an address and cannot tell.

pub(crate) mod agent;
mod clusters;
mod front;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use controller::Cluster;
use identity::Keyring;
use node::supervise::Supervisor;
use registry::client::Auth;
use registry::pull::Mirror;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Config, ENVIRONMENTS, RECORDS};
use crate::data::DataDir;
use crate::people::{self, ORGANISATION};
use crate::tls::Tls;
use crate::{kubeconfig, listen, samples};
use clusters::Clusters;
use front::Front;

/// The catalog reads everything again this often; hints make most changes visible at once.
const CATALOG_SWEEP: Duration = Duration::from_secs(30);
/// Pushes whose hint was lost are found this often.
const PIPELINES_SWEEP: Duration = Duration::from_secs(30);
/// Jobs of workflows at once: each keeps about one core busy.
const JOBS_AT_ONCE: usize = 2;
/// Everything has to have stopped by then; what has not is ended with the process.
const STOP_WITHIN: Duration = Duration::from_secs(8);

/// A running platform.
pub(crate) struct Platform {
    pub(crate) config: Config,
    data: DataDir,
    clusters: Clusters,
    tasks: TaskTracker,
    stop: CancellationToken,
    catalog: catalog::Catalog,
    /// Until they are pushed.
    samples: Option<tokio::task::JoinHandle<Result<()>>>,
    nodes: Vec<Supervisor>,
    /// What `/readyz` answers.
    is_ready: Arc<AtomicBool>,
}

/// The listeners, bound before anything else is done, so that a taken port changes nothing.
struct Listeners {
    http: TcpListener,
    gateway: TcpListener,
    kubernetes: TcpListener,
}

/// Starts everything. The portal answers when this returns; clusters and nodes go on starting behind it.
pub(crate) async fn start(mut config: Config, stop: CancellationToken) -> Result<Platform> {
    // One crypto provider for everything that speaks TLS; installing it twice is harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let data = DataDir::open(&config.data)?;
    let listeners = bind(&mut config).await?;
    let keyring = Keyring::open(&data.file("identity.key"))?;
    let tls = Tls::open(&data, config.kubernetes.ip())?;
    let clusters = Clusters::open(&config, &data, &keyring, &tls).await?;
    let tasks = TaskTracker::new();

    let services = Services::start(&config, &data, &keyring, &clusters, &stop).await?;
    let admin = people::find("priyanka").context("the sample organisation has no administrator")?;
    kubeconfig::write(&data, &config, &tls.ca_pem, &keyring.sign(&admin.claims()))?;
    let is_ready = Arc::new(AtomicBool::new(false));
    let front = services.front(&config, &keyring, &clusters, is_ready.clone()).router();
    tasks.spawn(listen::serve(listeners.http, None, front, stop.clone()));
    tasks.spawn(listen::serve(
        listeners.kubernetes,
        Some(tls.server.clone()),
        clusters.router(),
        stop.clone(),
    ));
    clusters.run(&config, &data, &keyring, &tls, listeners.gateway, (&tasks, &stop)).await?;

    for missing in sandbox::Abilities::detect().missing {
        tracing::warn!("{missing}");
    }
    let nodes = Clusters::start_nodes(&config, &data, &keyring, &tls)?;
    let samples = Some(tokio::spawn(samples::push(services.git.clone(), config.samples)));
    Ok(Platform { config, data, clusters, tasks, stop, catalog: services.catalog, samples, nodes, is_ready })
}

impl Platform {
    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.data.file("kubeconfig")
    }

    /// Waits until every part says that it is ready: samples pushed, catalog read, every node Ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        if let Some(pushing) = self.samples.as_mut() {
            pushing.await.context("pushing the samples was cut short")??;
            self.samples = None;
        }
        self.catalog.ready().await;
        for name in samples::pushed(self.config.samples) {
            let repository = format!("{ORGANISATION}/{name}");
            self.catalog.refresh(&repository).await.map_err(anyhow::Error::msg)?;
        }
        self.clusters.ready().await?;
        self.is_ready.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Stops everything in order and waits for it, for a bounded time.
    pub(crate) async fn stop(self) {
        if let Some(pushing) = &self.samples {
            pushing.abort();
        }
        self.tasks.close();
        let stopped = async {
            // Nodes first: pods end while their API server still takes their last status.
            futures::future::join_all(self.nodes.into_iter().map(Supervisor::stop)).await;
            self.stop.cancel();
            self.tasks.wait().await;
            self.clusters.close().await;
        };
        if tokio::time::timeout(STOP_WITHIN, stopped).await.is_err() {
            tracing::warn!("some parts did not stop in time and are ended with the process");
        }
    }
}

async fn bind(config: &mut Config) -> Result<Listeners> {
    let http = listen::bind(config.listen, "listen").await?;
    let gateway = listen::bind(config.gateway, "gateway").await?;
    let kubernetes = listen::bind(config.kubernetes, "kubernetes").await?;
    // Port 0 asks for any free port; from here on the real one counts.
    config.listen = http.local_addr().context("the listener has no address")?;
    config.gateway = gateway.local_addr().context("the listener has no address")?;
    config.kubernetes = kubernetes.local_addr().context("the listener has no address")?;
    Ok(Listeners { http, gateway, kubernetes })
}

/// What answers on the one listener.
struct Services {
    git: git::Host,
    registry: Arc<registry::Registry>,
    catalog: catalog::Catalog,
    scaffolder: scaffolder::Scaffolder,
    pipelines: pipelines::Runner,
}

impl Services {
    async fn start(
        config: &Config,
        data: &DataDir,
        keyring: &Keyring,
        clusters: &Clusters,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let git = git_host(config, data, keyring).await?;
        let access = registry::Access::Keyring(Box::new(keyring.clone()));
        let options = registry::Options { access, offline: config.offline };
        let registry = Arc::new(registry::Registry::open(&data.folder("registry")?, options)?);
        let client = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        let reader = people::robot("catalog", &["repo:platform/*:read"]);
        let catalog = catalog::Catalog::start(
            catalog::Config {
                client: client.clone(),
                git_url: config.base_url(),
                token: keyring.sign(&reader),
                organization: ORGANISATION.to_owned(),
                sweep: CATALOG_SWEEP,
            },
            stop.clone(),
        );
        let signer = keyring.clone();
        let scaffolder = scaffolder::Scaffolder::start(
            scaffolder::Config {
                client,
                git_url: config.base_url(),
                git_hosts: vec![config.registry(), "localhost".to_owned()],
                token: Arc::new(move |claims| signer.sign(claims)),
                catalog: catalog.routes(),
                cluster: Cluster::new(clusters.records_client("scaffolder"), "scaffolder"),
                cache: data.folder("cache/scaffolder")?,
                environment: serde_json::json!({
                    "registry": config.registry(),
                    "gitUrl": config.base_url(),
                    "gitHost": config.listen.to_string(),
                    "organization": ORGANISATION,
                    "gatewayPort": config.gateway.port(),
                }),
            },
            stop.clone(),
        )
        .await?;
        let pipelines = pipelines_runner(config, data, keyring, clusters, stop).await?;
        Ok(Self { git, registry, catalog, scaffolder, pipelines })
    }

    fn front(
        &self,
        config: &Config,
        keyring: &Keyring,
        clusters: &Clusters,
        is_ready: Arc<AtomicBool>,
    ) -> Front {
        let signer = keyring.clone();
        let signed =
            axum::middleware::from_fn(move |request, next| front::signed(signer.clone(), request, next));
        let api = Router::new().merge(self.catalog.routes()).merge(self.scaffolder.routes());
        let api = api.merge(self.pipelines.routes()).layer(signed);
        let git = self.git.router();
        let portal = portal::routes(portal::Config {
            keyring: keyring.clone(),
            people: people::PEOPLE.iter().map(people::Person::choice).collect(),
            services: Front::services(&git, &api),
            environments: ENVIRONMENTS.iter().map(|name| clusters.environment(name)).collect(),
            organisation: ORGANISATION.to_owned(),
            base_url: config.base_url(),
            gateway_url: config.gateway_url(),
        });
        Front { git, registry: self.registry.router(), api, portal, is_ready }
    }
}

async fn git_host(config: &Config, data: &DataDir, keyring: &Keyring) -> Result<git::Host> {
    let person = |p: &people::Person| {
        let claims = p.claims();
        git::host::Person { login: claims.subject, name: claims.name, email: claims.email }
    };
    let options = git::Options {
        public_url: Some(config.base_url()),
        organizations: vec![ORGANISATION.to_owned()],
        people: people::PEOPLE.iter().map(person).collect(),
    };
    let host = git::Host::open(&data.folder("git")?, keyring.clone(), options).await;
    host.context("cannot start the git host")
}

/// The workflow runner. Its records are on the server of records, its images go to the embedded registry.
async fn pipelines_runner(
    config: &Config,
    data: &DataDir,
    keyring: &Keyring,
    clusters: &Clusters,
    stop: &CancellationToken,
) -> Result<pipelines::Runner> {
    let records = Cluster::new(clusters.records_client("pipelines"), "pipelines");
    agent::apply_kinds(&records, pipelines::api::crds()).await?;
    let puller = people::robot("builder", &["registry:*:pull"]);
    let auth = Auth::Basic { user: "builder".to_owned(), password: keyring.sign(&puller) };
    let images = registry::pull::Images::open(registry::pull::Config {
        dir: data.folder("cache/images/builder")?,
        mirror: Some(Mirror { base: config.base_url(), auth }),
        offline: config.offline,
        no_host_images: config.no_host_images,
    })?;
    let builder =
        pipelines::Builder { images: Arc::new(images), launcher: Arc::new(crate::cli::node::launcher()) };
    let (minter, secrets, checker) = (keyring.clone(), keyring.clone(), keyring.clone());
    let runner = pipelines::Config {
        git_url: config.base_url(),
        portal_url: config.base_url(),
        registry: config.registry(),
        data: data.folder("pipelines")?,
        cluster: records,
        organizations: vec![ORGANISATION.to_owned()],
        mint: Arc::new(move |claims| minter.sign(claims)),
        secrets: Arc::new(move |repository| people::workflow_secrets(&secrets, repository)),
        variables: Arc::new(|_| BTreeMap::new()),
        authenticate: Arc::new(move |headers| front::claims_of(&checker, headers)),
        builder: Some(builder),
        concurrency: JOBS_AT_ONCE,
        sweep: PIPELINES_SWEEP,
    };
    Ok(pipelines::Runner::start(runner, stop.clone()).await?)
}

/// The names of all API servers.
fn servers() -> impl Iterator<Item = &'static str> {
    ENVIRONMENTS.iter().copied().chain([RECORDS])
}
