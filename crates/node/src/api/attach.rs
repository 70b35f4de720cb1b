//! To be with a running container: what it says from now on, and what it hears.

use std::sync::Arc;

use axum::extract::{Path as UrlPath, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc;

use super::conversation::{Channel, Conversation, SOCKET_PROTOCOLS, SPDY_PROTOCOLS, Said, succeeded, wanted};
use super::query::Query;
use super::{Named, find, refused, upgrade};
use crate::kubelet::Kubelet;
use crate::pod::console::{Console, Output};

pub(super) async fn attach(
    State(kubelet): State<Arc<Kubelet>>,
    UrlPath((namespace, name, container)): Named,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let pod = match find(&kubelet, &namespace, &name, &container) {
        Ok(pod) => pod,
        Err(answer) => return answer,
    };
    let console = pod.instance(&container).console;
    let Some((console, said)) = console.and_then(|console| Some((console.clone(), console.listen()?))) else {
        return refused(
            StatusCode::BAD_REQUEST,
            format!("container {container:?} in pod {name:?} is not running\n"),
        );
    };
    let wanted = wanted(&Query::parse(query.as_deref().unwrap_or_default()));
    upgrade::answer(request, &SOCKET_PROTOCOLS, &SPDY_PROTOCOLS, move |upgraded| async move {
        if let Some(conversation) = Conversation::begin(upgraded, &wanted).await {
            converse(&console, said, conversation, wanted.contains(&Channel::Stdin)).await;
        }
    })
    .await
}

/// Until the container ends, or the client goes; the container goes on then.
async fn converse(
    console: &Console,
    said: broadcast::Receiver<(Output, Bytes)>,
    mut conversation: Conversation,
    stdin: bool,
) {
    let send = conversation.output.clone();
    tokio::select! {
        () = tell(said, &send) => {}
        () = hear(&mut conversation.input, console, stdin) => {}
    }
    if stdin {
        console.hear_end().await;
    }
    let _ = send.send((Channel::Status, succeeded().to_string().into())).await;
    drop(send);
    conversation.end().await;
}

async fn tell(mut said: broadcast::Receiver<(Output, Bytes)>, to: &mpsc::Sender<(Channel, Bytes)>) {
    loop {
        let (channel, text) = match said.recv().await {
            Ok((Output::Stdout, text)) => (Channel::Stdout, text),
            Ok((Output::Stderr, text)) => (Channel::Stderr, text),
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if to.send((channel, text)).await.is_err() {
            return;
        }
    }
}

async fn hear(from: &mut mpsc::Receiver<Said>, console: &Console, stdin: bool) {
    while let Some(said) = from.recv().await {
        match said {
            Said::Stdin(text) if stdin => console.hear(&text).await,
            Said::StdinEnd if stdin => console.hear_end().await,
            Said::Resize(text) => console.resize(&text),
            Said::Stdin(_) | Said::StdinEnd => {}
        }
    }
}
