//! A connection and its streams.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::frame::{self, Decoder, Error, Frame, PIECE, Reset};
use crate::headers::{Deflate, Headers};

/// Most streams of one connection at a time; more are refused.
pub const STREAM_LIMIT: usize = 1000;
/// Pieces that wait for somebody to take them, for each stream and for the connection.
const WAITING: usize = 16;

/// A client's connection. It ends when this is dropped, or when the client goes.
pub struct Session {
    opened: mpsc::Receiver<Opened>,
    _stop: DropGuard,
}

impl Session {
    /// Runs a connection on the current tokio runtime, over whatever carries bytes: the pieces need not be frames.
    pub fn new<I, O>(incoming: I, outgoing: O) -> Self
    where
        I: Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
        O: Sink<Bytes> + Send + Unpin + 'static,
    {
        let (out, frames) = mpsc::channel(WAITING);
        let (tell, opened) = mpsc::channel(WAITING);
        let (stop, all) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(write(outgoing, frames));
        let streams = Streams::default();
        let reading = Reading { streams: streams.clone(), out, tell, all: all.clone(), newest: 0 };
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                // Whatever ends a connection: there is no one left to tell it to.
                _ = reading.run(incoming) => {}
                () = stopped.cancelled() => {}
            }
            all.cancel();
            streams.with(HashMap::clear);
        });
        Self { opened, _stop: stop.drop_guard() }
    }

    /// The next stream that the client opens; none when the connection is over.
    pub async fn accept(&mut self) -> Option<Opened> {
        self.opened.recv().await
    }
}

/// A stream that waits for an answer.
#[must_use]
pub struct Opened {
    headers: Headers,
    reader: Reader,
    writer: Writer,
}

impl Opened {
    /// What the client said of it.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Takes the stream.
    pub async fn accept(self) -> (Reader, Writer) {
        let _ = self.writer.out.send(Out::Reply(self.writer.stream)).await;
        (self.reader, self.writer)
    }

    /// Does not take it; the client's call fails.
    pub async fn refuse(self) {
        self.writer.end(Reset::Refused).await;
    }
}

/// What the client sends on a stream.
pub struct Reader(mpsc::Receiver<Bytes>);

impl Reader {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.0.recv().await
    }
}

/// What is sent to the client on a stream. It is reset when it is dropped without [`Writer::finish`].
pub struct Writer {
    stream: u32,
    out: mpsc::Sender<Out>,
    streams: Streams,
    /// The client reset the stream, or went.
    gone: CancellationToken,
    is_finished: bool,
}

impl Writer {
    /// Sends bytes; false when the client does not want them any more.
    pub async fn send(&self, data: &[u8]) -> bool {
        for piece in data.chunks(PIECE) {
            if !self.put(frame::data(self.stream, false, piece)).await {
                return false;
            }
        }
        true
    }

    /// No more comes.
    pub async fn finish(mut self) {
        self.is_finished = true;
        self.put(frame::data(self.stream, true, b"")).await;
    }

    /// When the client has reset the stream, or has gone.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    async fn end(mut self, reason: Reset) {
        self.is_finished = true;
        self.put(frame::reset(self.stream, reason)).await;
        self.streams.forget(self.stream);
    }

    async fn put(&self, frame: Bytes) -> bool {
        tokio::select! {
            sent = self.out.send(Out::Frame(frame)) => sent.is_ok(),
            () = self.gone.cancelled() => false,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_finished && !self.gone.is_cancelled() {
            let _ = self.out.try_send(Out::Frame(frame::reset(self.stream, Reset::Cancelled)));
            self.streams.forget(self.stream);
        }
        self.streams.close(self.stream, Side::Ours);
    }
}

enum Out {
    Frame(Bytes),
    /// Made when it is written, since all replies are compressed together.
    Reply(u32),
}

async fn write<O: Sink<Bytes> + Unpin>(mut outgoing: O, mut frames: mpsc::Receiver<Out>) {
    let Ok(mut deflate) = Deflate::new() else { return };
    while let Some(out) = frames.recv().await {
        let frame = match out {
            Out::Frame(frame) => frame,
            Out::Reply(stream) => match frame::reply(stream, &mut deflate) {
                Ok(frame) => frame,
                Err(_) => return,
            },
        };
        if outgoing.send(frame).await.is_err() {
            return;
        }
    }
    let _ = outgoing.close().await;
}

