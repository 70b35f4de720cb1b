//! Error answers: the distribution specification's codes in its envelope.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::client::ClientError;
use crate::remote::RemoteError;
use crate::store::StoreError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RangeInvalid,
    SizeInvalid,
    TagInvalid,
    Unauthorized,
    Denied,
    Unsupported,
    TooManyRequests,
    Unavailable,
    Unknown,
}

impl Code {
    fn parts(self) -> (&'static str, StatusCode) {
        match self {
            Code::BlobUnknown => ("BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Code::BlobUploadInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST),
            Code::BlobUploadUnknown => ("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND),
            Code::DigestInvalid => ("DIGEST_INVALID", StatusCode::BAD_REQUEST),
            Code::ManifestBlobUnknown => ("MANIFEST_BLOB_UNKNOWN", StatusCode::NOT_FOUND),
            Code::ManifestInvalid => ("MANIFEST_INVALID", StatusCode::BAD_REQUEST),
            Code::ManifestUnknown => ("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND),
            Code::NameInvalid => ("NAME_INVALID", StatusCode::BAD_REQUEST),
            Code::NameUnknown => ("NAME_UNKNOWN", StatusCode::NOT_FOUND),
            Code::RangeInvalid => ("BLOB_UPLOAD_INVALID", StatusCode::RANGE_NOT_SATISFIABLE),
            Code::SizeInvalid => ("SIZE_INVALID", StatusCode::PAYLOAD_TOO_LARGE),
            Code::TagInvalid => ("TAG_INVALID", StatusCode::BAD_REQUEST),
            Code::Unauthorized => ("UNAUTHORIZED", StatusCode::UNAUTHORIZED),
            Code::Denied => ("DENIED", StatusCode::FORBIDDEN),
            Code::Unsupported => ("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED),
            Code::TooManyRequests => ("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS),
            Code::Unavailable => ("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
            Code::Unknown => ("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// A request that failed, as the client is told.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: Code,
    pub(super) message: String,
    /// For [`Code::Unauthorized`]: the scope a token should be fetched for.
    pub(super) scope: Option<String>,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), scope: None }
    }

    /// `origin` is the scheme and host as the client knows them.
    pub(super) fn respond(&self, origin: &str) -> Response {
        let (code, status) = self.code.parts();
        let body = json!({ "errors": [{ "code": code, "message": self.message, "detail": null }] });
        let mut response = super::json(status, &body);
        if self.code == Code::Unauthorized {
            let scope = self.scope.as_ref().map(|scope| format!(",scope=\"{scope}\"")).unwrap_or_default();
            let challenge = format!("Bearer realm=\"{origin}/v2/token\",service=\"portolan\"{scope}");
            if let Ok(value) = HeaderValue::try_from(challenge) {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
            }
        }
        response
    }
}

pub(super) fn method_not_allowed() -> Failure {
    Failure::new(Code::Unsupported, "this path does not know that method")
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        let code = match &error {
            StoreError::Name(_) => Code::NameInvalid,
            StoreError::Tag(_) => Code::TagInvalid,
            StoreError::NoUpload => Code::BlobUploadUnknown,
            StoreError::TooManyUploads => Code::TooManyRequests,
            StoreError::TooLarge(_) => Code::SizeInvalid,
            StoreError::Mismatch { .. } => Code::DigestInvalid,
            StoreError::Range { .. } => Code::RangeInvalid,
            StoreError::Immutable { .. } => Code::Denied,
            StoreError::MissingBlob(_) => Code::ManifestBlobUnknown,
            StoreError::File { action, source } => {
                tracing::error!(%action, error = %source, "the registry's files");
                let full = source.kind() == std::io::ErrorKind::StorageFull;
                let message =
                    if full { "the registry's disk is full" } else { "the registry cannot use its files" };
                return Failure::new(Code::Unknown, message);
            }
        };
        Failure::new(code, error.to_string())
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Failure {
        match error {
            RemoteError::Unavailable(reason) => Failure::new(Code::Unavailable, reason),
            RemoteError::Forbidden(_) => Failure::new(Code::NameInvalid, error.to_string()),
            RemoteError::Store { source, .. } => source.into(),
            RemoteError::Client { source, .. } => match source {
                ClientError::NotFound { .. } => Failure::new(Code::ManifestUnknown, source.to_string()),
                ClientError::Denied { .. } => Failure::new(Code::Denied, source.to_string()),
                _ => Failure::new(Code::Unavailable, source.to_string()),
            },
        }
    }
}
