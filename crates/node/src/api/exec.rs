//! A command in a running container, over a WebSocket with Kubernetes' channel protocols v4 and v5.
//!
//! Each message begins with the number of its channel: 0 standard input, 1 output, 2 error, 3 the final status,
//! 4 the terminal's size. Version 5 adds 255: the channel named in the second byte is closed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path as UrlPath, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use sandbox::{Child, EnterSpec, Stdio, Terminal};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::query::Query;
use super::{Named, find, refused};
use crate::kubelet::Kubelet;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Bytes per message of output.
const PIECE_BYTES: usize = 32 << 10;

pub(super) async fn exec(
    State(kubelet): State<Arc<Kubelet>>,
    UrlPath((namespace, name, container)): Named,
    RawQuery(query): RawQuery,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let query = Query::parse(query.as_deref().unwrap_or_default());
    let pod = match find(&kubelet, &namespace, &name, &container) {
        Ok(pod) => pod,
        Err(answer) => return answer,
    };
    let Some(mut spec) = pod.instance(&container).enter else {
        return refused(
            StatusCode::BAD_REQUEST,
            format!("container {container:?} in pod {name:?} is not running\n"),
        );
    };
    spec.args = query.all("command");
    spec.terminal = query.flag("tty");
    if spec.args.is_empty() {
        return refused(StatusCode::BAD_REQUEST, "you must specify at least 1 command\n".into());
    }
    let Ok(upgrade) = upgrade else {
        return refused(
            StatusCode::BAD_REQUEST,
            "exec is served over WebSockets (v5.channel.k8s.io) only\n".into(),
        );
    };
    let stdin = query.flag("stdin");
    upgrade.protocols(PROTOCOLS).on_upgrade(move |socket| converse(kubelet, spec, socket, stdin))
}

/// The streams of the process, on our side.
struct Streams {
    stdin: Option<Input>,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    terminal: Option<Terminal>,
}

enum Input {
    Pipe(pipe::Sender),
    Terminal(tokio::fs::File),
}

async fn converse(kubelet: Arc<Kubelet>, spec: EnterSpec, socket: WebSocket, stdin: bool) {
    let (mut sink, mut source) = socket.split();
    let (send, mut outgoing) = mpsc::channel::<Bytes>(16);
    let writer = tokio::spawn(async move {
        while let Some(message) = outgoing.recv().await {
            if sink.send(Message::Binary(message)).await.is_err() {
                return;
            }
        }
        // Clients take any other code, and none at all, for a broken connection.
        let normal = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        let _ = sink.send(Message::Close(Some(normal))).await;
    });
    let status = match start(&kubelet, &spec, stdin).await {
        Ok((mut child, streams)) => {
            let Streams { stdin, stdout, stderr, terminal } = streams;
            let out = tokio::spawn(forward(stdout, STDOUT, send.clone()));
            let err = stderr.map(|stderr| tokio::spawn(forward(stderr, STDERR, send.clone())));
            let input = async {
                take_input(&mut source, stdin, terminal.as_ref()).await;
                // The client went away: the command goes too.
            };
            let exit = tokio::select! {
                exit = child.wait() => exit.map(|exit| exit.code).map_err(|error| controller::chain(&error)),
                () = input => Err("the client went away".into()),
            };
            drop(terminal);
            let _ = out.await;
            if let Some(err) = err {
                let _ = err.await;
            }
            status(exit)
        }
        Err(message) => status(Err(message)),
    };
    let _ = send.send(framed(STATUS, status.to_string().as_bytes())).await;
    drop(send);
    let _ = writer.await;
}

async fn start(kubelet: &Kubelet, spec: &EnterSpec, stdin: bool) -> Result<(Child, Streams), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (stdio, streams) =
        if spec.terminal { terminal() } else { pipes(stdin) }.map_err(|error| text(&error))?;
    let child = sandbox::enter(&kubelet.config.launcher, spec, stdio).await;
    Ok((child.map_err(|error| controller::chain(&error))?, streams))
}

fn pipes(stdin: bool) -> io::Result<(Stdio, Streams)> {
    let (mut stdio, output) = Stdio::piped()?;
    let mut input = None;
    if stdin {
        let (reader, writer) = io::pipe()?;
        stdio.stdin = Some(reader.into());
        input = Some(Input::Pipe(pipe::Sender::from_owned_fd(writer.into())?));
    }
    let (stdout, stderr) = (Box::new(output.stdout), Box::new(output.stderr));
    Ok((stdio, Streams { stdin: input, stdout, stderr: Some(stderr), terminal: None }))
}

fn terminal() -> io::Result<(Stdio, Streams)> {
    let (terminal, stdio) = Terminal::open()?;
    let open = |fd: OwnedFd| tokio::fs::File::from_std(std::fs::File::from(fd));
    let stdin = Some(Input::Terminal(open(terminal.descriptor()?)));
    let stdout = Box::new(open(terminal.descriptor()?));
    Ok((stdio, Streams { stdin, stdout, stderr: None, terminal: Some(terminal) }))
}

/// Copies an output to its channel until it ends (a terminal ends with an error).
async fn forward(mut from: impl AsyncRead + Unpin, channel: u8, to: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0u8; PIECE_BYTES];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 || to.send(framed(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}

/// Takes the client's messages; returns when the client is gone.
async fn take_input(
    source: &mut futures::stream::SplitStream<WebSocket>,
    mut stdin: Option<Input>,
    terminal: Option<&Terminal>,
) {
    while let Some(Ok(message)) = source.next().await {
        let data = match message {
            Message::Binary(data) => data,
            Message::Close(_) => return,
            _ => continue,
        };
        match data.split_first() {
            Some((&STDIN, text)) => {
                let written = match &mut stdin {
                    Some(Input::Pipe(pipe)) => pipe.write_all(text).await,
                    Some(Input::Terminal(file)) => match file.write_all(text).await {
                        Ok(()) => file.flush().await,
                        failed => failed,
                    },
                    None => Ok(()),
                };
                if written.is_err() {
                    stdin = None;
                }
            }
            Some((&RESIZE, text)) => {
                let size: Value = serde_json::from_slice(text).unwrap_or_default();
                let number = |key: &str| size[key].as_u64().and_then(|n| u16::try_from(n).ok());
                if let (Some(terminal), Some(columns), Some(rows)) =
                    (terminal, number("Width"), number("Height"))
                {
                    let _ = terminal.resize(columns, rows);
                }
            }
            Some((&CLOSE, [STDIN])) => stdin = None,
            _ => {}
        }
    }
}

fn framed(channel: u8, data: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.extend_from_slice(data);
    message.freeze()
}

/// The `Status` that ends the conversation; kubectl reads the exit code from its cause.
fn status(exit: Result<i32, String>) -> Value {
    match exit {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(message) => json!({
            "metadata": {}, "status": "Failure", "message": message, "reason": "InternalError", "code": 500,
        }),
    }
}
