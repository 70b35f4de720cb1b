//! The catalog, reached through its HTTP API in this process: the scaffolder knows its protocol, not its code.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use identity::Claims;
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// Largest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 32 << 20;

/// Why the catalog did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    /// It refused; its own words.
    #[error("the catalog answered {status}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// From the error envelope.
        message: String,
    },
    /// The request or answer was broken.
    #[error("the catalog could not be asked: {0}")]
    Broken(String),
}

/// The catalog, seen by whoever a call is made for.
#[derive(Clone)]
pub(crate) struct CatalogClient {
    pub(crate) router: axum::Router,
}

impl CatalogClient {
    /// One entity, or none.
    pub(crate) async fn entity(
        &self,
        user: &Claims,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, CatalogError> {
        let path =
            format!("/api/catalog/entities/by-name/{}/{}/{}", encode(kind), encode(namespace), encode(name));
        match self.call(user, Method::GET, &path, None).await {
            Ok(entity) => Ok(Some(entity)),
            Err(CatalogError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Entities by reference, in order, each only if `filter` (empty: any) holds for it.
    pub(crate) async fn by_refs(
        &self,
        user: &Claims,
        references: &[String],
        filters: &[String],
    ) -> Result<Vec<Option<Value>>, CatalogError> {
        let query: Vec<String> = filters.iter().map(|filter| format!("filter={}", encode(filter))).collect();
        let path = format!("/api/catalog/entities/by-refs?{}", query.join("&"));
        let answer = self.call(user, Method::POST, &path, Some(&json!({ "entityRefs": references }))).await?;
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        Ok(items.into_iter().map(|item| (!item.is_null()).then_some(item)).collect())
    }

    /// Registers a location; the entities that came of it.
    pub(crate) async fn register(&self, user: &Claims, target: &str) -> Result<Vec<Value>, CatalogError> {
        let body = json!({"type": "url", "target": target});
        let answer = self.call(user, Method::POST, "/api/catalog/locations", Some(&body)).await?;
        Ok(answer["entities"].as_array().cloned().unwrap_or_default())
    }

    async fn call(
        &self,
        user: &Claims,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CatalogError> {
        let broken = |message: String| CatalogError::Broken(message);
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = request.body(body).map_err(|error| broken(error.to_string()))?;
        request.extensions_mut().insert(user.clone());
        let response = self.router.clone().oneshot(request).await.map_err(|never| match never {})?;
        let status = response.status();
        let bytes = Limited::new(response.into_body(), ANSWER_MAX_BYTES).collect().await;
        let bytes = bytes.map_err(|error| broken(error.to_string()))?.to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(answer);
        }
        let message = answer["error"]["message"].as_str().unwrap_or_else(|| reason(status)).to_owned();
        Err(CatalogError::Refused { status: status.as_u16(), message })
    }
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("no reason given")
}

/// Percent-encodes one part of a path or query.
pub(crate) fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
