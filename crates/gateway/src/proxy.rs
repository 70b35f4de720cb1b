//! One request: its route, an endpoint, the answer. What fails before the first byte of an answer is tried on another
//! endpoint where that is safe, so that a rollout costs no request.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::State;
use crate::endpoints::{Endpoint, InFlight, choose};
use crate::metrics::{Labels, Observation, method_label};
use crate::table::{Action, Address, Backend, Targets};
use crate::{headers, pages};

/// Bodies up to this size are kept to be sent again; larger ones stream through once.
pub(crate) const MAX_REPLAY_BYTES: u64 = 64 << 10;
/// Endpoints (or the same one again) that one request may be tried on.
const MAX_ATTEMPTS: usize = 8;
/// How long a request may look for an endpoint: longer than a watch event takes, shorter than a person's patience.
const RETRY_WINDOW: Duration = Duration::from_millis(1500);
/// Between rounds over all endpoints.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// For an endpoint's answer to begin. Slow reports exist; what takes longer is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The same where the client's body streams through meanwhile: an upload over a slow line.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(3600);
/// Upgraded connections (WebSockets) at once; they outlive the limit on ordinary ones.
pub(crate) const MAX_TUNNELS: usize = 2048;
/// For a small body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = BoxBody<Bytes, BoxError>;

/// Where a request came from.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The gateway's own port.
    pub(crate) port: u16,
}

/// Answers one request; every failure is an answer, too.
pub(crate) async fn handle(state: Arc<State>, peer: Peer, mut request: Request<Incoming>) -> Response<Body> {
    let upgrade =
        headers::upgrade(request.headers()).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let (mut parts, body) = request.into_parts();
    let fail = |status, detail: &str, parts: &Parts| pages::error(status, detail, &parts.headers);
    if parts.method == Method::CONNECT {
        return fail(StatusCode::METHOD_NOT_ALLOWED, "This gateway is no forward proxy.", &parts);
    }
    let Some(authority) = authority(&parts) else {
        return fail(StatusCode::BAD_REQUEST, "The request names no host.", &parts);
    };
    let host = host_of(&authority);
    let live = state.live();
    let Some(rule) = live.table.route(&host, parts.uri.path(), &parts.method, &parts.headers) else {
        return fail(StatusCode::NOT_FOUND, "No route leads to this address.", &parts);
    };
    let backend = match &rule.action {
        Action::Refuse(reason) => {
            return fail(StatusCode::INTERNAL_SERVER_ERROR, &format!("{reason}."), &parts);
        }
        Action::Forward(weighted) => weighted.pick().map(|index| live.table.backends[index].clone()),
    };
    let Some(backend) = backend else {
        return fail(StatusCode::SERVICE_UNAVAILABLE, "The route has no backend.", &parts);
    };
    drop(live);
    let mut observation = state.metrics.start(labels(&state, &backend, &parts, upgrade.is_some()));
    let original = parts.headers.clone();
    headers::remove_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::EXPECT);
    headers::set_forwarded(&mut parts.headers, peer.address, peer.port, &authority);
    parts.headers.entry(header::HOST).or_insert_with(|| {
        http::HeaderValue::try_from(&authority).unwrap_or(http::HeaderValue::from_static("localhost"))
    });
    let switch = upgrade.map(|(protocol, client)| {
        headers::set_upgrade(&mut parts.headers, protocol);
        client
    });
    let outcome = match Payload::read(body, &original).await {
        Ok(payload) => Exchange { state: &state, backend: &backend, parts, payload }.run().await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok((response, in_flight)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let place = state.tunnels.clone().try_acquire_owned();
            match (place, switch) {
                (Ok(place), Some(client)) => {
                    switch_protocols(response, client, observation, (in_flight, place))
                }
                (place, _) => {
                    let detail = match place {
                        Ok(_) => "The service switched protocols without being asked.",
                        Err(_) => "Too many open connections.",
                    };
                    observation.code = StatusCode::BAD_GATEWAY;
                    pages::error(StatusCode::BAD_GATEWAY, detail, &original)
                }
            }
        }
        Ok((response, in_flight)) => finish(response, observation, in_flight),
        Err((status, detail)) => {
            observation.code = status;
            pages::error(status, &detail, &original)
        }
    }
}

