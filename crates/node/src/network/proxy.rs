//! Service addresses: a TCP listener per address and port, which passes each connection to a ready endpoint.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::{BRIDGE, DIAL_TIMEOUT, dial_inside};

/// Wait after an error of `accept`, which means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What services there are: address and port to the endpoints behind it. Only ports with an endpoint are listed:
/// the others refuse connections, as kube-proxy's rules do.
pub(crate) type Table = HashMap<(Ipv4Addr, u16), Vec<SocketAddr>>;

/// The listeners, kept in step with a [`Table`].
pub(crate) struct Proxy {
    listeners: Mutex<HashMap<(Ipv4Addr, u16), Listener>>,
    outside: Handle,
}

struct Listener {
    task: AbortHandle,
    backends: Arc<Backends>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Connections that run are tasks of their own and stay.
        self.task.abort();
    }
}

struct Backends {
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Proxy {
    pub(crate) fn new(outside: Handle) -> Proxy {
        Proxy { listeners: Mutex::default(), outside }
    }

    /// Listens as the table says. Runs in the pod network; the addresses must be there.
    pub(crate) async fn apply(&self, table: Table) {
        let mut missing = Vec::new();
        {
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.retain(|key, _| table.contains_key(key));
            for (key, addresses) in table {
                match listeners.get(&key) {
                    Some(listener) => {
                        *listener.backends.addresses.lock().unwrap_or_else(PoisonError::into_inner) =
                            addresses;
                    }
                    None => missing.push((key, addresses)),
                }
            }
        }
        for (key, addresses) in missing {
            let backends = Arc::new(Backends { addresses: Mutex::new(addresses), next: AtomicUsize::new(0) });
            match TcpListener::bind(SocketAddr::from(key)).await {
                Ok(socket) => {
                    let task = tokio::spawn(accept(socket, backends.clone(), self.outside.clone()));
                    let listener = Listener { task: task.abort_handle(), backends };
                    self.listeners.lock().unwrap_or_else(PoisonError::into_inner).insert(key, listener);
                }
                Err(error) => {
                    tracing::warn!(address = %key.0, port = key.1, %error, "cannot listen for a service")
                }
            }
        }
    }
}

async fn accept(listener: TcpListener, backends: Arc<Backends>, outside: Handle) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(pass_on(stream, backends.clone(), outside.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn pass_on(mut client: TcpStream, backends: Arc<Backends>, outside: Handle) {
    let addresses = backends.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let first = backends.next.fetch_add(1, Ordering::Relaxed);
    for turn in 0..addresses.len() {
        let address = addresses[(first + turn) % addresses.len()];
        // An endpoint that refuses is one that has just gone: the next one is asked.
        if let Ok(mut server) = connect(address, &outside).await {
            let _ = client.set_nodelay(true);
            let _ = server.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
    // As close to "connection refused" as an accepted connection gets.
    let _ = client.set_zero_linger();
}

/// Pods are reached in the pod network, everything else (the API server) from outside of it.
async fn connect(address: SocketAddr, outside: &Handle) -> io::Result<TcpStream> {
    let is_pod = matches!(address, SocketAddr::V4(v4) if v4.ip().octets()[..2] == BRIDGE.octets()[..2]);
    if is_pod {
        return tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect(address))
            .await
            .map_err(io::Error::other)?;
    }
    let stream = outside.spawn(dial_inside(address)).await.map_err(io::Error::other)??;
    TcpStream::from_std(stream)
}
