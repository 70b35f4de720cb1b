//! Who calls and what they may do; and the errors of the REST API in GitHub's shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, HOST, LINK, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use serde_json::{Value, json};

use crate::host::{Hosted, Sender};
use crate::{Error, Host};

const DOCUMENTATION: &str = "https://docs.github.com/rest";
/// Entries of a page unless the caller says otherwise, and at most: GitHub's numbers.
const PAGE_SIZE: usize = 30;
const PAGE_SIZE_LIMIT: usize = 100;

/// An authenticated caller.
pub(crate) struct Caller {
    pub(crate) claims: identity::Claims,
    /// Address that links start with.
    pub(crate) base: String,
}

impl Caller {
    /// As whom changes are recorded.
    pub(crate) fn sender(&self) -> Sender {
        let claims = &self.claims;
        Sender { login: claims.subject.clone(), name: claims.name.clone(), email: claims.email.clone() }
    }

    /// Whether the caller may `verb` (`read`, `write`, `admin`) the repository.
    pub(crate) fn may(&self, full_name: &str, verb: &str) -> bool {
        self.claims.allows(&format!("repo:{full_name}:{verb}"))
    }

    /// The repository, if the caller may `verb` it. One that the caller may not even read does not exist for them.
    pub(crate) fn repository(
        &self,
        host: &Host,
        owner: &str,
        name: &str,
        verb: &str,
    ) -> Result<Arc<Hosted>, ApiError> {
        let full_name = format!("{owner}/{name}");
        let hosted = host
            .repository(&full_name)
            .filter(|_| self.may(&full_name, "read"))
            .ok_or_else(ApiError::missing)?;
        if !self.may(&full_name, verb) {
            let message = format!("{} may not {verb} {full_name}", self.claims.subject);
            return Err(ApiError::new(StatusCode::FORBIDDEN, message));
        }
        if verb == "write" && hosted.metadata().archived {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "Repository was archived so is read-only."));
        }
        Ok(hosted)
    }
}

impl FromRequestParts<Host> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, host: &Host) -> Result<Self, ApiError> {
        let claims = authenticate(&parts.headers, host)?;
        let from_header = || {
            let name = parts.headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or("localhost");
            format!("http://{name}")
        };
        let base = host.inner.options.public_url.clone().unwrap_or_else(from_header);
        Ok(Caller { claims, base })
    }
}

/// The repository of the request's path, which the caller may read; [`Writable`] and [`Administered`] ask for more.
pub(crate) struct Readable(pub(crate) Arc<Hosted>, pub(crate) Caller);
/// As [`Readable`], and the caller may write.
pub(crate) struct Writable(pub(crate) Arc<Hosted>, pub(crate) Caller);
/// As [`Readable`], and the caller may administer.
pub(crate) struct Administered(pub(crate) Arc<Hosted>, pub(crate) Caller);

impl FromRequestParts<Host> for Readable {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, host: &Host) -> Result<Self, ApiError> {
        addressed(parts, host, "read").await.map(|(hosted, caller)| Readable(hosted, caller))
    }
}

impl FromRequestParts<Host> for Writable {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, host: &Host) -> Result<Self, ApiError> {
        addressed(parts, host, "write").await.map(|(hosted, caller)| Writable(hosted, caller))
    }
}

impl FromRequestParts<Host> for Administered {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, host: &Host) -> Result<Self, ApiError> {
        addressed(parts, host, "admin").await.map(|(hosted, caller)| Administered(hosted, caller))
    }
}

async fn addressed(parts: &mut Parts, host: &Host, verb: &str) -> Result<(Arc<Hosted>, Caller), ApiError> {
    let caller = Caller::from_request_parts(parts, host).await?;
    let parameters = RawPathParams::from_request_parts(parts, host).await.map_err(|_| ApiError::missing())?;
    let parameter =
        |wanted: &str| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value);
    let (Some(owner), Some(name)) = (parameter("owner"), parameter("repo")) else {
        return Err(ApiError::missing());
    };
    let hosted = caller.repository(host, owner, name, verb)?;
    Ok((hosted, caller))
}

/// Checks the token of a request.
pub(crate) fn authenticate(headers: &HeaderMap, host: &Host) -> Result<identity::Claims, ApiError> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(identity::token_of) else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Requires authentication"));
    };
    host.inner
        .keyring
        .verify(&token)
        .map_err(|error| ApiError::new(StatusCode::UNAUTHORIZED, error.to_string()))
}

