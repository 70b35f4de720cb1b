//! OpenAPI documents: version 3 for each group version, CRDs included, and version 2 as JSON.
//!
//! What clients read in them: `fieldValidation` and the kind on PATCH (else kubectl validates by itself and fails), the merge keys of
//! client-side apply, and the fields for `kubectl explain`. Documents are made on request and not kept.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::discovery::{etag, hash, set_cache_headers};
use super::request::percent_decode;
use super::{Context, media};
use crate::catalog::{Catalog, Kind, fact};
use crate::error::ApiError;
use crate::schema::fields::is_list_type;
use crate::schema::{Base, Field, Many, Type, types};

const VERSION: &str = "v1.33.1";

/// `/openapi/v3` and below.
pub(crate) fn v3(cx: &Context, path: &str) -> Result<Response<Body>, ApiError> {
    let catalog = cx.api.catalog();
    if path.is_empty() {
        let index = cx
            .api
            .document("openapi v3", |catalog| index(catalog, &cx.api.options.path_prefix).to_string().into());
        let tag = etag(&index);
        let mut response = media::text(StatusCode::OK, "application/json", index);
        set_cache_headers(&mut response, &tag);
        return Ok(response);
    }
    let path = percent_decode(path).into_owned();
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => (String::new(), (*version).to_owned()),
        ["apis", group, version] => ((*group).to_owned(), (*version).to_owned()),
        _ => return Err(ApiError::no_such_resource()),
    };
    if catalog.of_version(&group, &version).next().is_none() {
        return Err(ApiError::no_such_resource());
    }
    let wanted = version_hash(&catalog, &group, &version);
    if let Some(given) = cx.query.get("hash").filter(|given| *given != wanted) {
        tracing::debug!(given, "an outdated OpenAPI document was asked for");
        let location = relative_url(&cx.api.options.path_prefix, &group, &version, &wanted);
        let mut response = media::text(StatusCode::MOVED_PERMANENTLY, "text/plain", "");
        if let Ok(value) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, value);
        }
        return Ok(response);
    }
    let document = document(&catalog, &group, &version);
    let mut response = media::object(StatusCode::OK, &document, media::Form::JSON);
    set_cache_headers(&mut response, &format!("\"{wanted}\""));
    if cx.query.has("hash") {
        let immutable = HeaderValue::from_static("public, immutable, max-age=31536000");
        response.headers_mut().insert(header::CACHE_CONTROL, immutable);
    }
    Ok(response)
}

/// `/openapi/v2`: only JSON; clients that insist on protobuf (kubectl up to 1.28) are refused.
pub(crate) fn v2(cx: &Context) -> Result<Response<Body>, ApiError> {
    media::negotiate(&cx.headers, false)?;
    let catalog = cx.api.catalog();
    let mut definitions = Map::new();
    for (group, versions) in catalog.groups() {
        for version in versions {
            definitions.extend(schemas(&catalog, &group, &version, "#/definitions/"));
        }
    }
    let document = json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": {}, "definitions": definitions,
    });
    Ok(media::object(StatusCode::OK, &document, media::Form::JSON))
}

