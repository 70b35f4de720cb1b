//! Backstage's catalog REST API (`/api/catalog`): the same paths, parameters, shapes and error envelope, so that its
//! clients work unchanged. Whoever is signed in may read; entities are changed by a commit, not here.

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::Catalog;
use crate::api::{Entity, EntityRef};
use crate::filter::{self, Query};
use crate::source::ROOT_FILE;
use crate::validate;

/// Items of a page when the caller names no limit (Backstage's default), and the most it may name.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 10_000;
/// Longest request body, in bytes: `validate-entity` may carry an API definition.
const BODY_MAX_BYTES: usize = 5 << 20;

/// The router; every request must carry an `identity::Claims` extension.
pub(crate) fn routes(catalog: Catalog) -> Router {
    let inner = Router::new()
        .route("/entities", get(entities))
        .route("/entities/by-query", get(by_query))
        .route("/entities/by-refs", post(by_refs))
        .route("/entities/by-name/{kind}/{namespace}/{name}", get(by_name))
        .route("/entities/by-name/{kind}/{namespace}/{name}/ancestry", get(ancestry))
        .route("/entities/by-uid/{uid}", get(by_uid))
        .route("/entity-facets", get(facets))
        .route("/refresh", post(refresh))
        .route("/locations", get(locations).post(register))
        .route("/locations/{id}", get(location))
        .route("/validate-entity", post(validate_entity))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(envelope))
        .with_state(catalog);
    Router::new().nest("/api/catalog", inner)
}

/// An error on its way into Backstage's envelope.
#[derive(Debug, Clone)]
struct Failure {
    status: StatusCode,
    name: &'static str,
    message: String,
}

impl Failure {
    fn input(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, name: "InputError", message: message.into() }
    }

    fn not_found(message: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, name: "NotFoundError", message: message.into() }
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            name: "ServiceUnavailableError",
            message: message.into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Refuses callers without identity and wraps failures into `{error, request, response}`.
async fn envelope(
    claims: Option<Extension<identity::Claims>>,
    method: Method,
    uri: Uri,
    request: Request,
    next: Next,
) -> Response {
    let response = match claims {
        Some(_) => next.run(request).await,
        None => Failure {
            status: StatusCode::UNAUTHORIZED,
            name: "AuthenticationError",
            message: "Missing credentials".to_owned(),
        }
        .into_response(),
    };
    let Some(failure) = response.extensions().get::<Failure>().cloned() else { return response };
    let body = json!({
        "error": {"name": failure.name, "message": failure.message},
        "request": {"method": method.as_str(), "url": format!("/api/catalog{uri}")},
        "response": {"statusCode": failure.status.as_u16()},
    });
    (failure.status, Json(body)).into_response()
}

/// Decoded query parameters in order; a name may appear more than once.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(key, value)| (decoded(key), decoded(value)))
                .collect(),
        )
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let parts = self.all(name).flat_map(|value| value.split(','));
        parts.map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
    }

    fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.one(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Failure::input(format!("{name}: \"{text}\" is not a number")))
    }

    fn query(&self) -> Query {
        Query {
            any_of: self.all("filter").map(filter::parse).collect(),
            text: self.one("fullTextFilterTerm").map(str::to_owned),
            text_fields: self.list("fullTextFilterFields"),
            order: self.order(),
        }
    }

    /// `orderField=path,asc` (by-query) and `order=asc:path` (entities).
    fn order(&self) -> Vec<(String, bool)> {
        let new = self.all("orderField").map(|value| {
            let (field, direction) = value.split_once(',').unwrap_or((value, "asc"));
            (field.to_owned(), direction == "desc")
        });
        let old = self.all("order").filter_map(|value| {
            let (direction, field) = value.split_once(':')?;
            Some((field.to_owned(), direction == "desc"))
        });
        new.chain(old).collect()
    }
}

async fn entities(State(catalog): State<Catalog>, RawQuery(raw): RawQuery) -> Result<Response, Failure> {
    let parameters = Parameters::of(raw.as_deref());
    let fields = parameters.list("fields");
    let view = catalog.view();
    let found = view.query(&parameters.query());
    let offset = parameters.number("offset")?.unwrap_or(0);
    let limit = parameters.number("limit")?.unwrap_or(usize::MAX);
    let page = found.iter().skip(offset).take(limit);
    let items: Vec<Value> = page.map(|entity| filter::project(&entity.json, &fields)).collect();
    Ok(Json(items).into_response())
}

/// What a cursor remembers: the query it belongs to, and where the page starts.
fn cursor_of(raw_query: &str, offset: usize) -> String {
    URL_SAFE_NO_PAD.encode(json!({"query": raw_query, "offset": offset}).to_string())
}

fn read_cursor(cursor: &str) -> Result<(String, usize), Failure> {
    let read = || {
        let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        Some((value["query"].as_str()?.to_owned(), usize::try_from(value["offset"].as_u64()?).ok()?))
    };
    read().ok_or_else(|| Failure::input("Malformed cursor, could not be parsed"))
}

