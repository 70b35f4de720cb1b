//! A command in a running container: its process, and how it is talked to.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use sandbox::{Child, EnterSpec, Stdio, Terminal};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::conversation::{Channel, Conversation, Input, SOCKET_PROTOCOLS, SPDY_PROTOCOLS};
use super::query::Query;
use super::{Named, find, refused, upgrade};
use crate::kubelet::Kubelet;

/// Bytes per message of output.
const PIECE_BYTES: usize = 32 << 10;

pub(super) async fn exec(
    State(kubelet): State<Arc<Kubelet>>,
    UrlPath((namespace, name, container)): Named,
    RawQuery(query): RawQuery,
    request: Request,
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
    let wanted = wanted(&query);
    upgrade::answer(request, &SOCKET_PROTOCOLS, &SPDY_PROTOCOLS, move |upgraded| async move {
        if let Some(conversation) = Conversation::begin(upgraded, &wanted).await {
            converse(kubelet, spec, conversation, wanted.contains(&Channel::Stdin)).await;
        }
    })
    .await
}

/// The streams that the client asks for; a terminal has one output.
fn wanted(query: &Query) -> Vec<Channel> {
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

/// The streams of the process, on our side.
struct Streams {
    stdin: Option<ProcessInput>,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    terminal: Option<Terminal>,
}

enum ProcessInput {
    Pipe(pipe::Sender),
    Terminal(tokio::fs::File),
}

async fn converse(kubelet: Arc<Kubelet>, spec: EnterSpec, mut conversation: Conversation, stdin: bool) {
    let send = conversation.output.clone();
    let status = match start(&kubelet, &spec, stdin).await {
        Ok((mut child, streams)) => {
            let Streams { stdin, stdout, stderr, terminal } = streams;
            let out = tokio::spawn(forward(stdout, Channel::Stdout, send.clone()));
            let err = stderr.map(|stderr| tokio::spawn(forward(stderr, Channel::Stderr, send.clone())));
            let exit = tokio::select! {
                exit = child.wait() => exit.map(|exit| exit.code).map_err(|error| controller::chain(&error)),
                // The command goes with its client.
                () = take_input(&mut conversation.input, stdin, terminal.as_ref()) => Err("the client went away".into()),
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
    let _ = send.send((Channel::Status, status.to_string().into())).await;
    drop(send);
    conversation.end().await;
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
        input = Some(ProcessInput::Pipe(pipe::Sender::from_owned_fd(writer.into())?));
    }
    let (stdout, stderr) = (Box::new(output.stdout), Box::new(output.stderr));
    Ok((stdio, Streams { stdin: input, stdout, stderr: Some(stderr), terminal: None }))
}

fn terminal() -> io::Result<(Stdio, Streams)> {
    let (terminal, stdio) = Terminal::open()?;
    let open = |fd: OwnedFd| tokio::fs::File::from_std(std::fs::File::from(fd));
    let stdin = Some(ProcessInput::Terminal(open(terminal.descriptor()?)));
    let stdout = Box::new(open(terminal.descriptor()?));
    Ok((stdio, Streams { stdin, stdout, stderr: None, terminal: Some(terminal) }))
}

/// Copies an output to its channel until it ends (a terminal ends with an error).
async fn forward(mut from: impl AsyncRead + Unpin, channel: Channel, to: mpsc::Sender<(Channel, Bytes)>) {
    let mut buffer = vec![0u8; PIECE_BYTES];
    while let Ok(length) = from.read(&mut buffer).await {
        if length == 0 || to.send((channel, Bytes::copy_from_slice(&buffer[..length]))).await.is_err() {
            return;
        }
    }
}

/// Takes what the client says; returns when it is gone.
async fn take_input(
    input: &mut mpsc::Receiver<Input>,
    mut stdin: Option<ProcessInput>,
    terminal: Option<&Terminal>,
) {
    while let Some(said) = input.recv().await {
        match said {
            Input::Stdin(text) => {
                let written = match &mut stdin {
                    Some(ProcessInput::Pipe(pipe)) => pipe.write_all(&text).await,
                    Some(ProcessInput::Terminal(file)) => match file.write_all(&text).await {
                        Ok(()) => file.flush().await,
                        failed => failed,
                    },
                    None => Ok(()),
                };
                if written.is_err() {
                    stdin = None;
                }
            }
            Input::StdinEnd => stdin = None,
            Input::Resize(text) => {
                // Over SPDY several sizes may come in one piece: the last one counts.
                let sizes = serde_json::Deserializer::from_slice(&text).into_iter::<Value>();
                let size = sizes.map_while(Result::ok).last().unwrap_or_default();
                let number = |key: &str| size[key].as_u64().and_then(|n| u16::try_from(n).ok());
                if let (Some(terminal), Some(columns), Some(rows)) =
                    (terminal, number("Width"), number("Height"))
                {
                    let _ = terminal.resize(columns, rows);
                }
            }
        }
    }
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
