//! `permissions:`: what the token of a job may do, as scopes of the platform's tokens.

use super::{At, Error};

/// One permission's level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    #[default]
    None,
    Read,
    Write,
}

/// The permissions that mean something here; others are read and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    pub contents: Access,
    pub packages: Access,
    pub statuses: Access,
}

impl Permissions {
    /// Without `permissions:`, as in GitHub's "read and write" setting.
    pub const DEFAULT: Permissions =
        Permissions { contents: Access::Write, packages: Access::Write, statuses: Access::Write };

    /// Scopes of a job's token: its own repository, and the images of its owner.
    pub fn scopes(&self, repository: &str) -> Vec<String> {
        let owner = repository.split('/').next().unwrap_or_default();
        // Every token reads metadata of its own repository, and base images.
        let mut scopes = vec!["registry:*:pull".to_owned()];
        match self.contents {
            Access::None => {}
            Access::Read => scopes.push(format!("repo:{repository}:read")),
            Access::Write => scopes.push(format!("repo:{repository}:write")),
        }
        if self.packages == Access::Write {
            scopes.push(format!("registry:{owner}/*:push"));
        }
        if self.statuses == Access::Write {
            scopes.push(format!("status:{repository}:write"));
        }
        scopes
    }
}

/// Known names; a misspelt one is an error.
const NAMES: [&str; 18] = [
    "actions",
    "attestations",
    "artifact-metadata",
    "checks",
    "contents",
    "deployments",
    "discussions",
    "id-token",
    "issues",
    "models",
    "packages",
    "pages",
    "pull-requests",
    "repository-projects",
    "security-events",
    "statuses",
    "metadata",
    "vulnerability-alerts",
];

/// The `permissions` of a workflow or job. What is not listed there is `none`.
pub(super) fn parse(parent: &At<'_>) -> Result<Option<Permissions>, Error> {
    let Some(at) = parent.get("permissions") else { return Ok(None) };
    let all = |access| Some(Permissions { contents: access, packages: access, statuses: access });
    match at.value.as_str() {
        Some("read-all") => return Ok(all(Access::Read)),
        Some("write-all") => return Ok(all(Access::Write)),
        Some(_) => return at.error("must be `read-all`, `write-all` or a mapping"),
        None => {}
    }
    at.only(&NAMES)?;
    let access = |name: &str| match at.text(name)?.as_deref() {
        None | Some("none") => Ok(Access::None),
        Some("read") => Ok(Access::Read),
        Some("write") => Ok(Access::Write),
        Some(other) => at.error(format!("`{name}: {other}` is not `read`, `write` or `none`")),
    };
    Ok(Some(Permissions {
        contents: access("contents")?,
        packages: access("packages")?,
        statuses: access("statuses")?,
    }))
}
