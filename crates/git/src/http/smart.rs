//! Git's smart HTTP protocol: the three requests of a clone, fetch or push, each streamed through one git process.
//!
//! Packs are never buffered. The repository path is the host's own; the request gives only names, which are looked up.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::access::{ApiError, Caller, query};
use crate::command::Call;
use crate::host::hooks::{PROTECTED, RECEIVED};
use crate::host::{Hosted, RefUpdate, Sender};
use crate::write::DURABLE;
use crate::{Error, Host};

/// One clone or push may take this long; a client that is slower tries again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Size of one piece of an answer.
const CHUNK: usize = 64 << 10;
/// Largest pack of one push, in bytes; git refuses more.
const PUSH_LIMIT: u64 = 2 << 30;

/// `GET info/refs?service=…`: the refs, or with protocol 2 the server's abilities.
pub(crate) async fn advertise(
    State(host): State<Host>,
    Path((owner, repo)): Path<(String, String)>,
    caller: Caller,
    headers: HeaderMap,
    uri: http::Uri,
) -> Result<Response, ApiError> {
    let service = query(&uri, "service").unwrap_or_default();
    let Some(command @ ("upload-pack" | "receive-pack")) = service.strip_prefix("git-") else {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "only Git's smart HTTP protocol is served"));
    };
    let hosted = addressed(&host, &caller, &owner, &repo, command)?;
    let _slot = slot(&host).await?;
    let call = with_protocol(hosted.git.call(DURABLE), &headers);
    let call = call.args([command, "--stateless-rpc", "--advertise-refs"]).args([hosted.git.path()]);
    let advertisement = call.output().await?;
    let first = format!("# service={service}\n");
    let mut body = format!("{:04x}{first}0000", first.len() + 4).into_bytes();
    body.extend_from_slice(&advertisement);
    Ok(answer(&format!("application/x-{service}-advertisement"), Body::from(body)))
}

/// `POST git-upload-pack`: what a clone or fetch reads.
pub(crate) async fn upload_pack(
    State(host): State<Host>,
    Path((owner, repo)): Path<(String, String)>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let hosted = addressed(&host, &caller, &owner, &repo, "upload-pack")?;
    let slot = slot(&host).await?;
    let call = with_protocol(hosted.git.call(["-c", "uploadpack.allowFilter=true"]), &headers);
    let call = call.args(["-c", "uploadpack.allowAnySHA1InWant=true", "upload-pack", "--stateless-rpc"]);
    let process = Process::start(call.args([hosted.git.path()]), &headers, body, slot, None)?;
    Ok(answer("application/x-git-upload-pack-result", Body::from_stream(process.stream())))
}

/// `POST git-receive-pack`: a push. The answer ends after the refs are on disk and everyone was told.
pub(crate) async fn receive_pack(
    State(host): State<Host>,
    Path((owner, repo)): Path<(String, String)>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let hosted = addressed(&host, &caller, &owner, &repo, "receive-pack")?;
    let slot = slot(&host).await?;
    let received = tempfile::NamedTempFile::new().map_err(|e| Error::file(hosted.git.path(), e))?;
    let hooks = format!("core.hooksPath={}", host.inner.hooks.display());
    let limit = format!("receive.maxInputSize={PUSH_LIMIT}");
    let call = with_protocol(hosted.git.call(DURABLE), &headers)
        .args(["-c", &hooks, "-c", &limit, "-c", "receive.fsckObjects=true", "-c", "receive.autogc=false"])
        .args(["-c", "receive.denyDeleteCurrent=refuse", "-c", "receive.advertisePushOptions=false"])
        .args(["receive-pack", "--stateless-rpc"])
        .args([hosted.git.path()])
        .env(PROTECTED, hosted.metadata().protected.join("\n"))
        .env(RECEIVED, received.path());
    let after = AfterPush { host: host.clone(), hosted, sender: caller.sender(), received };
    let process = Process::start(call, &headers, body, slot, Some(after))?;
    Ok(answer("application/x-git-receive-pack-result", Body::from_stream(process.stream())))
}

/// The repository that a path names, with the access that the command needs. The `.git` suffix is optional.
fn addressed(
    host: &Host,
    caller: &Caller,
    owner: &str,
    repo: &str,
    command: &str,
) -> Result<Arc<Hosted>, ApiError> {
    let verb = if command == "receive-pack" { "write" } else { "read" };
    caller.repository(host, owner, repo.strip_suffix(".git").unwrap_or(repo), verb)
}

