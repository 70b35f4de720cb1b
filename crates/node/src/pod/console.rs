//! What a running container says and hears: its outputs go to its log and to everybody who is attached, its input
//! comes from whoever is attached.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use sandbox::{Stdio, Terminal};
use serde_json::Value;
use tokio::io::AsyncRead;
use tokio::sync::{Mutex, broadcast};
use tokio::task::JoinHandle;

use super::logs::LogFile;
use crate::stdio::{Input, Streams, resize};

/// Pieces of output that somebody attached may be late with; then some are missed.
const BEHIND: usize = 256;

/// One of a container's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A container's streams while it runs.
pub(crate) struct Console {
    /// Closed when the container has ended and all is said.
    said: std::sync::Mutex<Option<broadcast::Sender<(Output, Bytes)>>>,
    input: Mutex<Option<Input>>,
    terminal: Option<Terminal>,
    /// The input ends with the first one who gave some (`stdinOnce`).
    is_once: bool,
}

/// The outputs that are not listened to yet.
pub(crate) struct Outputs {
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
}

impl Console {
    /// Opens the streams that a container's `stdin`, `stdinOnce` and `tty` ask for, and the process's ends of them.
    pub(crate) fn open(spec: &Value) -> io::Result<(Stdio, Arc<Console>, Outputs)> {
        let (stdio, streams) = Streams::open(spec["tty"] == true, spec["stdin"] == true)?;
        let Streams { stdin, stdout, stderr, terminal } = streams;
        let console = Console {
            said: std::sync::Mutex::new(Some(broadcast::Sender::new(BEHIND))),
            input: Mutex::new(stdin.filter(|_| spec["stdin"] == true)),
            terminal,
            is_once: spec["stdinOnce"] == true,
        };
        Ok((stdio, Arc::new(console), Outputs { stdout, stderr }))
    }

    /// Copies the outputs to the log and to who listens, until they end.
    pub(crate) fn copy(self: &Arc<Self>, outputs: Outputs, log: &Arc<LogFile>) -> Vec<JoinHandle<()>> {
        let both = [(Some(outputs.stdout), Output::Stdout), (outputs.stderr, Output::Stderr)];
        let copy = |(from, output): (Option<Box<dyn AsyncRead + Send + Unpin>>, Output)| {
            let (console, log) = (self.clone(), log.clone());
            let tell = move |text: &[u8]| console.tell(output, text);
            from.map(|from| tokio::spawn(log.copy(from, output.name(), tell)))
        };
        both.into_iter().filter_map(copy).collect()
    }

    fn tell(&self, output: Output, text: &[u8]) {
        if let Some(said) = self.said().as_ref().filter(|said| said.receiver_count() > 0) {
            let _ = said.send((output, Bytes::copy_from_slice(text)));
        }
    }

    /// What is said from now on; none when the container has ended.
    pub(crate) fn listen(&self) -> Option<broadcast::Receiver<(Output, Bytes)>> {
        self.said().as_ref().map(broadcast::Sender::subscribe)
    }

    /// The container has ended: nothing more is said.
    pub(crate) fn close(&self) {
        *self.said() = None;
    }

    pub(crate) async fn hear(&self, text: &[u8]) {
        let mut input = self.input.lock().await;
        if let Some(open) = input.as_mut()
            && open.write(text).await.is_err()
        {
            *input = None;
        }
    }

    /// Somebody who gave input has no more: it ends for the container if it is to have it once.
    pub(crate) async fn hear_end(&self) {
        if self.is_once {
            *self.input.lock().await = None;
        }
    }

    pub(crate) fn resize(&self, text: &[u8]) {
        if let Some(terminal) = &self.terminal {
            resize(terminal, text);
        }
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Option<broadcast::Sender<(Output, Bytes)>>> {
        self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
