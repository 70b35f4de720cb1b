//! What `COPY` and `ADD` bring into an image: sources found in a tree, laid out under the destination.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use globset::GlobBuilder;

use super::layer::{Entries, Entry, Kind};
use super::tree::{Node, Tree, is_plain};
use crate::dockerfile::Ignore;

/// Most files of one copy.
pub(super) const MAX_FILES: usize = 500_000;

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("{0:?} is not there (or .dockerignore leaves it out)")]
    NotFound(String),
    #[error("{0:?} is not a pattern for files")]
    Pattern(String),
    #[error("several sources need a destination that ends with /")]
    Destination,
    #[error("{0:?} is an archive, which ADD would unpack: that is not supported, use COPY and RUN tar")]
    Archive(String),
    #[error("--chmod={0} is not an octal mode")]
    Mode(String),
    #[error("more than {MAX_FILES} files in one copy")]
    TooMany,
    #[error("reading files")]
    File(#[from] io::Error),
}

/// One copy, with all variables replaced.
pub(super) struct Request<'a> {
    pub(super) from: &'a Tree,
    /// For the build context only.
    pub(super) ignore: Option<&'a Ignore>,
    pub(super) sources: &'a [String],
    /// Files written in the Dockerfile: name and content.
    pub(super) inline: Vec<(String, Vec<u8>)>,
    /// Absolute.
    pub(super) destination: &'a str,
    /// Where it goes.
    pub(super) into: &'a Tree,
    pub(super) owner: (u32, u32),
    pub(super) mode: Option<u32>,
    /// `ADD`: archives would be unpacked.
    pub(super) add: bool,
}

/// The layer's entries.
pub(super) fn plan(request: &Request<'_>) -> Result<Entries, CopyError> {
    let mut sources = Vec::new();
    for pattern in request.sources {
        let found = find(request, pattern)?;
        if found.is_empty() {
            return Err(CopyError::NotFound(pattern.clone()));
        }
        sources.extend(found);
    }
    let target = request.into.resolve(Path::new(request.destination))?;
    let existing = matches!(request.into.lookup(&target)?, Some(Node::Directory(_)));
    let ends_open = request.destination.ends_with('/') || request.destination.ends_with("/.");
    let several = sources.len() + request.inline.len() > 1;
    if several && !ends_open && !existing {
        return Err(CopyError::Destination);
    }
    let into_directory = ends_open || existing;
    let mut entries = Entries::new();
    for (path, node) in &sources {
        match node {
            Node::Directory(stack) => walk(request, stack, path, &target, &mut entries)?,
            Node::Leaf(at) => {
                let name = path.file_name().filter(|_| into_directory);
                let to = name.map_or_else(|| target.clone(), |name| target.join(name));
                leaf(request, at, &to, &mut entries)?;
            }
        }
    }
    for (name, content) in &request.inline {
        let to = if into_directory { target.join(name) } else { target.clone() };
        let (uid, gid) = request.owner;
        let mode = request.mode.unwrap_or(0o644);
        entries.insert(to, Entry { kind: Kind::Content(content.clone()), mode, uid, gid });
    }
    let directory = into_directory || sources.iter().any(|(_, node)| matches!(node, Node::Directory(_)));
    add_parents(request, &target, directory, &mut entries)?;
    Ok(entries)
}

/// Directories on the way that the image does not have yet.
fn add_parents(
    request: &Request<'_>,
    target: &Path,
    itself: bool,
    entries: &mut Entries,
) -> Result<(), CopyError> {
    let mut missing: Vec<PathBuf> =
        entries.keys().filter_map(|path| path.parent().map(Path::to_path_buf)).collect();
    if itself {
        missing.push(target.to_path_buf());
    }
    let (uid, gid) = request.owner;
    for path in missing.iter().flat_map(|path| path.ancestors()).filter(|path| !path.as_os_str().is_empty()) {
        if entries.contains_key(path) || matches!(request.into.lookup(path)?, Some(Node::Directory(_))) {
            continue;
        }
        entries.insert(path.to_path_buf(), Entry { kind: Kind::Directory, mode: 0o755, uid, gid });
    }
    Ok(())
}

/// The sources that a pattern names; a plain name is a pattern without wild cards.
fn find(request: &Request<'_>, pattern: &str) -> Result<Vec<(PathBuf, Node)>, CopyError> {
    let tree = request.from;
    let clean = pattern.trim_start_matches('/');
    if !clean.contains(['*', '?', '[']) {
        let path = tree.resolve(Path::new(clean))?;
        let excluded = excluded(request, &path);
        let node = tree.lookup(&path)?.filter(|_| !excluded);
        return Ok(node.map(|node| (path, node)).into_iter().collect());
    }
    let mut found = vec![PathBuf::new()];
    for part in clean.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let glob = GlobBuilder::new(part).literal_separator(true).backslash_escape(true).build();
        let glob = glob.map_err(|_| CopyError::Pattern(pattern.to_string()))?.compile_matcher();
        let mut next = Vec::new();
        for path in found {
            let path = tree.resolve(&path)?;
            if let Some(Node::Directory(stack)) = tree.lookup(&path)? {
                let names = tree.list(&stack, &path)?.into_keys();
                next.extend(names.filter(|name| glob.is_match(Path::new(name))).map(|name| path.join(name)));
            }
        }
        found = next;
    }
    let mut nodes = Vec::new();
    for path in found {
        if !excluded(request, &path)
            && let Some(node) = tree.lookup(&path)?
        {
            nodes.push((path, node));
        }
    }
    Ok(nodes)
}