async fn by_query(State(catalog): State<Catalog>, RawQuery(raw): RawQuery) -> Result<Response, Failure> {
    let raw = raw.unwrap_or_default();
    let asked = Parameters::of(Some(&raw));
    let (stated, offset) = match asked.one("cursor") {
        Some(cursor) => {
            if ["filter", "orderField", "fullTextFilterTerm"].iter().any(|name| asked.one(name).is_some()) {
                return Err(Failure::input(
                    "a cursor cannot be combined with filter, orderField or fullTextFilterTerm",
                ));
            }
            read_cursor(cursor)?
        }
        None => (raw.clone(), asked.number("offset")?.unwrap_or(0)),
    };
    let stated_parameters = Parameters::of(Some(&stated));
    let limit =
        asked.number("limit")?.or(stated_parameters.number("limit")?).unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let fields = asked.list("fields");
    let view = catalog.view();
    let found = view.query(&stated_parameters.query());
    let items: Vec<Value> =
        found.iter().skip(offset).take(limit).map(|entity| filter::project(&entity.json, &fields)).collect();
    let mut page = json!({});
    if offset + items.len() < found.len() && limit > 0 {
        page["nextCursor"] = Value::from(cursor_of(&stated, offset + items.len()));
    }
    if offset > 0 {
        page["prevCursor"] = Value::from(cursor_of(&stated, offset.saturating_sub(limit)));
    }
    Ok(Json(json!({"items": items, "totalItems": found.len(), "pageInfo": page})).into_response())
}

async fn by_refs(
    State(catalog): State<Catalog>,
    RawQuery(raw): RawQuery,
    Json(body): Json<Value>,
) -> Result<Response, Failure> {
    let Some(references) = body["entityRefs"].as_array() else {
        return Err(Failure::input("entityRefs: must be a list of entity references"));
    };
    let fields: Vec<String> = match &body["fields"] {
        Value::Array(fields) => fields.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let query = Parameters::of(raw.as_deref()).query();
    let view = catalog.view();
    let mut items = Vec::new();
    for reference in references {
        let text = reference.as_str().unwrap_or_default();
        let reference = EntityRef::parse(text).map_err(|error| Failure::input(error.to_string()))?;
        let entity = view.get(&reference).filter(|entity| {
            query.any_of.is_empty() || !filter::select(std::iter::once(*entity), &query).is_empty()
        });
        items.push(entity.map_or(Value::Null, |entity| filter::project(&entity.json, &fields)));
    }
    Ok(Json(json!({ "items": items })).into_response())
}

async fn by_name(
    State(catalog): State<Catalog>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Response, Failure> {
    let reference = EntityRef::new(&kind, &namespace, &name);
    let view = catalog.view();
    let entity = view.get(&reference).ok_or_else(|| no_entity(&reference))?;
    Ok(Json(&entity.json).into_response())
}

async fn by_uid(State(catalog): State<Catalog>, Path(uid): Path<String>) -> Result<Response, Failure> {
    let view = catalog.view();
    let entity =
        view.by_uid(&uid).ok_or_else(|| Failure::not_found(format!("No entity found with uid {uid}")))?;
    Ok(Json(&entity.json).into_response())
}

async fn ancestry(
    State(catalog): State<Catalog>,
    Path((kind, namespace, name)): Path<(String, String, String)>,
) -> Result<Response, Failure> {
    let reference = EntityRef::new(&kind, &namespace, &name);
    let view = catalog.view();
    view.get(&reference).ok_or_else(|| no_entity(&reference))?;
    let chain = view.ancestry(&reference);
    let items: Vec<Value> = chain
        .iter()
        .enumerate()
        .filter_map(|(at, reference)| {
            let parents: Vec<String> = chain.get(at + 1).into_iter().map(EntityRef::to_string).collect();
            Some(json!({"entity": view.get(reference)?.json, "parentEntityRefs": parents}))
        })
        .collect();
    Ok(Json(json!({"rootEntityRef": reference.to_string(), "items": items})).into_response())
}

async fn facets(State(catalog): State<Catalog>, RawQuery(raw): RawQuery) -> Result<Response, Failure> {
    let parameters = Parameters::of(raw.as_deref());
    let names: Vec<String> = parameters.all("facet").map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Failure::input("Invalid facet parameter, must be one or more"));
    }
    let view = catalog.view();
    let found = view.query(&parameters.query());
    let facets: serde_json::Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let counts = filter::facet(&found, &name);
            let counts =
                counts.into_iter().map(|(value, count)| json!({"value": value, "count": count})).collect();
            (name, counts)
        })
        .collect();
    Ok(Json(json!({ "facets": facets })).into_response())
}

async fn refresh(State(catalog): State<Catalog>, Json(body): Json<Value>) -> Result<Response, Failure> {
    let text = body["entityRef"].as_str().ok_or_else(|| Failure::input("entityRef: is missing"))?;
    let reference = EntityRef::parse(text).map_err(|error| Failure::input(error.to_string()))?;
    let place = {
        let view = catalog.view();
        let entity = view.get(&reference).ok_or_else(|| no_entity(&reference))?;
        entity.annotation("backstage.io/managed-by-location").unwrap_or_default().to_owned()
    };
    let (repository, _) = inside(&catalog, place.trim_start_matches("url:")).ok_or_else(|| {
        Failure::input(format!("{reference} does not come from a repository of this organisation"))
    })?;
    catalog.refresh(&repository).await.map_err(Failure::unavailable)?;
    Ok(StatusCode::OK.into_response())
}

