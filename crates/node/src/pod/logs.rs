//! Container logs on disk: one file per instance, in the format of container runtimes
//! (`<RFC 3339 with nanoseconds> stdout|stderr F|P <text>`), rotated by size.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::watch;

/// A file is put aside at this size; the kubelet's default.
const ROTATE_BYTES: u64 = 10 << 20;
/// Files that are kept per instance, with the current one.
const FILES: usize = 5;
/// Longest piece of a line; a longer line is written in parts marked `P`.
const PART_BYTES: usize = 16 << 10;

/// The log of one container instance.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    inner: Mutex<Inner>,
    /// Bytes written so far, and whether no more will come.
    progress: watch::Sender<(u64, bool)>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    size: u64,
}

impl LogFile {
    pub(crate) fn create(path: &Path) -> io::Result<Arc<LogFile>> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Arc::new(LogFile {
            path: path.to_owned(),
            inner: Mutex::new(Inner { file, size }),
            progress: watch::Sender::new((0, false)),
        }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes with every write.
    pub(crate) fn progress(&self) -> watch::Receiver<(u64, bool)> {
        self.progress.subscribe()
    }

    pub(crate) fn close(&self) {
        self.progress.send_modify(|(_, closed)| *closed = true);
    }

    fn write(&self, stream: &str, partial: bool, text: &[u8]) -> io::Result<()> {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        let mut line = format!("{now} {stream} {} ", if partial { 'P' } else { 'F' }).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.size >= ROTATE_BYTES {
            self.rotate(&mut inner)?;
        }
        inner.file.write_all(&line)?;
        inner.size += line.len() as u64;
        self.progress.send_modify(|(written, _)| *written += line.len() as u64);
        Ok(())
    }

    fn rotate(&self, inner: &mut Inner) -> io::Result<()> {
        let numbered = |n: usize| self.path.with_extension(format!("log.{n}"));
        for n in (1..FILES - 1).rev() {
            let _ = std::fs::rename(numbered(n), numbered(n + 1));
        }
        std::fs::rename(&self.path, numbered(1))?;
        inner.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        inner.size = 0;
        Ok(())
    }

    /// Copies an output to the log until it ends, and tells each piece as it comes.
    pub(crate) async fn copy(
        self: Arc<Self>,
        mut from: impl AsyncRead + Unpin,
        stream: &'static str,
        tell: impl Fn(&[u8]),
    ) {
        let mut pending: Vec<u8> = Vec::new();
        let mut buffer = vec![0u8; PART_BYTES];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(length) if length > 0 => length,
                _ => break,
            };
            tell(&buffer[..length]);
            pending.extend_from_slice(&buffer[..length]);
            let mut rest = pending.as_slice();
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                self.note(stream, false, &rest[..end]);
                rest = &rest[end + 1..];
            }
            while rest.len() >= PART_BYTES {
                self.note(stream, true, &rest[..PART_BYTES]);
                rest = &rest[PART_BYTES..];
            }
            pending = rest.to_vec();
        }
        if !pending.is_empty() {
            self.note(stream, false, &pending);
        }
    }

    /// A full disk must not stop the container.
    fn note(&self, stream: &str, partial: bool, text: &[u8]) {
        if let Err(error) = self.write(stream, partial, text) {
            tracing::warn!(path = %self.path.display(), %error, "cannot write a container's log");
        }
    }
}

/// What part of a log is wanted; as the query of the kubelet's API says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) tail_lines: Option<usize>,
    pub(crate) timestamps: bool,
    pub(crate) since: Option<jiff::Timestamp>,
    pub(crate) limit_bytes: Option<usize>,
}

/// The wanted text of a log file from `offset` on, and where it ended. `tail_lines` counts only from the start.
pub(crate) fn read(path: &Path, offset: u64, wanted: &Wanted) -> io::Result<(Vec<u8>, u64)> {
    let mut file = File::open(path)?;
    // A file that is shorter than what was read is a new one.
    let start = if file.metadata()?.len() < offset { 0 } else { offset };
    file.seek(SeekFrom::Start(start))?;
    let (mut lines, mut end) = (Vec::new(), start);
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        if !line.ends_with(b"\n") {
            break;
        }
        end += line.len() as u64;
        if let Some(text) = shown(&line, wanted) {
            lines.push(text);
        }
        line.clear();
    }
    if let Some(count) = wanted.tail_lines.filter(|_| offset == 0) {
        lines.drain(..lines.len().saturating_sub(count));
    }
    let mut out = lines.concat();
    if let Some(limit) = wanted.limit_bytes {
        out.truncate(limit);
    }
    Ok((out, end))
}

/// One line as it is shown: the text, with its time if wanted.
fn shown(line: &[u8], wanted: &Wanted) -> Option<Vec<u8>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (time, _stream, kind, text) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if let Some(since) = wanted.since {
        let time: jiff::Timestamp = std::str::from_utf8(time).ok()?.parse().ok()?;
        if time < since {
            return None;
        }
    }
    // A part's own line end is the format's, not the container's.
    let text = if kind == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text };
    let head = if wanted.timestamps { [time, b" "].concat() } else { Vec::new() };
    Some([&head[..], text].concat())
}

/// The end of a log, for a termination message: at most 80 lines and 2 KiB.
pub(crate) fn tail(path: &Path) -> String {
    let wanted = Wanted { tail_lines: Some(80), ..Wanted::default() };
    let text = read(path, 0, &wanted).map(|(text, _)| text).unwrap_or_default();
    let from = text.len().saturating_sub(2048);
    String::from_utf8_lossy(&text[from..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_back_as_they_were_written() {
        let place = tempfile::tempdir().unwrap();
        let log = LogFile::create(&place.path().join("c/0.log")).unwrap();
        let long = "x".repeat(PART_BYTES + 5);
        let text = format!("one\n\n{long}\nlast without end");
        log.clone().copy(text.as_bytes(), "stdout", |_| {}).await;
        let check = |wanted: Wanted, expected: &str| {
            let (found, _) = read(log.path(), 0, &wanted).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{wanted:?}");
        };
        check(Wanted::default(), &format!("one\n\n{long}\nlast without end\n"));
        check(Wanted { tail_lines: Some(1), ..Wanted::default() }, "last without end\n");
        check(Wanted { limit_bytes: Some(2), ..Wanted::default() }, "on");
        let future = jiff::Timestamp::now() + std::time::Duration::from_secs(60);
        check(Wanted { since: Some(future), ..Wanted::default() }, "");
        let (first, _) = read(log.path(), 0, &Wanted { timestamps: true, ..Wanted::default() }).unwrap();
        let stamp = String::from_utf8_lossy(&first[..30]).into_owned();
        assert!(stamp.parse::<jiff::Timestamp>().is_ok(), "{stamp}");
        let (_, end) = read(log.path(), 0, &Wanted::default()).unwrap();
        log.clone().copy(&b"more\n"[..], "stderr", |_| {}).await;
        assert_eq!(read(log.path(), end, &Wanted::default()).unwrap().0, b"more\n");
    }
}
