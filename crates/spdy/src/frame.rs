//! Frames: from bytes and to bytes.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::headers::{Deflate, Headers, Inflate};

/// Longest frame that is taken: clients send pieces of 32 KiB.
const FRAME_LIMIT: usize = 1 << 20;
const VERSION: u16 = 3;
const FIN: u8 = 1;

/// Why a connection cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not SPDY/3.1.
    #[error("not a SPDY/3.1 frame: {0}")]
    Broken(&'static str),
    /// What and its limit in bytes.
    #[error("a {0} of more than {1} bytes")]
    TooLong(&'static str, usize),
    /// zlib's reason.
    #[error("headers cannot be (de)compressed: {0}")]
    Compression(String),
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A stream begins; with `last` the client sends nothing on it.
    Open { stream: u32, last: bool, headers: Headers },
    /// Bytes of a stream; with `last` they are the client's last ones.
    Data { stream: u32, last: bool, data: Bytes },
    /// A stream ends at once.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// The client opens no more streams.
    GoAway,
    /// Settings, windows and headers without a meaning here.
    Other,
}

/// From bytes to frames.
pub(crate) struct Decoder {
    buffer: BytesMut,
    inflate: Inflate,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { buffer: BytesMut::new(), inflate: Inflate::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if all of it is there.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Error> {
        let Some(head) = self.buffer.first_chunk::<8>() else { return Ok(None) };
        let [first, second, third, fourth, flags, lengths @ ..] = *head;
        let length = u32::from_be_bytes([0, lengths[0], lengths[1], lengths[2]]) as usize;
        if length > FRAME_LIMIT {
            return Err(Error::TooLong("frame", FRAME_LIMIT));
        }
        if self.buffer.len() < 8 + length {
            return Ok(None);
        }
        self.buffer.advance(8);
        let body = self.buffer.split_to(length).freeze();
        let last = flags & FIN != 0;
        if first & 0x80 == 0 {
            let stream = u32::from_be_bytes([first, second, third, fourth]);
            return Ok(Some(Frame::Data { stream, last, data: body }));
        }
        if u16::from_be_bytes([first & 0x7f, second]) != VERSION {
            return Err(Error::Broken("another version"));
        }
        self.control(u16::from_be_bytes([third, fourth]), last, body).map(Some)
    }

    fn control(&mut self, kind: u16, last: bool, mut body: Bytes) -> Result<Frame, Error> {
        let number = |body: &mut Bytes| body.try_get_u32().map_err(|_| Error::Broken("a frame is too short"));
        Ok(match kind {
            // SYN_STREAM: its number, the one that it belongs to, priority and slot.
            1 => {
                let stream = number(&mut body)? & 0x7fff_ffff;
                number(&mut body)?;
                body.try_get_u16().map_err(|_| Error::Broken("a frame is too short"))?;
                Frame::Open { stream, last, headers: self.inflate.block(&body)? }
            }
            // SYN_REPLY and HEADERS: read, because every block counts for the next ones.
            2 | 8 => {
                number(&mut body)?;
                self.inflate.block(&body)?;
                Frame::Other
            }
            3 => Frame::Reset { stream: number(&mut body)? & 0x7fff_ffff },
            6 => Frame::Ping { id: number(&mut body)? },
            7 => Frame::GoAway,
            _ => Frame::Other,
        })
    }
}

/// Longest piece of data in one frame that is sent.
pub(crate) const PIECE: usize = 32 << 10;

pub(crate) fn data(stream: u32, last: bool, data: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(stream & 0x7fff_ffff);
    frame.put_u8(u8::from(last));
    put_length(&mut frame, data.len());
    frame.extend_from_slice(data);
    frame.freeze()
}

/// SYN_REPLY without headers: the stream is accepted.
pub(crate) fn reply(stream: u32, deflate: &mut Deflate) -> Result<Bytes, Error> {
    let block = deflate.block(&Headers::default())?;
    let mut frame = control(2, 4 + block.len());
    frame.put_u32(stream);
    frame.extend_from_slice(&block);
    Ok(frame.freeze())
}

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// There is no such stream.
    Invalid = 2,
    /// It will not be served.
    Refused = 3,
    /// It is over for another reason.
    Cancelled = 5,
}

pub(crate) fn reset(stream: u32, reason: Reset) -> Bytes {
    let mut frame = control(3, 8);
    frame.put_u32(stream);
    frame.put_u32(reason as u32);
    frame.freeze()
}

pub(crate) fn ping(id: u32) -> Bytes {
    let mut frame = control(6, 4);
    frame.put_u32(id);
    frame.freeze()
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    frame.put_u8(0);
    put_length(&mut frame, length);
    frame
}

/// 24 bits.
fn put_length(frame: &mut BytesMut, length: usize) {
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    frame.extend_from_slice(&length[1..]);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// SYN_STREAM as a client sends it.
    pub(crate) fn open(stream: u32, last: bool, headers: &Headers, deflate: &mut Deflate) -> Bytes {
        let block = deflate.block(headers).unwrap();
        let mut frame = control(1, 10 + block.len());
        frame[4] = u8::from(last);
        frame.put_u32(stream);
        frame.put_u32(0);
        frame.put_u16(0);
        frame.extend_from_slice(&block);
        frame.freeze()
    }

    #[test]
    fn frames_come_in_any_pieces() {
        let headers = Headers::new(&[("port", "80")]);
        let mut deflate = Deflate::new().unwrap();
        let bytes = [
            open(1, true, &headers, &mut deflate),
            data(1, false, b"hello"),
            data(1, true, b""),
            open(3, false, &headers, &mut deflate),
            reset(3, Reset::Cancelled),
            ping(7),
            Bytes::from_static(b"\x80\x03\x00\x04\x00\x00\x00\x04\0\0\0\0"),
            Bytes::from_static(b"\x80\x03\x00\x07\x00\x00\x00\x08\0\0\0\0\0\0\0\0"),
        ]
        .concat();
        for size in [1, 3, 8, bytes.len()] {
            let mut decoder = Decoder::new();
            let mut frames = vec![];
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    frames.push(frame);
                }
            }
            let expected = [
                Frame::Open { stream: 1, last: true, headers: headers.clone() },
                Frame::Data { stream: 1, last: false, data: Bytes::from_static(b"hello") },
                Frame::Data { stream: 1, last: true, data: Bytes::new() },
                Frame::Open { stream: 3, last: false, headers: headers.clone() },
                Frame::Reset { stream: 3 },
                Frame::Ping { id: 7 },
                Frame::Other,
                Frame::GoAway,
            ];
            assert_eq!(frames, expected);
        }
    }

    #[test]
    fn what_is_no_spdy_is_refused() {
        let check = |bytes: &[u8], expected: Error| {
            let mut decoder = Decoder::new();
            decoder.push(bytes);
            assert_eq!(decoder.next(), Err(expected));
        };
        check(b"\x80\x02\x00\x01\x00\x00\x00\x00", Error::Broken("another version"));
        check(b"\x80\x03\x00\x06\x00\x00\x00\x02\0\0", Error::Broken("a frame is too short"));
        check(b"\0\0\0\x01\0\xff\xff\xff", Error::TooLong("frame", FRAME_LIMIT));
    }
}
