//! The git host as the scaffolder uses it: GitHub's REST calls, made with the rights of the person whose task it is.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

/// How long the host may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    /// The host could not be reached.
    #[error("cannot reach the git host ({method} {path})")]
    Transport {
        /// HTTP method.
        method: Method,
        /// Path below the host.
        path: String,
        /// The client's error, without the address.
        #[source]
        source: reqwest::Error,
    },
    /// The host refused.
    #[error("the git host answered {status} to {method} {path}: {message}")]
    Refused {
        /// HTTP method.
        method: Method,
        /// Path below the host.
        path: String,
        /// HTTP status.
        status: u16,
        /// The host's words.
        message: String,
    },
}

/// The host, seen by one person.
#[derive(Clone)]
pub(crate) struct GitHost {
    pub(crate) client: reqwest::Client,
    pub(crate) base_url: String,
    pub(crate) token: String,
}

impl GitHost {
    /// The repository `organisation/name`, if there is one.
    pub(crate) async fn repository(&self, full_name: &str) -> Result<Option<Value>, HostError> {
        match self.call(Method::GET, &format!("/api/v3/repos/{full_name}"), None).await {
            Ok(repository) => Ok(Some(repository)),
            Err(HostError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn create(&self, owner: &str, body: &Value) -> Result<Value, HostError> {
        self.call(Method::POST, &format!("/api/v3/orgs/{owner}/repos"), Some(body)).await
    }

    pub(crate) async fn delete(&self, full_name: &str) -> Result<(), HostError> {
        match self.call(Method::DELETE, &format!("/api/v3/repos/{full_name}"), None).await {
            Ok(_) | Err(HostError::Refused { status: 404, .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn set_topics(&self, full_name: &str, topics: &[String]) -> Result<(), HostError> {
        let body = json!({ "names": topics });
        self.call(Method::PUT, &format!("/api/v3/repos/{full_name}/topics"), Some(&body)).await.map(|_| ())
    }

    pub(crate) async fn protect(&self, full_name: &str, branch: &str) -> Result<(), HostError> {
        let body = json!({
            "required_status_checks": null, "enforce_admins": false, "required_pull_request_reviews": null,
            "restrictions": null, "allow_force_pushes": false, "allow_deletions": false,
        });
        let path = format!("/api/v3/repos/{full_name}/branches/{branch}/protection");
        self.call(Method::PUT, &path, Some(&body)).await.map(|_| ())
    }

    pub(crate) async fn dispatch(
        &self,
        full_name: &str,
        workflow: &str,
        branch: &str,
        inputs: &Value,
    ) -> Result<(), HostError> {
        let body = json!({"ref": branch, "inputs": inputs});
        let path = format!("/api/v3/repos/{full_name}/actions/workflows/{workflow}/dispatches");
        self.call(Method::POST, &path, Some(&body)).await.map(|_| ())
    }

    /// Whether a repository has no commit yet.
    pub(crate) async fn is_empty(&self, full_name: &str) -> Result<bool, HostError> {
        let branches =
            match self.call(Method::GET, &format!("/api/v3/repos/{full_name}/branches"), None).await {
                Ok(branches) => branches,
                Err(HostError::Refused { status: 404 | 409, .. }) => return Ok(true),
                Err(error) => return Err(error),
            };
        Ok(branches.as_array().is_none_or(Vec::is_empty))
    }

    /// Address for git itself.
    pub(crate) fn clone_url(&self, full_name: &str) -> String {
        format!("{}/{full_name}.git", self.base_url)
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, HostError> {
        let failed = |source: reqwest::Error| HostError::Transport {
            method: method.clone(),
            path: path.to_owned(),
            source: source.without_url(),
        };
        let request =
            self.client.request(method.clone(), format!("{}{path}", self.base_url)).timeout(TIMEOUT);
        let request = request.header("accept", "application/vnd.github+json").bearer_auth(&self.token);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(failed)?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let mut message = answer["message"].as_str().unwrap_or("no reason given").to_owned();
        for detail in answer["errors"].as_array().into_iter().flatten() {
            if let Some(detail) = detail["message"].as_str().or(detail.as_str()) {
                message = format!("{message}; {detail}");
            }
        }
        Err(HostError::Refused { method, path: path.to_owned(), status: status.as_u16(), message })
    }
}
