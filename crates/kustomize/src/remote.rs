//! Remote references: which texts name a Git repository, and who gets it.

use bytes::Bytes;

use crate::tree::{Tree, join};

/// A reference to a kustomization in a remote Git repository, such as `https://github.com/org/repo//path?ref=v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// As written in the kustomization.
    pub raw: String,
    /// What `git clone` takes: scheme, user, host and the path of the repository.
    pub url: String,
    /// The branch, tag or commit; `""` for the default branch.
    pub git_ref: String,
    /// The kustomization's directory in the repository, relative to its root.
    pub path: String,
    /// Whether submodules are wanted; they are unless `submodules=false` is said.
    pub submodules: bool,
    /// How long fetching may take, in milliseconds.
    pub timeout_ms: u64,
}

/// Gets what is not in the tree. Without one, remote references are refused.
pub trait Fetch {
    /// The files of a repository at the reference. The error is one line for the author of the kustomization.
    fn repository(&self, remote: &Remote) -> Result<Box<dyn Tree>, String>;

    /// The content behind an `http` or `https` address. kustomize asks for each such entry of `resources` as a file
    /// before it takes it for a repository.
    fn file(&self, url: &str) -> Result<Bytes, String>;
}

/// How long kustomize lets Git run.
const TIMEOUT_MS: u64 = 27_000;
const SCHEMES: [&str; 4] = ["ssh://", "https://", "http://", "file://"];

/// Whether a path is read over HTTP.
pub(crate) fn is_url(path: &str) -> bool {
    strip_prefix_ignore_case(path, "https://").or(strip_prefix_ignore_case(path, "http://")).is_some()
}

impl Remote {
    /// The reference that a text is, with kustomize's rules; none for anything that is not like a Git address.
    pub fn parse(raw: &str) -> Option<Self> {
        if raw.starts_with('/') {
            return None;
        }
        let (address, query) = raw.split_once('?').unwrap_or((raw, ""));
        let (host, rest) = split_host(address)?;
        let (repository, path) = split_path(rest, host.starts_with("file://"))?;
        if repository.is_empty() {
            return None;
        }
        let path = join("", path.strip_prefix('/').unwrap_or(path).trim_start_matches('/'))?;
        let query = Query::parse(query);
        Some(Self {
            raw: raw.to_owned(),
            url: format!("{host}{repository}"),
            git_ref: query.git_ref,
            path,
            submodules: query.submodules,
            timeout_ms: query.timeout_ms,
        })
    }
}

/// What comes before the repository's path, in the form that Git gets it, and the rest.
fn split_host(address: &str) -> Option<(String, &str)> {
    // A leftover of an older library; kustomize ignores it too.
    let address = strip_prefix_ignore_case(address, "git::").unwrap_or(address);
    let found = SCHEMES.iter().find_map(|scheme| Some((*scheme, strip_prefix_ignore_case(address, scheme)?)));
    let (scheme, after_scheme) = found.unwrap_or(("", address));
    if scheme == "file://" {
        return Some((scheme.to_owned(), after_scheme));
    }
    let (user, after_user) = split_user(after_scheme);
    let github =
        ["github.com/", "github.com:"].iter().any(|h| strip_prefix_ignore_case(after_user, h).is_some());
    let scp = scheme.is_empty() && (!user.is_empty() || github);
    if scheme.is_empty() && !scp {
        return None;
    }
    let mut end = after_user.find('/');
    if scp {
        let colon = after_user.find(':');
        if end.is_none() || colon.is_some_and(|colon| colon > 0 && Some(colon) < end) {
            end = colon;
        }
    }
    let (host, rest) = after_user.split_at(end.map_or(after_user.len(), |end| end + 1));
    if github {
        let host = if scheme == "ssh://" || !user.is_empty() {
            format!("{user}github.com:")
        } else {
            "https://github.com/".to_owned()
        };
        return Some((host, rest));
    }
    (!host.is_empty()).then(|| (format!("{scheme}{user}{host}"), rest))
}

/// `git@` of `git@host`, and what follows.
fn split_user(text: &str) -> (&str, &str) {
    let at = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(text.len());
    let named = text.starts_with(|c: char| c.is_ascii_alphabetic());
    if named && text.get(at..).is_some_and(|rest| rest.starts_with('@')) {
        text.split_at(at + 1)
    } else {
        ("", text)
    }
}

