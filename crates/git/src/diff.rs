//! What changed between two commits: per file its status, line counts and patch, by one call of git.

use crate::Error;
use crate::names::check_revision;
use crate::repository::Repository;

/// The tree without entries, which the first commit is compared with.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
/// Longest patch of one file that is kept, in bytes: what a person can read. GitHub leaves large patches out too.
const PATCH_LIMIT: usize = 256 << 10;

/// How one file differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    pub path: String,
    /// The former path of a renamed or copied file.
    pub previous: Option<String>,
    /// GitHub's words: `added`, `removed`, `modified`, `renamed`, `copied`, `changed`.
    pub status: &'static str,
    /// Object id after the change; that before it when the file was removed.
    pub id: String,
    /// Added lines; 0 for binary files.
    pub additions: u64,
    /// Removed lines; 0 for binary files.
    pub deletions: u64,
    /// Hunks from the first `@@` on; `None` for binary, very large and purely renamed files.
    pub patch: Option<String>,
}

impl Repository {
    /// Files that differ between two commits; `from: None` compares with the empty tree.
    pub async fn diff(&self, from: Option<&str>, to: &str) -> Result<Vec<FileDiff>, Error> {
        let output = self.diff_call(from, to, &["--raw", "--numstat", "--patch"]).await?;
        Ok(parse(&String::from_utf8_lossy(&output)))
    }

    /// As [`Repository::diff`] without counts and patches: cheap even for many files.
    pub async fn changed_paths(&self, from: Option<&str>, to: &str) -> Result<Vec<FileDiff>, Error> {
        let output = self.diff_call(from, to, &["--raw"]).await?;
        Ok(parse(&String::from_utf8_lossy(&output)))
    }

    /// The newest commit that both revisions contain.
    pub async fn merge_base(&self, a: &str, b: &str) -> Result<String, Error> {
        let (a, b) = (self.resolve(a).await?, self.resolve(b).await?);
        match self.call(["merge-base", &a, &b]).text().await {
            Err(Error::Failed { .. }) => Err(Error::NotFound(format!("a common ancestor of {a} and {b}"))),
            result => result,
        }
    }

    async fn diff_call(&self, from: Option<&str>, to: &str, forms: &[&str]) -> Result<Vec<u8>, Error> {
        let from = match from {
            Some(revision) => self.object_id(&format!("{}^{{tree}}", check_revision(revision)?)).await?,
            None => EMPTY_TREE.to_owned(),
        };
        let to = self.object_id(&format!("{}^{{tree}}", check_revision(to)?)).await?;
        let call = self.call([
            "diff-tree",
            "-r",
            "-M",
            "--no-abbrev",
            "--full-index",
            "--no-ext-diff",
            "--no-color",
        ]);
        call.args(forms.iter().copied()).args([from, to]).output().await
    }
}

/// Raw lines, then numstat lines, then patches; each part names the files in the same order.
fn parse(text: &str) -> Vec<FileDiff> {
    let (head, patches) = match text.find("\ndiff --git ") {
        Some(at) => text.split_at(at + 1),
        None => (text, ""),
    };
    let mut files: Vec<FileDiff> = head.lines().filter_map(parse_raw).collect();
    let counts = head.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
    for (file, line) in files.iter_mut().zip(counts) {
        let mut fields = line.split('\t');
        let mut count = || fields.next().and_then(|n| n.parse().ok()).unwrap_or(0);
        (file.additions, file.deletions) = (count(), count());
    }
    let mut sections = split_patches(patches).into_iter();
    for file in &mut files {
        file.patch = sections.next().and_then(hunks);
    }
    files
}

/// `:100644 100644 <old> <new> M\tpath` or `… R100\told\tnew`.
fn parse_raw(line: &str) -> Option<FileDiff> {
    let (facts, paths) = line.strip_prefix(':')?.split_once('\t')?;
    let facts: Vec<&str> = facts.split(' ').collect();
    let [_, _, old, new, letter] = facts.as_slice() else { return None };
    let (first, second) = paths.split_once('\t').map_or((paths, None), |(a, b)| (a, Some(b)));
    let status = match letter.chars().next()? {
        'A' => "added",
        'D' => "removed",
        'M' => "modified",
        'R' => "renamed",
        'C' => "copied",
        _ => "changed",
    };
    Some(FileDiff {
        path: unquote(second.unwrap_or(first)),
        previous: second.map(|_| unquote(first)),
        status,
        id: (if status == "removed" { old } else { new }).to_string(),
        additions: 0,
        deletions: 0,
        patch: None,
    })
}

fn split_patches(patches: &str) -> Vec<&str> {
    let mut starts: Vec<usize> = Vec::new();
    if patches.starts_with("diff --git ") {
        starts.push(0);
    }
    starts.extend(patches.match_indices("\ndiff --git ").map(|(at, _)| at + 1));
    // A change of type is two patches under one header, of which the first is kept.
    let header = |at: usize| patches[at..].lines().next();
    starts.dedup_by(|later, earlier| header(*later) == header(*earlier));
    let ends = starts.iter().skip(1).copied().chain([patches.len()]);
    starts.iter().zip(ends).map(|(start, end)| &patches[*start..end]).collect()
}

fn hunks(section: &str) -> Option<String> {
    let at = section.find("\n@@ ")? + 1;
    let hunks = section[at..].trim_end_matches('\n');
    (hunks.len() <= PATCH_LIMIT).then(|| hunks.to_owned())
}

/// Undoes git's C quoting, which is left for control characters, quotes and backslashes.
fn unquote(path: &str) -> String {
    let Some(inner) = path.strip_prefix('"').and_then(|p| p.strip_suffix('"')) else {
        return path.to_owned();
    };
    let (mut bytes, mut rest) = (Vec::new(), inner.as_bytes());
    while let [first, tail @ ..] = rest {
        if *first != b'\\' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let octal = tail.get(..3).filter(|d| d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(digits) = octal {
            let value = digits.iter().fold(0u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
            bytes.push(value as u8);
            rest = &tail[3..];
            continue;
        }
        let Some((letter, after)) = tail.split_first() else { break };
        bytes.push(match letter {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            other => *other,
        });
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
