//! The files of a store: `lock`, `format`, `snapshot`, and `log-<revision>` with the changes after that revision.
//!
//! A record is `length u32, crc32 u32, payload`, little endian; the payload is `revision u64, operation u8, collection length u16,
//! key length u16, collection, key, value`. A snapshot is the same records, one per live object, behind one that carries the store's revision,
//! written beside and moved into place, so that it is whole or not there.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::State;

/// The layout that this program writes and the newest that it reads.
const FORMAT: u32 = 1;
/// A snapshot is due when the log is larger than this and than twice the last snapshot: keeps the start under a second.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;
/// No record is larger: an object has 3 MiB at most. A larger length is damage.
const RECORD_LIMIT: usize = 64 * 1024 * 1024;
const HEADER: usize = 8;
/// How long a lock is waited for: a program that the last owner was just starting holds it for a moment longer, from
/// its fork until it is a program of its own.
const PATIENCE: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(5);

/// Why a store cannot be opened. One line for the person who started the server.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// A newer version wrote it.
    #[error("{} was written by a newer version (format {found}; this version reads up to {FORMAT})", path.display())]
    Newer {
        /// The store's directory.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The files contradict themselves.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The file system refused.
    #[error("{} cannot be used: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Something above the store, for example the first objects, could not be written.
    #[error("the first objects cannot be written: {0}")]
    Bootstrap(String),
}

/// One change as it is written.
pub(super) struct Record<'a> {
    pub(super) revision: u64,
    pub(super) delete: bool,
    pub(super) collection: &'a str,
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// First record of a snapshot: only the revision counts.
const MARK: u8 = 3;

/// The open log.
pub(super) struct Log {
    dir: PathBuf,
    file: File,
    path: PathBuf,
    length: u64,
    snapshot_length: u64,
    /// A failed append left bytes behind that could not be cut off: no more writes.
    broken: bool,
    _lock: File,
}

impl Log {
    /// Locks the directory and reads everything in it.
    pub(super) fn open(dir: &Path) -> Result<(Self, State), OpenError> {
        fs::create_dir_all(dir).map_err(at(dir))?;
        let lock = lock(dir)?;
        check_format(dir)?;
        let mut state = State { revision: 0, oldest: 0, collections: HashMap::new() };
        let snapshot = dir.join("snapshot");
        let mut snapshot_length = 0;
        if snapshot.exists() {
            let bytes = fs::read(&snapshot).map_err(at(&snapshot))?;
            snapshot_length = bytes.len() as u64;
            load_snapshot(&snapshot, &bytes, &mut state)?;
        }
        let mut logs = logs(dir)?;
        let (newest, older) = match logs.pop() {
            Some(newest) => (newest, logs),
            None => (log_path(dir, state.revision), vec![]),
        };
        for path in &older {
            let bytes = fs::read(path).map_err(at(path))?;
            if replay(&bytes, &mut state) != bytes.len() {
                return Err(OpenError::Damaged {
                    path: path.clone(),
                    detail: "a record in the middle of the history is not whole".into(),
                });
            }
        }
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&newest).map_err(at(&newest))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).map_err(at(&newest))?;
        let good = replay(&bytes, &mut state);
        if good < bytes.len() {
            tracing::warn!(
                cut = bytes.len() - good,
                "the log ended in a record that was never acknowledged: cut off"
            );
            file.set_len(good as u64).and_then(|()| file.sync_data()).map_err(at(&newest))?;
        }
        sync_dir(dir).map_err(at(dir))?;
        let log = Self {
            dir: dir.to_owned(),
            file,
            path: newest,
            length: good as u64,
            snapshot_length,
            broken: false,
            _lock: lock,
        };
        Ok((log, state))
    }

    /// Writes a batch and flushes it once. On an error nothing of the batch stays in the file.
    pub(super) fn append<'a>(&mut self, records: impl Iterator<Item = Record<'a>>) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("an earlier failed write could not be undone; restart the server"));
        }
        let mut buffer = vec![];
        for record in records {
            encode(&mut buffer, &record);
        }
        let written = self.file.write_all(&buffer).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            let undone =
                self.file.set_len(self.length).and_then(|()| self.file.seek(SeekFrom::End(0)).map(|_| ()));
            self.broken = undone.and_then(|()| self.file.sync_data()).is_err();
            return Err(error);
        }
        self.length += buffer.len() as u64;
        Ok(())
    }

    /// Whether the log has grown enough to be replaced by a snapshot.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.length > LOG_LIMIT && self.length > 2 * self.snapshot_length && !self.broken
    }

    /// Writes all objects, starts an empty log and removes the old one. A crash anywhere in between loses nothing:
    /// records that the snapshot already holds are skipped when replayed.
    pub(super) fn snapshot(&mut self, state: &State) -> io::Result<()> {
        let beside = self.dir.join("snapshot.tmp");
        let mut out = BufWriter::new(File::create(&beside)?);
        let mut length = 0;
        let mut buffer = vec![];
        encode_op(
            &mut buffer,
            MARK,
            &Record { revision: state.revision, delete: false, collection: "", key: "", value: b"" },
        );
        for (collection, objects) in &state.collections {
            for (key, entry) in &objects.objects {
                encode(
                    &mut buffer,
                    &Record { revision: entry.revision, delete: false, collection, key, value: &entry.value },
                );
                out.write_all(&buffer)?;
                length += buffer.len() as u64;
                buffer.clear();
            }
        }
        out.write_all(&buffer)?;
        length += buffer.len() as u64;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        let path = log_path(&self.dir, state.revision);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
        fs::rename(&beside, self.dir.join("snapshot"))?;
        sync_dir(&self.dir)?;
        let old = std::mem::replace(&mut self.path, path);
        self.file = file;
        self.length = 0;
        self.snapshot_length = length;
        if old != self.path {
            fs::remove_file(&old)?;
        }
        Ok(())
    }
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(OpenError::Io { path, source }),
        }
    }
}

