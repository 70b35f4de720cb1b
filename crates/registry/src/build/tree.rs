//! Layer directories seen as the one tree that an overlay mount of them would show, without mounting.
//! A build reads it to copy from a stage and to learn what a destination is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Component, Path, PathBuf};

use crate::unpack::{is_opaque, is_whiteout};

/// Links followed in one path, as Linux has it.
const MAX_LINKS: usize = 40;
/// Directories that the sandbox puts into a host base image: a copy must not change their mode by making them anew.
const HOST_DIRECTORIES: [&str; 20] = [
    "usr",
    "etc",
    "etc/ssl",
    "etc/ssl/certs",
    "tmp",
    "run",
    "root",
    "home",
    "home/node",
    "opt",
    "srv",
    "mnt",
    "var",
    "var/tmp",
    "var/log",
    "var/cache",
    "var/lib",
    "var/lib/postgresql",
    "run/postgresql",
    "dev",
];
const HOST_LINKS: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// A stack of layers.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Top first.
    pub(super) layers: Vec<PathBuf>,
    /// This machine's `/usr` lies below them.
    pub(super) host: bool,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// The directories that are merged here, top first. None for one that only the sandbox will make.
    Directory(Vec<PathBuf>),
    /// A file, link or device, at its place on this machine.
    Leaf(PathBuf),
}

impl Tree {
    /// The node at `path` (relative to the root, without links in it), not followed if it is a link.
    pub(super) fn lookup(&self, path: &Path) -> io::Result<Option<Node>> {
        let mut node = Node::Directory(self.layers.clone());
        let mut walked = PathBuf::new();
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            walked.push(name);
            let Node::Directory(stack) = &node else { return Ok(None) };
            match self.child(stack, name, &walked)? {
                Some(next) => node = next,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }

    fn child(&self, stack: &[PathBuf], name: &OsStr, path: &Path) -> io::Result<Option<Node>> {
        let mut found = Vec::new();
        for directory in stack {
            let here = directory.join(name);
            let meta = match fs::symlink_metadata(&here) {
                Ok(meta) => meta,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if is_whiteout(&meta) {
                return Ok((!found.is_empty()).then_some(Node::Directory(found)));
            }
            if !meta.is_dir() {
                return Ok(Some(if found.is_empty() { Node::Leaf(here) } else { Node::Directory(found) }));
            }
            let opaque = is_opaque(&here);
            found.push(here);
            if opaque {
                return Ok(Some(Node::Directory(found)));
            }
        }
        if self.host {
            if path == Path::new("usr") {
                found.push(PathBuf::from("/usr"));
            } else if found.is_empty() && HOST_LINKS.iter().any(|link| path == Path::new(link)) {
                return Ok(Some(Node::Leaf(Path::new("/").join(path))));
            } else if found.is_empty() && HOST_DIRECTORIES.iter().any(|known| path == Path::new(known)) {
                return Ok(Some(Node::Directory(Vec::new())));
            }
        }
        Ok((!found.is_empty()).then_some(Node::Directory(found)))
    }

    /// The names in a directory, with what they are.
    pub(super) fn list(&self, stack: &[PathBuf], path: &Path) -> io::Result<BTreeMap<OsString, Node>> {
        let mut names = BTreeMap::new();
        for directory in stack {
            for entry in fs::read_dir(directory)? {
                let name = entry?.file_name();
                if names.contains_key(&name) {
                    continue;
                }
                let node = self.child(stack, &name, &path.join(&name))?;
                names.insert(name, node);
            }
        }
        Ok(names.into_iter().filter_map(|(name, node)| Some((name, node?))).collect())
    }

    /// Where `path` leads inside the tree when links are followed, the last part too. What does not exist stays as it is
    /// written. `..` never leaves the root.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut rest: Vec<OsString> = parts(path);
        rest.reverse();
        let mut walked = PathBuf::new();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                walked.pop();
                continue;
            }
            let next = walked.join(&name);
            let target = match self.lookup(&next)? {
                Some(Node::Leaf(at)) if fs::symlink_metadata(&at)?.is_symlink() => fs::read_link(at)?,
                _ => {
                    walked = next;
                    continue;
                }
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::other("too many symbolic links"));
            }
            if target.is_absolute() {
                walked = PathBuf::new();
            }
            rest.extend(parts(&target).into_iter().rev());
        }
        Ok(walked)
    }
}

/// Names and `..` of a path.
fn parts(path: &Path) -> Vec<OsString> {
    let part = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().filter_map(part).collect()
}

/// Whether the file at `path` is of a kind that an image can carry from a build context.
pub(super) fn is_plain(meta: &fs::Metadata) -> bool {
    let kind = meta.file_type();
    !(kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(dir: &Path) -> Tree {
        for (path, text) in
            [("low/etc/a", "low a"), ("low/etc/b", "low b"), ("low/x/y", "y"), ("top/etc/a", "top a")]
        {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink("/x", dir.join("top/link")).unwrap();
        std::os::unix::fs::symlink("../../../..", dir.join("top/up")).unwrap();
        Tree { layers: vec![dir.join("top"), dir.join("low")], host: false }
    }

    #[test]
    fn upper_layers_hide_lower_ones() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let read = |path: &str| match tree.lookup(Path::new(path)).unwrap() {
            Some(Node::Leaf(at)) => fs::read_to_string(at).unwrap(),
            Some(Node::Directory(_)) => "directory".to_string(),
            None => "nothing".to_string(),
        };
        assert_eq!((read("etc/a"), read("etc/b")), ("top a".into(), "low b".into()));
        assert_eq!(
            (read("etc"), read("none"), read("etc/a/b")),
            ("directory".into(), "nothing".into(), "nothing".into())
        );
        let Some(Node::Directory(stack)) = tree.lookup(Path::new("")).unwrap() else { panic!("no root") };
        let names: Vec<_> = tree.list(&stack, Path::new("")).unwrap().into_keys().collect();
        assert_eq!(names, ["etc", "link", "up", "x"]);
        if crate::unpack::whiteout(&dir.path().join("top/x")).is_ok() {
            assert_eq!(read("x"), "nothing");
        }
    }

    #[test]
    fn links_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        let tree = tree(dir.path());
        let check = |path: &str, expected: &str| {
            assert_eq!(tree.resolve(Path::new(path)).unwrap(), Path::new(expected), "{path}");
        };
        check("/link/y", "x/y");
        check("link/new/../y", "x/y");
        check("up/etc/a", "etc/a");
        check("../../etc", "etc");
        check("/", "");
    }
}
