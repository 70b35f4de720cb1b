//! What the platform is told, read once before any port is bound.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The embedded clusters that run workloads, left to right.
pub(crate) const ENVIRONMENTS: &[&str] = &["dev", "qa", "prod"];
/// The API server that holds the platform's own records: scaffolder tasks and workflow runs. It runs no pods.
pub(crate) const RECORDS: &str = "platform";

/// Which of the samples an empty platform starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Samples {
    /// People and teams, and the templates.
    All,
    /// People and teams only: somebody is about to push the templates.
    Organisation,
}

/// One embedded platform.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where everything is kept.
    pub(crate) data: PathBuf,
    /// Portal, Git, registry and APIs.
    pub(crate) listen: SocketAddr,
    /// The applications' pages.
    pub(crate) gateway: SocketAddr,
    /// The clusters' API servers.
    pub(crate) kubernetes: SocketAddr,
    /// Never ask a remote registry.
    pub(crate) offline: bool,
    /// Refuse base images made from the programs on this machine.
    pub(crate) no_host_images: bool,
    /// What an empty platform starts with.
    pub(crate) samples: Samples,
}

impl Config {
    /// Where browsers and clients of this machine reach the portal's listener.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", reachable(self.listen))
    }

    /// The registry's address as image references name it. `localhost` is what OCI clients speak plain HTTP to.
    pub(crate) fn registry(&self) -> String {
        format!("localhost:{}", self.listen.port())
    }

    /// Where browsers reach the gateway; routes put their own host in place of `localhost`.
    pub(crate) fn gateway_url(&self) -> String {
        format!("http://localhost:{}", self.gateway.port())
    }

    /// The URL of one cluster's API server.
    pub(crate) fn cluster_url(&self, cluster: &str) -> String {
        format!("https://{}{}", reachable(self.kubernetes), cluster_path(cluster))
    }
}

/// The path below which a cluster's API server is served.
pub(crate) fn cluster_path(cluster: &str) -> String {
    format!("/clusters/{cluster}")
}

/// An address to connect to, for one that was listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback: IpAddr =
        if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    SocketAddr::new(loopback, address.port())
}
