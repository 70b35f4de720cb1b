//! The folder of a task: every path that a template names stays inside it, also through symbolic links. Synchronous;
//! callers run it on the blocking pool.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

/// Files one workspace may hold, and their bytes together: a generous skeleton has hundreds of files.
const FILES_MAX: usize = 20_000;
const BYTES_MAX: u64 = 512 << 20;

/// Why a path of the workspace cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    /// The path leads out of the workspace.
    #[error("the path \"{0}\" leads out of the workspace")]
    Outside(String),
    /// The file system refused.
    #[error("{path}")]
    File {
        /// The path below the workspace.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The workspace is full.
    #[error("the workspace holds more than {FILES_MAX} files or {BYTES_MAX} bytes")]
    TooLarge,
}

/// One file of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Path below the folder that was read, with `/`.
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    File { bytes: Vec<u8>, executable: bool },
    Link(String),
}

/// A path of a template, cleaned: no root, no `..` above the start; `.` and empty become "".
pub(crate) fn clean(path: &str) -> Result<PathBuf, WorkspaceError> {
    let mut cleaned = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => cleaned.push(part),
            Component::ParentDir if cleaned.pop() => {}
            _ => return Err(WorkspaceError::Outside(path.to_owned())),
        }
    }
    Ok(cleaned)
}

/// `path` below `root`, refusing symbolic links on the way (the last part may be one).
pub(crate) fn resolve(root: &Path, path: &str) -> Result<PathBuf, WorkspaceError> {
    let relative = clean(path)?;
    let mut full = root.to_path_buf();
    let parts: Vec<_> = relative.components().collect();
    for part in parts.iter().take(parts.len().saturating_sub(1)) {
        full.push(part);
        if fs::symlink_metadata(&full).is_ok_and(|found| found.file_type().is_symlink()) {
            return Err(WorkspaceError::Outside(path.to_owned()));
        }
    }
    if let Some(last) = parts.last() {
        full.push(last);
    }
    Ok(full)
}

/// Writes one entry below `root`; an existing one stays unless `replace`. Returns whether it was written.
pub(crate) fn write(
    root: &Path,
    path: &str,
    content: &Content,
    replace: bool,
) -> Result<bool, WorkspaceError> {
    let full = resolve(root, path)?;
    let failed = |source| WorkspaceError::File { path: path.to_owned(), source };
    let existing = fs::symlink_metadata(&full).ok();
    if let Some(found) = existing {
        if !replace || found.is_dir() {
            return Ok(false);
        }
        fs::remove_file(&full).map_err(failed)?;
    }
    if let Some(parent) = full.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match content {
        Content::Link(target) => std::os::unix::fs::symlink(target, &full).map_err(failed)?,
        Content::File { bytes, executable } => {
            fs::write(&full, bytes).map_err(failed)?;
            if *executable {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(&full, fs::Permissions::from_mode(0o755)).map_err(failed)?;
            }
        }
    }
    Ok(true)
}

/// All entries below `folder` of the workspace, ordered by path; `.git` folders are left out.
pub(crate) fn read_all(root: &Path, folder: &str) -> Result<Vec<Entry>, WorkspaceError> {
    let start = resolve(root, folder)?;
    let mut entries = Vec::new();
    let mut total = 0;
    let mut folders = vec![(start, String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let failed = |source| WorkspaceError::File { path: format!("./{prefix}"), source };
        for found in fs::read_dir(&folder).map_err(failed)? {
            let found = found.map_err(failed)?;
            let name = found.file_name().to_string_lossy().into_owned();
            let kind = found.file_type().map_err(failed)?;
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            if kind.is_dir() {
                if name != ".git" {
                    folders.push((found.path(), path));
                }
                continue;
            }
            let content = read_one(&found.path())
                .map_err(|source| WorkspaceError::File { path: path.clone(), source })?;
            if let Content::File { bytes, .. } = &content {
                total += bytes.len() as u64;
            }
            entries.push(Entry { path, content });
            if entries.len() > FILES_MAX || total > BYTES_MAX {
                return Err(WorkspaceError::TooLarge);
            }
        }
    }
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(entries)
}

fn read_one(path: &Path) -> io::Result<Content> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.file_type().is_symlink() {
        return Ok(Content::Link(fs::read_link(path)?.to_string_lossy().into_owned()));
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Content::File { bytes, executable: metadata.permissions().mode() & 0o111 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Content {
        Content::File { bytes: text.as_bytes().to_vec(), executable: false }
    }

    #[test]
    fn paths_cannot_leave_the_workspace() {
        let root = tempfile::tempdir().unwrap();
        for bad in ["/etc/passwd", "../x", "a/../../x"] {
            assert!(matches!(resolve(root.path(), bad), Err(WorkspaceError::Outside(_))), "{bad}");
        }
        assert_eq!(resolve(root.path(), "./a/../b").unwrap(), root.path().join("b"));
        write(root.path(), "out", &Content::Link("/tmp".to_owned()), false).unwrap();
        assert!(matches!(write(root.path(), "out/x", &text("x"), true), Err(WorkspaceError::Outside(_))));
    }

    #[test]
    fn entries_come_back_as_written() {
        let root = tempfile::tempdir().unwrap();
        let script = Content::File { bytes: b"#!/bin/sh\n".to_vec(), executable: true };
        assert!(write(root.path(), "b/run", &script, false).unwrap());
        assert!(write(root.path(), "a", &text("1"), false).unwrap());
        assert!(!write(root.path(), "a", &text("2"), false).unwrap());
        assert!(write(root.path(), "a", &text("3"), true).unwrap());
        assert!(write(root.path(), "l", &Content::Link("a".to_owned()), true).unwrap());
        let read = read_all(root.path(), ".").unwrap();
        let expected = [("a", text("3")), ("b/run", script), ("l", Content::Link("a".to_owned()))];
        assert_eq!(read.len(), 3);
        for (entry, (path, content)) in read.iter().zip(expected) {
            assert_eq!((entry.path.as_str(), &entry.content), (path, &content));
        }
    }
}
