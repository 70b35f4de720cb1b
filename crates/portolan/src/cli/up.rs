//! `portolan up`: the whole platform on this machine, until a signal ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Samples};
use crate::{data, wire};

#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    /// Where everything is kept [default: ~/.local/share/portolan]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the portal, Git, the registry and the APIs
    #[arg(long, default_value = "127.0.0.1:7007", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// Address of the applications
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) gateway: SocketAddr,
    /// Address of the clusters' API servers
    #[arg(long, default_value = "127.0.0.1:6443", value_name = "ADDRESS")]
    pub(crate) kubernetes: SocketAddr,
    /// Never ask a remote registry for base images
    #[arg(long)]
    pub(crate) offline: bool,
    /// Refuse base images made from the programs on this machine
    #[arg(long)]
    pub(crate) no_host_images: bool,
}

impl Up {
    /// The configuration that these options say.
    pub(crate) fn config(&self, samples: Samples) -> Result<Config> {
        anyhow::ensure!(
            self.listen.ip().is_loopback(),
            "--listen {}: in local mode people sign in by choosing who they are, so the portal listens on loopback only",
            self.listen
        );
        let data = match &self.data {
            Some(data) => data.clone(),
            None => data::default_path()?,
        };
        Ok(Config {
            data,
            listen: self.listen,
            gateway: self.gateway,
            kubernetes: self.kubernetes,
            offline: self.offline,
            no_host_images: self.no_host_images,
            samples,
        })
    }

    pub(crate) async fn run(self) -> Result<ExitCode> {
        let begun = Instant::now();
        let stop = stop_on_signal()?;
        let mut platform = wire::start(self.config(Samples::All)?, stop.clone()).await?;
        println!("portal    {}  ({:.2} s)", platform.config.base_url(), begun.elapsed().as_secs_f64());
        println!("gateway   {}", platform.config.gateway_url());
        println!("clusters  export KUBECONFIG={}", platform.kubeconfig().display());
        tokio::select! {
            ready = platform.ready() => {
                ready?;
                println!("ready     {:.2} s", begun.elapsed().as_secs_f64());
                stop.cancelled().await;
            }
            () = stop.cancelled() => {}
        }
        platform.stop().await;
        Ok(ExitCode::SUCCESS)
    }
}

/// A token that SIGTERM and SIGINT cancel.
pub(crate) fn stop_on_signal() -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let signalled = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        signalled.cancel();
    });
    Ok(stop)
}