fn index(catalog: &Catalog, prefix: &str) -> Value {
    let mut paths = Map::new();
    for (group, versions) in catalog.groups() {
        for version in versions {
            let hash = version_hash(catalog, &group, &version);
            let url = relative_url(prefix, &group, &version, &hash);
            paths.insert(version_path(&group, &version), json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn relative_url(prefix: &str, group: &str, version: &str, hash: &str) -> String {
    format!("{prefix}/openapi/v3/{}?hash={hash}", version_path(group, version))
}

/// Changes whenever the document does, without making the document: it depends on this program and on the definitions.
fn version_hash(catalog: &Catalog, group: &str, version: &str) -> String {
    let mut text = format!("{} {VERSION} {group}/{version}", env!("CARGO_PKG_VERSION"));
    for kind in catalog.of_version(group, version) {
        text.push_str(&format!(" {}", kind.resource.kind));
        if let Some(custom) = &kind.custom {
            text.push_str(&format!("={}", custom.schema.as_value()));
        }
    }
    hash(text.as_bytes())
}

fn document(catalog: &Catalog, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for kind in catalog.of_version(group, version) {
        add_paths(kind, &mut paths);
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths,
        "components": {"schemas": schemas(catalog, group, version, "#/components/schemas/")},
    })
}

fn add_paths(kind: &Kind, paths: &mut Map<String, Value>) {
    let r = &kind.resource;
    let collection = r.collection_path(if r.namespaced { "{namespace}" } else { "" });
    let gvk = json!({"group": r.group, "version": r.version, "kind": r.kind});
    let operation = |action: &str, query: &[&str]| {
        let parameters: Vec<Value> = query
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
            .collect();
        json!({
            "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk, "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
        })
    };
    const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
    let mut on_collection = json!({"post": operation("post", WRITE)});
    if !kind.has(fact::VIRTUAL) {
        on_collection["get"] = operation("list", &["fieldSelector", "labelSelector", "limit", "watch"]);
        let mut patch = operation("patch", &["dryRun", "fieldManager", "fieldValidation", "force"]);
        patch["requestBody"] = json!({"content": {
            "application/json-patch+json": {}, "application/merge-patch+json": {}, "application/apply-patch+yaml": {},
        }});
        if kind.custom.is_none() {
            patch["requestBody"]["content"]["application/strategic-merge-patch+json"] = json!({});
        }
        let on_object = json!({
            "get": operation("get", &[]), "put": operation("put", WRITE), "patch": patch,
            "delete": operation("delete", &["dryRun", "gracePeriodSeconds", "propagationPolicy"]),
        });
        paths.insert(format!("{collection}/{{name}}"), on_object);
    }
    paths.insert(collection, on_collection);
}

fn schemas(catalog: &Catalog, group: &str, version: &str, base: &str) -> Map<String, Value> {
    let types = types();
    let mut out = Map::new();
    let mut wanted: BTreeSet<usize> = BTreeSet::new();
    let index_of = |name: &str| types.types.iter().position(|t| format!("{}.{}", t.package, t.name) == name);
    for kind in catalog.of_version(group, version) {
        if let Some(custom) = &kind.custom {
            out.insert(custom_name(kind), custom_schema(kind, custom.schema.as_value(), base));
            wanted.extend(index_of("meta.ObjectMeta"));
        } else if let Some(of) = types.of_kind(group, version, &kind.resource.kind) {
            let at = index_of(&format!("{}.{}", of.package, of.name));
            wanted.extend(at);
            let mut schema = struct_schema(of, base);
            let mut properties = json!({"apiVersion": {"type": "string"}, "kind": {"type": "string"}});
            if let (Some(target), Value::Object(own)) =
                (properties.as_object_mut(), schema["properties"].take())
            {
                target.extend(own);
            }
            schema["properties"] = properties;
            schema["x-kubernetes-group-version-kind"] =
                json!([{"group": group, "version": version, "kind": kind.resource.kind}]);
            out.insert(type_name(of), schema);
        }
    }
    let mut queue: Vec<usize> = wanted.iter().copied().collect();
    while let Some(of) = queue.pop().and_then(|index| types.get(index)) {
        for index in
            of.fields.iter().filter_map(|f| if let Base::Struct(i) = f.base { Some(i) } else { None })
        {
            if wanted.insert(index) {
                queue.push(index);
            }
        }
        out.entry(type_name(of)).or_insert_with(|| struct_schema(of, base));
    }
    out
}

fn custom_name(kind: &Kind) -> String {
    let reversed: Vec<&str> = kind.resource.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), kind.resource.version, kind.resource.kind)
}

fn custom_schema(kind: &Kind, schema: &Value, base: &str) -> Value {
    let mut schema = schema.clone();
    let meta = format!("{base}io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    schema["properties"]["apiVersion"] = json!({"type": "string"});
    schema["properties"]["kind"] = json!({"type": "string"});
    schema["properties"]["metadata"] = json!({"allOf": [{"$ref": meta}]});
    let r = &kind.resource;
    schema["x-kubernetes-group-version-kind"] =
        json!([{"group": r.group, "version": r.version, "kind": r.kind}]);
    schema
}

/// The public name of a type, as Kubernetes' own documents have it.
fn type_name(of: &Type) -> String {
    let package = match of.package {
        "meta" => "io.k8s.apimachinery.pkg.apis.meta.v1".to_owned(),
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1".to_owned(),
        "autoscaling2" => "io.k8s.api.autoscaling.v2".to_owned(),
        other => format!("io.k8s.api.{other}.v1"),
    };
    format!("{package}.{}", of.name)
}

fn struct_schema(of: &Type, base: &str) -> Value {
    let mut properties = Map::new();
    add_properties(of, base, &mut properties);
    let mut schema = json!({"type": "object", "properties": properties});
    if of.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    schema
}

fn add_properties(of: &Type, base: &str, properties: &mut Map<String, Value>) {
    for field in &of.fields {
        if let (true, Base::Struct(index)) = (field.inline, field.base) {
            if let Some(inner) = types().get(index) {
                add_properties(inner, base, properties);
            }
            continue;
        }
        properties.insert(field.name.to_owned(), field_schema(field, base));
    }
}

fn field_schema(field: &Field, base: &str) -> Value {
    let one = base_schema(field.base, base);
    let mut schema = match field.many {
        Many::One => one,
        Many::List => json!({"type": "array", "items": one}),
        Many::Map => json!({"type": "object", "additionalProperties": one}),
    };
    if let Some(patch) = field.patch {
        let (strategy, key) = patch.split_once(':').map_or((patch, None), |(s, k)| (s, Some(k)));
        schema["x-kubernetes-patch-strategy"] = strategy.into();
        if let Some(key) = key {
            schema["x-kubernetes-patch-merge-key"] = key.into();
        }
    }
    match field.list.map(|l| l.split_once(':').unwrap_or((l, ""))) {
        Some((kind, keys)) => {
            schema["x-kubernetes-list-type"] = kind.into();
            if !keys.is_empty() {
                schema["x-kubernetes-list-map-keys"] = keys.split(',').collect();
            }
        }
        None if field.many == Many::List => schema["x-kubernetes-list-type"] = "atomic".into(),
        None => {}
    }
    if field.atomic {
        schema["x-kubernetes-map-type"] = "atomic".into();
    }
    schema
}

fn base_schema(base: Base, prefix: &str) -> Value {
    match base {
        Base::Text | Base::Duration => json!({"type": "string"}),
        Base::Int32 => json!({"type": "integer", "format": "int32"}),
        Base::Int64 => json!({"type": "integer", "format": "int64"}),
        Base::Bool => json!({"type": "boolean"}),
        Base::Double => json!({"type": "number", "format": "double"}),
        Base::Bytes => json!({"type": "string", "format": "byte"}),
        Base::Time | Base::MicroTime => json!({"type": "string", "format": "date-time"}),
        Base::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Base::IntOrString => {
            json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
        }
        Base::Raw => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        Base::Struct(index) => match types().get(index) {
            Some(of) if is_list_type(of) => json!({"type": "array", "items": {"type": "string"}}),
            Some(of) => json!({"allOf": [{"$ref": format!("{prefix}{}", type_name(of))}]}),
            None => json!({}),
        },
    }
}
