//! From a request to a connection of another protocol: a WebSocket, or SPDY as older clients speak it.

use std::future::Future;
use std::io;

use axum::body::Body;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts as _, Request};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use spdy::Session;
use tokio_util::codec::{BytesCodec, FramedWrite};
use tokio_util::io::ReaderStream;

use super::refused;

/// In which header SPDY clients offer what they want to speak inside of it.
const OFFERED: &str = "x-stream-protocol-version";
const ACCEPTED: &str = "x-accepted-stream-protocol-versions";
const SPDY: &str = "SPDY/3.1";

/// The connection, a WebSocket with the protocol that both sides know.
pub(super) enum Upgraded {
    WebSocket(Box<WebSocket>, String),
    Spdy(Session),
}

/// Answers a request and hands its connection over. Of the protocols that are known here the first one that the client
/// offers too is taken.
pub(super) async fn answer<F>(
    request: Request,
    sockets: &[&'static str],
    spdy: &[&'static str],
    serve: impl FnOnce(Upgraded) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let (mut parts, body) = request.into_parts();
    let wants = |protocol: &str| {
        words(&parts.headers, header::UPGRADE.as_str()).any(|word| word.eq_ignore_ascii_case(protocol))
    };
    if wants(SPDY) {
        let Some(protocol) = negotiated(&parts.headers, spdy) else {
            return (StatusCode::FORBIDDEN, [(ACCEPTED, spdy.join(","))], "unable to negotiate protocol\n")
                .into_response();
        };
        let upgrading = hyper::upgrade::on(Request::from_parts(parts, body));
        tokio::spawn(async move {
            if let Ok(upgraded) = upgrading.await {
                let (read, write) = tokio::io::split(TokioIo::new(upgraded));
                let incoming = ReaderStream::new(read);
                let outgoing = FramedWrite::new(write, BytesCodec::new());
                serve(Upgraded::Spdy(Session::new(incoming, outgoing))).await;
            }
        });
        let headers = [("connection", "Upgrade"), ("upgrade", SPDY), (OFFERED, protocol)];
        return (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
    }
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Err(_) => refused(
            StatusCode::BAD_REQUEST,
            "you must specify an upgrade to SPDY/3.1 or websocket\n".to_owned(),
        ),
        Ok(upgrade) => {
            let upgrade = upgrade.protocols(sockets.iter().copied());
            let protocol = upgrade.selected_protocol().and_then(|protocol| protocol.to_str().ok());
            let protocol = protocol.unwrap_or_default().to_owned();
            upgrade.on_upgrade(move |socket| serve(Upgraded::WebSocket(Box::new(socket), protocol)))
        }
    }
}

/// Whether what a request upgrades to has streams that name what they are for: SPDY, or a WebSocket around it.
pub(super) fn names_streams(request: &Request, tunnel: &str) -> bool {
    let has = |name: &str, wanted: &str| {
        words(request.headers(), name).any(|word| word.eq_ignore_ascii_case(wanted))
    };
    has(header::UPGRADE.as_str(), SPDY) || has(header::SEC_WEBSOCKET_PROTOCOL.as_str(), tunnel)
}

/// SPDY inside of a WebSocket: its messages are pieces of the connection.
pub(super) fn tunnel(socket: Box<WebSocket>) -> Session {
    let (sink, source) = socket.split();
    let incoming = source.filter_map(|message| async {
        match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            Ok(_) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    let outgoing = sink.with(|frame: Bytes| async { Ok::<_, axum::Error>(Message::Binary(frame)) });
    Session::new(Box::pin(incoming), Box::pin(outgoing))
}

fn words<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

/// The first of ours that is offered; the oldest clients offer nothing and mean the last one.
fn negotiated(headers: &HeaderMap, known: &[&'static str]) -> Option<&'static str> {
    if words(headers, OFFERED).next().is_none() {
        return known.last().copied();
    }
    known.iter().find(|known| words(headers, OFFERED).any(|word| word == **known)).copied()
}
