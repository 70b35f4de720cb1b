//! The log of one job: a text file, one line per line, with secrets replaced before anything is written.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// Longest line in bytes; longer ones are cut into several.
pub(crate) const LINE_LIMIT: usize = 32 << 10;
/// Longest log in bytes: more than a person reads, less than would fill a disk.
const SIZE_LIMIT: u64 = 64 << 20;
/// Shorter secrets would blacken harmless text, as GitHub warns too.
const MASK_MINIMUM: usize = 3;

/// A log that is being written. Clones write to the same file.
#[derive(Clone)]
pub(crate) struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    length: watch::Sender<u64>,
    logs: Logs,
    path: PathBuf,
}

struct State {
    file: File,
    length: u64,
    masks: Vec<String>,
}

/// All logs that are being written, so that readers can follow them.
#[derive(Clone, Default)]
pub(crate) struct Logs {
    open: Arc<Mutex<HashMap<PathBuf, watch::Receiver<u64>>>>,
}

impl Logs {
    /// Starts a log afresh.
    pub(crate) fn create(&self, path: &Path, masks: Vec<String>) -> std::io::Result<Log> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = File::create(path)?;
        let (length, receiver) = watch::channel(0);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_path_buf(), receiver);
        let state = Mutex::new(State { file, length: 0, masks: Vec::new() });
        let log =
            Log { shared: Arc::new(Shared { state, length, logs: self.clone(), path: path.to_path_buf() }) };
        masks.iter().for_each(|secret| log.mask(secret));
        Ok(log)
    }

    /// How long the log is, as long as it grows; `None` when nobody writes it.
    pub(crate) fn follow(&self, path: &Path) -> Option<watch::Receiver<u64>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.logs.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

impl Log {
    /// Hides a secret from now on: each of its lines, and its Base64 form.
    pub(crate) fn mask(&self, secret: &str) {
        use base64::Engine as _;
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = base64::engine::general_purpose::STANDARD.encode(secret);
        for line in secret.lines().chain([encoded.as_str()]).map(str::trim) {
            if line.len() >= MASK_MINIMUM && !state.masks.iter().any(|known| known == line) {
                state.masks.push(line.to_owned());
            }
        }
        // The longest first, so that a secret within another does not leave the rest of it.
        state.masks.sort_by_key(|mask| std::cmp::Reverse(mask.len()));
    }

    /// The text with its secrets hidden, for what goes elsewhere than the log.
    pub(crate) fn masked(&self, text: &str) -> String {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        hide(text, &state.masks)
    }

    /// Writes one line, or several if there are line ends in it. A full disk loses lines, not the job.
    pub(crate) fn line(&self, text: &str) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.length > SIZE_LIMIT {
            return;
        }
        let mut output = String::new();
        for line in hide(text, &state.masks).split('\n') {
            output.push_str(&format!("{now} {}\n", line.trim_end_matches('\r')));
        }
        if state.length + output.len() as u64 > SIZE_LIMIT {
            output = format!("{now} the log is longer than {} MiB: the rest is left out\n", SIZE_LIMIT >> 20);
            state.length = SIZE_LIMIT;
        }
        if state.file.write_all(output.as_bytes()).is_ok() {
            state.length += output.len() as u64;
            self.shared.length.send_replace(state.length);
        }
    }
}

fn hide(text: &str, masks: &[String]) -> String {
    let mut text = text.to_owned();
    for mask in masks {
        if text.contains(mask.as_str()) {
            text = text.replace(mask.as_str(), "***");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_reach_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/job.log");
        let logs = Logs::default();
        let log =
            logs.create(&path, vec!["hunter2".into(), "first line\nsecond line".into(), "x".into()]).unwrap();
        log.mask("hunter2-longer");
        log.line("a hunter2 b hunter2-longer c\nsecond line aHVudGVyMg== x");
        assert!(logs.follow(&path).is_some());
        drop(log);
        assert!(logs.follow(&path).is_none());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(lines, ["a *** b *** c", "*** *** x"]);
    }
}
