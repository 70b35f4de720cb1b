//! The pod network: one network namespace for the cluster, held by one thread.
//!
//! That thread owns a single-threaded runtime; every socket that has to be in the pod network (the service proxy,
//! DNS, connections to pods) is made by a task of that runtime. Inside are a bridge with a virtual Ethernet pair
//! per pod, and the services' addresses on the loopback device. Nothing is routed out.

mod addresses;
mod dns;
mod link;
mod proxy;
pub(crate) mod services;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use addresses::Addresses;
pub(crate) use services::follow;

/// The bridge's own address, which pods use as their gateway.
pub(crate) const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// Pods are 10.244.0.0/16.
pub(crate) const POD_PREFIX: u8 = 16;
/// The cluster's DNS server.
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// A connection to a pod is on this machine: longer than this means that nobody answers.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("the pod network: {step}")]
    Step { step: &'static str, source: io::Error },
    #[error("the pod network: {step}")]
    Netlink { step: &'static str, source: rtnetlink::Error },
    #[error("the pod network has no free address")]
    Full,
}

pub(crate) fn step(step: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    move |source| NetworkError::Step { step, source }
}

pub(crate) fn link(step: &'static str) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    move |source| NetworkError::Netlink { step, source }
}

/// The pod network of one cluster. Clones share it; it ends with the last one.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Handle,
    /// The namespace, so that pods' devices can be put into it.
    namespace: OwnedFd,
    netlink: rtnetlink::Handle,
    bridge: u32,
    loopback: u32,
    addresses: Mutex<Addresses>,
    proxy: Arc<proxy::Proxy>,
    zone: dns::SharedZone,
    stop: CancellationToken,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A pod's place in the network; dropping it takes the pod off.
pub struct PodNetwork {
    pub ip: Ipv4Addr,
    namespace: OwnedFd,
    network: std::sync::Weak<Inner>,
}

impl PodNetwork {
    /// What connects to the pod's own loopback address.
    pub(crate) fn loopback(&self) -> io::Result<Loopback> {
        Ok(Loopback(self.namespace.try_clone()?))
    }

    /// A path that other processes of this process namespace can open to join.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.namespace.as_raw_fd()))
    }
}

/// A pod's own loopback address, where also what listens for the pod alone is reached.
pub(crate) struct Loopback(OwnedFd);

impl Loopback {
    /// Connects to a port, with IPv4 and then with IPv6.
    pub(crate) async fn dial(self, port: u16) -> io::Result<TcpStream> {
        let connect = move || {
            setns(&self.0, CloneFlags::CLONE_NEWNET)?;
            let connect = |ip: IpAddr| {
                std::net::TcpStream::connect_timeout(&(ip, port).into(), DIAL_TIMEOUT)
                    .map_err(|error| io::Error::new(error.kind(), format!("dial {ip}, port {port}: {error}")))
            };
            connect(Ipv4Addr::LOCALHOST.into())
                .or_else(|error| connect(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
        };
        // A fresh thread, since it must not come back with another network.
        let connecting = tokio::task::spawn_blocking(move || std::thread::spawn(connect).join());
        let stream = match connecting.await {
            Ok(Ok(connected)) => connected?,
            _ => return Err(io::Error::other("the thread ended")),
        };
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        if let Some(network) = self.network.upgrade() {
            network.addresses.lock().unwrap_or_else(PoisonError::into_inner).release(self.ip);
        }
    }
}

impl Network {
    /// Makes the network. Must be called within a tokio runtime, whose network is the outside.
    pub async fn start() -> Result<Network, NetworkError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let outside = Handle::current();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        std::thread::Builder::new()
            .name("pod-network".into())
            .spawn(move || hold(outside, stop, stopped, sender))
            .map_err(step("start a thread"))?;
        match receiver.await {
            Ok(result) => result.map(|inner| Network { inner: Arc::new(inner) }),
            Err(_) => Err(step("start a thread")(io::Error::other("the thread ended"))),
        }
    }

    /// Gives a pod its network, with the address it had before if that is still free.
    pub async fn attach(&self, wanted: Option<Ipv4Addr>) -> Result<PodNetwork, NetworkError> {
        let inner = &self.inner;
        let ip = inner.addresses.lock().unwrap_or_else(PoisonError::into_inner).take(wanted);
        let ip = ip.ok_or(NetworkError::Full)?;
        let cluster = inner.namespace.try_clone().map_err(step("copy a descriptor"))?;
        let made = tokio::task::spawn_blocking(move || {
            // A fresh thread, since it must not come back with another network.
            std::thread::spawn(move || link::make_pod(ip, &cluster)).join()
        });
        let namespace = match made.await {
            Ok(Ok(result)) => result,
            _ => Err(step("start a thread")(io::Error::other("the thread ended"))),
        };
        let namespace = namespace.inspect_err(|_| {
            inner.addresses.lock().unwrap_or_else(PoisonError::into_inner).release(ip);
        })?;
        let pod = PodNetwork { ip, namespace, network: Arc::downgrade(inner) };
        link::join_bridge(&inner.netlink, &link::outer_name(ip), inner.bridge).await?;
        Ok(pod)
    }

    /// Keeps an address from being given to anyone who does not ask for it by name.
    pub fn reserve(&self, ip: Ipv4Addr) {
        self.inner.addresses.lock().unwrap_or_else(PoisonError::into_inner).reserve(ip);
    }

    /// Connects to an address of the pod network; the stream belongs to the caller's runtime.
    pub async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let connecting = self.inner.runtime.spawn(dial_inside(address));
        let stream = connecting.await.map_err(io::Error::other)??;
        TcpStream::from_std(stream)
    }
}

async fn dial_inside(address: SocketAddr) -> io::Result<std::net::TcpStream> {
    match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address)).await {
        Ok(stream) => stream?.into_std(),
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer"))),
    }
}

/// The thread that is the network.
fn hold(
    outside: Handle,
    stop: CancellationToken,
    stopped: CancellationToken,
    sender: tokio::sync::oneshot::Sender<Result<Inner, NetworkError>>,
) {
    let runtime = unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| step("make a network namespace")(error.into()))
        .and_then(|()| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().map_err(step("start a runtime"))
        });
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = sender.send(Err(error));
            return;
        }
    };
    runtime.block_on(async move {
        let made = set_up(outside, stop).await;
        let failed = made.is_err();
        if sender.send(made).is_err() || failed {
            return;
        }
        stopped.cancelled().await;
    });
    // Streams that were handed out may still be copied by tasks of this runtime; they end here.
    runtime.shutdown_background();
}

async fn set_up(outside: Handle, stop: CancellationToken) -> Result<Inner, NetworkError> {
    let namespace = std::fs::File::open("/proc/thread-self/ns/net").map_err(step("open the namespace"))?;
    let (connection, netlink, _) = rtnetlink::new_connection().map_err(step("open a netlink socket"))?;
    tokio::spawn(connection);
    let (bridge, loopback) = link::make_cluster(&netlink).await?;
    let zone = dns::SharedZone::default();
    let proxy = Arc::new(proxy::Proxy::new(outside));
    dns::serve(DNS, zone.clone(), stop.clone()).await.map_err(step("listen for DNS"))?;
    Ok(Inner {
        runtime: Handle::current(),
        namespace: namespace.into(),
        netlink,
        bridge,
        loopback,
        addresses: Mutex::default(),
        proxy,
        zone,
        stop,
    })
}
