//! A process's input, outputs and terminal, seen from the node.

use std::io;
use std::os::fd::OwnedFd;

use sandbox::{Stdio, Terminal};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio::net::unix::pipe;

/// Bytes per piece of output.
pub(crate) const PIECE_BYTES: usize = 16 << 10;

/// Our ends of a process's streams.
pub(crate) struct Streams {
    pub(crate) stdin: Option<Input>,
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// None with a terminal, which has one output.
    pub(crate) stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub(crate) terminal: Option<Terminal>,
}

impl Streams {
    /// Opens them, and the process's ends. Must be called within a tokio runtime.
    pub(crate) fn open(terminal: bool, stdin: bool) -> io::Result<(Stdio, Streams)> {
        if terminal { Self::terminal() } else { Self::pipes(stdin) }
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
}

/// Where a process reads from; it reads to the end when this is dropped.
pub(crate) enum Input {
    Pipe(pipe::Sender),
    Terminal(tokio::fs::File),
}

impl Input {
    pub(crate) async fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Pipe(pipe) => pipe.write_all(text).await,
            Self::Terminal(file) => {
                file.write_all(text).await?;
                file.flush().await
            }
        }
    }
}

/// Tells a terminal its size, as clients write it: `{"Width":80,"Height":24}`, and several one after the other.
pub(crate) fn resize(terminal: &Terminal, text: &[u8]) {
    let sizes = serde_json::Deserializer::from_slice(text).into_iter::<Value>();
    let size = sizes.map_while(Result::ok).last().unwrap_or_default();
    let number = |key: &str| size[key].as_u64().and_then(|n| u16::try_from(n).ok());
    if let (Some(columns), Some(rows)) = (number("Width"), number("Height")) {
        let _ = terminal.resize(columns, rows);
    }
}
