//! Which files of a repository are not part of an artifact: `.sourceignore`, `spec.ignore` and Flux's own list, all in the
//! syntax of `.gitignore`.

use bytes::Bytes;
use regex::Regex;

/// What Flux leaves out unless `spec.ignore` says otherwise: version control, media and CI files.
const DEFAULT: &str = "\
.git/
.gitignore
.gitmodules
.gitattributes
*.jpg
*.jpeg
*.gif
*.png
*.wmv
*.flv
*.tar.gz
*.zip
.github/
.circleci/
.travis.yml
.gitlab-ci.yml
appveyor.yml
.drone.yml
cloudbuild.yaml
codeship-services.yml
codeship-steps.yml
**/.goreleaser.yml
**/.sops.yaml
**/.flux.yaml
";
/// Most patterns of one source; more are not looked at.
const PATTERN_LIMIT: usize = 10_000;

/// Patterns in the order in which the last match decides.
pub(crate) struct Ignore {
    patterns: Vec<(Regex, bool)>,
}

impl Ignore {
    /// `spec` replaces the built-in list. `files` are the `.sourceignore` files by path; each holds for its directory.
    pub(crate) fn new(spec: Option<&str>, files: &[(String, Bytes)]) -> Self {
        let mut patterns = vec![];
        if spec.is_none() {
            add(&mut patterns, "", DEFAULT);
        }
        for (path, content) in files {
            let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
            add(&mut patterns, dir, &String::from_utf8_lossy(content));
        }
        add(&mut patterns, "", spec.unwrap_or_default());
        Self { patterns }
    }

    /// Whether a file is left out, for itself or for a directory that it is in.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        let directories = path.match_indices('/').map(|(at, _)| &path[..=at]);
        // Once a directory is out, nothing below it can come back.
        directories.chain([path]).any(|part| self.decides(part))
    }

    fn decides(&self, path: &str) -> bool {
        self.patterns.iter().rev().find(|(pattern, _)| pattern.is_match(path)).is_some_and(|(_, out)| *out)
    }
}

fn add(patterns: &mut Vec<(Regex, bool)>, dir: &str, text: &str) {
    for line in text.lines() {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') || patterns.len() >= PATTERN_LIMIT {
            continue;
        }
        let (line, out) = line.strip_prefix('!').map_or((line, true), |rest| (rest, false));
        if let Ok(pattern) = Regex::new(&expression(dir, line.trim_start_matches('\\'))) {
            patterns.push((pattern, out));
        }
    }
}

/// A gitignore pattern as a regular expression over paths; directories end in `/`.
fn expression(dir: &str, pattern: &str) -> String {
    let (pattern, only_directory) = pattern.strip_suffix('/').map_or((pattern, false), |rest| (rest, true));
    let anchored = pattern.contains('/');
    let pattern = pattern.trim_start_matches('/');
    let mut out = String::from("^");
    if !dir.is_empty() {
        out.push_str(&regex::escape(dir));
        out.push('/');
    }
    if !anchored {
        out.push_str("(?:.*/)?");
    }
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**/") {
            out.push_str("(?:.*/)?");
            rest = after;
        } else if rest == "**" {
            out.push_str(".+");
            rest = "";
        } else {
            match next {
                '*' => out.push_str("[^/]*"),
                '?' => out.push_str("[^/]"),
                other => out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
            }
            rest = &rest[next.len_utf8()..];
        }
    }
    out.push_str(if only_directory { "/$" } else { "/?$" });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |spec: Option<&str>, path: &str, expected: bool| {
            assert_eq!(Ignore::new(spec, &[]).excludes(path), expected, "{spec:?} {path}");
        };
        check(None, ".github/workflows/ci.yaml", true);
        check(None, "a/logo.png", true);
        check(None, "a/deploy.yaml", false);
        check(Some(""), "a/logo.png", false);
        check(Some("/*\n!/deploy\n"), "deploy/x.yaml", false);
        check(Some("/*\n!/deploy\n"), "other/x.yaml", true);
        check(Some("docs/"), "a/docs/x.yaml", true);
        check(Some("docs/"), "docs", false);
        check(Some("a/**/x.yaml"), "a/b/c/x.yaml", true);
        check(Some("*.md\n!keep.md"), "b/keep.md", false);
        let files = [("sub/.sourceignore".to_owned(), Bytes::from_static(b"x.yaml"))];
        assert!(Ignore::new(None, &files).excludes("sub/x.yaml"));
        assert!(!Ignore::new(None, &files).excludes("x.yaml"));
    }
}
