//! Writing commits without a work tree: `git fast-import` makes the objects in one process, then the ref moves by
//! compare-and-swap, so that two writers never overwrite each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::Error;
use crate::names::{check_path, check_ref, check_revision};
use crate::repository::Repository;

/// The id that stands for "no object" in ref updates.
pub const ZERO: &str = "0000000000000000000000000000000000000000";

/// Loose objects and refs reach the disk before git says so: an acknowledged write survives a crash.
pub(crate) const DURABLE: [&str; 4] = ["-c", "core.fsync=all", "-c", "core.fsyncMethod=fsync"];

/// What happens to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file gets this content.
    Write { content: Bytes, executable: bool },
    /// The path becomes a symbolic link.
    Link { target: String },
    /// The file or directory goes away.
    Delete,
}

impl Change {
    /// An ordinary file.
    pub fn file(content: impl Into<Bytes>) -> Change {
        Change::Write { content: content.into(), executable: false }
    }
}

/// Author or committer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub name: String,
    pub email: String,
    /// `None` means now.
    pub when: Option<jiff::Timestamp>,
}

impl Signature {
    /// A signature for something that happens now.
    pub fn now(name: impl Into<String>, email: impl Into<String>) -> Signature {
        Signature { name: name.into(), email: email.into(), when: None }
    }

    /// Git's form: `Name <email> seconds +0000`, without the characters that would end a field.
    fn line(&self) -> String {
        let clean = |text: &str| text.replace(['<', '>', '\n', '\0'], " ").trim().to_owned();
        let when = self.when.unwrap_or_else(jiff::Timestamp::now);
        format!("{} <{}> {} +0000", clean(&self.name), clean(&self.email), when.as_second())
    }
}

/// A commit to be made on a branch.
#[derive(Clone, Debug)]
pub struct NewCommit {
    /// Full ref, such as `refs/heads/main`.
    pub reference: String,
    /// What the ref must be now; `None` means that it must not exist yet.
    pub parent: Option<String>,
    pub changes: BTreeMap<String, Change>,
    pub author: Signature,
    pub committer: Signature,
    pub message: String,
}

impl Repository {
    /// Makes a commit and moves the ref to it if the ref is still `parent`.
    ///
    /// [`Error::Conflict`] when it is not; [`Error::NothingToCommit`] when the tree would be the parent's.
    pub async fn commit(&self, new: &NewCommit) -> Result<String, Error> {
        check_ref(&new.reference)?;
        let id = self.write_commit(new).await?;
        if let Some(parent) = &new.parent {
            let trees = format!("{id}^{{tree}}\n{parent}^{{tree}}\n");
            let text = self.call(["cat-file", "--batch-check=%(objectname)"]).input(trees).text().await?;
            if text.split_once('\n').is_some_and(|(a, b)| a == b) {
                return Err(Error::NothingToCommit);
            }
        }
        self.update_ref(&new.reference, &id, new.parent.as_deref().unwrap_or(ZERO)).await?;
        Ok(id)
    }

    /// Moves a ref from `old` to `new` ([`ZERO`] for absent), or fails with [`Error::Conflict`].
    pub async fn update_ref(&self, reference: &str, new: &str, old: &str) -> Result<(), Error> {
        check_ref(reference)?;
        let call = self.call(DURABLE).args(["update-ref", reference, new, old]);
        match call.output().await {
            Ok(_) => Ok(()),
            Err(Error::Failed { message, .. }) if message.contains("cannot lock ref") => {
                Err(Error::Conflict { reference: reference.to_owned(), message })
            }
            Err(error) => Err(error),
        }
    }

    /// Undoes `commit` on top of the branch, as `git revert` does: a three-way merge, and an error if it does not apply.
    pub async fn revert(&self, reference: &str, commit: &str, author: &Signature) -> Result<String, Error> {
        let head = self.tip(reference).await?.ok_or_else(|| Error::NotFound(reference.to_owned()))?;
        let undone = self.commit_at(commit).await?;
        let [parent] = undone.parents.as_slice() else {
            return Err(Error::Invalid(format!(
                "{commit} is a merge or the first commit: it cannot be reverted"
            )));
        };
        let tree = self.merge_undo(&head, &undone.id, parent).await?;
        if tree == self.object_id(&format!("{head}^{{tree}}")).await? {
            return Err(Error::NothingToCommit);
        }
        let title = undone.message.lines().next().unwrap_or_default();
        let message = format!("Revert \"{title}\"\n\nThis reverts commit {}.\n", undone.id);
        let id = self.commit_tree(&tree, &[&head], author, author, &message).await?;
        self.update_ref(reference, &id, &head).await?;
        Ok(id)
    }

    /// Makes an annotated tag, or a lightweight one without a message. An existing tag is a conflict.
    pub async fn tag(
        &self,
        name: &str,
        target: &str,
        annotation: Option<(&Signature, &str)>,
    ) -> Result<String, Error> {
        let reference = format!("refs/tags/{name}");
        check_ref(&reference)?;
        let commit = self.resolve(target).await?;
        let id = match annotation {
            None => commit,
            Some((tagger, message)) => {
                let text = format!(
                    "object {commit}\ntype commit\ntag {name}\ntagger {}\n\n{message}\n",
                    tagger.line()
                );
                self.call(DURABLE).args(["mktag"]).input(text).text().await?
            }
        };
        self.update_ref(&reference, &id, ZERO).await?;
        Ok(id)
    }

