//! The HTTP data plane: one listener for all clusters, routed by host and path.
//!
//! Routes come from Ingresses (and Gateway API HTTPRoutes, where that CRD is served), endpoints from Services and
//! EndpointSlices, all through shared watches. [`table`] turns those objects into an immutable routing table; requests
//! are served by whichever table is current when they arrive. Endpoints that leave finish the requests they have.

mod dial;
mod endpoints;
mod headers;
mod metrics;
mod pages;
mod proxy;
mod serve;
mod status;
pub mod table;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use controller::Cluster;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use endpoints::Live;
use metrics::Metrics;

/// The ingress class that is served here; an Ingress without a class is, too.
pub const INGRESS_CLASS: &str = "portolan";
/// `spec.controller` of IngressClasses that are served here under another name.
pub const INGRESS_CONTROLLER: &str = "portolan.dev/gateway";

/// What a gateway serves.
pub struct Config {
    /// Bound by the caller, so that a taken port is its error.
    pub listener: TcpListener,
    /// The order decides who keeps a host that two clusters claim: the first.
    pub clusters: Vec<ClusterRoute>,
}

/// One cluster behind the gateway.
#[derive(Clone)]
pub struct ClusterRoute {
    /// For metrics and events: `dev`, `qa`, `prod`.
    pub name: String,
    pub cluster: Cluster,
    pub dial: Dial,
}

/// How pods of a cluster are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dial {
    /// By their own addresses.
    Direct,
    /// By HTTP `CONNECT address:port` on the node's Unix socket.
    Node(PathBuf),
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the gateway's listener has no address")]
    Listener(#[source] io::Error),
}

/// A running gateway.
pub struct Gateway {
    address: SocketAddr,
    state: Arc<State>,
    tasks: TaskTracker,
}

/// What requests and watches share.
pub(crate) struct State {
    pub(crate) clusters: Vec<ClusterRoute>,
    pub(crate) live: RwLock<Arc<Live>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Places for upgraded connections.
    pub(crate) tunnels: Arc<Semaphore>,
}

impl State {
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Gateway {
    /// Starts to serve; ends after `stop`, when open requests are answered or their time is up. Has to be called within a
    /// tokio runtime. Until a cluster's objects have been read, its hosts answer 404.
    pub fn start(config: Config, stop: CancellationToken) -> Result<Gateway, GatewayError> {
        let address = config.listener.local_addr().map_err(GatewayError::Listener)?;
        let state = Arc::new(State {
            clusters: config.clusters,
            live: RwLock::new(Arc::new(Live::default())),
            metrics: Arc::new(Metrics::default()),
            tunnels: Arc::new(Semaphore::new(proxy::MAX_TUNNELS)),
        });
        let tasks = TaskTracker::new();
        let hints = status::start(&state, address.port(), &tasks, &stop);
        watch::start(&state, hints, &tasks, &stop);
        tasks.spawn(serve::serve(config.listener, state.clone(), stop));
        tasks.close();
        Ok(Gateway { address, state, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counters and histograms under Traefik's names, in Prometheus' text format.
    pub fn metrics(&self) -> String {
        self.state.metrics.render()
    }

    /// Waits for the end after `stop`.
    pub async fn finished(&self) {
        self.tasks.wait().await;
    }
}