/// The path of the repository and the path in it: cut at a marker, else after `org/repo`.
fn split_path(path: &str, whole: bool) -> Option<(&str, &str)> {
    if let Some(at) = path.find("_git/") {
        let name = at + "_git/".len();
        let end = path.get(name..)?.find('/').map_or(path.len(), |slash| name + slash);
        return Some((path.get(..end)?, path.get(end..)?));
    }
    if let Some(parts) = path.split_once("//") {
        return Some(parts);
    }
    if let Some(at) = path.find(".git") {
        return Some(path.split_at(at + ".git".len()));
    }
    if whole {
        return Some((path, ""));
    }
    let second = path.find('/')? + 1;
    let end = path.get(second..)?.find('/').map_or(path.len(), |slash| second + slash);
    Some((path.get(..end)?, path.get(end..)?))
}

struct Query {
    git_ref: String,
    submodules: bool,
    timeout_ms: u64,
}

impl Query {
    fn parse(query: &str) -> Self {
        let mut values = vec![];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Some(name), Some(value)) => values.push((name, value)),
                // A query that cannot be read says nothing.
                _ => return Self { git_ref: String::new(), submodules: true, timeout_ms: TIMEOUT_MS },
            }
        }
        let first = |name: &str| {
            let mut found = values.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone());
            found.next().filter(|value| !value.is_empty())
        };
        Self {
            git_ref: first("ref").or_else(|| first("version")).unwrap_or_default(),
            submodules: first("submodules").as_deref().and_then(boolean).unwrap_or(true),
            timeout_ms: first("timeout").as_deref().and_then(duration_ms).unwrap_or(TIMEOUT_MS),
        }
    }
}

/// The texts that Go's `ParseBool` takes.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Seconds, or Go's notation (`1m30s`); none unless positive.
fn duration_ms(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000).filter(|ms| *ms > 0);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let factor = match unit {
            "h" => 3_600_000.0,
            "m" => 60_000.0,
            "s" => 1000.0,
            "ms" => 1.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
    (1.0..1e12).contains(&total).then_some(total as u64)
}

/// A part of a query with its escapes taken out.
fn decode(text: &str) -> Option<String> {
    let mut bytes = vec![];
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
            }
            b'+' => bytes.push(b' '),
            b';' => return None,
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

fn strip_prefix_ignore_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    text.get(..prefix.len()).filter(|start| start.eq_ignore_ascii_case(prefix))?;
    text.get(prefix.len()..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(raw: &str, expected: Option<(&str, &str, &str)>) {
        let found = Remote::parse(raw);
        let found = found.as_ref().map(|r| (r.url.as_str(), r.path.as_str(), r.git_ref.as_str()));
        assert_eq!(found, expected, "{raw}");
    }

    #[test]
    fn texts_that_are_repositories() {
        let github = "https://github.com/org/repo";
        check("github.com/org/repo", Some((github, "", "")));
        check("https://github.com/org/repo//a/b?ref=v1", Some((github, "a/b", "v1")));
        check("git::https://GitHub.com/org/repo/a?version=v2&ref=", Some((github, "a", "v2")));
        check("http://user@github.com/org/repo.git/a", Some(("user@github.com:org/repo.git", "a", "")));
        check("git@github.com:org/repo?ref=x%2Fy", Some(("git@github.com:org/repo", "", "x/y")));
        check("ssh://git@host.xz:22/org/repo/a", Some(("ssh://git@host.xz:22/org/repo", "a", "")));
        check(
            "https://dev.azure.com/org/project/_git/repo/a/b",
            Some(("https://dev.azure.com/org/project/_git/repo", "a/b", "")),
        );
        check("file:///srv/repo//a", Some(("file:///srv/repo", "a", "")));
        check("package@v1.28.0.example/configs/base", Some(("package@v1.28.0.example/configs/base", "", "")));
    }

    #[test]
    fn texts_that_are_not() {
        for raw in ["/org/repo", "../base", "base", "a/b/c", "https://host/one", "github.com/org/repo//../x"]
        {
            check(raw, None);
        }
    }

    #[test]
    fn the_query_has_more() {
        let remote = Remote::parse("github.com/o/r?timeout=1m30s&submodules=false").unwrap();
        assert_eq!((remote.timeout_ms, remote.submodules), (90_000, false));
        let remote = Remote::parse("github.com/o/r?timeout=61&submodules=maybe").unwrap();
        assert_eq!((remote.timeout_ms, remote.submodules), (61_000, true));
    }
}