    /// Writes one blob and gives its id.
    pub async fn write_blob(&self, content: Bytes) -> Result<String, Error> {
        self.call(DURABLE).args(["hash-object", "-w", "--stdin"]).input(content).text().await
    }

    /// A commit object for an existing tree; no ref moves.
    pub async fn commit_tree(
        &self,
        tree: &str,
        parents: &[&str],
        author: &Signature,
        committer: &Signature,
        message: &str,
    ) -> Result<String, Error> {
        let tree = self.object_id(&format!("{}^{{tree}}", check_revision(tree)?)).await?;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            text.push_str(&format!("parent {}\n", self.resolve(parent).await?));
        }
        text.push_str(&format!("author {}\ncommitter {}\n\n{message}", author.line(), committer.line()));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.call(DURABLE).args(["hash-object", "-t", "commit", "-w", "--stdin"]).input(text).text().await
    }

    /// The tree of `base` with changes of whole paths; `None` starts from an empty tree.
    pub async fn write_tree(&self, base: Option<&str>, changes: &[TreeChange]) -> Result<String, Error> {
        let index =
            tempfile::Builder::new().prefix("index-").tempdir().map_err(|e| Error::file(self.path(), e))?;
        let file = index.path().join("index");
        let start = match base {
            Some(base) => self.object_id(&format!("{}^{{tree}}", check_revision(base)?)).await?,
            None => "--empty".to_owned(),
        };
        self.call(["read-tree", &start]).env("GIT_INDEX_FILE", &file).output().await?;
        let mut input = String::new();
        for change in changes {
            let path = check_path(&change.path)?;
            let (mode, id) =
                change.entry.as_ref().map_or(("0", ZERO), |(mode, id)| (mode.as_str(), id.as_str()));
            input.push_str(&format!("{mode} {id}\t{path}\0"));
        }
        let update = self.call(["update-index", "-z", "--add", "--replace", "--index-info"]);
        update.env("GIT_INDEX_FILE", &file).input(input).output().await?;
        self.call(DURABLE).args(["write-tree"]).env("GIT_INDEX_FILE", &file).text().await
    }

    /// The tree of `head` without what `undone` did to `parent`.
    ///
    /// A merge base is what both sides have in common. Two passing commits on top of `undone`, one with the tree of
    /// `head` and one with the tree of `parent`, make it the base, which is what a revert merges with.
    async fn merge_undo(&self, head: &str, undone: &str, parent: &str) -> Result<String, Error> {
        let passing = Signature::now("merge", "merge@localhost");
        let ours = self.commit_tree(head, &[undone], &passing, &passing, "ours").await?;
        let theirs = self.commit_tree(parent, &[undone], &passing, &passing, "theirs").await?;
        match self.call(["merge-tree", "--write-tree", "--no-messages", &ours, &theirs]).text().await {
            Ok(tree) => Ok(tree),
            Err(Error::Failed { .. }) => {
                Err(Error::Merge(format!("later commits changed what {undone} changed")))
            }
            Err(error) => Err(error),
        }
    }

    async fn write_commit(&self, new: &NewCommit) -> Result<String, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique =
            format!("refs/portolan/writing/{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut stream: Vec<u8> = format!(
            "feature done\ncommit {unique}\nmark :1\nauthor {}\ncommitter {}\n",
            new.author.line(),
            new.committer.line()
        )
        .into_bytes();
        push_data(&mut stream, new.message.as_bytes());
        if let Some(parent) = &new.parent {
            stream.extend_from_slice(format!("from {}\n", self.resolve(parent).await?).as_bytes());
        }
        for (path, change) in &new.changes {
            push_change(&mut stream, check_path(path)?, change);
        }
        // The id is asked for, then the passing branch is dropped before the import ends: no ref is ever written here.
        stream.extend_from_slice(format!("\nget-mark :1\nreset {unique}\nfrom {ZERO}\n\ndone\n").as_bytes());
        let call = self.call(DURABLE).args(["fast-import", "--quiet", "--date-format=raw"]).input(stream);
        let id = call.text().await?;
        if crate::names::is_object_id(&id) {
            Ok(id)
        } else {
            Err(Error::Output { operation: "fast-import".into() })
        }
    }
}

/// One path of [`Repository::write_tree`]: mode and object id, or `None` to delete.
#[derive(Clone, Debug)]
pub struct TreeChange {
    pub path: String,
    pub entry: Option<(String, String)>,
}

fn push_change(stream: &mut Vec<u8>, path: &str, change: &Change) {
    let quoted = quote(path);
    match change {
        Change::Write { content, executable } => {
            let mode = if *executable { "100755" } else { "100644" };
            stream.extend_from_slice(format!("M {mode} inline {quoted}\n").as_bytes());
            push_data(stream, content);
        }
        Change::Link { target } => {
            stream.extend_from_slice(format!("M 120000 inline {quoted}\n").as_bytes());
            push_data(stream, target.as_bytes());
        }
        Change::Delete => stream.extend_from_slice(format!("D {quoted}\n").as_bytes()),
    }
}

fn push_data(stream: &mut Vec<u8>, content: &[u8]) {
    stream.extend_from_slice(format!("data {}\n", content.len()).as_bytes());
    stream.extend_from_slice(content);
    stream.push(b'\n');
}

/// Always quoted: a path may start with a quote or contain a line end.
fn quote(path: &str) -> String {
    let escaped = path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
