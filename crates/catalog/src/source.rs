//! One repository of the organisation as the catalog reads it: its descriptor files, followed through `Location`
//! entities, from the git host's REST API (GitHub v3 paths), all at one commit.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;

use crate::documents;
use crate::reference::EntityRef;

/// The file where discovery starts, as Backstage's `catalogPath` defaults.
pub(crate) const ROOT_FILE: &str = "catalog-info.yaml";
/// Largest descriptor file, in bytes; larger ones are generated API definitions that belong in a file of their own.
const FILE_MAX_BYTES: usize = 4 << 20;
/// Files one repository may bring in through locations.
const FILES_MAX: usize = 500;
/// How long the git host may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Repositories per page of the listing (GitHub's limit).
const PAGE: usize = 100;
/// Pages that are read: 20,000 repositories.
const PAGES_MAX: usize = 200;

/// A repository's descriptor files at one commit.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// `organisation/name`.
    pub(crate) repository: String,
    /// Address of its pages, without a last slash.
    pub(crate) web_url: String,
    pub(crate) branch: String,
    pub(crate) commit: String,
    pub(crate) files: Vec<File>,
}

/// One descriptor file.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) documents: Result<Vec<Value>, String>,
    /// The location entity that named it; none for the root file.
    pub(crate) included_by: Option<EntityRef>,
}

impl Source {
    /// Address of something in the repository: `blob`, `tree` or `edit` of a path.
    pub(crate) fn url(&self, view: &str, path: &str) -> String {
        format!("{}/{view}/{}/{path}", self.web_url, self.branch)
    }

    /// Address of the root file.
    pub(crate) fn target(&self) -> String {
        self.url("blob", ROOT_FILE)
    }
}

/// What the listing says about a repository.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) repository: String,
    web_url: String,
    branch: String,
}

/// Why the git host could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request did not get through.
    #[error("cannot reach the git host at {path}")]
    Transport {
        /// Path that was asked for.
        path: String,
        /// The client's error.
        #[source]
        source: reqwest::Error,
    },
    /// The host answered with an error.
    #[error("the git host answered {status} to GET {path}")]
    Status {
        /// Path that was asked for.
        path: String,
        /// HTTP status.
        status: u16,
    },
    /// The answer is longer than what the catalog reads.
    #[error("{path} is larger than {FILE_MAX_BYTES} bytes")]
    TooLarge {
        /// Path that was asked for.
        path: String,
    },
}

/// A reader of one organisation on one git host.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) client: reqwest::Client,
    pub(crate) base_url: String,
    pub(crate) token: String,
    pub(crate) organization: String,
}

impl Reader {
    /// All repositories of the organisation that are not archived.
    pub(crate) async fn list(&self) -> Result<Vec<Listed>, ReadError> {
        let mut all = Vec::new();
        for page in 1..=PAGES_MAX {
            let path = format!("/api/v3/orgs/{}/repos?per_page={PAGE}&page={page}", self.organization);
            let Some(bytes) = self.get(&path, "application/vnd.github+json").await? else { break };
            let items: Vec<Value> = serde_json::from_slice(&bytes).unwrap_or_default();
            all.extend(items.iter().filter_map(|item| self.listed(item)));
            if items.len() < PAGE {
                break;
            }
        }
        Ok(all)
    }

    /// One repository, or none when it is gone.
    pub(crate) async fn find(&self, repository: &str) -> Result<Option<Listed>, ReadError> {
        let answer = self.get(&format!("/api/v3/repos/{repository}"), "application/vnd.github+json").await?;
        let item: Option<Value> = answer.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(item.and_then(|item| self.listed(&item)))
    }

    fn listed(&self, item: &Value) -> Option<Listed> {
        if item["archived"] == Value::Bool(true) {
            return None;
        }
        let repository = item["full_name"].as_str()?.to_owned();
        let fallback = format!("{}/{repository}", self.base_url);
        let web_url = item["html_url"].as_str().map_or(fallback, str::to_owned);
        let branch = item["default_branch"].as_str().unwrap_or("main").to_owned();
        Some(Listed { repository, web_url: web_url.trim_end_matches('/').to_owned(), branch })
    }

    /// Reads a repository's descriptor files, or returns `None` when its head is still `known`.
    pub(crate) async fn read(
        &self,
        listed: &Listed,
        known: Option<&Source>,
    ) -> Result<Option<Source>, ReadError> {
        let path = format!("/api/v3/repos/{}/branches/{}", listed.repository, encoded(&listed.branch));
        let answer = self.get(&path, "application/vnd.github+json").await?;
        let head: Option<Value> = answer.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // A repository without a commit has no branch yet.
        let commit =
            head.and_then(|head| head["commit"]["sha"].as_str().map(str::to_owned)).unwrap_or_default();
        if known.is_some_and(|known| known.commit == commit && known.branch == listed.branch) {
            return Ok(None);
        }
        let mut source = Source {
            repository: listed.repository.clone(),
            web_url: listed.web_url.clone(),
            branch: listed.branch.clone(),
            commit,
            files: Vec::new(),
        };
        if !source.commit.is_empty() {
            self.read_files(&mut source).await?;
        }
        Ok(Some(source))
    }

