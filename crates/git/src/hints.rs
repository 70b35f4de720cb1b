//! Hints: what happened in the git host, as it happens. Whoever acts on one re-reads the truth; whoever misses one finds
//! out by polling.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};

/// Wait before connecting again; the stream is a hint, so there is no hurry and no end.
const RECONNECT: Duration = Duration::from_secs(2);
/// The host says something every 15 seconds, if only a comment: a connection that is silent for longer is dead.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest event line: refs and topics are short.
const LINE_LIMIT: usize = 64 << 10;

/// Something that happened in a repository (`organisation/name`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// A ref moved; 40 zeros stand for "did not exist" and "is gone".
    Push {
        repository: String,
        #[serde(rename = "ref")]
        reference: String,
        before: String,
        after: String,
        sender: String,
    },
    /// A repository was `created`, `edited` (topics, description, …) or `deleted`.
    Repository { repository: String, action: String, topics: Vec<String>, sender: String },
    /// A commit got a status.
    Status { repository: String, sha: String, context: String, state: String, sender: String },
    /// Somebody asked for a workflow (`workflow_dispatch`) or sent a `repository_dispatch`.
    Dispatch {
        repository: String,
        /// File name or id of the workflow; `None` for `repository_dispatch`.
        workflow: Option<String>,
        /// The `event_type` of `repository_dispatch`, otherwise `workflow_dispatch`.
        event_type: String,
        #[serde(rename = "ref")]
        reference: String,
        /// Inputs of the workflow, or the `client_payload`.
        inputs: serde_json::Value,
        sender: String,
    },
}

impl Event {
    /// The repository it is about.
    pub fn repository(&self) -> &str {
        match self {
            Event::Push { repository, .. }
            | Event::Repository { repository, .. }
            | Event::Status { repository, .. }
            | Event::Dispatch { repository, .. } => repository,
        }
    }
}

/// Listens to `GET <base_url>/api/v3/portolan/events`, connecting again for ever. Events between two connections are lost.
pub fn listen(base_url: &str, token: &str) -> impl Stream<Item = Event> + Send + use<> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let url = format!("{}/api/v3/portolan/events", base_url.trim_end_matches('/'));
    let authorization = format!("Bearer {token}");
    let connections =
        futures::stream::unfold((true, url, authorization), |(first, url, authorization)| async move {
            if !first {
                tokio::time::sleep(RECONNECT).await;
            }
            let events = connect(&url, &authorization).await;
            Some((events, (false, url, authorization)))
        });
    connections.flatten()
}

/// The events of one connection; none when it fails.
async fn connect(url: &str, authorization: &str) -> futures::stream::BoxStream<'static, Event> {
    let client = match reqwest::Client::builder().no_proxy().read_timeout(SILENCE).build() {
        Ok(client) => client,
        Err(error) => {
            tracing::warn!(%error, "cannot listen to the git host");
            return futures::stream::empty().boxed();
        }
    };
    match client
        .get(url)
        .header("authorization", authorization)
        .send()
        .await
        .and_then(|r| r.error_for_status())
    {
        Ok(response) => events(response.bytes_stream().map(|chunk| chunk.ok())).boxed(),
        Err(error) => {
            tracing::debug!(%error, "the git host's events are not reachable");
            futures::stream::empty().boxed()
        }
    }
}

/// Splits a server-sent event stream into events, ending at the first failed chunk.
fn events<B: AsRef<[u8]> + Send>(
    chunks: impl Stream<Item = Option<B>> + Send,
) -> impl Stream<Item = Event> + Send {
    let chunks = chunks.take_while(|chunk| std::future::ready(chunk.is_some()));
    chunks
        .scan(Vec::<u8>::new(), |buffer, chunk| {
            buffer.extend_from_slice(chunk.as_ref().map(AsRef::as_ref).unwrap_or_default());
            let mut events = Vec::new();
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                let data = line.strip_prefix(b"data:");
                events.extend(data.and_then(|data| serde_json::from_slice::<Event>(data).ok()));
            }
            if buffer.len() > LINE_LIMIT {
                buffer.clear();
            }
            std::future::ready(Some(futures::stream::iter(events)))
        })
        .flatten()
}
