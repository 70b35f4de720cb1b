//! From an HTTP request to an answer: identity, authorization, and the way to the endpoint.

pub(crate) mod body;
pub(crate) mod delete;
pub(crate) mod discovery;
pub(crate) mod media;
pub(crate) mod openapi;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod stream;
pub(crate) mod subresource;
pub(crate) mod watch;
pub(crate) mod write;

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};

use crate::api::Api;
use crate::authorization::{self, impersonation};
use crate::catalog::{Kind, fact};
use crate::error::ApiError;
use crate::{User, reviews};
use media::Form;
use request::{Info, Query};

/// Everything about one request that its endpoint may need.
pub(crate) struct Context {
    pub(crate) api: Arc<Api>,
    pub(crate) user: User,
    pub(crate) method: Method,
    pub(crate) info: Info,
    pub(crate) query: Query,
    /// The query as it came, for passing on.
    pub(crate) raw_query: String,
    pub(crate) headers: HeaderMap,
    warnings: Mutex<Vec<String>>,
}

impl Context {
    /// Adds a `Warning` header to the answer.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
    }

    /// The part of the User-Agent before its slash: the field manager of clients that name none.
    pub(crate) fn agent(&self) -> &str {
        let agent = self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
        agent.split('/').next().unwrap_or(agent)
    }

    /// A context of the server itself, for the objects that it makes.
    pub(crate) fn internal(api: &Arc<Api>, info: Info) -> Self {
        Self {
            api: Arc::clone(api),
            user: User {
                name: "system:apiserver".into(),
                uid: String::new(),
                groups: vec![authorization::MASTERS.into()],
            },
            method: Method::POST,
            info,
            query: Query::default(),
            raw_query: String::new(),
            headers: HeaderMap::new(),
            warnings: Mutex::default(),
        }
    }

    /// The same, with a body that the server has put together as JSON.
    pub(crate) fn with_json_body(mut self) -> Self {
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self
    }

    /// Another context with the same user for an inner request, for example a read before a delete.
    pub(crate) fn inner(&self, info: Info, query: Query) -> Self {
        Self {
            api: Arc::clone(&self.api),
            user: self.user.clone(),
            method: self.method.clone(),
            info,
            query,
            raw_query: String::new(),
            headers: self.headers.clone(),
            warnings: Mutex::default(),
        }
    }
}

/// Answers one request. `user` is none for requests without credentials.
pub(crate) async fn serve(api: Arc<Api>, user: Option<User>, request: Request<Body>) -> Response<Body> {
    let audit = request.headers().get("audit-id").cloned();
    let head = request.method() == Method::HEAD;
    let mut response = match route(api, user, request).await {
        Ok(response) => response,
        Err(error) => error_response(&error),
    };
    if head {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    let audit = audit.or_else(|| HeaderValue::from_str(&crate::uid::new()).ok());
    if let Some(audit) = audit {
        headers.insert("audit-id", audit);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    }
    response
}

/// An error as a `Status`.
pub(crate) fn error_response(error: &ApiError) -> Response<Body> {
    let mut response = media::object(error.code, &error.status(), Form::JSON);
    let headers = response.headers_mut();
    if let Some(seconds) = error.details["retryAfterSeconds"].as_u64() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if error.code == StatusCode::FORBIDDEN {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

async fn route(
    api: Arc<Api>,
    user: Option<User>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path().to_owned();
    let raw_query = request.uri().query().unwrap_or_default().to_owned();
    let query = Query::parse(&raw_query);
    let user = user.unwrap_or_else(User::anonymous);
    let user = impersonation::effective(&api, user, request.headers())?;
    let info = request::parse(request.method(), &path, &query);
    match &info {
        Some(info) => authorization::check_resource(&api, &user, info)?,
        None => authorization::check_path(&api, &user, request.method(), &path)?,
    }
    let cx = Context {
        api,
        user,
        method: request.method().clone(),
        info: info.clone().unwrap_or_default(),
        query,
        raw_query,
        headers: request.headers().clone(),
        warnings: Mutex::default(),
    };
    if info.is_none() {
        return discovery::serve(&cx, &path).await;
    }
    resource(cx, request).await
}

async fn resource(cx: Context, request: Request<Body>) -> Result<Response<Body>, ApiError> {
    let info = &cx.info;
    let catalog = cx.api.catalog();
    let kind = catalog.find(&info.group, &info.version, &info.resource).cloned();
    let kind = kind.ok_or_else(ApiError::no_such_resource)?;
    if kind.resource.namespaced
        && info.namespace.is_empty()
        && !matches!(info.verb, "list" | "watch" | "create")
    {
        return Err(ApiError::no_such_resource());
    }
    if !kind.resource.namespaced && !info.namespace.is_empty() {
        return Err(ApiError::no_such_resource());
    }
    if !info.subresource.is_empty() {
        return subresource::serve(cx, &kind, request).await;
    }
    if kind.has(fact::VIRTUAL) {
        if cx.method != Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        return reviews::create(&cx, &kind, request.into_body()).await;
    }
    collection_or_object(cx, kind, request).await
}

async fn collection_or_object(
    cx: Context,
    kind: Arc<Kind>,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let form = media::negotiate(&cx.headers, true)?;
    let form = Form { pretty: form.pretty || cx.query.flag("pretty"), ..form };
    match cx.info.verb {
        "get" => read::get(&cx, &kind, form).await,
        "list" => read::list(&cx, &kind, form).await,
        "watch" => watch::watch(cx, kind, form).await,
        "create" if cx.info.name.is_empty() => {
            let object = body::object(&cx, &kind, request.into_body()).await?;
            let created = write::create(&cx, &kind, object).await?;
            Ok(finish(&cx, read::answer(&cx, &kind, StatusCode::CREATED, created, form)))
        }
        "update" => {
            let object = body::object(&cx, &kind, request.into_body()).await?;
            let (status, updated) = write::put(&cx, &kind, object, write::Part::Main).await?;
            Ok(finish(&cx, read::answer(&cx, &kind, status, updated, form)))
        }
        "patch" => {
            let (status, patched) = patch::patch(&cx, &kind, request.into_body(), write::Part::Main).await?;
            Ok(finish(&cx, read::answer(&cx, &kind, status, patched, form)))
        }
        "delete" => delete::delete(&cx, &kind, request.into_body(), form).await,
        "deletecollection" => delete::delete_collection(&cx, &kind, request.into_body()).await,
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Adds the warnings that came up on the way. Quoting after apiserver's `warning.go`.
pub(crate) fn finish(cx: &Context, mut response: Response<Body>) -> Response<Body> {
    let warnings = std::mem::take(&mut *cx.warnings.lock().unwrap_or_else(PoisonError::into_inner));
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
