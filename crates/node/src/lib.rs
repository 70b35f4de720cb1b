//! The node of an embedded cluster: what a kubelet, a container runtime, kube-proxy and the cluster's DNS are
//! elsewhere.
//!
//! It runs as a process of its own ([`supervise`]), talks to its API server through a `kube::Client` only, and
//! serves the kubelet's HTTP API on a Unix socket. All it keeps on disk are logs, volumes and caches: what shall
//! run, and how often it was restarted, is read from the API.

mod api;
mod images;
mod kubelet;
mod machine;
mod network;
mod node_object;
mod pod;
mod stdio;
mod storage;
pub mod supervise;

pub use kubelet::{Config, NodeError, run};
pub use network::{Network, NetworkError, PodNetwork};
