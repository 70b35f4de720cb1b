//! One person's way to the platform's HTTP APIs: in process, with their own token, so that every answer is theirs.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use identity::Claims;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::failure::Failure;

/// Largest API answer a page is made from, in bytes.
const ANSWER_LIMIT: usize = 32 << 20;

/// The signed-in person, as handlers receive them.
#[derive(Clone)]
pub struct Caller {
    /// Who they are.
    pub claims: Claims,
    /// Their session's token.
    pub(crate) token: String,
    /// The value that forms carry to prove they came from this portal.
    pub(crate) form_key: String,
    pub(crate) services: Router,
}

impl Caller {
    /// Reads JSON; an error answer becomes a [`Failure`] with the API's own message.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call(Method::GET, path, None).await
    }

    /// Like `get`, with `None` for "not found".
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>, Failure> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(failure) if failure.status == StatusCode::NOT_FOUND => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Writes JSON.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call(method, path, Some(body)).await
    }

    /// Reads text, for example a file or a log.
    pub(crate) async fn text(&self, path: &str, accept: &str) -> Result<String, Failure> {
        let (status, bytes) = self.bytes(Method::GET, path, None, accept).await?;
        if !status.is_success() {
            return Err(Failure::from_api(status, &bytes));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let (status, bytes) = self.bytes(method, path, body, "application/json").await?;
        if !status.is_success() {
            return Err(Failure::from_api(status, &bytes));
        }
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|e| Failure::internal(format!("{path} did not answer with JSON: {e}")))
    }

    async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: &str,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let content = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::ACCEPT, accept)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(content))
            .map_err(|e| Failure::internal(format!("{path} is not a path: {e}")))?;
        let response = match self.services.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
        let body = body.map_err(|e| Failure::internal(format!("{path}: {e}")))?;
        Ok((status, body.to_bytes().to_vec()))
    }
}
