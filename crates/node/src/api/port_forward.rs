//! Connections to ports of a pod, for `kubectl port-forward`: over SPDY/3.1, over SPDY inside of a WebSocket (kubectl
//! 1.31 and newer), and over a WebSocket with two channels for each port (kube-rs).
//!
//! In SPDY every connection is two streams of one `requestID`: what comes and goes, and why it failed.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use spdy::{Opened, Reader, Session, Writer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::conversation::framed;
use super::query::Query;
use super::refused;
use super::upgrade::{self, Upgraded};
use crate::kubelet::Kubelet;
use crate::pod::Pod;

const SPDY_PROTOCOL: &str = "portforward.k8s.io";
const TUNNEL_PROTOCOL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNEL_PROTOCOL: &str = "v4.channel.k8s.io";
/// How long one stream of a connection may wait for the other one: the kubelet's time.
const PAIR_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes per read.
const PIECE_BYTES: usize = 32 << 10;
/// Most ports of one request over channels, which have one byte for their number.
const PORT_LIMIT: usize = 100;

pub(super) async fn port_forward(
    State(kubelet): State<Arc<Kubelet>>,
    UrlPath((namespace, name)): UrlPath<(String, String)>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let Some(pod) = kubelet.pod(&namespace, &name) else {
        return refused(StatusCode::NOT_FOUND, format!("pod {name:?} not found\n"));
    };
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let ports: Option<Vec<u16>> =
        query.all("ports").iter().flat_map(|list| list.split(',')).map(port).collect();
    let Some(ports) = ports.filter(|ports| ports.len() <= PORT_LIMIT) else {
        return refused(StatusCode::BAD_REQUEST, "query parameter \"ports\" has to list ports\n".to_owned());
    };
    if ports.is_empty() && !upgrade::names_streams(&request, TUNNEL_PROTOCOL) {
        let message = "query parameter \"ports\" is required over a WebSocket with channels\n";
        return refused(StatusCode::BAD_REQUEST, message.to_owned());
    }
    let sockets = [TUNNEL_PROTOCOL, CHANNEL_PROTOCOL];
    upgrade::answer(request, &sockets, &[SPDY_PROTOCOL], move |upgraded| async move {
        match upgraded {
            Upgraded::Spdy(session) => serve(session, pod).await,
            Upgraded::WebSocket(socket, protocol) if protocol == TUNNEL_PROTOCOL => {
                serve(upgrade::tunnel(socket), pod).await;
            }
            Upgraded::WebSocket(socket, _) => serve_channels(*socket, pod, ports).await,
        }
    })
    .await
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port > 0)
}

/// A connection of which one stream may still be missing.
struct Half {
    data: Option<(Reader, Writer)>,
    error: Option<Writer>,
    until: Instant,
}

/// Takes streams and connects each pair, until the client goes.
async fn serve(mut session: Session, pod: Arc<Pod>) {
    let mut waiting: HashMap<String, Half> = HashMap::new();
    loop {
        let first = waiting.values().map(|half| half.until).min();
        let timeout = async {
            match first {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let opened = tokio::select! {
            opened = session.accept() => opened,
            () = timeout => {
                waiting.retain(|_, half| half.until > Instant::now());
                continue;
            }
        };
        let Some(opened) = opened else { return };
        let Some((request, port, is_data)) = wanted(&opened) else {
            opened.refuse().await;
            continue;
        };
        let new = || Half { data: None, error: None, until: Instant::now() + PAIR_TIMEOUT };
        let half = waiting.entry(request.clone()).or_insert_with(new);
        let (reader, writer) = opened.accept().await;
        if is_data {
            half.data = Some((reader, writer));
        } else {
            half.error = Some(writer);
        }
        if half.data.is_some()
            && half.error.is_some()
            && let Some(Half { data: Some(data), error: Some(error), .. }) = waiting.remove(&request)
        {
            tokio::spawn(connect(pod.clone(), port, data, error));
        }
    }
}

/// Which connection a stream belongs to, its port, and whether it has the data.
fn wanted(opened: &Opened) -> Option<(String, u16, bool)> {
    let headers = opened.headers();
    let is_data = match headers.get("streamtype")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    Some((headers.get("requestid")?.to_owned(), port(headers.get("port")?)?, is_data))
}

async fn connect(pod: Arc<Pod>, port: u16, (reader, writer): (Reader, Writer), error: Writer) {
    match pod.dial(port).await {
        Ok(stream) => {
            let (from, to) = stream.into_split();
            tokio::join!(upload(reader, to), download(from, writer));
        }
        Err(reason) => {
            error.send(failure(&pod, port, &reason).as_bytes()).await;
            writer.finish().await;
        }
    }
    error.finish().await;
}

/// The kubelet's words.
fn failure(pod: &Pod, port: u16, reason: &io::Error) -> String {
    format!("error forwarding port {port} to pod {}, uid {}: {reason}", pod.key.name, pod.uid)
}

async fn upload(mut from: Reader, mut to: OwnedWriteHalf) {
    while let Some(data) = from.next().await {
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

async fn download(mut from: OwnedReadHalf, to: Writer) {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = to.gone() => return,
        };
        match read {
            Ok(0) | Err(_) => return to.finish().await,
            Ok(length) => {
                if !to.send(&buffer[..length]).await {
                    return;
                }
            }
        }
    }
}

/// Channel `2i` has the data of port `i`, channel `2i + 1` why it failed. Each begins with the port as two bytes, the
/// lower one first.
async fn serve_channels(socket: WebSocket, pod: Arc<Pod>, ports: Vec<u16>) {
    let (mut sink, mut source) = socket.split();
    let (send, mut outgoing) = mpsc::channel::<Bytes>(16);
    let writer = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            if sink.send(Message::Binary(message)).await.is_err() {
                return;
            }
        }
        let _ = sink.close().await;
    });
    let mut uploads = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let channel = u8::try_from(2 * index).unwrap_or(u8::MAX);
        for channel in [channel, channel + 1] {
            let _ = send.send(framed(channel, &port.to_le_bytes())).await;
        }
        uploads.push(match pod.dial(port).await {
            Ok(stream) => {
                let (from, to) = stream.into_split();
                tokio::spawn(download_channel(from, channel, send.clone()));
                Some(to)
            }
            Err(reason) => {
                let _ = send.send(framed(channel + 1, failure(&pod, port, &reason).as_bytes())).await;
                None
            }
        });
    }
    drop(send);
    while let Some(Ok(message)) = source.next().await {
        let Message::Binary(data) = message else { continue };
        let Some((channel, data)) = data.split_first() else { continue };
        let upload = uploads.get_mut(usize::from(*channel) / 2).filter(|_| channel % 2 == 0);
        if let Some(slot) = upload
            && let Some(to) = slot
            && to.write_all(data).await.is_err()
        {
            *slot = None;
        }
    }
    drop(uploads);
    writer.abort();
}

async fn download_channel(mut from: OwnedReadHalf, channel: u8, to: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if to.send(framed(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}