async fn slot(host: &Host) -> Result<OwnedSemaphorePermit, ApiError> {
    let slot = host.inner.processes.clone().acquire_owned().await;
    slot.map_err(|_| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the host is stopping"))
}

fn with_protocol(call: Call, headers: &HeaderMap) -> Call {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '=' | ':' | '-' | '_' | '.');
    match headers.get("git-protocol").and_then(|value| value.to_str().ok()) {
        Some(protocol) if protocol.chars().all(allowed) => call.env("GIT_PROTOCOL", protocol),
        _ => call,
    }
}

fn answer(content_type: &str, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"));
    response
}

/// What follows a push: the hook's list of moved refs becomes events and the activity log.
struct AfterPush {
    host: Host,
    hosted: Arc<Hosted>,
    sender: Sender,
    received: tempfile::NamedTempFile,
}

impl AfterPush {
    async fn finish(self) {
        let text = tokio::fs::read_to_string(self.received.path()).await.unwrap_or_default();
        let update = |line: &str| {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let (before, after, reference) = (words.next()?, words.next()?, words.next()?);
            Some(RefUpdate { reference, before, after })
        };
        let updates: Vec<RefUpdate> = text.lines().filter_map(update).collect();
        self.host.updated(&self.hosted, updates, &self.sender).await;
    }
}

/// A running git process with its request on one side and its answer on the other.
struct Process {
    child: Child,
    stdout: ChildStdout,
    deadline: Instant,
    feeder: tokio::task::JoinHandle<()>,
    after: Option<AfterPush>,
    _slot: OwnedSemaphorePermit,
}

impl Process {
    fn start(
        call: Call,
        headers: &HeaderMap,
        body: Body,
        slot: OwnedSemaphorePermit,
        after: Option<AfterPush>,
    ) -> Result<Process, ApiError> {
        let gzip = match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
            None | Some(b"identity") => false,
            Some(b"gzip" | b"x-gzip") => true,
            Some(_) => {
                return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown content encoding"));
            }
        };
        let mut child = call.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
            return Err(Error::Start(std::io::Error::other("no pipes")).into());
        };
        let feeder = tokio::spawn(feed(stdin, body, gzip));
        tokio::spawn(async move {
            // What git says to the client goes through the protocol; this is for the host's log only.
            let mut text = Vec::new();
            (&mut stderr).take(CHUNK as u64).read_to_end(&mut text).await.ok();
            if !text.is_empty() {
                tracing::debug!(message = %String::from_utf8_lossy(&text), "git");
            }
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.ok();
        });
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        Ok(Process { child, stdout, deadline, feeder, after, _slot: slot })
    }

    /// The answer, piece by piece. A push goes on to its end when the client goes away: half of what follows it would
    /// otherwise be lost.
    fn stream(self) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
        let (pieces, receiver) = tokio::sync::mpsc::channel(4);
        tokio::spawn(self.run(pieces));
        tokio_stream::wrappers::ReceiverStream::new(receiver)
    }

    async fn run(mut self, pieces: tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>) {
        let deadline = self.deadline;
        let copied = tokio::time::timeout_at(deadline, self.copy(&pieces)).await;
        self.feeder.abort();
        let problem = match copied {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(std::io::Error::new(std::io::ErrorKind::TimedOut, "the transfer took too long")),
        };
        if problem.is_some() {
            self.child.start_kill().ok();
        }
        self.child.wait().await.ok();
        if let Some(after) = self.after.take() {
            after.finish().await;
        }
        if let Some(problem) = problem {
            pieces.send(Err(problem)).await.ok();
        }
    }

    async fn copy(
        &mut self,
        pieces: &tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) -> std::io::Result<()> {
        let push = self.after.is_some();
        loop {
            let mut buffer = bytes::BytesMut::with_capacity(CHUNK);
            if self.stdout.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            if pieces.send(Ok(buffer.freeze())).await.is_err() && !push {
                return Err(std::io::Error::new(std::io::ErrorKind::BrokenPipe, "the client went away"));
            }
        }
    }
}

/// Streams the request into git. A broken request ends git's input early, which git refuses by itself.
async fn feed(mut stdin: ChildStdin, body: Body, gzip: bool) {
    use std::io::Write as _;
    let mut decoder = gzip.then(|| flate2::write::GzDecoder::new(Vec::new()));
    let mut chunks = body.into_data_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let written = match &mut decoder {
            None => stdin.write_all(&chunk).await,
            Some(decoder) => {
                if decoder.write_all(&chunk).and_then(|()| decoder.flush()).is_err() {
                    return;
                }
                let plain = std::mem::take(decoder.get_mut());
                stdin.write_all(&plain).await
            }
        };
        if written.is_err() {
            return;
        }
    }
    if let Some(rest) = decoder.and_then(|decoder| decoder.finish().ok()) {
        stdin.write_all(&rest).await.ok();
    }
}
