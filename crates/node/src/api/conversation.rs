//! The streams of a command, apart from what carries them: a WebSocket with numbered channels, or SPDY with a stream
//! for each, as kubectl 1.29 and older have it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use spdy::{Session, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::query::Query;
use super::upgrade::Upgraded;

/// The protocols over WebSockets.
pub(super) const SOCKET_PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// The one over SPDY, which has had no version since.
pub(super) const SPDY_PROTOCOLS: [&str; 1] = ["v4.channel.k8s.io"];

/// What says that a channel is closed, since version 5.
const CLOSE: u8 = 255;
/// How long a client may take to open its streams.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);
/// Pieces on their way.
const WAITING: usize = 16;

/// The streams of a command, with their numbers as channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// How it ended, as a `Status`.
    Status = 3,
    /// The terminal's size.
    Resize = 4,
}

impl Channel {
    const ALL: [Channel; 5] =
        [Channel::Stdin, Channel::Stdout, Channel::Stderr, Channel::Status, Channel::Resize];

    fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| *channel as u8 == number)
    }

    /// Its name as the type of a SPDY stream.
    fn of_type(name: &str) -> Option<Self> {
        let names = ["stdin", "stdout", "stderr", "error", "resize"];
        names.iter().position(|known| *known == name).and_then(|at| Self::ALL.get(at).copied())
    }
}

/// What a client says.
pub(super) enum Said {
    Stdin(Bytes),
    StdinEnd,
    Resize(Bytes),
}

/// The streams that the client asks for; a terminal has one output.
pub(super) fn wanted(query: &Query) -> Vec<Channel> {
    let terminal = query.flag("tty");
    let asked = [
        (Channel::Status, true),
        (Channel::Stdin, query.flag("stdin")),
        (Channel::Stdout, query.flag("stdout")),
        (Channel::Stderr, query.flag("stderr") && !terminal),
        (Channel::Resize, terminal),
    ];
    asked.into_iter().filter(|(_, asked)| *asked).map(|(channel, _)| channel).collect()
}

/// The `Status` of something that went well.
pub(super) fn succeeded() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

/// What a client says, until it goes, and what is said to it.
pub(super) struct Conversation {
    pub(super) input: mpsc::Receiver<Said>,
    pub(super) output: mpsc::Sender<(Channel, Bytes)>,
    writing: JoinHandle<()>,
    ended: CancellationToken,
}

impl Conversation {
    /// Begins one. `wanted`: the streams that a client opens; none when it does not do so in time.
    pub(super) async fn begin(upgraded: Upgraded, wanted: &[Channel]) -> Option<Self> {
        match upgraded {
            Upgraded::WebSocket(socket, _) => Some(over_socket(*socket)),
            Upgraded::Spdy(session) => {
                tokio::time::timeout(STREAMS_TIMEOUT, over_spdy(session, wanted)).await.ok().flatten()
            }
        }
    }

    /// Ends it when everything is written.
    pub(super) async fn end(self) {
        drop(self.output);
        let _ = self.writing.await;
        self.ended.cancel();
    }
}

fn over_socket(socket: WebSocket) -> Conversation {
    let (mut sink, mut source) = socket.split();
    let (output, mut outgoing) = mpsc::channel::<(Channel, Bytes)>(WAITING);
    let (say, input) = mpsc::channel(WAITING);
    let ended = CancellationToken::new();
    let writing = tokio::spawn(async move {
        while let Some((channel, data)) = outgoing.recv().await {
            if sink.send(Message::Binary(framed(channel as u8, &data))).await.is_err() {
                return;
            }
        }
        // Clients take any other code, and none at all, for a broken connection.
        let normal = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        let _ = sink.send(Message::Close(Some(normal))).await;
    });
    let reading = async move {
        while let Some(Ok(message)) = source.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Close(_) => return,
                _ => continue,
            };
            let Some((number, rest)) = data.split_first() else { continue };
            let said = match (Channel::of_number(*number), rest) {
                (Some(Channel::Stdin), _) => Said::Stdin(data.slice(1..)),
                (Some(Channel::Resize), _) => Said::Resize(data.slice(1..)),
                (None, [stdin]) if *number == CLOSE && *stdin == Channel::Stdin as u8 => Said::StdinEnd,
                _ => continue,
            };
            if say.send(said).await.is_err() {
                return;
            }
        }
    };
    let until = ended.clone();
    tokio::spawn(async move { until.run_until_cancelled(reading).await });
    Conversation { input, output, writing, ended }
}

async fn over_spdy(mut session: Session, wanted: &[Channel]) -> Option<Conversation> {
    let (say, input) = mpsc::channel(WAITING);
    let (output, mut outgoing) = mpsc::channel::<(Channel, Bytes)>(WAITING);
    let ended = CancellationToken::new();
    let mut writers: Vec<(Channel, Writer)> = vec![];
    while writers.len() < wanted.len() {
        let opened = session.accept().await?;
        let channel = opened.headers().get("streamtype").and_then(Channel::of_type);
        let is_new = |channel: &Channel| writers.iter().all(|(known, _)| known != channel);
        let Some(channel) = channel.filter(|channel| wanted.contains(channel)).filter(is_new) else {
            opened.refuse().await;
            continue;
        };
        let (mut reader, writer) = opened.accept().await;
        writers.push((channel, writer));
        let say = say.clone();
        tokio::spawn(async move {
            while let Some(data) = reader.next().await {
                let said = match channel {
                    Channel::Stdin => Said::Stdin(data),
                    Channel::Resize => Said::Resize(data),
                    _ => continue,
                };
                if say.send(said).await.is_err() {
                    return;
                }
            }
            if channel == Channel::Stdin {
                let _ = say.send(Said::StdinEnd).await;
            }
        });
    }
    let writing = tokio::spawn(async move {
        while let Some((channel, data)) = outgoing.recv().await {
            if let Some((_, writer)) = writers.iter().find(|(known, _)| *known == channel) {
                writer.send(&data).await;
            }
        }
        for (_, writer) in writers {
            writer.finish().await;
        }
    });
    let until = ended.clone();
    tokio::spawn(async move {
        let refusing = async {
            while let Some(opened) = session.accept().await {
                opened.refuse().await;
            }
        };
        until.run_until_cancelled(refusing).await;
        drop(say);
    });
    Some(Conversation { input, output, writing, ended })
}

/// A message of a WebSocket: the channel's number, then data.
pub(super) fn framed(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.extend_from_slice(data);
    message.freeze()
}
