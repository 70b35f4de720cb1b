//! A command in a running container: its process, and how it is talked to.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use sandbox::{Child, EnterSpec, Terminal};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;

use super::conversation::{Channel, Conversation, SOCKET_PROTOCOLS, SPDY_PROTOCOLS, Said, succeeded, wanted};
use super::query::Query;
use super::{Named, find, refused, upgrade};
use crate::kubelet::Kubelet;
use crate::stdio::{self, Input, PIECE_BYTES, Streams};

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
    let (stdio, streams) = Streams::open(spec.terminal, stdin).map_err(|error| error.to_string())?;
    let child = sandbox::enter(&kubelet.config.launcher, spec, stdio).await;
    Ok((child.map_err(|error| controller::chain(&error))?, streams))
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
async fn take_input(from: &mut mpsc::Receiver<Said>, mut stdin: Option<Input>, terminal: Option<&Terminal>) {
    while let Some(said) = from.recv().await {
        match said {
            Said::Stdin(text) => {
                if let Some(open) = &mut stdin
                    && open.write(&text).await.is_err()
                {
                    stdin = None;
                }
            }
            Said::StdinEnd => stdin = None,
            Said::Resize(text) => {
                if let Some(terminal) = terminal {
                    stdio::resize(terminal, &text);
                }
            }
        }
    }
}

/// The `Status` that ends the conversation; kubectl reads the exit code from its cause.
fn status(exit: Result<i32, String>) -> Value {
    match exit {
        Ok(0) => succeeded(),
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