fn check_format(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join("format");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found > FORMAT => Err(OpenError::Newer { path: dir.to_owned(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(OpenError::Damaged { path, detail: "it does not hold a number".into() }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let beside = dir.join("format.tmp");
            let mut file = File::create(&beside).map_err(at(&beside))?;
            file.write_all(format!("{FORMAT}\n").as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(at(&beside))?;
            fs::rename(&beside, &path).and_then(|()| sync_dir(dir)).map_err(at(&path))
        }
        Err(source) => Err(OpenError::Io { path, source }),
    }
}

fn load_snapshot(path: &Path, bytes: &[u8], state: &mut State) -> Result<(), OpenError> {
    let damaged = |detail: &str| OpenError::Damaged { path: path.to_owned(), detail: detail.into() };
    let mut rest = bytes;
    let mut marked = None;
    while !rest.is_empty() {
        let (record, op, used) = decode(rest).ok_or_else(|| damaged("a record is not whole"))?;
        if op == MARK {
            marked = Some(record.revision);
        } else {
            state.apply(
                record.revision,
                record.collection,
                record.key,
                false,
                Bytes::copy_from_slice(record.value),
            );
        }
        rest = &rest[used..];
    }
    let revision = marked.ok_or_else(|| damaged("it has no revision"))?;
    // The window must not pretend to know the history before the snapshot.
    for collection in state.collections.values_mut() {
        collection.window = super::Window::new(revision);
        collection.changed.send_replace(revision);
    }
    state.revision = revision;
    state.oldest = revision;
    Ok(())
}

/// Applies records until the end or the first one that is not whole; returns how many bytes were good.
fn replay(bytes: &[u8], state: &mut State) -> usize {
    let mut good = 0;
    while let Some((record, op, used)) = decode(&bytes[good..]) {
        if record.revision > state.revision {
            state.apply(
                record.revision,
                record.collection,
                record.key,
                op == DELETE,
                Bytes::copy_from_slice(record.value),
            );
        }
        good += used;
    }
    good
}

fn encode(buffer: &mut Vec<u8>, record: &Record<'_>) {
    encode_op(buffer, if record.delete { DELETE } else { PUT }, record);
}

fn encode_op(buffer: &mut Vec<u8>, op: u8, record: &Record<'_>) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; HEADER]);
    buffer.extend_from_slice(&record.revision.to_le_bytes());
    buffer.push(op);
    // Names are checked to be at most 253 bytes long before they get here.
    buffer.extend_from_slice(&(record.collection.len() as u16).to_le_bytes());
    buffer.extend_from_slice(&(record.key.len() as u16).to_le_bytes());
    buffer.extend_from_slice(record.collection.as_bytes());
    buffer.extend_from_slice(record.key.as_bytes());
    buffer.extend_from_slice(record.value);
    let length = (buffer.len() - start - HEADER) as u32;
    let mut crc = flate2::Crc::new();
    crc.update(&buffer[start + HEADER..]);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
    buffer[start + 4..start + HEADER].copy_from_slice(&crc.sum().to_le_bytes());
}

/// The record at the start of `bytes`, its operation and its length; none when it is cut or changed.
fn decode(bytes: &[u8]) -> Option<(Record<'_>, u8, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let expected = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    if !(13..=RECORD_LIMIT).contains(&length) {
        return None;
    }
    let payload = bytes.get(HEADER..HEADER + length)?;
    let mut crc = flate2::Crc::new();
    crc.update(payload);
    if crc.sum() != expected {
        return None;
    }
    let revision = u64::from_le_bytes(payload.get(..8)?.try_into().ok()?);
    let op = payload[8];
    let collection_length = u16::from_le_bytes(payload.get(9..11)?.try_into().ok()?) as usize;
    let key_length = u16::from_le_bytes(payload.get(11..13)?.try_into().ok()?) as usize;
    let rest = &payload[13..];
    let collection = std::str::from_utf8(rest.get(..collection_length)?).ok()?;
    let key = std::str::from_utf8(rest.get(collection_length..collection_length + key_length)?).ok()?;
    let value = &rest[collection_length + key_length..];
    Some((Record { revision, delete: op == DELETE, collection, key, value }, op, HEADER + length))
}

/// The logs in order of their revision.
fn logs(dir: &Path) -> Result<Vec<PathBuf>, OpenError> {
    let mut found = vec![];
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        if let Some(number) =
            name.to_str().and_then(|n| n.strip_prefix("log-")).and_then(|n| n.parse::<u64>().ok())
        {
            found.push(number);
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|number| log_path(dir, number)).collect())
}

fn log_path(dir: &Path, revision: u64) -> PathBuf {
    dir.join(format!("log-{revision}"))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, source }
}