    /// Breadth first from the root file through the targets of locations, each file once.
    async fn read_files(&self, source: &mut Source) -> Result<(), ReadError> {
        let mut wanted = vec![(ROOT_FILE.to_owned(), None)];
        while !wanted.is_empty() {
            let batch = std::mem::take(&mut wanted);
            let reads = batch.into_iter().map(|(path, included_by)| {
                let address = format!(
                    "/api/v3/repos/{}/contents/{}?ref={}",
                    source.repository,
                    encoded(&path),
                    source.commit
                );
                async move { (path, included_by, self.get(&address, "application/vnd.github.raw").await) }
            });
            let read: Vec<_> = futures::stream::iter(reads).buffered(8).collect().await;
            for (path, included_by, answer) in read {
                let documents = match answer {
                    Ok(Some(bytes)) => documents::parse(&String::from_utf8_lossy(&bytes)),
                    // A repository without descriptor is not in the catalog; a missing target is a mistake.
                    Ok(None) if included_by.is_none() => continue,
                    Ok(None) => Err("the file does not exist".to_owned()),
                    Err(error @ ReadError::TooLarge { .. }) => Err(error.to_string()),
                    Err(error) => return Err(error),
                };
                for (target, location) in targets(source, &path, documents.as_deref().unwrap_or_default()) {
                    let seen = source.files.iter().any(|file| file.path == target)
                        || wanted.iter().any(|(path, _)| *path == target)
                        || path == target;
                    if !seen && source.files.len() + wanted.len() < FILES_MAX {
                        wanted.push((target, Some(location)));
                    }
                }
                source.files.push(File { path, documents, included_by });
            }
        }
        Ok(())
    }

    /// `None` for 404 (and for 409, GitHub's answer for an empty repository).
    async fn get(&self, path: &str, accept: &str) -> Result<Option<Vec<u8>>, ReadError> {
        let transport = |source| ReadError::Transport { path: path.to_owned(), source };
        let request = self.client.get(format!("{}{path}", self.base_url)).timeout(TIMEOUT);
        let request =
            request.header("accept", accept).header("authorization", format!("Bearer {}", self.token));
        let mut response = request.send().await.map_err(transport)?;
        match response.status().as_u16() {
            200 => {}
            404 | 409 => return Ok(None),
            status => return Err(ReadError::Status { path: path.to_owned(), status }),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > FILE_MAX_BYTES {
                return Err(ReadError::TooLarge { path: path.to_owned() });
            }
        }
        Ok(Some(bytes))
    }
}

/// Paths inside the same repository that the location entities of a file name, with the naming entity.
fn targets(source: &Source, path: &str, documents: &[Value]) -> Vec<(String, EntityRef)> {
    let mut found = Vec::new();
    for document in documents.iter().filter(|document| document["kind"].as_str() == Some("Location")) {
        let name = document["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = document["metadata"]["namespace"].as_str().unwrap_or("default");
        let location = EntityRef::new("location", namespace, name);
        let one = document["spec"]["target"].as_str().into_iter();
        let many = document["spec"]["targets"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for target in one.chain(many) {
            if let Some(target) = resolve(source, path, target) {
                found.push((target, location.clone()));
            }
        }
    }
    found
}

/// A target relative to the file that names it, or absolute inside the same repository and branch.
fn resolve(source: &Source, path: &str, target: &str) -> Option<String> {
    let relative = match target.strip_prefix(source.web_url.as_str()) {
        Some(rest) => {
            let rest = rest.strip_prefix("/blob/").or_else(|| rest.strip_prefix("/tree/"))?;
            return Some(rest.strip_prefix(source.branch.as_str())?.trim_start_matches('/').to_owned());
        }
        None if target.contains("://") => return None,
        None => target,
    };
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> =
        if relative.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(parts.join("/"))
}

fn encoded(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_stay_inside_the_repository() {
        let source = Source {
            repository: "platform/t".to_owned(),
            web_url: "http://h/platform/t".to_owned(),
            branch: "main".to_owned(),
            commit: String::new(),
            files: Vec::new(),
        };
        let check = |path: &str, target: &str, expected: Option<&str>| {
            assert_eq!(resolve(&source, path, target).as_deref(), expected, "{path} {target}");
        };
        check("catalog-info.yaml", "./template.yaml", Some("template.yaml"));
        check("a/b/info.yaml", "../c/x.yaml", Some("a/c/x.yaml"));
        check("a/info.yaml", "/x.yaml", Some("x.yaml"));
        check("catalog-info.yaml", "../../etc/passwd", None);
        check("catalog-info.yaml", "http://h/platform/t/blob/main/d/x.yaml", Some("d/x.yaml"));
        check("catalog-info.yaml", "https://elsewhere/x.yaml", None);
    }
}
