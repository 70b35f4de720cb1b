//! Reading a repository: refs, trees, blobs, history, archives; and fetching into a bare repository that serves as a cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::Error;
use crate::command::Call;
use crate::names::{check_path, check_ref, check_revision};

/// A remote that does not answer in this time is down; the caller tries again.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(300);

/// Loose objects beyond which [`Repository::tidy`] packs them: reads get slower by then.
const LOOSE_LIMIT: usize = 2000;
/// One in so many fetches looks whether there is something to tidy.
const TIDY_EVERY: u64 = 16;

/// A bare repository on this machine. Cheap to clone; holds no open file.
#[derive(Clone, Debug)]
pub struct Repository {
    path: PathBuf,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Path from the repository's root.
    pub path: String,
    /// Git's mode, such as `100644`, `100755`, `120000`, `040000`.
    pub mode: String,
    /// `blob`, `tree` or `commit` (a submodule).
    pub kind: String,
    /// Object id.
    pub id: String,
    /// Size in bytes; blobs only.
    pub size: Option<u64>,
}

/// One commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub id: String,
    pub tree: String,
    pub parents: Vec<String>,
    pub author: Person,
    pub committer: Person,
    /// The whole message, without a last line end.
    pub message: String,
}

/// Who did something, and when (RFC 3339 UTC, seconds).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub email: String,
    pub date: String,
}

/// One file of a tree with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub path: String,
    pub mode: String,
    pub content: Bytes,
}

impl Repository {
    /// A handle on an existing bare repository; nothing is read.
    pub fn at(path: impl Into<PathBuf>) -> Repository {
        Repository { path: path.into() }
    }

