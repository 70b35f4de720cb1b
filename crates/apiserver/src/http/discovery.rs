//! What the server offers: versions, groups and resources in the legacy and the aggregated form, health and version.

use aws_lc_rs::digest;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::media::{self, Form};
use super::{Context, openapi};
use crate::catalog::{Catalog, Kind, Subresource, fact};
use crate::error::ApiError;

const APIDISCOVERY: &str = "apidiscovery.k8s.io";

/// Answers every path that names no resource.
pub(crate) async fn serve(cx: &Context, path: &str) -> Result<Response<Body>, ApiError> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["healthz" | "livez" | "readyz", check @ ..] => Ok(health(cx, parts[0], check)),
        ["version"] => Ok(document(cx, version())),
        ["api"] => root(cx, true),
        ["apis"] => root(cx, false),
        ["api", version] => resources(cx, "", version),
        ["apis", group] => one_group(cx, group),
        ["apis", group, version] => resources(cx, group, version),
        ["openapi", "v3", rest @ ..] => openapi::v3(cx, &rest.join("/")),
        ["openapi", "v2"] => openapi::v2(cx),
        ["openid", "v1", "jwks"] => Ok(document(cx, cx.api.signer.key_set())),
        [".well-known", "openid-configuration"] => Ok(document(cx, openid(cx))),
        [""] => Ok(document(cx, paths(cx))),
        _ => Ok(media::text(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n")),
    }
}

fn health(cx: &Context, endpoint: &str, check: &[&str]) -> Response<Body> {
    const CHECKS: [&str; 3] = ["ping", "log", "etcd"];
    let plain = "text/plain; charset=utf-8";
    let known = matches!(check, [one] if CHECKS.contains(one));
    if !check.is_empty() && !known {
        return media::text(StatusCode::NOT_FOUND, plain, "404 page not found\n");
    }
    if check.is_empty() && cx.query.has("verbose") {
        let lines: String = CHECKS.iter().map(|c| format!("[+]{c} ok\n")).collect();
        return media::text(StatusCode::OK, plain, format!("{lines}{endpoint} check passed\n"));
    }
    media::text(StatusCode::OK, plain, "ok")
}

/// The version that is emulated.
fn version() -> Value {
    json!({
        "major": "1", "minor": "33", "emulationMajor": "1", "emulationMinor": "33", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "32", "gitVersion": concat!("v1.33.1+portolan.", env!("CARGO_PKG_VERSION")), "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": "linux/amd64",
    })
}

fn paths(cx: &Context) -> Value {
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in cx.api.catalog().groups().iter().filter(|(g, _)| !g.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    paths.extend(
        ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned),
    );
    json!({"paths": paths})
}

fn openid(cx: &Context) -> Value {
    let issuer = &cx.api.options.external_url;
    json!({
        "issuer": issuer, "jwks_uri": format!("{issuer}/openid/v1/jwks"), "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["EdDSA"],
    })
}

fn document(cx: &Context, value: Value) -> Response<Body> {
    let form = media::negotiate(&cx.headers, false).unwrap_or(Form::JSON);
    media::object(StatusCode::OK, &value, form)
}

/// `/api` and `/apis`: legacy or aggregated, as the Accept header wants.
fn root(cx: &Context, core: bool) -> Result<Response<Body>, ApiError> {
    for clause in media::clauses(&cx.headers) {
        let aggregated =
            clause.parameter("as") == "APIGroupDiscoveryList" && clause.parameter("g") == APIDISCOVERY;
        match (clause.media.as_str(), aggregated, clause.parameter("v")) {
            ("application/json", true, "v2") => return Ok(aggregated_answer(cx, core, "v2")),
            ("application/json", true, "v2beta1") => return Ok(aggregated_answer(cx, core, "v2beta1")),
            (_, true, _) => {}
            (
                "application/json"
                | "*/*"
                | "application/*"
                | "application/yaml"
                | "application/vnd.kubernetes.protobuf",
                ..,
            ) => break,
            _ => {}
        }
    }
    let catalog = cx.api.catalog();
    let value = if core {
        json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address(cx)}],
        })
    } else {
        let groups: Vec<Value> =
            catalog.groups().iter().filter(|(g, _)| !g.is_empty()).map(|(g, v)| group_value(g, v)).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    };
    Ok(document(cx, value))
}

