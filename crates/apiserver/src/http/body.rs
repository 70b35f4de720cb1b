//! Request bodies: limits, media types, and strict decoding.

use axum::body::Body;
use http::header;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::Context;
use crate::catalog::Kind;
use crate::error::ApiError;
use crate::schema::{json, protobuf};

/// Largest request body, as in Kubernetes.
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// A decoded object and what a strict reader would have said about its text.
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// `duplicate field "spec.replicas"`
    pub(crate) duplicates: Vec<String>,
}

/// The whole body.
pub(crate) async fn bytes(body: Body) -> Result<bytes::Bytes, ApiError> {
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ApiError::too_large(format!("Request entity too large: limit is {BODY_LIMIT}")))
        }
        Err(error) => Err(ApiError::bad_request(format!("the request's body could not be read: {error}"))),
    }
}

/// The body's media type without parameters; JSON when none is given.
pub(crate) fn media_type(cx: &Context) -> String {
    let value =
        cx.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// An object of `kind` from a POST or PUT.
pub(crate) async fn object(cx: &Context, kind: &Kind, body: Body) -> Result<Decoded, ApiError> {
    let bytes = bytes(body).await?;
    decode(cx, &bytes, kind.custom.is_none())
}

/// Any object by its media type; an empty body is none.
pub(crate) async fn optional(cx: &Context, body: Body) -> Result<Option<Value>, ApiError> {
    let bytes = bytes(body).await?;
    if bytes.is_empty() { Ok(None) } else { decode(cx, &bytes, true).map(|d| Some(d.value)) }
}

fn decode(cx: &Context, bytes: &[u8], protobuf_allowed: bool) -> Result<Decoded, ApiError> {
    const ALL: &str = super::media::ACCEPTED;
    match media_type(cx).as_str() {
        "application/json" | "" => {
            json::parse(bytes).map(|(value, duplicates)| Decoded { value, duplicates }).map_err(|e| {
                ApiError::bad_request(format!(
                    "the object provided is unrecognized (must be of type JSON): {e}"
                ))
            })
        }
        "application/yaml" | "text/yaml" => {
            yaml_value(bytes).map(|value| Decoded { value, duplicates: vec![] })
        }
        "application/vnd.kubernetes.protobuf" if protobuf_allowed => protobuf::decode(bytes)
            .map(|value| Decoded { value, duplicates: vec![] })
            .map_err(|e| ApiError::bad_request(format!("the object provided cannot be decoded: {e}"))),
        _ => Err(ApiError::unsupported_media(if protobuf_allowed {
            ALL
        } else {
            "application/json, application/yaml"
        })),
    }
}

/// YAML (and with it JSON) text as a value.
pub(crate) fn yaml_value(bytes: &[u8]) -> Result<Value, ApiError> {
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ApiError::bad_request("the body is not UTF-8"))?;
    yaml::parse(text, yaml::Resolver::Kubectl)
        .map_err(|e| ApiError::bad_request(format!("error converting YAML to JSON: {e}")))
}
