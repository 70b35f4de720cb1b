//! The software catalog: entities that every repository of the organisation describes in `catalog-info.yaml`, found
//! without registration, stitched into one index in memory and served in Backstage's REST shapes below `/api/catalog`.
//!
//! The catalog has no state: the index is derived from Git. It is re-read every half minute, and at once for a
//! repository that the git host's event stream names.

pub mod api;
mod documents;
pub mod filter;
mod http_api;
mod index;
mod reference;
mod relations;
mod source;
mod validate;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use source::ReadError;
pub use validate::{is_name, problems};

use api::View;
use index::Index;
use source::{Reader, Source};

/// Refresh requests that may wait; more than that means the git host does not answer.
const QUEUE: usize = 256;
/// Pause after the first sweep; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause after a sweep that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Repositories read at the same time during a sweep.
const CONCURRENCY: usize = 8;

/// What the catalog reads.
#[derive(Clone)]
pub struct Config {
    /// HTTP client to reach the git host with.
    pub client: reqwest::Client,
    /// Address of the git host, without a last slash.
    pub git_url: String,
    /// Token that may read every repository of the organisation.
    pub token: String,
    /// The organisation whose repositories are read.
    pub organization: String,
    /// Time between two sweeps over everything; hints make most changes visible at once.
    pub sweep: Duration,
}

/// A running catalog; cheap to clone. It stops with the token given to [`Catalog::start`].
#[derive(Clone)]
pub struct Catalog {
    state: Arc<State>,
}

struct State {
    organization: String,
    git_url: String,
    index: RwLock<Arc<Index>>,
    refresh: mpsc::Sender<Refresh>,
    /// Counts the sweeps that ended well.
    sweeps: watch::Sender<u64>,
}

/// A request to read one repository now.
struct Refresh {
    repository: String,
    done: Option<oneshot::Sender<Result<(), String>>>,
}

impl Catalog {
    /// Starts reading in the background; must be called inside a tokio runtime.
    #[must_use]
    pub fn start(config: Config, stop: CancellationToken) -> Catalog {
        let (refresh, requests) = mpsc::channel(QUEUE);
        let state = Arc::new(State {
            organization: config.organization.clone(),
            git_url: config.git_url.trim_end_matches('/').to_owned(),
            index: RwLock::default(),
            refresh: refresh.clone(),
            sweeps: watch::Sender::new(0),
        });
        let reader = Reader {
            client: config.client.clone(),
            base_url: state.git_url.clone(),
            token: config.token.clone(),
            organization: config.organization.clone(),
        };
        let worker = Worker { reader, sources: BTreeMap::new(), state: state.clone() };
        tokio::spawn(worker.run(requests, config.sweep, stop.clone()));
        tokio::spawn(listen(config, refresh, stop));
        Catalog { state }
    }

    /// The catalog as it is now.
    #[must_use]
    pub fn view(&self) -> View {
        View(self.state.index.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The REST API below `/api/catalog`. Every request must carry an `identity::Claims` extension.
    pub fn routes(&self) -> axum::Router {
        http_api::routes(self.clone())
    }

    /// Waits until the first sweep over the organisation ended well.
    pub async fn ready(&self) {
        let mut sweeps = self.state.sweeps.subscribe();
        // An error means that the catalog itself is gone.
        let _ = sweeps.wait_for(|count| *count > 0).await;
    }

    /// Reads one repository (`organisation/name`) now and returns when the index has it.
    ///
    /// # Errors
    /// When the git host cannot be read; in words for the caller.
    pub async fn refresh(&self, repository: &str) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let request = Refresh { repository: repository.to_owned(), done: Some(done) };
        self.state.refresh.send(request).await.map_err(|_| "the catalog has stopped".to_owned())?;
        answer.await.map_err(|_| "the catalog has stopped".to_owned())?
    }
}

/// Turns the git host's events into refresh requests.
async fn listen(config: Config, refresh: mpsc::Sender<Refresh>, stop: CancellationToken) {
    let mut events = std::pin::pin!(git::hints::listen(&config.git_url, &config.token));
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            Some(event @ (git::Event::Push { .. } | git::Event::Repository { .. })) => {
                let request = Refresh { repository: event.repository().to_owned(), done: None };
                // A full queue loses a hint, not a change: the next sweep finds it.
                let _ = refresh.try_send(request);
            }
            Some(_) => {}
            None => return,
        }
    }
}

/// The one owner of what was read.
struct Worker {
    reader: Reader,
    sources: BTreeMap<String, Source>,
    state: Arc<State>,
}

impl Worker {
    async fn run(mut self, mut requests: mpsc::Receiver<Refresh>, every: Duration, stop: CancellationToken) {
        // Often at first: the git host may only just be starting, and hints sent before the event stream is connected
        // are lost. Then ever more rarely, down to one sweep per `every`.
        let mut pause = FIRST_PAUSE.min(every);
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = &mut timer => {
                    match self.sweep().await {
                        Ok(()) => {
                            self.state.sweeps.send_modify(|count| *count += 1);
                            pause = (pause * 2).min(every);
                        }
                        Err(error) => {
                            tracing::warn!(error = %chain(&error), "the catalog could not read the organisation");
                            pause = pause.min(RETRY_PAUSE);
                        }
                    }
                    timer.as_mut().reset(tokio::time::Instant::now() + pause);
                }
                request = requests.recv() => {
                    let Some(request) = request else { return };
                    let result = self.refresh(&request.repository).await.map_err(|error| chain(&error));
                    if let Some(done) = request.done {
                        // The caller may have gone away meanwhile.
                        let _ = done.send(result);
                    }
                }
            }
        }
    }

    /// Reads everything whose head moved and forgets repositories that are gone.
    async fn sweep(&mut self) -> Result<(), ReadError> {
        let listed = self.reader.list().await?;
        let mut changed = false;
        let before = self.sources.len();
        self.sources.retain(|repository, _| listed.iter().any(|listed| listed.repository == *repository));
        changed |= before != self.sources.len();
        let sources = &self.sources;
        let reader = &self.reader;
        let mut reads = Vec::with_capacity(listed.len());
        for listed in &listed {
            reads.push(async move { (listed, reader.read(listed, sources.get(&listed.repository)).await) });
        }
        let read: Vec<_> = futures::stream::iter(reads).buffer_unordered(CONCURRENCY).collect().await;
        for (listed, result) in read {
            match result {
                Ok(Some(source)) => {
                    self.sources.insert(listed.repository.clone(), source);
                    changed = true;
                }
                Ok(None) => {}
                // What was read before stays; one broken repository must not hold up the others.
                Err(error) => {
                    tracing::warn!(repository = listed.repository, error = %chain(&error), "not read")
                }
            }
        }
        if changed {
            self.publish();
        }
        Ok(())
    }

    async fn refresh(&mut self, repository: &str) -> Result<(), ReadError> {
        let prefix = format!("{}/", self.state.organization);
        if !repository.starts_with(&prefix) {
            return Ok(());
        }
        match self.reader.find(repository).await? {
            None => {
                if self.sources.remove(repository).is_some() {
                    self.publish();
                }
            }
            Some(listed) => {
                if let Some(source) = self.reader.read(&listed, self.sources.get(repository)).await? {
                    self.sources.insert(repository.to_owned(), source);
                    self.publish();
                }
            }
        }
        Ok(())
    }

    fn publish(&self) {
        let previous = self.state.index.read().unwrap_or_else(PoisonError::into_inner).clone();
        let index = Arc::new(index::build(&self.sources, &previous));
        *self.state.index.write().unwrap_or_else(PoisonError::into_inner) = index;
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}