fn server_address(cx: &Context) -> String {
    let url = &cx.api.options.external_url;
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

fn group_value(group: &str, versions: &[String]) -> Value {
    let all: Vec<Value> =
        versions.iter().map(|v| json!({"groupVersion": format!("{group}/{v}"), "version": v})).collect();
    json!({"name": group, "versions": all, "preferredVersion": all.first()})
}

fn one_group(cx: &Context, group: &str) -> Result<Response<Body>, ApiError> {
    let groups = cx.api.catalog().groups();
    let (name, versions) = groups.iter().find(|(g, _)| g == group).ok_or_else(ApiError::no_such_resource)?;
    let mut value = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(target), Value::Object(fields)) = (value.as_object_mut(), group_value(name, versions)) {
        target.extend(fields);
    }
    Ok(document(cx, value))
}

fn resources(cx: &Context, group: &str, version: &str) -> Result<Response<Body>, ApiError> {
    let catalog = cx.api.catalog();
    let mut list = vec![];
    for kind in catalog.of_version(group, version) {
        list.push(legacy_resource(kind));
        list.extend(kind.subresources.iter().map(|s| legacy_subresource(kind, s)));
    }
    if list.is_empty() {
        return Err(ApiError::no_such_resource());
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let value = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list});
    Ok(document(cx, value))
}

fn legacy_resource(kind: &Kind) -> Value {
    let r = &kind.resource;
    let mut value = json!({
        "name": r.plural, "singularName": kind.singular, "namespaced": r.namespaced, "kind": r.kind, "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    if !kind.has(fact::VIRTUAL) {
        let hash =
            digest::digest(&digest::SHA256, format!("{}/{}/{}", r.group, r.version, r.kind).as_bytes());
        use base64::Engine as _;
        value["storageVersionHash"] =
            base64::engine::general_purpose::STANDARD.encode(&hash.as_ref()[..8]).into();
    }
    value
}

fn legacy_subresource(kind: &Kind, sub: &Subresource) -> Value {
    let (group, version, name) = sub.kind;
    let shown = if name.is_empty() { kind.resource.kind.as_ref() } else { name };
    let mut value = json!({
        "name": format!("{}/{}", kind.resource.plural, sub.name), "singularName": "", "namespaced": kind.resource.namespaced,
    });
    if !name.is_empty() && (group, version) != (&*kind.resource.group, &*kind.resource.version) {
        value["group"] = group.into();
        value["version"] = version.into();
    }
    value["kind"] = shown.into();
    value["verbs"] = json!(sub.verbs);
    value
}

fn aggregated_answer(cx: &Context, core: bool, form: &'static str) -> Response<Body> {
    let name = format!("discovery {form} {}", if core { "core" } else { "groups" });
    let bytes = cx.api.document(&name, |catalog| aggregated(catalog, core, form));
    let tag = etag(&bytes);
    let mut response =
        if cx.headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == tag.as_bytes()) {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            let content_type = match form {
                "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            };
            media::text(StatusCode::OK, content_type, bytes)
        };
    set_cache_headers(&mut response, &tag);
    response
}

pub(crate) fn set_cache_headers(response: &mut Response<Body>, tag: &str) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
}

/// A document's tag: quoted upper-case SHA-512.
pub(crate) fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", hash(bytes))
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA512, bytes).as_ref().iter().map(|b| format!("{b:02X}")).collect()
}

fn aggregated(catalog: &Catalog, core: bool, form: &str) -> Bytes {
    let items: Vec<Value> = catalog
        .groups()
        .iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> =
                versions.iter().map(|v| aggregated_version(catalog, group, v)).collect();
            let mut metadata = Map::new();
            if !group.is_empty() {
                metadata.insert("name".into(), group.as_str().into());
            }
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("{APIDISCOVERY}/{form}"), "metadata": {}, "items": items,
    });
    list.to_string().into()
}

fn aggregated_version(catalog: &Catalog, group: &str, version: &str) -> Value {
    let resources: Vec<Value> =
        catalog.of_version(group, version).map(|kind| aggregated_resource(kind)).collect();
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let r = &kind.resource;
    let own = json!({"group": r.group, "version": r.version, "kind": r.kind});
    let mut value = json!({
        "resource": r.plural, "responseKind": own, "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        value["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let (group, version, name) = sub.kind;
            let kind = if name.is_empty() {
                own.clone()
            } else {
                json!({"group": group, "version": version, "kind": name})
            };
            json!({"subresource": sub.name, "responseKind": kind, "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        value["subresources"] = subresources.into();
    }
    value
}
