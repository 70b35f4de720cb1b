//! Endpoints while they are in use: how busy each is, and its idle connections. An endpoint that stays in the table keeps
//! both; one that leaves gets no new request, and its connections close as soon as the requests on them are answered.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::dial::dial;
use crate::proxy::Body;
use crate::table::{Address, Backend, Table, Targets};
use crate::{ClusterRoute, Dial};

/// Shorter than the 5 s after which Node's HTTP server, the shortest of the common ones, closes an idle connection.
const IDLE_LIFETIME: Duration = Duration::from_secs(4);
/// Idle connections kept for one endpoint.
const MAX_IDLE: usize = 64;
/// An endpoint that refused a connection is the last choice for this long.
const DOUBT: Duration = Duration::from_secs(1);

/// A routing table with the endpoints it names.
#[derive(Default)]
pub(crate) struct Live {
    pub(crate) table: Table,
    /// For each of the table's backends.
    targets: Vec<Vec<Arc<Endpoint>>>,
    all: HashMap<Address, Arc<Endpoint>>,
}

impl Live {
    /// The successor of `self`: endpoints that are in both keep their connections, those that left are retired.
    pub(crate) fn next(&self, table: Table, clusters: &[ClusterRoute]) -> Live {
        let mut all = HashMap::new();
        let mut targets = Vec::new();
        for backend in &table.backends {
            let addresses: &[Address] = match &backend.targets {
                Targets::Ready(addresses) => addresses,
                Targets::None(_) => &[],
            };
            let endpoint = |address: &Address| {
                let known = self.all.get(address).cloned();
                let endpoint = known.unwrap_or_else(|| {
                    Arc::new(Endpoint::new(address.clone(), clusters[address.cluster].dial.clone()))
                });
                all.entry(address.clone()).or_insert(endpoint).clone()
            };
            targets.push(addresses.iter().map(endpoint).collect());
        }
        for (address, endpoint) in &self.all {
            if !all.contains_key(address) {
                endpoint.retire();
            }
        }
        Live { table, targets, all }
    }

    /// The endpoints of a backend, which may come from an older table.
    pub(crate) fn targets(&self, wanted: &Backend) -> &[Arc<Endpoint>] {
        let same = |backend: &Backend| backend.cluster == wanted.cluster && backend.label == wanted.label;
        match self.table.backends.iter().position(same) {
            Some(index) => &self.targets[index],
            None => &[],
        }
    }
}

/// One pod's port.
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    dial: Dial,
    in_flight: AtomicUsize,
    gone: AtomicBool,
    idle: Mutex<Vec<(SendRequest<Body>, Instant)>>,
    refused_at: Mutex<Option<Instant>>,
}

impl Endpoint {
    fn new(address: Address, dial: Dial) -> Endpoint {
        Endpoint {
            address,
            dial,
            in_flight: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            idle: Mutex::default(),
            refused_at: Mutex::default(),
        }
    }

    /// Counts a request until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Endpoint>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// An idle connection that is still open.
    pub(crate) fn idle_connection(&self) -> Option<SendRequest<Body>> {
        let mut idle = lock(&self.idle);
        while let Some((sender, since)) = idle.pop() {
            if since.elapsed() < IDLE_LIFETIME && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// A fresh connection.
    pub(crate) async fn connect(&self) -> io::Result<SendRequest<Body>> {
        let connected = dial(&self.dial, &self.address).await;
        *lock(&self.refused_at) = connected.is_err().then(Instant::now);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(connected?)).await;
        let (sender, connection) = handshake.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its errors reach the request that is under way.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Keeps the connection for the next request, once the answer on it has been read.
    pub(crate) fn keep(self: &Arc<Endpoint>, mut sender: SendRequest<Body>) {
        let endpoint = self.clone();
        tokio::spawn(async move {
            if sender.ready().await.is_err() || endpoint.gone.load(Ordering::Acquire) {
                return;
            }
            let mut idle = lock(&endpoint.idle);
            idle.retain(|(_, since)| since.elapsed() < IDLE_LIFETIME);
            if idle.len() < MAX_IDLE {
                idle.push((sender, Instant::now()));
            }
            drop(idle);
            // It may have been retired in between.
            if endpoint.gone.load(Ordering::Acquire) {
                lock(&endpoint.idle).clear();
            }
        });
    }

    fn retire(&self) {
        self.gone.store(true, Ordering::Release);
        lock(&self.idle).clear();
    }

    fn is_doubtful(&self) -> bool {
        lock(&self.refused_at).is_some_and(|at| at.elapsed() < DOUBT)
    }
}

/// The endpoint to try next: not tried yet, not in doubt, the least busy; among equals, the one at `turn`.
pub(crate) fn choose(targets: &[Arc<Endpoint>], tried: &[Address], turn: usize) -> Option<Arc<Endpoint>> {
    let count = targets.len().max(1);
    let order = (0..targets.len()).map(|at| &targets[(at + turn) % count]);
    let cost = |endpoint: &&Arc<Endpoint>| {
        let tries = tried.iter().filter(|address| **address == endpoint.address).count();
        (tries, endpoint.is_doubtful(), endpoint.in_flight.load(Ordering::Relaxed))
    };
    order.min_by_key(cost).cloned()
}

/// A request under way.
pub(crate) struct InFlight(Arc<Endpoint>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8) -> Arc<Endpoint> {
        let address = Address { cluster: 0, ip: [10, 0, 0, last].into(), port: 80 };
        Arc::new(Endpoint::new(address, Dial::Direct))
    }

    #[test]
    fn the_least_busy_is_chosen_and_ties_take_turns() {
        let all = [endpoint(1), endpoint(2), endpoint(3)];
        let choose_at = |turn| choose(&all, &[], turn).map(|found| found.address.clone());
        assert_eq!(choose_at(0), Some(all[0].address.clone()));
        assert_eq!(choose_at(1), Some(all[1].address.clone()));
        let busy = all[1].enter();
        assert_eq!(choose_at(1), Some(all[2].address.clone()));
        drop(busy);
        assert_eq!(choose_at(1), Some(all[1].address.clone()));
        let tried = [all[0].address.clone(), all[2].address.clone()];
        assert_eq!(choose(&all, &tried, 0).map(|found| found.address.clone()), Some(all[1].address.clone()));
        assert!(choose(&[], &[], 7).is_none());
    }
}
