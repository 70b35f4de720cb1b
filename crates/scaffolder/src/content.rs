//! Files of template repositories at one commit, read through a bare copy of each repository in the cache folder.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use git::Repository;

use crate::git_host::GitHost;

/// Copies of repositories. Deleting the folder loses nothing.
pub(crate) struct Copies {
    folder: PathBuf,
    /// One fetch at a time per repository.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Copies {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, locks: Mutex::default() }
    }

    /// The commit a branch of a repository points to now, read with the caller's rights.
    pub(crate) async fn head(
        &self,
        host: &GitHost,
        repository: &str,
        branch: &str,
    ) -> Result<String, git::Error> {
        let reference = format!("refs/heads/{branch}");
        let refs =
            git::repository::remote_refs(&host.clone_url(repository), Some(&host.token), &reference).await?;
        refs.get(&reference)
            .cloned()
            .ok_or_else(|| git::Error::NotFound(format!("branch {branch} of {repository}")))
    }

    /// All files below `folder` ("" for all) at `commit`, their paths relative to it.
    pub(crate) async fn files(
        &self,
        host: &GitHost,
        repository: &str,
        commit: &str,
        folder: &str,
    ) -> Result<Vec<git::repository::File>, git::Error> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(repository.to_owned()).or_default().clone()
        };
        let _fetching = lock.lock().await;
        let path = self.folder.join(format!("{}.git", repository.replace('/', "__")));
        let copy = Repository::open_or_create(&path).await?;
        if copy.resolve(commit).await.is_err() {
            let url = host.clone_url(repository);
            copy.fetch(&url, Some(&host.token), &["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"])
                .await?;
        }
        let mut files = copy.read_files(commit, folder).await?;
        let prefix = if folder.is_empty() { String::new() } else { format!("{}/", folder.trim_matches('/')) };
        for file in &mut files {
            if let Some(rest) = file.path.strip_prefix(&prefix) {
                file.path = rest.to_owned();
            }
        }
        Ok(files)
    }
}

/// A place inside a repository of the git host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `organisation/name`.
    pub(crate) repository: String,
    /// Branch, or empty for the default one.
    pub(crate) branch: String,
    /// Path, without slashes at its ends.
    pub(crate) path: String,
}

/// Reads an address such as `url:http://host/org/name/tree/main/folder/`; `None` when it is not of that form.
pub(crate) fn place(address: &str) -> Option<Place> {
    let address = address.strip_prefix("url:").unwrap_or(address);
    let (_, rest) = address.split_once("://")?;
    let mut parts = rest.split('/');
    let _host = parts.next()?;
    let repository = format!("{}/{}", parts.next()?, parts.next()?.trim_end_matches(".git"));
    let view = parts.next();
    if !matches!(view, None | Some("" | "tree" | "blob" | "raw" | "edit")) {
        return None;
    }
    let branch = parts.next().unwrap_or_default().to_owned();
    let path = parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    Some(Place { repository, branch, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |address: &str, expected: Option<(&str, &str, &str)>| {
            let found = place(address);
            let found = found.as_ref().map(|p| (p.repository.as_str(), p.branch.as_str(), p.path.as_str()));
            assert_eq!(found, expected, "{address}");
        };
        check("url:http://h:7007/platform/t/tree/main/a/b/", Some(("platform/t", "main", "a/b")));
        check(
            "https://h/platform/t/blob/main/catalog-info.yaml",
            Some(("platform/t", "main", "catalog-info.yaml")),
        );
        check("https://h/platform/t", Some(("platform/t", "", "")));
        check("https://h/platform/t/pulls/1", None);
        check("./skeleton", None);
    }
}
