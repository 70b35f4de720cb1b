//! The kubelet's HTTP API on a Unix socket: logs, exec, attach, port-forward, statistics, health, and `CONNECT` into the pod network.
//!
//! Only the platform's own user can open the socket; who may ask for what is the API server's decision.

mod attach;
mod conversation;
mod exec;
mod port_forward;
mod query;
mod upgrade;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::stream;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::kubelet::Kubelet;
use crate::pod::Pod;
use crate::pod::logs::{self, LogFile, Wanted};
use query::Query;

/// Opens the socket; one that an earlier run left is replaced.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Through a handle of its folder, since the kernel takes only short paths for sockets.
    let folder = std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    let listener = UnixListener::bind(short.join(path.file_name().unwrap_or_default()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `stop`.
pub(crate) async fn serve(kubelet: Arc<Kubelet>, listener: UnixListener, stop: CancellationToken) {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/stats/summary", get(statistics))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(container_logs))
        .route("/attach/{namespace}/{pod}/{container}", get(attach::attach).post(attach::attach))
        .route("/exec/{namespace}/{pod}/{container}", get(exec::exec).post(exec::exec))
        .route(
            "/portForward/{namespace}/{pod}",
            get(port_forward::port_forward).post(port_forward::port_forward),
        )
        .with_state(kubelet.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, kubelet.clone(), router.clone()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn converse(stream: UnixStream, kubelet: Arc<Kubelet>, router: Router) {
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (kubelet, router) = (kubelet.clone(), router.clone());
        async move {
            if request.method() == Method::CONNECT {
                return Ok(connect(&kubelet, request).await);
            }
            router.oneshot(request.map(Body::new)).await
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

/// `CONNECT 10.244.0.7:8080`: a stream to a pod (or a service address).
async fn connect(kubelet: &Arc<Kubelet>, request: hyper::Request<hyper::body::Incoming>) -> Response {
    let target = request.uri().authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let Ok(address) = target.parse::<SocketAddr>() else {
        return (StatusCode::BAD_REQUEST, format!("{target:?} is not an address and port\n")).into_response();
    };
    match kubelet.network.dial(address).await {
        Ok(mut server) => {
            let _ = server.set_nodelay(true);
            tokio::spawn(async move {
                if let Ok(client) = hyper::upgrade::on(request).await {
                    let mut client = TokioIo::new(client);
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
            StatusCode::OK.into_response()
        }
        Err(error) => {
            let code = match error.kind() {
                io::ErrorKind::TimedOut => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::BAD_GATEWAY,
            };
            (code, format!("dial tcp {address}: {error}\n")).into_response()
        }
    }
}

type Named = UrlPath<(String, String, String)>;

fn refused(code: StatusCode, message: String) -> Response {
    (code, message).into_response()
}

/// The pod and its container, or the kubelet's answer that there is none.
#[expect(clippy::result_large_err, reason = "the error is the answer to the request")]
fn find(kubelet: &Kubelet, namespace: &str, name: &str, container: &str) -> Result<Arc<Pod>, Response> {
    let not_found = |text: String| refused(StatusCode::NOT_FOUND, text);
    let pod = kubelet.pod(namespace, name).ok_or_else(|| not_found(format!("pod {name:?} not found\n")))?;
    if pod.state().container(container).is_none() {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            format!("container {container} is not valid for pod {name}\n"),
        ));
    }
    Ok(pod)
}

async fn container_logs(
    State(kubelet): State<Arc<Kubelet>>,
    UrlPath((namespace, name, container)): Named,
    RawQuery(query): RawQuery,
) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let pod = match find(&kubelet, &namespace, &name, &container) {
        Ok(pod) => pod,
        Err(answer) => return answer,
    };
    let instance = pod.instance(&container);
    let previous = query.flag("previous");
    let Some(log) = (if previous { instance.previous } else { instance.log }) else {
        let message = if previous {
            format!("previous terminated container {container:?} in pod {name:?} not found\n")
        } else {
            let reason = pod
                .state()
                .container(&container)
                .map(|one| one.status()["state"]["waiting"]["reason"].clone());
            let reason = reason.as_ref().and_then(Value::as_str).unwrap_or("ContainerCreating").to_owned();
            format!("container {container:?} in pod {name:?} is waiting to start: {reason}\n")
        };
        return refused(StatusCode::BAD_REQUEST, message);
    };
    let wanted = Wanted {
        tail_lines: query.number("tailLines"),
        timestamps: query.flag("timestamps"),
        since: since(&query),
        limit_bytes: query.number("limitBytes"),
    };
    answer_log(log, wanted, query.flag("follow") && !previous)
}

fn since(query: &Query) -> Option<jiff::Timestamp> {
    if let Some(seconds) = query.number::<u64>("sinceSeconds") {
        return jiff::Timestamp::now().checked_sub(Duration::from_secs(seconds)).ok();
    }
    query.one("sinceTime")?.parse().ok()
}

/// What is there, and with `follow` what comes, until the instance ends.
fn answer_log(log: Arc<LogFile>, wanted: Wanted, follow: bool) -> Response {
    let progress = log.progress();
    let start = (log, progress, Some(0u64), wanted);
    let chunks = stream::unfold(start, move |(log, mut progress, offset, mut wanted)| async move {
        let mut offset = offset?;
        loop {
            let closed = progress.borrow_and_update().1;
            let (path, copy) = (log.path().to_owned(), wanted.clone());
            let read = tokio::task::spawn_blocking(move || logs::read(&path, offset, &copy)).await;
            let (text, end) = match read {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => return Some((Err(error), (log, progress, None, wanted))),
                Err(error) => return Some((Err(io::Error::other(error)), (log, progress, None, wanted))),
            };
            wanted.limit_bytes = wanted.limit_bytes.map(|limit| limit.saturating_sub(text.len()));
            let over = !follow || closed || wanted.limit_bytes == Some(0);
            if over || !text.is_empty() {
                let next = if over { None } else { Some(end) };
                return Some((Ok(bytes::Bytes::from(text)), (log, progress, next, wanted)));
            }
            offset = end;
            if progress.changed().await.is_err() {
                return None;
            }
        }
    });
    ([("content-type", "text/plain")], Body::from_stream(chunks)).into_response()
}

async fn pods(State(kubelet): State<Arc<Kubelet>>, _request: Request) -> axum::Json<Value> {
    let items: Vec<Value> = kubelet.pods().iter().map(|pod| pod.object().as_ref().clone()).collect();
    axum::Json(json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items}))
}

/// The kubelet's summary, as far as control groups know it.
async fn statistics(State(kubelet): State<Arc<Kubelet>>) -> axum::Json<Value> {
    let now = controller::now();
    let mut all = Vec::new();
    if let Some(cgroups) = &kubelet.cgroups {
        for pod in kubelet.pods() {
            let names: Vec<String> = pod
                .state()
                .containers
                .iter()
                .filter(|one| one.is_running())
                .map(|one| one.name.clone())
                .collect();
            let containers: Vec<Value> = names
                .iter()
                .map(|name| {
                    let usage = cgroups.usage(&format!("{}-{name}", pod.uid));
                    json!({
                        "name": name,
                        "cpu": {"time": now, "usageCoreNanoSeconds": usage.cpu_nanos},
                        "memory": {"time": now, "workingSetBytes": usage.memory_bytes},
                    })
                })
                .collect();
            let reference = json!({"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid});
            all.push(json!({"podRef": reference, "containers": containers}));
        }
    }
    axum::Json(json!({"node": {"nodeName": kubelet.config.node_name}, "pods": all}))
}