#[derive(Clone, Default)]
struct Streams(Arc<Mutex<HashMap<u32, Known>>>);

struct Known {
    /// Where the client's bytes go, until it has sent the last ones.
    to: Option<mpsc::Sender<Bytes>>,
    gone: CancellationToken,
    is_ours_closed: bool,
}

enum Side {
    Ours,
    Theirs,
}

impl Streams {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<u32, Known>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A stream that was reset is over for both sides at once.
    fn forget(&self, stream: u32) {
        self.with(|streams| streams.remove(&stream));
    }

    /// A stream is forgotten when both sides have closed it.
    fn close(&self, stream: u32, side: Side) {
        self.with(|streams| {
            let Some(known) = streams.get_mut(&stream) else { return };
            match side {
                Side::Ours => known.is_ours_closed = true,
                Side::Theirs => known.to = None,
            }
            if known.is_ours_closed && known.to.is_none() {
                streams.remove(&stream);
            }
        });
    }
}

struct Reading {
    streams: Streams,
    out: mpsc::Sender<Out>,
    tell: mpsc::Sender<Opened>,
    /// Cancelled when the client is gone.
    all: CancellationToken,
    newest: u32,
}

impl Reading {
    async fn run(mut self, mut incoming: impl Stream<Item = io::Result<Bytes>> + Unpin) -> Result<(), Error> {
        let mut decoder = Decoder::new();
        while let Some(Ok(bytes)) = incoming.next().await {
            decoder.push(&bytes);
            while let Some(frame) = decoder.next()? {
                self.take(frame).await?;
            }
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Open { stream, last, headers } => self.open(stream, last, headers).await?,
            Frame::Data { stream, last, data } => {
                let to = self.streams.with(|streams| streams.get(&stream).map(|known| known.to.clone()));
                let Some(to) = to else {
                    let _ = self.out.send(Out::Frame(frame::reset(stream, Reset::Invalid))).await;
                    return Ok(());
                };
                // What nobody wants to read is dropped.
                if let (Some(to), false) = (to, data.is_empty()) {
                    let _ = to.send(data).await;
                }
                if last {
                    self.streams.close(stream, Side::Theirs);
                }
            }
            Frame::Reset { stream } => {
                if let Some(known) = self.streams.with(|streams| streams.remove(&stream)) {
                    known.gone.cancel();
                }
            }
            // Even numbers would answer pings of ours.
            Frame::Ping { id } if id % 2 == 1 => {
                let _ = self.out.send(Out::Frame(frame::ping(id))).await;
            }
            Frame::Ping { .. } | Frame::GoAway | Frame::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, stream: u32, last: bool, headers: Headers) -> Result<(), Error> {
        if stream.is_multiple_of(2) || stream <= self.newest {
            return Err(Error::Broken("a stream's number is not an odd one above all others"));
        }
        self.newest = stream;
        if self.streams.with(|streams| streams.len()) >= STREAM_LIMIT {
            let _ = self.out.send(Out::Frame(frame::reset(stream, Reset::Refused))).await;
            return Ok(());
        }
        let (to, from) = mpsc::channel(WAITING);
        let gone = self.all.child_token();
        let known = Known { to: (!last).then_some(to), gone: gone.clone(), is_ours_closed: false };
        self.streams.with(|streams| streams.insert(stream, known));
        let writer =
            Writer { stream, out: self.out.clone(), streams: self.streams.clone(), gone, is_finished: false };
        let _ = self.tell.send(Opened { headers, reader: Reader(from), writer }).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::open;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf};
    use tokio_util::codec::{BytesCodec, FramedWrite};
    use tokio_util::io::ReaderStream;

    struct Client {
        read: ReadHalf<DuplexStream>,
        write: WriteHalf<DuplexStream>,
        deflate: Deflate,
    }

    fn start() -> (Client, Session) {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (read, write) = tokio::io::split(ours);
        let session = Session::new(ReaderStream::new(read), FramedWrite::new(write, BytesCodec::new()));
        let (read, write) = tokio::io::split(theirs);
        (Client { read, write, deflate: Deflate::new().unwrap() }, session)
    }

    impl Client {
        async fn open(&mut self, stream: u32, last: bool) {
            let frame = open(stream, last, &Headers::new(&[("n", &stream.to_string())]), &mut self.deflate);
            self.write.write_all(&frame).await.unwrap();
        }

        async fn send(&mut self, frame: Bytes) {
            self.write.write_all(&frame).await.unwrap();
        }

        /// A frame: its first four bytes, flags, and what follows.
        async fn frame(&mut self) -> (u32, u8, Vec<u8>) {
            let head = self.read.read_u32().await.unwrap();
            let rest = self.read.read_u32().await.unwrap();
            let mut body = vec![0; (rest & 0xff_ffff) as usize];
            self.read.read_exact(&mut body).await.unwrap();
            (head, (rest >> 24) as u8, body)
        }
    }

    const REPLY: u32 = 0x8003_0002;
    const RESET: u32 = 0x8003_0003;

    #[tokio::test]
    async fn streams_are_opened_used_and_closed() {
        let (mut client, mut session) = start();
        client.open(1, false).await;
        client.open(3, true).await;
        client.open(5, false).await;
        let (first, second) = (session.accept().await.unwrap(), session.accept().await.unwrap());
        assert_eq!((first.headers().get("n"), second.headers().get("n")), (Some("1"), Some("3")));
        let (mut reader, writer) = first.accept().await;
        assert_eq!(client.frame().await.0, REPLY);
        client.send(frame::data(1, false, b"hello")).await;
        client.send(frame::data(1, true, b" you")).await;
        assert_eq!(reader.next().await.as_deref(), Some(&b"hello"[..]));
        assert_eq!(reader.next().await.as_deref(), Some(&b" you"[..]));
        assert_eq!(reader.next().await, None);
        assert!(writer.send(b"hi").await);
        writer.finish().await;
        assert_eq!(client.frame().await, (1, 0, b"hi".to_vec()));
        assert_eq!(client.frame().await, (1, 1, vec![]));

        let (mut reader, writer) = second.accept().await;
        assert_eq!(client.frame().await.0, REPLY);
        assert_eq!(reader.next().await, None);
        drop(writer);
        assert_eq!(client.frame().await, (RESET, 0, vec![0, 0, 0, 3, 0, 0, 0, 5]));
        session.accept().await.unwrap().refuse().await;
        assert_eq!(client.frame().await, (RESET, 0, vec![0, 0, 0, 5, 0, 0, 0, 3]));
        client.send(frame::ping(9)).await;
        assert_eq!(client.frame().await, (0x8003_0006, 0, vec![0, 0, 0, 9]));
        drop(session);
        assert_eq!(client.read.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_client_that_goes_or_resets_is_noticed() {
        let (mut client, mut session) = start();
        client.open(1, false).await;
        client.open(3, false).await;
        let (_, first) = session.accept().await.unwrap().accept().await;
        let (mut reader, second) = session.accept().await.unwrap().accept().await;
        client.send(frame::reset(1, Reset::Cancelled)).await;
        first.gone().await;
        assert!(!first.send(&vec![0; 1 << 20]).await);
        drop(client);
        second.gone().await;
        assert_eq!(reader.next().await, None);
        assert!(session.accept().await.is_none());
    }

    #[tokio::test]
    async fn streams_that_are_over_do_not_count() {
        let (mut client, mut session) = start();
        for n in 0..2 * STREAM_LIMIT as u32 {
            client.open(2 * n + 1, false).await;
            let accepting = tokio::time::timeout(std::time::Duration::from_secs(10), session.accept());
            let opened = accepting.await.expect("it is not one too many").unwrap();
            if n % 2 == 0 {
                opened.refuse().await;
            } else {
                drop(opened);
            }
            assert_eq!(client.frame().await.0, RESET);
        }
    }

    #[tokio::test]
    async fn too_many_streams_are_refused_and_numbers_used_again_end_it() {
        let (mut client, mut session) = start();
        let mut opened = vec![];
        for n in 0..STREAM_LIMIT as u32 {
            client.open(2 * n + 1, true).await;
            opened.push(session.accept().await.unwrap());
        }
        client.open(9001, true).await;
        assert_eq!(client.frame().await, (RESET, 0, vec![0, 0, 0x23, 0x29, 0, 0, 0, 3]));
        let (mut reader, _writer) = opened.remove(0).accept().await;
        client.open(9001, true).await;
        assert!(session.accept().await.is_none());
        assert_eq!(reader.next().await, None);
    }
}
