//! Paths of a workflow and the files they mean.

use std::path::{Component, Path, PathBuf};

/// Files that one pattern may match.
const FILE_LIMIT: usize = 200_000;

/// `path` below `root`; one that leaves it is an error.
pub(super) fn inside(root: &Path, path: &str) -> Result<PathBuf, String> {
    let mut result = root.to_path_buf();
    let mut depth = 0;
    let relative = Path::new(path).strip_prefix(root).unwrap_or(Path::new(path));
    for component in relative.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => {
                result.push(part);
                depth += 1;
            }
            Component::ParentDir if depth > 0 => {
                result.pop();
                depth -= 1;
            }
            _ => return Err(format!("the path `{path}` is outside of the workspace")),
        }
    }
    Ok(result)
}

/// The files and links that patterns match: a directory stands for all that is in it, `!` in front takes files out.
/// Absolute paths, sorted; and the deepest directory that holds them all.
pub(super) fn matching(
    patterns: &[String],
    resolve: impl Fn(&str) -> PathBuf,
) -> Result<(Vec<PathBuf>, PathBuf), String> {
    let mut files: Vec<PathBuf> = Vec::new();
    let mut roots: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        if let Some(excluded) = pattern.strip_prefix('!') {
            let matcher = glob(&resolve(excluded))?;
            let root = resolve(excluded);
            files.retain(|file| !matcher.is_match(file) && !file.starts_with(&root));
            continue;
        }
        let path = resolve(pattern);
        if !pattern.contains(['*', '?', '[']) {
            if path.is_dir() {
                walk(&path, &mut files, |_| true)?;
                roots.push(path);
            } else if path.exists() {
                roots.push(path.parent().unwrap_or(&path).to_path_buf());
                files.push(path);
            }
            continue;
        }
        let fixed: PathBuf =
            path.iter().take_while(|part| !part.to_string_lossy().contains(['*', '?', '['])).collect();
        let matcher = glob(&path)?;
        let below = |file: &Path| {
            file.ancestors().any(|ancestor| ancestor.starts_with(&fixed) && matcher.is_match(ancestor))
        };
        walk(&fixed, &mut files, below)?;
        roots.push(fixed);
    }
    files.sort();
    files.dedup();
    let common = roots.iter().skip(1).fold(roots.first().cloned().unwrap_or_default(), |common, root| {
        common.iter().zip(root.iter()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
    });
    Ok((files, common))
}

fn glob(path: &Path) -> Result<globset::GlobMatcher, String> {
    let text = path.to_string_lossy();
    let glob = globset::GlobBuilder::new(&text).literal_separator(true).build();
    Ok(glob.map_err(|error| error.to_string())?.compile_matcher())
}

fn walk(root: &Path, files: &mut Vec<PathBuf>, wanted: impl Fn(&Path) -> bool) -> Result<(), String> {
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(path);
            } else if wanted(&path) {
                files.push(path);
            }
            if files.len() > FILE_LIMIT {
                return Err(format!("more than {FILE_LIMIT} files"));
            }
        }
    }
    Ok(())
}

/// Copies files below `from` to the same places below `to`; links stay links.
pub(super) fn copy(files: &[PathBuf], from: &Path, to: &Path) -> Result<u64, String> {
    let mut bytes = 0;
    for file in files {
        let target = to.join(file.strip_prefix(from).unwrap_or(file));
        let failed = |error: std::io::Error| format!("cannot copy {}: {error}", file.display());
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        if file.is_symlink() {
            let link = std::fs::read_link(file).map_err(failed)?;
            std::fs::remove_file(&target).ok();
            std::os::unix::fs::symlink(link, &target).map_err(failed)?;
        } else {
            bytes += std::fs::copy(file, &target).map_err(failed)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        let root = Path::new("/work/app");
        for (path, expected) in [
            (".", Some("/work/app")),
            ("a/../b", Some("/work/app/b")),
            ("/work/app/x", Some("/work/app/x")),
            ("..", None),
            ("a/../../b", None),
            ("/etc", None),
        ] {
            assert_eq!(inside(root, path).ok(), expected.map(PathBuf::from), "{path}");
        }
    }

    #[test]
    fn patterns_name_files_and_their_common_root() {
        let directory = tempfile::tempdir().unwrap();
        for file in ["dist/a.js", "dist/sub/b.js", "dist/sub/b.map", "docs/c.md"] {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let check = |patterns: &[&str], expected: &[&str], root: &str| {
            let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
            let (files, common) = matching(&patterns, |path| directory.path().join(path)).unwrap();
            let shown: Vec<&str> =
                files.iter().map(|f| f.strip_prefix(directory.path()).unwrap().to_str().unwrap()).collect();
            assert_eq!(shown, expected, "{patterns:?}");
            assert_eq!(common, directory.path().join(root).components().collect::<PathBuf>(), "{patterns:?}");
        };
        check(&["dist"], &["dist/a.js", "dist/sub/b.js", "dist/sub/b.map"], "dist");
        check(&["dist/**/*.js"], &["dist/a.js", "dist/sub/b.js"], "dist");
        check(&["dist", "!**/*.map"], &["dist/a.js", "dist/sub/b.js"], "dist");
        check(&["dist/a.js", "docs"], &["dist/a.js", "docs/c.md"], "");
        check(&["dist/s*"], &["dist/sub/b.js", "dist/sub/b.map"], "dist");
    }
}
