//! The git host as the runner sees it: a few calls of GitHub's REST API.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// A call that takes longer fails and is made again by whoever needs it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Pages of a list that are read: 10,000 entries.
const PAGE_LIMIT: usize = 100;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the git host does not answer")]
    Unreachable(#[source] reqwest::Error),
    #[error("the git host answered {status} to {path}: {message}")]
    Refused { status: StatusCode, path: String, message: String },
}

/// A client with one token.
#[derive(Clone)]
pub(crate) struct Forge {
    client: reqwest::Client,
    base: String,
    token: std::sync::Arc<dyn Fn() -> String + Send + Sync>,
}

impl Forge {
    /// `token` is asked for at every call: tokens expire.
    pub(crate) fn new(
        base: &str,
        token: std::sync::Arc<dyn Fn() -> String + Send + Sync>,
    ) -> Result<Forge, Error> {
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let client =
            reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(Error::Unreachable)?;
        Ok(Forge { client, base: format!("{}/api/v3", base.trim_end_matches('/')), token })
    }

    /// A JSON answer; `None` for 404.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, Error> {
        let response = self.send(Method::GET, path, "application/json", None).await?;
        match response {
            Some(response) => response.json().await.map(Some).map_err(Error::Unreachable),
            None => Ok(None),
        }
    }

    /// All pages of a list; empty for 404.
    pub(crate) async fn list(&self, path: &str) -> Result<Vec<Value>, Error> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        for page in 1..=PAGE_LIMIT {
            let Some(Value::Array(items)) =
                self.get(&format!("{path}{separator}per_page=100&page={page}")).await?
            else {
                break;
            };
            let last = items.len() < 100;
            all.extend(items);
            if last {
                break;
            }
        }
        Ok(all)
    }

    /// A file of a commit as text; `None` if it is not there.
    pub(crate) async fn file(
        &self,
        repository: &str,
        path: &str,
        sha: &str,
    ) -> Result<Option<String>, Error> {
        let path = format!("/repos/{repository}/contents/{path}?ref={sha}");
        match self.send(Method::GET, &path, "application/vnd.github.raw", None).await? {
            Some(response) => response.text().await.map(Some).map_err(Error::Unreachable),
            None => Ok(None),
        }
    }

    /// Reports on a commit.
    pub(crate) async fn set_status(
        &self,
        repository: &str,
        sha: &str,
        status: &CommitStatus,
    ) -> Result<(), Error> {
        let body = json!({
            "state": status.state,
            "context": status.context,
            "description": status.description,
            "target_url": status.target_url,
        });
        let path = format!("/repos/{repository}/statuses/{sha}");
        self.send(Method::POST, &path, "application/json", Some(&body)).await.map(|_| ())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<&Value>,
    ) -> Result<Option<reqwest::Response>, Error> {
        let mut request = self.client.request(method.clone(), format!("{}{path}", self.base));
        request = request.bearer_auth((self.token)()).header("accept", accept);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| Error::Unreachable(error.without_url()))?;
        let status = response.status();
        if status == StatusCode::NOT_FOUND && method == Method::GET {
            return Ok(None);
        }
        // An empty repository has no commits and no contents.
        if status == StatusCode::CONFLICT && method == Method::GET {
            return Ok(None);
        }
        if !status.is_success() {
            let message = response.text().await.unwrap_or_default().chars().take(300).collect();
            return Err(Error::Refused { status, path: path.to_owned(), message });
        }
        Ok(Some(response))
    }
}

/// One commit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitStatus {
    /// `pending`, `success`, `failure` or `error`.
    pub(crate) state: &'static str,
    pub(crate) context: String,
    pub(crate) description: String,
    pub(crate) target_url: String,
}
