//! Which names the host accepts. Everything that becomes part of a file path or a git argument passes here first, so a
//! path can never leave the data directory and a revision can never be an option.

use crate::Error;

/// Longest name of an organisation or repository, as on GitHub.
const NAME_LIMIT: usize = 100;
/// Longest ref or path: below the file system's limit, as loose refs are files.
const PATH_LIMIT: usize = 1024;

/// An organisation or repository name: ASCII letters, digits, `-`, `_` and `.`, not starting with a dot or a dash.
pub fn check_name(name: &str) -> Result<&str, Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fine = !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name.chars().all(allowed)
        && !name.starts_with(['.', '-'])
        && !name.ends_with(".git")
        && !name.ends_with(".lock");
    if fine { Ok(name) } else { Err(Error::Invalid(format!("`{name}` is not a valid name"))) }
}

/// A full ref name such as `refs/heads/main`, by the rules of `git check-ref-format`.
pub fn check_ref(name: &str) -> Result<&str, Error> {
    let forbidden =
        |c: char| c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let part_fine = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let fine = name.starts_with("refs/")
        && name.len() <= PATH_LIMIT
        && name.split('/').count() >= 3
        && name.split('/').all(part_fine)
        && !name.contains(forbidden)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with(['.', '/']);
    if fine { Ok(name) } else { Err(Error::Invalid(format!("`{name}` is not a valid ref name"))) }
}

/// A revision that a caller wrote: a branch, tag, commit id or full ref, with `~` and `^` suffixes.
pub fn check_revision(revision: &str) -> Result<&str, Error> {
    let forbidden = |c: char| c.is_ascii_control() || matches!(c, ' ' | ':' | '?' | '*' | '[' | '\\');
    let fine = !revision.is_empty()
        && revision.len() <= PATH_LIMIT
        && !revision.starts_with('-')
        && !revision.contains(forbidden)
        && !revision.contains("..");
    if fine { Ok(revision) } else { Err(Error::Invalid(format!("`{revision}` is not a valid revision"))) }
}

/// A file path inside a repository: relative, without `.`, `..`, `.git` or empty parts.
pub fn check_path(path: &str) -> Result<&str, Error> {
    let part_fine = |part: &str| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git");
    let fine = path.len() <= PATH_LIMIT && !path.contains('\0') && path.split('/').all(part_fine);
    if fine { Ok(path) } else { Err(Error::Invalid(format!("`{path}` is not a valid path"))) }
}

/// Whether `text` is a whole object id.
pub fn is_object_id(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for (name, fine) in [
            ("dashboard-deploy", true),
            ("a.b_c", true),
            ("", false),
            (".", false),
            ("..", false),
            ("-x", false),
            ("a/b", false),
            ("a b", false),
            ("x.git", false),
            ("é", false),
        ] {
            assert_eq!(check_name(name).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn refs_follow_git() {
        for (name, fine) in [
            ("refs/heads/main", true),
            ("refs/heads/a/b", true),
            ("refs/heads/", false),
            ("refs/heads/a..b", false),
            ("refs/heads/.x", false),
            ("refs/heads/x.lock", false),
            ("heads/main", false),
            ("refs/heads/a b", false),
        ] {
            assert_eq!(check_ref(name).is_ok(), fine, "{name}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (path, fine) in
            [("a/b.txt", true), ("a//b", false), ("../x", false), ("a/.git/config", false), ("/x", false)]
        {
            assert_eq!(check_path(path).is_ok(), fine, "{path}");
        }
        for (revision, fine) in
            [("main", true), ("v1.0^{commit}", true), ("--output=x", false), ("a..b", false)]
        {
            assert_eq!(check_revision(revision).is_ok(), fine, "{revision}");
        }
    }
}