fn labels(state: &State, backend: &Backend, parts: &Parts, upgrade: bool) -> Labels {
    let accept = parts.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let protocol = match upgrade {
        true => "websocket",
        false if accept.contains("text/event-stream") => "sse",
        false => "http",
    };
    let cluster = state.clusters.get(backend.cluster).map(|route| route.name.clone()).unwrap_or_default();
    Labels { cluster, service: backend.label.clone(), method: method_label(&parts.method), protocol }
}

/// The host and port that the request is for, as the client wrote them.
fn authority(parts: &Parts) -> Option<String> {
    let of_uri = parts.uri.authority().map(|authority| authority.as_str().to_string());
    of_uri
        .or_else(|| parts.headers.get(header::HOST)?.to_str().ok().map(str::to_string))
        .filter(|text| !text.is_empty())
}

/// The host in lower case, without port and final dot.
fn host_of(authority: &str) -> String {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// A request's body: kept to be sent again, or to be streamed once.
enum Payload {
    Kept(Bytes),
    Stream(Option<Incoming>),
}

type Refusal = (StatusCode, String);

impl Payload {
    async fn read(body: Incoming, headers: &http::HeaderMap) -> Result<Payload, Refusal> {
        use http_body::Body as _;
        if body.is_end_stream() {
            return Ok(Payload::Kept(Bytes::new()));
        }
        let length =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_none_or(|length| length > MAX_REPLAY_BYTES) {
            return Ok(Payload::Stream(Some(body)));
        }
        let limit = usize::try_from(MAX_REPLAY_BYTES).unwrap_or(usize::MAX);
        match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await {
            Ok(Ok(collected)) => Ok(Payload::Kept(collected.to_bytes())),
            Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "The request's body ended early.".to_string())),
            Err(_) => {
                Err((StatusCode::REQUEST_TIMEOUT, "The request's body did not arrive in time.".to_string()))
            }
        }
    }

    /// The body to send; none if it has been sent and cannot be sent again.
    fn take(&mut self) -> Option<Body> {
        match self {
            Payload::Kept(bytes) => Some(Full::new(bytes.clone()).map_err(|never| match never {}).boxed()),
            Payload::Stream(body) => body.take().map(|body| body.map_err(BoxError::from).boxed()),
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Payload::Kept(_))
    }
}

/// Why one attempt failed.
enum Failure {
    /// No connection: nothing was sent.
    Connect,
    /// The connection was gone before the request was on it.
    Unsent,
    /// The connection ended before the answer began.
    Reset,
    Timeout,
    /// The client's own body failed, or was already sent.
    Body,
}

struct Exchange<'a> {
    state: &'a State,
    backend: &'a Backend,
    parts: Parts,
    payload: Payload,
}

static TURN: AtomicUsize = AtomicUsize::new(0);