fn excluded(request: &Request<'_>, path: &Path) -> bool {
    let text = path.to_string_lossy();
    !text.is_empty() && request.ignore.is_some_and(|ignore| ignore.excludes(&text))
}

/// Everything in a directory, without the directory itself.
fn walk(
    request: &Request<'_>,
    stack: &[PathBuf],
    from: &Path,
    to: &Path,
    entries: &mut Entries,
) -> Result<(), CopyError> {
    for (name, node) in request.from.list(stack, from)? {
        let (source, target) = (from.join(&name), to.join(&name));
        let left_out = excluded(request, &source);
        match node {
            Node::Leaf(at) if !left_out => leaf(request, &at, &target, entries)?,
            Node::Leaf(_) => {}
            Node::Directory(below) => {
                if left_out && !request.ignore.is_some_and(Ignore::brings_back) {
                    continue;
                }
                if let (false, Some(top)) = (left_out, below.first()) {
                    let (uid, gid) = request.owner;
                    let mode = request.mode.unwrap_or(fs::symlink_metadata(top)?.mode() & 0o7777);
                    entries.insert(target.clone(), Entry { kind: Kind::Directory, mode, uid, gid });
                }
                walk(request, &below, &source, &target, entries)?;
            }
        }
    }
    Ok(())
}

fn leaf(request: &Request<'_>, at: &Path, to: &Path, entries: &mut Entries) -> Result<(), CopyError> {
    let meta = fs::symlink_metadata(at)?;
    if !is_plain(&meta) {
        return Ok(());
    }
    let name = at.to_string_lossy();
    if request.add && [".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2"].iter().any(|end| name.ends_with(end))
    {
        return Err(CopyError::Archive(to.display().to_string()));
    }
    if entries.len() >= MAX_FILES {
        return Err(CopyError::TooMany);
    }
    let kind = if meta.is_symlink() { Kind::Link(fs::read_link(at)?) } else { Kind::File(at.to_path_buf()) };
    let mode = request.mode.filter(|_| !meta.is_symlink()).unwrap_or(meta.mode() & 0o7777);
    let (uid, gid) = request.owner;
    entries.insert(to.to_path_buf(), Entry { kind, mode, uid, gid });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in [
            "package.json",
            "package-lock.json",
            "src/index.js",
            "src/lib/x.js",
            "node_modules/a/b.js",
            "x.log",
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text").unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("evil")).unwrap();
        dir
    }

    fn check(sources: &[&str], destination: &str, expected: &[&str]) {
        let dir = context();
        let from = Tree { layers: vec![dir.path().to_path_buf()], host: false };
        let into = Tree { layers: Vec::new(), host: true };
        let ignore = Ignore::parse("node_modules\n*.log\nevil\n").unwrap();
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let request = Request {
            from: &from,
            ignore: Some(&ignore),
            sources: &sources,
            inline: Vec::new(),
            destination,
            into: &into,
            owner: (0, 0),
            mode: None,
            add: false,
        };
        let paths = match plan(&request) {
            Ok(entries) => entries.keys().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            Err(error) => vec![error.to_string()],
        };
        assert_eq!(paths, expected, "{sources:?} to {destination}");
    }

    #[test]
    fn destinations_are_files_or_directories_as_docker_says() {
        check(&["package.json"], "/app/", &["app", "app/package.json"]);
        check(&["package.json"], "/app", &["app"]);
        check(&["package*.json"], "/app/", &["app", "app/package-lock.json", "app/package.json"]);
        check(&["src"], "/app", &["app", "app/index.js", "app/lib", "app/lib/x.js"]);
        check(&["package.json"], "/tmp", &["tmp/package.json"]);
        let all = [
            "app",
            "app/package-lock.json",
            "app/package.json",
            "app/src",
            "app/src/index.js",
            "app/src/lib",
            "app/src/lib/x.js",
        ];
        check(&["."], "/app", &all);
        check(&["package.json"], "/bin/x", &["usr/bin/x"]);
    }

    #[test]
    fn what_is_not_there_or_left_out_is_named() {
        check(&["nothing"], "/x", &["\"nothing\" is not there (or .dockerignore leaves it out)"]);
        check(&["x.log"], "/x", &["\"x.log\" is not there (or .dockerignore leaves it out)"]);
        check(&["evil/passwd"], "/x", &["\"evil/passwd\" is not there (or .dockerignore leaves it out)"]);
        check(
            &["../../etc/passwd"],
            "/x",
            &["\"../../etc/passwd\" is not there (or .dockerignore leaves it out)"],
        );
        check(&["src", "package.json"], "/x", &["several sources need a destination that ends with /"]);
    }
}
