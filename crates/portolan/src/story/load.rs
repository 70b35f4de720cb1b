//! The load generator of the story: asks for a page without pause and counts what fails. Bounded in time and number.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::Actors;

/// Requests at once.
const CLIENTS: usize = 4;
/// Between two requests of one client: some 300 requests a second in all, on loopback only.
const PAUSE: Duration = Duration::from_millis(10);
/// One client stops by itself after this many.
const MOST: usize = 30_000;

/// What the load saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) requests: usize,
    pub(crate) failures: Vec<String>,
}

/// Loads `host` through the gateway until `stop`.
pub(crate) async fn load(actors: &Actors, host: &str, path: &str, stop: CancellationToken) -> Result<Seen> {
    let seen = Arc::new(std::sync::Mutex::new(Seen::default()));
    let clients = (0..CLIENTS).map(|_| client(actors, host, path, stop.clone(), seen.clone()));
    futures::future::join_all(clients).await;
    let seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(seen.clone())
}

async fn client(
    actors: &Actors,
    host: &str,
    path: &str,
    stop: CancellationToken,
    seen: Arc<std::sync::Mutex<Seen>>,
) {
    for _ in 0..MOST {
        if stop.is_cancelled() {
            return;
        }
        let failure = match actors.through_gateway(host, path).await {
            Ok((200, _)) => None,
            Ok((status, text)) => Some(format!("{status}: {}", text.chars().take(120).collect::<String>())),
            Err(error) => Some(error.to_string()),
        };
        {
            let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            seen.requests += 1;
            seen.failures.extend(failure);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
