//! `portolan agent`: the controllers of one cluster, run against any kubeconfig. The same code as in the embedded
//! platform, on another client.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use controller::Cluster;
use hyper::Method;

use super::up::stop_on_signal;
use crate::wire::agent::{self, Slice};

/// A server that is there says its version at once; a slow network and a busy machine get this long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Args, Debug)]
pub(crate) struct Agent {
    /// How to reach the cluster [default: $KUBECONFIG or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Where fetched repositories are cached; deleting it loses nothing
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Leave out controllers and kinds that something else in the cluster provides
    #[arg(long, value_name = "SLICE", value_delimiter = ',')]
    without: Vec<Slice>,
}

impl Agent {
    pub(crate) async fn run(self) -> Result<ExitCode> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let stop = stop_on_signal()?;
        let kubeconfig = match &self.kubeconfig {
            Some(path) => kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("cannot use {}", path.display())),
            None => kube::config::Kubeconfig::read()
                .context("there is no kubeconfig: name one with --kubeconfig FILE"),
        }?;
        let options = kube::config::KubeConfigOptions { context: self.context.clone(), ..Default::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .context("the kubeconfig cannot be used")?;
        let url = config.cluster_url.to_string();
        let cluster = Cluster::new(kube::Client::try_from(config)?, "portolan-agent");
        let temporary = tempfile::tempdir().context("cannot make a cache folder")?;
        let cache = self.cache.unwrap_or_else(|| temporary.path().to_owned());
        let slices: Vec<Slice> = Slice::ALL.into_iter().filter(|one| !self.without.contains(one)).collect();
        anyhow::ensure!(!slices.is_empty(), "--without leaves nothing to run");
        let prepared = async {
            reach(&cluster).await.with_context(|| format!("no cluster at {url}"))?;
            agent::prepare(&cluster, &slices).await
        };
        tokio::select! {
            prepared = prepared => prepared?,
            () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
        }
        println!("controllers run against {url}");
        agent::run(cluster, &slices, cache, stop).await;
        Ok(ExitCode::SUCCESS)
    }
}

/// Asks the server for its version, so that one that does not answer is told from one that refuses something.
async fn reach(cluster: &Cluster) -> Result<()> {
    let asked = cluster.call(Method::GET, "/version", None, b"");
    let answer = tokio::time::timeout(ANSWER_WITHIN, asked).await;
    answer.with_context(|| format!("no answer within {} s", ANSWER_WITHIN.as_secs()))??;
    Ok(())
}
