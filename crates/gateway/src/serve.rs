//! The listener: connections in, requests to [`crate::proxy`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::State;
use crate::proxy::{self, Peer};

/// Connections of clients at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 4096;
/// For a request's head to arrive, which also ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Largest request head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// For open requests to end after the gateway is told to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed accept: the machine is out of file descriptors, and trying at once would only burn a processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn serve(listener: TcpListener, state: Arc<State>, stop: CancellationToken) {
    let port = listener.local_addr().map(|address| address.port()).unwrap_or_default();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = TaskTracker::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, address)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Without it small answers wait for the client's acknowledgement; failing to set it costs only that.
        let _ = stream.set_nodelay(true);
        let state = state.clone();
        let service = service_fn(move |request| {
            let state = state.clone();
            async move { Ok::<_, Infallible>(proxy::handle(state, Peer { address, port }, request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        open.spawn(until_end(connection, stop.clone(), place));
    }
    drop(listener);
    open.close();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, open.wait()).await;
}

/// Serves a connection; after `stop` it ends with the request that is under way.
async fn until_end<S>(
    connection: http1::UpgradeableConnection<TokioIo<TcpStream>, S>,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
) where
    S: HttpService<Incoming, ResBody = proxy::Body, Error = Infallible>,
    S::Future: Send + 'static,
{
    tokio::pin!(connection);
    // A client that goes away is no error of ours, so the outcome does not matter.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(place);
}