    /// Opens the bare repository at `path`, creating an empty one if there is none.
    pub async fn open_or_create(path: &Path) -> Result<Repository, Error> {
        if !path.join("HEAD").exists() {
            tokio::fs::create_dir_all(path).await.map_err(|e| Error::file(path, e))?;
            Call::new(path)
                .args(["init", "--quiet", "--bare", "--initial-branch=main", "--template=", "."])
                .output()
                .await?;
        }
        Ok(Repository::at(path))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn call<const N: usize>(&self, arguments: [&str; N]) -> Call {
        Call::new(&self.path).env("GIT_DIR", &self.path).args(arguments)
    }

    /// Refs under `prefix` (such as `refs/heads/`) with the object each one names; tags are not peeled.
    pub async fn refs(&self, prefix: &str) -> Result<BTreeMap<String, String>, Error> {
        let text = self.call(["for-each-ref", "--format=%(objectname) %(refname)", prefix]).text().await?;
        Ok(text
            .lines()
            .filter_map(|l| l.split_once(' '))
            .map(|(id, name)| (name.into(), id.into()))
            .collect())
    }

    /// The commit id that a branch, tag, ref or id stands for.
    pub async fn resolve(&self, revision: &str) -> Result<String, Error> {
        self.object_id(&format!("{}^{{commit}}", check_revision(revision)?)).await.map_err(
            |error| match error {
                Error::NotFound(_) => Error::NotFound(format!("revision {revision}")),
                other => other,
            },
        )
    }

    /// The commit id of a ref, `None` if there is no such ref.
    pub async fn tip(&self, reference: &str) -> Result<Option<String>, Error> {
        check_ref(reference)?;
        match self.resolve(reference).await {
            Ok(id) => Ok(Some(id)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The object id of any expression that git knows.
    pub(crate) async fn object_id(&self, expression: &str) -> Result<String, Error> {
        match self.call(["rev-parse", "--verify", "--quiet", "--end-of-options", expression]).text().await {
            Ok(id) => Ok(id),
            Err(Error::Failed { .. }) => Err(Error::NotFound(expression.to_owned())),
            Err(error) => Err(error),
        }
    }

    /// The entries of the directory `path` (empty for the root) at `revision`; all files below it when `recursive`.
    pub async fn read_tree(&self, revision: &str, path: &str, recursive: bool) -> Result<Vec<Entry>, Error> {
        let tree = self.tree_id(revision, path).await?;
        let mut call = self.call(["ls-tree", "-z", "--long"]);
        if recursive {
            call = call.args(["-r"]);
        }
        let output = call.args([tree]).output().await?;
        let text = String::from_utf8_lossy(&output);
        let entries: Option<Vec<Entry>> =
            text.split_terminator('\0').map(|line| parse_entry(line, path)).collect();
        entries.ok_or_else(|| Error::Output { operation: "ls-tree".into() })
    }

    /// The entry of one path, with the mode and kind that its directory gives it.
    pub async fn entry(&self, revision: &str, path: &str) -> Result<Entry, Error> {
        let (directory, _) = check_path(path)?.rsplit_once('/').unwrap_or(("", path));
        let missing = || Error::NotFound(format!("{path} in {revision}"));
        let entries = self.read_tree(revision, directory, false).await?;
        entries.into_iter().find(|entry| entry.path == path).ok_or_else(missing)
    }

    /// The content of one file.
    pub async fn read_file(&self, revision: &str, path: &str) -> Result<Bytes, Error> {
        let commit = self.resolve(revision).await?;
        let id = self.object_id(&format!("{commit}:{}", check_path(path)?)).await.map_err(
            |error| match error {
                Error::NotFound(_) => Error::NotFound(format!("{path} in {revision}")),
                other => other,
            },
        )?;
        self.read_blob(&id).await
    }

    /// The content of one blob.
    pub async fn read_blob(&self, id: &str) -> Result<Bytes, Error> {
        self.read_blobs(&[id.to_owned()]).await?.pop().ok_or_else(|| Error::NotFound(format!("blob {id}")))
    }

    /// The contents of blobs, in order, by one call of git.
    pub async fn read_blobs(&self, ids: &[String]) -> Result<Vec<Bytes>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(bad) = ids.iter().find(|id| !crate::names::is_object_id(id)) {
            return Err(Error::NotFound(format!("blob {bad}")));
        }
        let request: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let output = Bytes::from(self.call(["cat-file", "--batch"]).input(request).output().await?);
        parse_batch(&output)
    }

    /// All files below `prefix` (empty for all) at `revision`. Submodules are left out.
    pub async fn read_files(&self, revision: &str, prefix: &str) -> Result<Vec<File>, Error> {
        let mut entries = self.read_tree(revision, prefix, true).await?;
        entries.retain(|entry| entry.kind == "blob");
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        let contents = self.read_blobs(&ids).await?;
        let file = |(entry, content): (Entry, Bytes)| File { path: entry.path, mode: entry.mode, content };
        Ok(entries.into_iter().zip(contents).map(file).collect())
    }

    /// History from `revision` backwards (`a..b` is written `exclude: Some(a)`), newest first, of one path if given.
    pub async fn log(&self, query: &Log<'_>) -> Result<Vec<Commit>, Error> {
        let start = self.resolve(query.revision).await?;
        let mut call = self.call([
            "log",
            "-z",
            "--format=tformat:%H%x00%T%x00%P%x00%an%x00%ae%x00%at%x00%cn%x00%ce%x00%ct%x00%B",
        ]);
        call = call.args([format!("--max-count={}", query.limit), format!("--skip={}", query.skip)]);
        call = call.args([start]);
        if let Some(exclude) = query.exclude {
            call = call.args([format!("^{}", self.resolve(exclude).await?)]);
        }
        call = call.args(["--"]);
        if let Some(path) = query.path {
            call = call.args([format!(":(literal){}", check_path(path)?)]);
        }
        parse_log(&call.output().await?)
    }

    /// One commit.
    pub async fn commit_at(&self, revision: &str) -> Result<Commit, Error> {
        let mut commits = self.log(&Log { revision, limit: 1, ..Log::default() }).await?;
        commits.pop().ok_or_else(|| Error::NotFound(format!("commit {revision}")))
    }

    /// Whether `ancestor` is reachable from `descendant`.
    pub async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, Error> {
        let (ancestor, descendant) = (self.resolve(ancestor).await?, self.resolve(descendant).await?);
        let base = self.call(["merge-base", &ancestor, &descendant]).text().await;
        Ok(base.is_ok_and(|base| base == ancestor))
    }

    /// A tar archive of `revision`, each path below `prefix/` (empty for none).
    pub async fn archive(&self, revision: &str, prefix: &str) -> Result<Bytes, Error> {
        let commit = self.resolve(revision).await?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{}/", check_path(prefix)?) };
        let call = self.call(["archive", "--format=tar"]).args([format!("--prefix={prefix}"), commit]);
        Ok(call.output().await?.into())
    }

    /// Fetches `refspecs` (such as `+refs/heads/*:refs/heads/*`) from `url`, pruning refs that are gone there.
    pub async fn fetch(&self, url: &str, token: Option<&str>, refspecs: &[&str]) -> Result<(), Error> {
        let call = self.call([
            "fetch",
            "--quiet",
            "--prune",
            "--no-tags",
            "--no-write-fetch-head",
            "--end-of-options",
        ]);
        let call = call.args([check_url(url)?]).args(refspecs.iter().copied());
        call.token(token).timeout(REMOTE_TIMEOUT).output().await?;
        static FETCHES: AtomicU64 = AtomicU64::new(1);
        if FETCHES.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY_EVERY) {
            self.tidy().await?;
        }
        Ok(())
    }

    /// Packs loose objects together when there are many, as `git gc --auto` does. What may still be needed stays.
    pub async fn tidy(&self) -> Result<(), Error> {
        let limit = format!("gc.auto={LOOSE_LIMIT}");
        let call = self.call(["-c", &limit, "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"]);
        call.timeout(REMOTE_TIMEOUT).output().await.map(|_| ())
    }

    /// Pushes `refspecs` to `url`; refused updates are an error.
    pub async fn push(&self, url: &str, token: Option<&str>, refspecs: &[&str]) -> Result<(), Error> {
        let call = self.call(["push", "--quiet", "--end-of-options"]).args([check_url(url)?]);
        call.args(refspecs.iter().copied()).token(token).timeout(REMOTE_TIMEOUT).output().await.map(|_| ())
    }

    async fn tree_id(&self, revision: &str, path: &str) -> Result<String, Error> {
        let missing = |error| match error {
            Error::NotFound(_) => Error::NotFound(format!("{path} in {revision}")),
            other => other,
        };
        let root =
            self.object_id(&format!("{}^{{tree}}", check_revision(revision)?)).await.map_err(missing)?;
        if path.is_empty() {
            return Ok(root);
        }
        let expression = format!("{root}:{}", check_path(path)?);
        let id = self.object_id(&expression).await.map_err(missing)?;
        self.object_id(&format!("{id}^{{tree}}")).await.map_err(missing)
    }
}

/// Refs of a remote repository without fetching: name to object id.
pub async fn remote_refs(
    url: &str,
    token: Option<&str>,
    prefix: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let call = Call::new(Path::new("/")).args(["ls-remote", "--quiet", "--refs", "--end-of-options"]);
    let text = call.args([check_url(url)?, prefix]).token(token).timeout(REMOTE_TIMEOUT).text().await?;
    Ok(text.lines().filter_map(|l| l.split_once('\t')).map(|(id, name)| (name.into(), id.into())).collect())
}

/// What [`Repository::log`] should read.
#[derive(Clone, Copy, Debug)]
pub struct Log<'a> {
    pub revision: &'a str,
    pub exclude: Option<&'a str>,
    pub path: Option<&'a str>,
    pub limit: usize,
    pub skip: usize,
}

impl Default for Log<'_> {
    fn default() -> Self {
        Log { revision: "HEAD", exclude: None, path: None, limit: 30, skip: 0 }
    }
}

