//! The ways into running pods: log, exec, attach, port-forward and proxy. The API server only finds the pod and passes the
//! connection on to the node's kubelet API over its Unix socket; upgrades (WebSocket, SPDY) are passed through byte by byte.

use std::path::Path;

use axum::body::Body;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use object::{kinds, meta};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::Context;
use crate::catalog::Kind;
use crate::convert;
use crate::error::ApiError;

/// Longest answer to CONNECT, in bytes: a status line and few headers.
const CONNECT_LIMIT: usize = 8 * 1024;

/// `log`, `exec`, `attach` and `portforward` of a pod.
pub(crate) async fn pod(
    cx: &Context,
    kind: &Kind,
    what: &str,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let pod = convert::parse(&cx.stored(kind)?.value);
    let (namespace, name) = (meta::namespace(&pod), meta::name(&pod));
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Err(ApiError::bad_request(format!("pod {name} does not have a host assigned")));
    }
    let path = if what == "portforward" {
        format!("/portForward/{namespace}/{name}")
    } else {
        let container = container(&pod, cx.query.get("container"))?;
        let endpoint = if what == "log" { "containerLogs" } else { what };
        format!("/{endpoint}/{namespace}/{name}/{container}")
    };
    let stream = connect(cx).await?;
    forward(stream, &with_query(&path, &cx.raw_query), request).await
}

/// `proxy` of a pod, service or node.
pub(crate) async fn proxy(
    cx: &Context,
    kind: &Kind,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let (name, port) = split_proxy_name(&cx.info.name);
    let path = with_query(&proxied_path(request.uri().path(), kind.resource.namespaced), &cx.raw_query);
    let object = convert::parse(&cx.stored_named(kind, name)?.value);
    if kind.is(&kinds::NODE) {
        return forward(connect(cx).await?, &path, request).await;
    }
    let address =
        if kind.is(&kinds::POD) { pod_address(&object, port) } else { service_address(&object, port) };
    let address = address
        .ok_or_else(|| ApiError::unavailable(format!("no endpoints available for service \"{name}\"")))?;
    let mut stream = connect(cx).await?;
    open_tunnel(&mut stream, &address).await.map_err(|e| ApiError::unavailable(format!("{address}: {e}")))?;
    forward(stream, &path, request).await
}

/// What follows `/api/v1/[namespaces/x/]kind/name/proxy`, with its escapes as they came.
fn proxied_path(path: &str, namespaced: bool) -> String {
    let own = if namespaced { 7 } else { 5 };
    let rest: Vec<&str> = path.trim_start_matches('/').split('/').skip(own).collect();
    format!("/{}", rest.join("/"))
}

/// `[scheme:]name[:port]`
fn split_proxy_name(text: &str) -> (&str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [name, port] => (name, port),
        [_, name, port] => (name, port),
        _ => (text, ""),
    }
}

fn pod_address(pod: &Value, port: &str) -> Option<String> {
    let ip = pod["status"]["podIP"].as_str()?;
    let first = || pod["spec"]["containers"][0]["ports"][0]["containerPort"].as_u64().unwrap_or(80);
    let port = port.parse().unwrap_or_else(|_| first());
    Some(format!("{ip}:{port}"))
}

fn service_address(service: &Value, port: &str) -> Option<String> {
    let ip = service["spec"]["clusterIP"].as_str().filter(|ip| !ip.is_empty() && *ip != "None")?;
    let ports = service["spec"]["ports"].as_array()?;
    let found =
        ports.iter().find(|p| p["name"] == port || port.parse() == Ok(p["port"].as_u64().unwrap_or(0)));
    let chosen = if port.is_empty() { ports.first() } else { found };
    Some(format!("{ip}:{}", chosen?["port"].as_u64()?))
}

/// The container that is meant: the only one, or the named one.
fn container<'a>(pod: &'a Value, given: Option<&'a str>) -> Result<&'a str, ApiError> {
    let names = |list: &str| -> Vec<&'a str> {
        pod["spec"][list].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
    };
    let (regular, init, ephemeral) =
        (names("containers"), names("initContainers"), names("ephemeralContainers"));
    let name = meta::name(pod);
    match given {
        Some(given) if [&regular, &init, &ephemeral].iter().any(|l| l.contains(&given)) => Ok(given),
        Some(given) => Err(ApiError::bad_request(format!("container {given} is not valid for pod {name}"))),
        None => {
            match (regular.as_slice(), meta::annotation(pod, "kubectl.kubernetes.io/default-container")) {
                ([only], _) => Ok(only),
                (all, Some(default)) if all.contains(&default) => Ok(default),
                (all, _) => {
                    let mut text = format!(
                        "a container name must be specified for pod {name}, choose one of: [{}]",
                        all.join(" ")
                    );
                    if !init.is_empty() {
                        text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                    }
                    Err(ApiError::bad_request(text))
                }
            }
        }
    }
}

fn with_query(path: &str, query: &str) -> String {
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

async fn connect(cx: &Context) -> Result<UnixStream, ApiError> {
    let socket: &Path = cx
        .api
        .options
        .kubelets
        .as_deref()
        .ok_or_else(|| ApiError::unavailable("this cluster has no node"))?;
    UnixStream::connect(socket)
        .await
        .map_err(|e| ApiError::unavailable(format!("the node cannot be reached: {e}")))
}

/// Asks the node for a connection into the pod network.
async fn open_tunnel(stream: &mut UnixStream, address: &str) -> std::io::Result<()> {
    stream.write_all(format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() > CONNECT_LIMIT {
            return Err(std::io::Error::other("the node's answer to CONNECT is too long"));
        }
        answer.push(stream.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&answer);
    match text.split_ascii_whitespace().nth(1) {
        Some("200") => Ok(()),
        _ => Err(std::io::Error::other(text.lines().next().unwrap_or_default().to_owned())),
    }
}

/// Sends the request over the connection; after a 101 both connections are joined.
async fn forward(
    stream: UnixStream,
    path: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let failed = |e: hyper::Error| ApiError::unavailable(format!("error dialing backend: {e}"));
    let client = hyper::upgrade::on(&mut request);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to the node ended");
        }
    });
    let (mut parts, body) = request.into_parts();
    parts.uri = path.parse::<Uri>().map_err(|e| ApiError::bad_request(e.to_string()))?;
    clean(&mut parts.headers);
    let mut answer = sender.send_request(Request::from_parts(parts, body)).await.map_err(failed)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(Body::new));
    }
    let node = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        let joined = async {
            let (client, node) = tokio::try_join!(client, node)?;
            let (mut client, mut node) = (TokioIo::new(client), TokioIo::new(node));
            tokio::io::copy_bidirectional(&mut client, &mut node)
                .await
                .map_err(|e| Box::new(e) as BoxError)?;
            Ok::<_, BoxError>(())
        };
        if let Err(error) = joined.await {
            tracing::debug!(%error, "a stream to a pod ended");
        }
    });
    let (parts, _) = answer.into_parts();
    Ok(Response::from_parts(parts, Body::empty()))
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The client's credentials stay here.
fn clean(headers: &mut HeaderMap) {
    for name in ["authorization", "cookie", "impersonate-user", "impersonate-group", "impersonate-uid"] {
        headers.remove(name);
    }
    headers.insert(header::HOST, http::HeaderValue::from_static("localhost"));
}
