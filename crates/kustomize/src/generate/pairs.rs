//! Keys and contents of a generated object from its sources.

use std::collections::BTreeMap;

use crate::Error;
use crate::plugin::Context;

/// A line has fewer bytes than this.
const LINE_LIMIT: usize = 64 * 1024;

/// Where the content of one generated object comes from.
pub(super) struct Sources<'a> {
    /// What to call the generator in errors.
    pub(super) generator: String,
    pub(super) name: &'a str,
    pub(super) literals: &'a [String],
    pub(super) files: &'a [String],
    pub(super) envs: &'a [String],
}

type Pair = (String, Vec<u8>);

impl Sources<'_> {
    /// The contents by key. Keys are not checked beyond being there once: kustomize leaves that to the cluster.
    pub(super) fn load(&self, context: &Context<'_, '_>) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let invalid = |source: String, message: String| {
            context.invalid(format!("{}: loading KV pairs: {source}: {message}", self.generator))
        };
        let mut known = BTreeMap::new();
        let mut add = |(key, content): Pair| {
            if known.contains_key(&key) {
                let (generator, name) = (&self.generator, self.name);
                return Err(context
                    .invalid(format!("{generator}: configmap {name} illegally repeats the key `{key}`")));
            }
            known.insert(key, content);
            Ok(())
        };
        for path in self.envs {
            let (_, content) = context.reader.load(context.dir, context.file, path)?;
            let pairs = env_pairs(&content);
            let pairs = pairs.map_err(|message| invalid(format!("env source file '{path}'"), message))?;
            pairs.into_iter().try_for_each(&mut add)?;
        }
        for source in self.literals {
            let pair = literal_pair(source);
            add(pair.map_err(|message| invalid("literal sources".to_owned(), message))?)?;
        }
        for source in self.files {
            let (key, path) =
                file_source(source).map_err(|message| invalid("file sources".to_owned(), message))?;
            let (_, content) = context.reader.load(context.dir, context.file, path)?;
            add((key.to_owned(), content.to_vec()))?;
        }
        Ok(known)
    }
}

/// `path` or `key=path`; without a key the file's own name is the key.
fn file_source(source: &str) -> Result<(&str, &str), String> {
    let Some((key, path)) = source.split_once('=') else { return Ok((base_name(source), source)) };
    if path.contains('=') {
        Err(format!("source \"{source}\" key name or file path contains '='"))
    } else if key.is_empty() {
        Err(format!("missing key name for file path \"{path}\" in source \"{source}\""))
    } else if path.is_empty() {
        Err(format!("missing file path for key name \"{key}\" in source \"{source}\""))
    } else {
        Ok((key, path))
    }
}

/// The last name of a path, slashes at its end left out.
fn base_name(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match trimmed.rsplit('/').next() {
        Some("") | None if path.is_empty() => ".",
        Some("") | None => "/",
        Some(name) => name,
    }
}

/// `key=value`; quotes around the whole value are left out.
fn literal_pair(source: &str) -> Result<Pair, String> {
    match source.split_once('=') {
        Some((key, value)) if !key.is_empty() => {
            Ok((key.to_owned(), without_quotes(value).as_bytes().to_vec()))
        }
        _ => Err(format!("invalid literal source {source}, expected key=value")),
    }
}

fn without_quotes(text: &str) -> &str {
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    quoted('"').or_else(|| quoted('\'')).unwrap_or(text)
}

/// The pairs of an env file: a line each; empty lines, comments and lines without a key are left out. Quotes and
/// whitespace after the beginning of the line are part of key and value.
fn env_pairs(content: &[u8]) -> Result<Vec<Pair>, String> {
    let mut pairs = vec![];
    for (index, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let number = index + 1;
        // kustomize stops reading here without a word, and loses the rest of the file.
        if line.len() >= LINE_LIMIT {
            return Err(format!("line {number} has {} bytes, the limit is {LINE_LIMIT}", line.len()));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|_| format!("line {number} has invalid utf8 bytes"))?;
        let text = if index == 0 { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let text = text.trim_start();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        // The environment is not read: a lone key has an empty value.
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if !key.is_empty() {
            pairs.push((key.to_owned(), value.as_bytes().to_vec()));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

    use super::*;

    fn env(text: &str) -> Result<Vec<(String, String)>, String> {
        let pairs = env_pairs(text.as_bytes())?;
        Ok(pairs.into_iter().map(|(key, value)| (key, String::from_utf8(value).unwrap())).collect())
    }

    #[test]
    fn env_files_are_read_by_line() {
        let check = |text: &str, expected: &[(&str, &str)]| {
            let expected: Vec<(String, String)> =
                expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(env(text).unwrap(), expected, "{text:?}");
        };
        check("A=1\n\n  # no\n B=x=y\r\nC=\n", &[("A", "1"), ("B", "x=y"), ("C", "")]);
        check("\u{feff}A=\"q\" \n", &[("A", "\"q\" ")]);
        check("=no key\nA =1", &[("A ", "1")]);
        // A byte order mark is one at the beginning of the file only.
        check("A=1\n\u{feff}B=2", &[("A", "1"), ("\u{feff}B", "2")]);
        assert!(env(&format!("A=1\nB={}\nC=3", "x".repeat(LINE_LIMIT))).is_err());
    }

    #[test]
    fn lone_keys_have_no_value() {
        let pairs = [("A", "1"), ("HOME", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(env("A=1\nHOME\n").unwrap(), pairs);
        assert!(env_pairs(b"A=\xff").is_err());
    }

    #[test]
    fn file_sources_have_keys() {
        let check = |source: &str, expected: Option<(&str, &str)>| {
            assert_eq!(file_source(source).ok(), expected, "{source:?}");
        };
        check("a/b.txt", Some(("b.txt", "a/b.txt")));
        check("k=a/b.txt", Some(("k", "a/b.txt")));
        check("=a", None);
        check("k=", None);
        check("k=a=b", None);
    }

    #[test]
    fn literals_lose_a_pair_of_quotes() {
        let check = |source: &str, expected: &str| {
            assert_eq!(literal_pair(source).unwrap().1, expected.as_bytes(), "{source:?}");
        };
        check("a=\"b\"", "b");
        check("a='b'", "b");
        check("a='b\"", "'b\"");
        check("a='", "'");
        check("a=''", "");
        check("a=b=c", "b=c");
        assert!(literal_pair("=b").is_err());
        assert!(literal_pair("ab").is_err());
    }
}