impl Exchange<'_> {
    async fn run(mut self) -> Result<(Response<Incoming>, InFlight), Refusal> {
        let started = Instant::now();
        let mut tried: Vec<Address> = Vec::new();
        loop {
            // Read anew each time: the rollout that broke this attempt may have given us a better table.
            let live = self.state.live();
            let targets = live.targets(self.backend);
            let round_over = targets.iter().all(|target| tried.contains(&target.address));
            let over = tried.len() >= MAX_ATTEMPTS || started.elapsed() >= RETRY_WINDOW;
            let endpoint = choose(targets, &tried, TURN.fetch_add(1, Ordering::Relaxed));
            let Some(endpoint) = endpoint else {
                let refusal = self.unavailable(&live);
                drop(live);
                // Between the end of the last endpoint and the first sign of the next, a moment may pass.
                if over || tried.is_empty() {
                    return Err(refusal);
                }
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            };
            if round_over && !tried.is_empty() {
                if over {
                    return Err(self.unreachable());
                }
                drop(live);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let in_flight = endpoint.enter();
            match self.attempt(&endpoint).await {
                Ok(response) => return Ok((response, in_flight)),
                Err(failure) => self.check(&failure, over)?,
            }
            tried.push(endpoint.address.clone());
        }
    }

    /// Whether another attempt is safe.
    fn check(&self, failure: &Failure, over: bool) -> Result<(), Refusal> {
        let safe = match failure {
            Failure::Connect | Failure::Unsent => true,
            Failure::Reset => is_idempotent(&self.parts.method) && self.payload.is_kept(),
            Failure::Timeout => {
                let detail = format!("Service {} did not answer in time.", self.backend.service);
                return Err((StatusCode::GATEWAY_TIMEOUT, detail));
            }
            Failure::Body => {
                return Err((
                    StatusCode::BAD_GATEWAY,
                    "The request could not be sent a second time.".to_string(),
                ));
            }
        };
        if safe && !over { Ok(()) } else { Err(self.unreachable()) }
    }

    fn unreachable(&self) -> Refusal {
        (StatusCode::BAD_GATEWAY, format!("Service {} ended the connection.", self.backend.service))
    }

    fn unavailable(&self, live: &crate::endpoints::Live) -> Refusal {
        let same =
            |other: &&Backend| other.cluster == self.backend.cluster && other.label == self.backend.label;
        let now = live.table.backends.iter().find(same).unwrap_or(self.backend);
        let reason = match &now.targets {
            Targets::None(reason) => reason.clone(),
            Targets::Ready(_) => format!("service {} has no ready endpoint", now.service),
        };
        let mut reason = reason;
        if let Some(first) = reason.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}."))
    }

    async fn attempt(&mut self, endpoint: &Arc<Endpoint>) -> Result<Response<Incoming>, Failure> {
        // A body that can be sent only once gets a connection that is certainly alive.
        let idle = if self.payload.is_kept() { endpoint.idle_connection() } else { None };
        let sender = match idle {
            Some(sender) => sender,
            None => endpoint.connect().await.map_err(|_| Failure::Connect)?,
        };
        let request = self.request().ok_or(Failure::Body)?;
        let limit = if self.payload.is_kept() { ANSWER_TIMEOUT } else { UPLOAD_TIMEOUT };
        match tokio::time::timeout(limit, self.send(endpoint, sender, request)).await {
            Ok(done) => done,
            Err(_) => Err(Failure::Timeout),
        }
    }

    async fn send(
        &self,
        endpoint: &Arc<Endpoint>,
        mut sender: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        if sender.ready().await.is_err() {
            // A streamed body went into the request and cannot be taken out again.
            return Err(if self.payload.is_kept() { Failure::Unsent } else { Failure::Reset });
        }
        match sender.try_send_request(request).await {
            Ok(response) => {
                if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    endpoint.keep(sender);
                }
                Ok(response)
            }
            Err(mut error) => match error.take_message() {
                Some(_) if self.payload.is_kept() => Err(Failure::Unsent),
                _ => Err(Failure::Reset),
            },
        }
    }

    fn request(&mut self) -> Option<Request<Body>> {
        let body = self.payload.take()?;
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        let path = self.parts.uri.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
        *request.version_mut() = Version::HTTP_11;
        *request.headers_mut() = self.parts.headers.clone();
        Some(request)
    }
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// The answer for the client; what has to last until its end goes along with the body.
fn finish(
    mut response: Response<Incoming>,
    mut observation: Observation,
    in_flight: InFlight,
) -> Response<Body> {
    observation.code = response.status();
    headers::remove_hop_by_hop(response.headers_mut());
    response.map(|body| BodyExt::boxed(Tracked { body, _observation: observation, _in_flight: in_flight }))
}

/// Lets the client switch, and carries bytes both ways until one side ends.
fn switch_protocols(
    mut response: Response<Incoming>,
    client: OnUpgrade,
    mut observation: Observation,
    places: (InFlight, OwnedSemaphorePermit),
) -> Response<Body> {
    observation.code = response.status();
    let server = hyper::upgrade::on(&mut response);
    let protocol = response.headers().get(header::UPGRADE).cloned();
    headers::remove_hop_by_hop(response.headers_mut());
    if let Some(protocol) = protocol {
        headers::set_upgrade(response.headers_mut(), protocol);
    }
    tokio::spawn(async move {
        if let (Ok(client), Ok(server)) = tokio::join!(client, server) {
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
        drop((observation, places));
    });
    response.map(|_| Full::new(Bytes::new()).map_err(|never| match never {}).boxed())
}

/// A body that ends what is counted when it ends, or when the client goes away.
struct Tracked {
    body: Incoming,
    _observation: Observation,
    _in_flight: InFlight,
}

impl http_body::Body for Tracked {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_port_case_and_final_dot() {
        let check = |authority: &str, expected: &str| assert_eq!(host_of(authority), expected);
        check("Dashboard.Dev.localhost:8080", "dashboard.dev.localhost");
        check("a.test.", "a.test");
        check("a.test.:80", "a.test");
        check("[::1]:8080", "[::1]");
        check("[::1]", "[::1]");
    }
}