/// What every path that the API does not have answers.
pub(crate) async fn unknown() -> ApiError {
    ApiError::missing()
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) errors: Vec<Value>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, message: message.into(), errors: Vec::new() }
    }

    /// 404, also for what the caller may not see.
    pub(crate) fn missing() -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, "Not Found")
    }

    /// 422 that names the field.
    pub(crate) fn field(resource: &str, field: &str, code: &str, message: &str) -> ApiError {
        let error = json!({ "resource": resource, "field": field, "code": code, "message": message });
        ApiError {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            message: "Validation Failed".into(),
            errors: vec![error],
        }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        match error {
            Error::NotFound(_) => ApiError::missing(),
            Error::Conflict { .. } | Error::Merge(_) => {
                ApiError::new(StatusCode::CONFLICT, error.to_string())
            }
            Error::Invalid(message) => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message),
            Error::NothingToCommit => ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
            Error::TooLarge { .. } => ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
            other => {
                tracing::error!(error = %other, source = ?std::error::Error::source(&other), "git host");
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string())
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "message": self.message });
        if !self.errors.is_empty() {
            body["errors"] = Value::Array(self.errors);
        }
        body["documentation_url"] = DOCUMENTATION.into();
        body["status"] = self.status.as_u16().to_string().into();
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Portolan\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// `page` and `per_page` of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    pub(crate) number: usize,
    pub(crate) size: usize,
}

impl Page {
    /// Reads the query; nonsense counts as not given, as on GitHub.
    pub(crate) fn of(uri: &Uri) -> Page {
        let number =
            |name: &str| query(uri, name).and_then(|value| value.parse::<usize>().ok()).filter(|n| *n > 0);
        let size = number("per_page").unwrap_or(PAGE_SIZE).min(PAGE_SIZE_LIMIT);
        Page { number: number("page").unwrap_or(1).min(1_000_000), size }
    }

    /// How many entries come before the page.
    pub(crate) fn skip(&self) -> usize {
        (self.number - 1) * self.size
    }

    /// One page of a whole list, with its `Link` header.
    pub(crate) fn of_list(&self, base: &str, uri: &Uri, list: Vec<Value>) -> Response {
        let last = list.len().div_ceil(self.size).max(1);
        let items: Vec<Value> = list.into_iter().skip(self.skip()).take(self.size).collect();
        self.answer(base, uri, Value::Array(items), self.number < last, Some(last))
    }

    /// A page with its `Link` header; `last` is known only for lists that were read whole.
    pub(crate) fn answer(
        &self,
        base: &str,
        uri: &Uri,
        body: Value,
        more: bool,
        last: Option<usize>,
    ) -> Response {
        let mut links = Vec::new();
        let mut link = |page: usize, relation: &str| {
            links.push(format!("<{base}/api/v3{}>; rel=\"{relation}\"", with_page(uri, page, self.size)));
        };
        if self.number > 1 {
            link(self.number - 1, "prev");
        }
        if more {
            link(self.number + 1, "next");
            if let Some(last) = last {
                link(last, "last");
            }
        }
        if self.number > 1 {
            link(1, "first");
        }
        let mut response = Json(body).into_response();
        if let (false, Ok(value)) = (links.is_empty(), HeaderValue::from_str(&links.join(", "))) {
            response.headers_mut().insert(LINK, value);
        }
        response
    }
}

/// One query parameter, decoded.
pub(crate) fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs: Vec<(String, String)> =
        axum::extract::Query::try_from_uri(uri).map(|q| q.0).unwrap_or_default();
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn with_page(uri: &Uri, page: usize, size: usize) -> String {
    let kept = uri.query().unwrap_or_default().split('&');
    let kept =
        kept.filter(|pair| !pair.is_empty() && !pair.starts_with("page=") && !pair.starts_with("per_page="));
    let mut pairs: Vec<String> = kept.map(str::to_owned).collect();
    pairs.push(format!("per_page={size}"));
    pairs.push(format!("page={page}"));
    let path = uri.path().strip_prefix("/api/v3").unwrap_or(uri.path());
    format!("{path}?{}", pairs.join("&"))
}
