//! `portolan node`: what the platform starts for each cluster, in a process of its own. Hidden: people have no use for it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use node::supervise::{self, Entered};
use registry::client::Auth;
use registry::pull::{self, Mirror};
use sandbox::Launcher;
use serde::{Deserialize, Serialize};

/// The hidden command that starts isolated processes.
pub(crate) const SANDBOX_COMMAND: &str = "sandbox-init";

#[derive(Args, Debug)]
pub(crate) struct Node {
    /// Settings, written by the platform
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
}

/// What a node is told by the platform; a file that only its owner can read, because it holds tokens.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    /// The API server's URL.
    pub(crate) server: String,
    pub(crate) ca_pem: String,
    /// For the API server.
    pub(crate) token: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) images_dir: PathBuf,
    pub(crate) socket: PathBuf,
    /// As image names write it, for example `localhost:7007`.
    pub(crate) registry_host: String,
    pub(crate) registry_url: String,
    /// For the registry.
    pub(crate) registry_token: String,
    pub(crate) offline: bool,
    pub(crate) no_host_images: bool,
}

impl Node {
    /// Runs until the platform says stop. Called before any thread exists.
    pub(crate) fn run(self) -> Result<ExitCode> {
        if let Entered::Outside(code) = supervise::enter()? {
            return Ok(code);
        }
        let settings = Settings::read(&self.settings)?;
        // A node mostly waits; two threads keep it small.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let stop = supervise::stop_signal();
        runtime.block_on(async {
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            node::run(settings.config().await?, stop).await.context("the node cannot run")
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Settings {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not a node's settings", path.display()))
    }

    async fn config(self) -> Result<node::Config> {
        let auth = Auth::Basic { user: "node".to_owned(), password: self.registry_token.clone() };
        Ok(node::Config {
            node_name: format!("{}-node", self.cluster),
            client: client(&self.server, &self.ca_pem, &self.token).await?,
            data_dir: self.data_dir,
            socket: self.socket,
            images: pull::Config {
                dir: self.images_dir,
                mirror: Some(Mirror { base: self.registry_url, auth: auth.clone() }),
                offline: self.offline,
                no_host_images: self.no_host_images,
            },
            registry_host: self.registry_host,
            registry_auth: auth,
            launcher: launcher(),
            cluster_name: self.cluster,
        })
    }
}

/// Starts this program again as the launcher of isolated processes.
pub(crate) fn launcher() -> Launcher {
    Launcher { program: "/proc/self/exe".into(), args: vec![SANDBOX_COMMAND.into()] }
}

async fn client(server: &str, ca_pem: &str, token: &str) -> Result<kube::Client> {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(ca_pem);
    let kubeconfig = serde_json::json!({
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": encoded}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    let kubeconfig: kube::config::Kubeconfig = serde_json::from_value(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    Ok(kube::Client::try_from(config?)?)
}
