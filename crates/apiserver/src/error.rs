//! The one error type of the API: what becomes a `Status` body. Texts after apimachinery's `api/errors`.

use http::StatusCode;
use object::{Cause, Resource};
use serde_json::{Map, Value, json};

/// A refused request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: StatusCode,
    /// CamelCase word for machines, or `""`.
    pub reason: &'static str,
    /// Sentence for people.
    pub message: String,
    /// `details`, or null.
    pub details: Box<Value>,
    /// `metadata.continue` of an expired list.
    pub continue_token: Option<String>,
}

impl ApiError {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Box::new(Value::Null), continue_token: None }
    }

    fn of(mut self, resource: &Resource, name: &str) -> Self {
        let mut details = Map::new();
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        if !resource.group.is_empty() {
            details.insert("group".into(), resource.group.as_ref().into());
        }
        details.insert("kind".into(), resource.plural.as_ref().into());
        self.details = Box::new(Value::Object(details));
        self
    }

    /// Adds `details.retryAfterSeconds`.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.detail("retryAfterSeconds", seconds.into());
        self
    }

    /// Adds one detail.
    pub(crate) fn detail(&mut self, name: &str, value: Value) {
        if !self.details.is_object() {
            *self.details = json!({});
        }
        self.details[name] = value;
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// Forbidden by an admission step.
    pub(crate) fn forbidden(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        let subject = if name.is_empty() { resource.to_string() } else { format!("{resource} \"{name}\"") };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("{subject} is forbidden: {why}"))
            .of(resource, name)
    }

    pub(crate) fn forbidden_path(message: impl Into<String>) -> Self {
        let mut error = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        *error.details = json!({});
        error
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", format!("{resource} \"{name}\" not found"))
            .of(resource, name)
    }

    /// The path names no kind that is served.
    pub(crate) fn no_such_resource() -> Self {
        let mut error =
            Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource");
        *error.details = json!({});
        error
    }

    pub(crate) fn method_not_allowed() -> Self {
        let mut error = Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        );
        *error.details = json!({});
        error
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "AlreadyExists", format!("{resource} \"{name}\" already exists"))
            .of(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).of(resource, name)
    }

    /// The optimistic lock's text.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Server-side apply met fields of others.
    pub(crate) fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        let mut error = Self::new(StatusCode::CONFLICT, "Conflict", message);
        *error.details = json!({"causes": causes});
        error
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_kind(&resource.group, &resource.kind, name, causes)
    }

    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, causes: &[Cause]) -> Self {
        let message = object::cause::invalid_message(group, kind, name, causes);
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        let mut details = json!({"name": name, "group": group, "kind": kind});
        if name.is_empty() {
            details.as_object_mut().map(|d| d.shift_remove("name"));
        }
        if group.is_empty() {
            details.as_object_mut().map(|d| d.shift_remove("group"));
        }
        details["causes"] = causes.iter().map(Cause::to_json).collect();
        *error.details = details;
        error
    }

    /// A JSON patch that cannot be applied.
    pub(crate) fn unprocessable_patch() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    pub(crate) fn not_acceptable(accepted: &str) -> Self {
        let message = format!("only the following media types are accepted: {accepted}");
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    pub(crate) fn unsupported_media(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    }

    pub(crate) fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        let mut status = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            format!("Internal error occurred: {error}"),
        );
        *status.details = json!({"causes": [{"message": error.to_string()}]});
        status
    }

    /// A plain error without a reason, as Kubernetes answers where it has no better word.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// The disk is full or broken: nothing was written.
    pub(crate) fn storage(error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(code, "InternalError", format!("the change was not stored: {error}"))
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// A read of a revision that does not exist yet.
    pub(crate) fn future_revision(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let mut error = Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message);
        *error.details = json!({
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        });
        error
    }

    /// The `Status` object.
    pub fn status(&self) -> Value {
        let mut metadata = json!({});
        if let Some(token) = &self.continue_token {
            metadata["continue"] = token.as_str().into();
        }
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if !self.details.is_null() {
            status["details"] = Value::clone(&self.details);
        }
        status["code"] = self.code.as_u16().into();
        status
    }
}