/// Remote addresses: HTTP, or a local path for tests and caches. `ext::` and the like would run programs.
pub(crate) fn check_url(url: &str) -> Result<&str, Error> {
    let fine = ["http://", "https://", "file://", "/"].iter().any(|prefix| url.starts_with(prefix));
    if fine { Ok(url) } else { Err(Error::Invalid(format!("`{url}` is not an address of a Git repository"))) }
}

fn parse_entry(line: &str, directory: &str) -> Option<Entry> {
    let (facts, name) = line.split_once('\t')?;
    let mut facts = facts.split_ascii_whitespace();
    let (mode, kind, id, size) = (facts.next()?, facts.next()?, facts.next()?, facts.next()?);
    let path = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
    Some(Entry { path, mode: mode.into(), kind: kind.into(), id: id.into(), size: size.parse().ok() })
}

/// `cat-file --batch`: `<id> <type> <size>`, a line end, the content, a line end; or `<id> missing`.
fn parse_batch(output: &Bytes) -> Result<Vec<Bytes>, Error> {
    let unexpected = || Error::Output { operation: "cat-file".into() };
    let (mut contents, mut at) = (Vec::new(), 0);
    while at < output.len() {
        let end = output[at..].iter().position(|b| *b == b'\n').ok_or_else(unexpected)? + at;
        let header = String::from_utf8_lossy(&output[at..end]).into_owned();
        let mut fields = header.split(' ');
        let (Some(id), Some(kind)) = (fields.next(), fields.next()) else { return Err(unexpected()) };
        if kind != "blob" {
            return Err(Error::NotFound(format!("blob {id}")));
        }
        let size: usize = fields.next().and_then(|size| size.parse().ok()).ok_or_else(unexpected)?;
        let start = end + 1;
        if start + size + 1 > output.len() {
            return Err(unexpected());
        }
        contents.push(output.slice(start..start + size));
        at = start + size + 1;
    }
    Ok(contents)
}

/// Ten fields per commit, each ended by NUL, which no field can contain.
fn parse_log(output: &[u8]) -> Result<Vec<Commit>, Error> {
    let text = String::from_utf8_lossy(output);
    let fields: Vec<&str> = text.split_terminator('\0').collect();
    let commit = |f: &[&str]| -> Option<Commit> {
        let person = |name: &str, email: &str, seconds: &str| {
            let date = jiff::Timestamp::from_second(seconds.parse().ok()?).ok()?.to_string();
            Some(Person { name: name.into(), email: email.into(), date })
        };
        let [id, tree, parents, an, ae, at, cn, ce, ct, message] = f else { return None };
        Some(Commit {
            id: (*id).into(),
            tree: (*tree).into(),
            parents: parents.split_ascii_whitespace().map(Into::into).collect(),
            author: person(an, ae, at)?,
            committer: person(cn, ce, ct)?,
            message: message.trim_end_matches('\n').into(),
        })
    };
    let commits: Option<Vec<Commit>> = fields.chunks(10).map(commit).collect();
    commits.ok_or_else(|| Error::Output { operation: "log".into() })
}