/// Registers a location: every repository of the organisation is read anyway, so this reads it now and answers what
/// came of it. A file that the repository's root descriptor does not reach is refused, for it would be forgotten.
async fn register(
    State(catalog): State<Catalog>,
    RawQuery(raw): RawQuery,
    Json(body): Json<Value>,
) -> Result<Response, Failure> {
    let target = body["target"].as_str().ok_or_else(|| Failure::input("target: is missing"))?;
    if body["type"].as_str().is_some_and(|kind| kind != "url") {
        return Err(Failure::input("type: only url locations can be registered"));
    }
    let (repository, path) = inside(&catalog, target).ok_or_else(|| {
        let organization = &catalog.state.organization;
        Failure::input(format!(
            "target: \"{target}\" is not a file in a repository of the organisation {organization}"
        ))
    })?;
    catalog.refresh(&repository).await.map_err(Failure::unavailable)?;
    let view = catalog.view();
    let found: Vec<&Entity> =
        view.entities().filter(|entity| comes_from(&catalog, entity, &repository, &path)).collect();
    if found.is_empty() {
        return Err(Failure::input(format!(
            "target: no entity comes from {path} of {repository}; the file must exist, be valid, and be {ROOT_FILE} or a \
             target of a Location in it"
        )));
    }
    let root = view.entities().find(|entity| {
        entity.reference.kind == "location"
            && entity.reference.name.starts_with("generated-")
            && inside(&catalog, entity.text("spec.target")).is_some_and(|(name, _)| name == repository)
    });
    let id = root.map_or("", Entity::uid);
    let location = json!({"id": id, "type": "url", "target": target});
    let dry_run = Parameters::of(raw.as_deref()).one("dryRun").is_some_and(|value| value != "false");
    let entities: Vec<&Value> = found.iter().map(|entity| &entity.json).collect();
    let mut answer = json!({"location": location, "entities": entities});
    if dry_run {
        answer["exists"] = Value::Bool(true);
    }
    Ok((StatusCode::CREATED, Json(answer)).into_response())
}

async fn locations(State(catalog): State<Catalog>) -> Response {
    let view = catalog.view();
    let all: Vec<Value> =
        view.entities().filter_map(location_of).map(|data| json!({ "data": data })).collect();
    Json(all).into_response()
}

async fn location(State(catalog): State<Catalog>, Path(id): Path<String>) -> Result<Response, Failure> {
    let view = catalog.view();
    let found = view.by_uid(&id).and_then(location_of);
    found
        .map(|location| Json(location).into_response())
        .ok_or_else(|| Failure::not_found(format!("Found no location with ID {id}")))
}

fn location_of(entity: &Entity) -> Option<Value> {
    let generated = entity.reference.kind == "location" && entity.reference.name.starts_with("generated-");
    generated.then(|| json!({"id": entity.uid(), "type": "url", "target": entity.text("spec.target")}))
}

async fn validate_entity(Json(body): Json<Value>) -> Result<Response, Failure> {
    let problems = validate::problems(&body["entity"]);
    if problems.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    let errors: Vec<Value> =
        problems.iter().map(|message| json!({"name": "InputError", "message": message})).collect();
    Ok((StatusCode::BAD_REQUEST, Json(json!({ "errors": errors }))).into_response())
}

fn no_entity(reference: &EntityRef) -> Failure {
    Failure::not_found(format!(
        "No entity named '{}' found, with kind '{}' in namespace '{}'",
        reference.name, reference.kind, reference.namespace
    ))
}

/// Repository and path of an address inside the organisation; any host name is taken, for one host has several.
fn inside(catalog: &Catalog, address: &str) -> Option<(String, String)> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let mut parts = rest.split('/');
    let _host = parts.next()?;
    let organization = parts.next()?;
    if organization != catalog.state.organization {
        return None;
    }
    let name = parts.next()?.trim_end_matches(".git");
    let view = parts.next();
    let _branch = parts.next();
    let path = parts.collect::<Vec<_>>().join("/");
    if name.is_empty() || !matches!(view, None | Some("blob" | "tree" | "raw" | "edit")) {
        return None;
    }
    let path = if path.is_empty() { ROOT_FILE.to_owned() } else { path };
    Some((format!("{organization}/{name}"), path))
}

fn comes_from(catalog: &Catalog, entity: &Entity, repository: &str, path: &str) -> bool {
    let generated = entity.reference.kind == "location" && entity.reference.name.starts_with("generated-");
    let place = entity.annotation("backstage.io/managed-by-location").unwrap_or_default();
    !generated
        && inside(catalog, place.trim_start_matches("url:"))
            .is_some_and(|(found, file)| found == repository && file == path)
}

/// Percent-decoding of one query part, `+` as blank.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail
            .get(..2)
            .and_then(|two| std::str::from_utf8(two).ok())
            .and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
