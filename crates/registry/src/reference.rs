//! Image references by Docker's rules: `localhost:7007/platform/x:tag@sha256:…`, `node:20-slim`.
//! Source: distribution/reference (`normalize.go`, `regexp.go`).

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry that a reference without a host means.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// Longest repository name that is accepted, in bytes (the distribution specification's 255, host included).
pub const MAX_NAME_LENGTH: usize = 255;
/// Longest tag, in bytes (the distribution specification's pattern).
pub const MAX_TAG_LENGTH: usize = 128;

/// A normalised reference: registry and repository are always there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:7007`, `ghcr.io`.
    pub registry: String,
    /// `library/node`, `platform/dashboard-frontend`.
    pub repository: String,
    /// `latest` where neither tag nor digest is written.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    #[error("the image reference is empty")]
    Empty,
    #[error("image reference {0:?}: the repository name has to be lower case")]
    UpperCase(String),
    #[error("image reference {0:?}: {1:?} is not a repository name")]
    Repository(String, String),
    #[error("image reference {0:?}: {1:?} is not a registry host")]
    Registry(String, String),
    #[error("image reference {0:?}: {1:?} is not a tag")]
    Tag(String, String),
    #[error("image reference {0:?}: {1:?} is not a sha256 digest")]
    Digest(String, String),
    #[error("image reference {0:?} is longer than 255 characters without tag and digest")]
    TooLong(String),
}

impl Reference {
    /// What a registry is asked for: the digest where there is one, else the tag.
    pub fn manifest(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_string(),
        }
    }

    /// The same repository, pinned to `digest`.
    pub fn pinned(&self, digest: &Digest) -> Reference {
        Reference { digest: Some(digest.clone()), ..self.clone() }
    }

    /// The short name of an image of Docker's library: `node` of `docker.io/library/node`.
    pub fn library_name(&self) -> Option<&str> {
        (self.registry == DEFAULT_REGISTRY).then(|| self.repository.strip_prefix("library/")).flatten()
    }

    /// As people write it: without `docker.io/` and `library/`.
    pub fn familiar(&self) -> String {
        let full = self.to_string();
        let short = full.strip_prefix("docker.io/").unwrap_or(&full);
        if self.library_name().is_some() { short.strip_prefix("library/").unwrap_or(short) } else { short }
            .to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Reference, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => {
                let parsed = digest.parse();
                (rest, Some(parsed.map_err(|_| ReferenceError::Digest(text.into(), digest.into()))?))
            }
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Tag(text.into(), tag.into()));
        }
        let (registry, repository) = split_registry(name);
        if !is_registry(registry) {
            return Err(ReferenceError::Registry(text.into(), registry.into()));
        }
        let library = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let repository = if library { format!("library/{repository}") } else { repository.to_string() };
        if repository.len() + registry.len() > MAX_NAME_LENGTH {
            return Err(ReferenceError::TooLong(text.into()));
        }
        if !is_repository(&repository) {
            return Err(if is_repository(&repository.to_lowercase()) {
                ReferenceError::UpperCase(text.into())
            } else {
                ReferenceError::Repository(text.into(), repository)
            });
        }
        let tag = tag.map(str::to_string).or_else(|| digest.is_none().then(|| "latest".to_string()));
        Ok(Reference { registry: registry.to_string(), repository, tag, digest })
    }
}

/// Splits `name:tag`; a colon before the last slash belongs to the registry's port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// The part before the first slash is a registry if it has a dot or a port, is `localhost`, or has an upper-case letter.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((host, rest))
            if host.contains(['.', ':']) || host == "localhost" || host.to_lowercase() != host =>
        {
            let host = if host == "index.docker.io" { DEFAULT_REGISTRY } else { host };
            (host, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, rest)) => {
            if !v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
                return false;
            }
            ("v6", rest.strip_prefix(':'))
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Whether `text` is a tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}`.
pub fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= MAX_TAG_LENGTH
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// Whether `text` is a repository path: lower-case components, separated inside by `.`, `_`, `__` or dashes.
pub fn is_repository(text: &str) -> bool {
    text.len() <= MAX_NAME_LENGTH && text.split('/').all(is_component)
}

fn is_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().is_some_and(|b| word(*b)) && bytes.last().is_some_and(|b| word(*b));
    ends && text
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn check(text: &str, expected: &str) {
        let reference = text.parse::<Reference>().unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(reference.to_string(), expected, "{text}");
        assert_eq!(expected.parse::<Reference>().unwrap(), reference, "{text} is not stable");
    }

    #[test]
    fn references_are_normalised_as_docker_does() {
        check("node", "docker.io/library/node:latest");
        check("node:20-slim", "docker.io/library/node:20-slim");
        check("bitnami/postgresql:16", "docker.io/bitnami/postgresql:16");
        check("localhost/x", "localhost/x:latest");
        check("localhost:7007/platform/x:sha-1a2b3c4", "localhost:7007/platform/x:sha-1a2b3c4");
        check("index.docker.io/node", "docker.io/library/node:latest");
        check("ghcr.io/cloudnative-pg/postgresql:16.4", "ghcr.io/cloudnative-pg/postgresql:16.4");
        check("127.0.0.1:5000/a/b-c/d__e:v1", "127.0.0.1:5000/a/b-c/d__e:v1");
        check("[::1]:5000/a:1", "[::1]:5000/a:1");
        check(&format!("node@{DIGEST}"), &format!("docker.io/library/node@{DIGEST}"));
        check(&format!("localhost:7007/p/x:t@{DIGEST}"), &format!("localhost:7007/p/x:t@{DIGEST}"));
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let bad = [
            "",
            "Node",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:b c",
            "a@sha256:12",
            "a@",
            "-a",
            "a-",
            "a..b",
            "a___b",
            "a/../b",
            "ex ample.com/a",
            "-x.com/a",
            "localhost:port/a",
            "a:-x",
        ];
        for text in bad {
            assert!(text.parse::<Reference>().is_err(), "{text:?} was accepted");
        }
        assert!("a".repeat(300).parse::<Reference>().is_err());
    }

    #[test]
    fn a_familiar_name_is_what_people_wrote() {
        let familiar = |text: &str| text.parse::<Reference>().unwrap().familiar();
        assert_eq!(familiar("docker.io/library/node:20"), "node:20");
        assert_eq!(familiar("docker.io/bitnami/x:1"), "bitnami/x:1");
        assert_eq!(familiar("localhost:7007/p/x:1"), "localhost:7007/p/x:1");
    }
}
