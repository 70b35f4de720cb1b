//! What a host that was killed leaves behind: git processes that still run, and their lock files.
//!
//! A `git receive-pack` outlives a host that is killed, and may hold the lock of a branch. Taking that lock away under
//! it would let it rename somebody else's lock file into place, and so undo a push that was acknowledged meanwhile. So
//! the processes are ended first, and only then the locks go, which nobody can hold any more.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Error;
use crate::command::MARK;

/// A killed process is gone in milliseconds, unless it waits for a disk.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Ends git processes of an earlier host that work below `root`, and waits until they are gone.
pub(super) fn end_processes(root: &Path) {
    let deadline = Instant::now() + GONE_WITHIN;
    loop {
        let left = processes_below(root);
        if left.is_empty() {
            return;
        }
        if Instant::now() > deadline {
            tracing::warn!(count = left.len(), "git processes of an earlier run do not end");
            return;
        }
        for process in left {
            // One that ended by itself meanwhile is as good.
            let _ = kill_process(process, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Removes the lock files of a repository in which nothing runs.
pub(super) fn remove_locks(repository: &Path) -> Result<(), Error> {
    let mut pending = vec![repository.join("refs")];
    for name in ["HEAD.lock", "packed-refs.lock", "config.lock"] {
        std::fs::remove_file(repository.join(name)).ok();
    }
    while let Some(directory) = pending.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|e| Error::file(&directory, e))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "lock") {
                std::fs::remove_file(&path).map_err(|e| Error::file(&path, e))?;
            }
        }
    }
    Ok(())
}

/// Processes with the mark of our git calls whose working directory is below `root`. Ended ones have none.
fn processes_below(root: &Path) -> Vec<Pid> {
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else { continue };
        let below = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(root));
        if !below {
            continue;
        }
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(MARK.as_bytes())) {
            found.push(pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Call;

    #[tokio::test]
    async fn a_git_process_below_the_root_is_ended_and_one_elsewhere_is_not() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&here, &there] {
            Call::new(folder.path()).args(["init", "--quiet", "--bare", "."]).output().await.unwrap();
        }
        // It waits for its standard input, which stays open.
        let waiting = |folder: &tempfile::TempDir| {
            Call::new(folder.path()).args(["cat-file", "--batch"]).spawn().unwrap()
        };
        let (mut ours, mut other) = (waiting(&here), waiting(&there));
        let stays_open = ours.stdin.take();
        let root = here.path().canonicalize().unwrap();
        let end = tokio::task::spawn_blocking(move || end_processes(&root));
        let status = ours.wait().await.unwrap();
        end.await.unwrap();
        assert!(!status.success(), "it ended by itself");
        drop(stays_open);
        assert!(other.try_wait().unwrap().is_none(), "a process elsewhere was ended");
        other.kill().await.unwrap();
    }
}
