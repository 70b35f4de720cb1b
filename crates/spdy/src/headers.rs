//! Blocks of names and values. All blocks of one direction are one zlib stream, begun with a dictionary.

use std::sync::LazyLock;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::frame::Error;

/// Longest block, without compression.
const BLOCK_LIMIT: usize = 64 << 10;

/// Names, in small letters, and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// From names and values.
    pub fn new(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(name, value)| (name.to_ascii_lowercase(), (*value).to_owned())).collect())
    }

    /// The value of a header, whose name is given in small letters.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The dictionary of SPDY/3 (section 2.6.10.1 of its draft): words with their lengths, then common values.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
        accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
        content-length content-location content-md5 content-range content-type date etag expect expires from host \
        if-match if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards \
        pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding \
        upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public \
        set-cookie keep-alive origin";
    const VALUES: &str = "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request\
        401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
        Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,\
        text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
        publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
    const CODES: &str =
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505";
    let mut dictionary = vec![];
    for word in WORDS.split(' ') {
        let word = word.replace('_', " ");
        dictionary.extend(length(word.len()));
        dictionary.extend(word.bytes());
    }
    dictionary.extend(CODES.bytes());
    dictionary.extend(VALUES.bytes());
    dictionary
});

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

/// Writes blocks.
pub(crate) struct Deflate(Compress);

impl Deflate {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut zlib = Compress::new(Compression::fast(), true);
        zlib.set_dictionary(&DICTIONARY).map_err(|error| Error::Compression(error.to_string()))?;
        Ok(Self(zlib))
    }

    pub(crate) fn block(&mut self, headers: &Headers) -> Result<Vec<u8>, Error> {
        let mut plain = length(headers.0.len()).to_vec();
        for text in headers.0.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend(length(text.len()));
            plain.extend(text.bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let before = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            let rest = plain.get(taken..).unwrap_or_default();
            let done = self.0.compress_vec(rest, &mut block, FlushCompress::Sync);
            done.map_err(|error| Error::Compression(error.to_string()))?;
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            // A flush that did not fill the room is complete.
            if taken >= plain.len() && block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(256);
        }
    }
}

/// Reads blocks.
pub(crate) struct Inflate(Decompress);

impl Inflate {
    pub(crate) fn new() -> Self {
        Self(Decompress::new(true))
    }

    pub(crate) fn block(&mut self, block: &[u8]) -> Result<Headers, Error> {
        let mut plain = Vec::with_capacity(1 << 10);
        let before = self.0.total_in();
        loop {
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            let rest = block.get(taken..).unwrap_or_default();
            let (size, capacity) = (plain.len(), plain.capacity());
            match self.0.decompress_vec(rest, &mut plain, FlushDecompress::Sync) {
                Ok(Status::StreamEnd) => return read(&plain),
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    let set = self.0.set_dictionary(&DICTIONARY);
                    set.map_err(|error| Error::Compression(error.to_string()))?;
                    continue;
                }
                // No more to read, and nothing left that was read: the block is complete.
                Err(_) if rest.is_empty() && size > 0 => return read(&plain),
                Err(error) => return Err(Error::Compression(error.to_string())),
            }
            if plain.len() > BLOCK_LIMIT {
                return Err(Error::TooLong("block of headers", BLOCK_LIMIT));
            }
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            if plain.len() == capacity {
                plain.reserve(capacity);
            } else if taken >= block.len() {
                return read(&plain);
            } else if plain.len() == size {
                return Err(Error::Compression("a block of headers that does not end".to_owned()));
            }
        }
    }
}

/// A block without compression: how many, then names and values with their lengths.
fn read(mut block: &[u8]) -> Result<Headers, Error> {
    let count = number(&mut block)?;
    let mut headers = Headers::default();
    for _ in 0..count {
        let name = text(&mut block)?;
        let value = text(&mut block)?;
        headers.0.push((name, value));
    }
    Ok(headers)
}

fn number(block: &mut &[u8]) -> Result<u32, Error> {
    let (number, rest) =
        block.split_first_chunk::<4>().ok_or(Error::Broken("a block of headers ends early"))?;
    *block = rest;
    Ok(u32::from_be_bytes(*number))
}

fn text(block: &mut &[u8]) -> Result<String, Error> {
    let length = number(block)?;
    let text = usize::try_from(length).ok().and_then(|length| block.split_at_checked(length));
    let (text, rest) = text.ok_or(Error::Broken("a block of headers ends early"))?;
    *block = rest;
    String::from_utf8(text.to_vec()).map_err(|_| Error::Broken("a header that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_that_of_everyone() {
        assert_eq!(DICTIONARY.len(), 1423);
        let (mut a, mut b) = (1u32, 0u32);
        for byte in DICTIONARY.iter() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn blocks_follow_one_another() {
        let (mut deflate, mut inflate) = (Deflate::new().unwrap(), Inflate::new());
        let long = "x".repeat(5000);
        for headers in [
            Headers::new(&[("streamType", "error"), ("port", "80"), ("requestID", "0")]),
            Headers::default(),
            Headers::new(&[("streamtype", "data"), ("long", &long)]),
            Headers::new(&[("streamtype", "data"), ("port", "80"), ("requestid", "0")]),
        ] {
            let block = deflate.block(&headers).unwrap();
            assert_eq!(inflate.block(&block).unwrap(), headers);
        }
    }

    #[test]
    fn broken_blocks_are_errors() {
        let mut deflate = Deflate::new().unwrap();
        let many = Headers::new(&[("a", &"x".repeat(BLOCK_LIMIT))]);
        let block = deflate.block(&many).unwrap();
        assert_eq!(Inflate::new().block(&block), Err(Error::TooLong("block of headers", BLOCK_LIMIT)));
        assert!(Inflate::new().block(b"nothing").is_err());
        assert!(Inflate::new().block(b"").is_err());
        for block in [
            &b"\0\0\0\x01\0\0\0\x05ab"[..],
            b"\0\0",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x01\0\0\0\x01\xff\0\0\0\0",
        ] {
            assert!(matches!(read(block), Err(Error::Broken(_))), "{block:?}");
        }
    }
}
