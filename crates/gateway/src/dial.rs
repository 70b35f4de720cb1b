//! Connections to pods: directly, or through the node's `CONNECT`.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::Dial;
use crate::table::Address;

/// A pod on the same machine accepts at once or not at all; one on another machine within a round trip.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer to `CONNECT`.
const MAX_ANSWER_BYTES: usize = 4 << 10;

pub(crate) trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

pub(crate) type Connection = Box<dyn Transport>;

/// Connects, or says within [`CONNECT_TIMEOUT`] why not.
pub(crate) async fn dial(dial: &Dial, address: &Address) -> io::Result<Connection> {
    let work = async {
        match dial {
            Dial::Direct => {
                let stream = TcpStream::connect((address.ip, address.port)).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Connection)
            }
            Dial::Node(socket) => through_node(socket, address).await,
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
        Ok(done) => done,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn through_node(socket: &Path, address: &Address) -> io::Result<Connection> {
    let mut stream = UnixStream::connect(socket).await?;
    let target = std::net::SocketAddr::new(address.ip, address.port);
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // Byte by byte: what follows the head belongs to the pod.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= MAX_ANSWER_BYTES {
            return Err(io::Error::other("the node's answer to CONNECT is too long"));
        }
        answer.push(stream.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&answer);
    let line = line.lines().next().unwrap_or_default();
    match line.split_whitespace().nth(1) {
        Some("200") => Ok(Box::new(stream)),
        _ => Err(io::Error::new(io::ErrorKind::ConnectionRefused, format!("the node answers {line:?}"))),
    }
}
