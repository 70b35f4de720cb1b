//! `.dockerignore`: which files of the context a build may see. The last matching line wins; `!` brings a file back.

use globset::{GlobBuilder, GlobMatcher};

/// The rules of one file.
#[derive(Debug, Default)]
pub struct Ignore {
    rules: Vec<(GlobMatcher, bool)>,
}

impl Ignore {
    /// # Errors
    /// A pattern that is none; the text says which.
    pub fn parse(text: &str) -> Result<Ignore, String> {
        let mut rules = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (back, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
            let pattern = pattern.trim_matches('/').trim_start_matches("./");
            if pattern.is_empty() || pattern == "." {
                continue;
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|error| format!(".dockerignore: {line:?}: {error}"))?;
            rules.push((glob.compile_matcher(), back));
        }
        Ok(Ignore { rules })
    }

    /// Whether `path` (relative, with `/`) is left out. A rule for a directory covers what is in it.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for (glob, back) in &self.rules {
            let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
            if ends.into_iter().any(|end| glob.is_match(&path[..end])) {
                excluded = !back;
            }
        }
        excluded
    }

    /// Whether anything is brought back, so that excluded directories have to be looked into.
    pub fn brings_back(&self) -> bool {
        self.rules.iter().any(|(_, back)| *back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_matching_rule_wins() {
        let ignore =
            Ignore::parse("# x\nnode_modules\n**/*.log\n/dist/\n*.md\n!README.md\ndocs\n!docs/keep.txt\n")
                .unwrap();
        let check = |path: &str, expected: bool| assert_eq!(ignore.excludes(path), expected, "{path}");
        check("node_modules", true);
        check("node_modules/a/b.js", true);
        check("src/node_modules/a", false);
        check("a.log", true);
        check("x/y/a.log", true);
        check("dist/index.html", true);
        check("CHANGES.md", true);
        check("README.md", false);
        check("src/x.md", false);
        check("docs/other.txt", true);
        check("docs/keep.txt", false);
        check("src/index.js", false);
    }
}
