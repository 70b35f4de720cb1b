//! Manifests, tags, referrers and the catalog.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::{Value, json};

use super::auth::Caller;
use super::errors::{Code, Failure, method_not_allowed};
use super::{Registry, blocking, empty, json, query};
use crate::digest::Digest;
use crate::image::{
    AnyManifest, DOCKER_LIST, DOCKER_MANIFEST, Descriptor, OCI_INDEX, OCI_MANIFEST, Platform,
};
use crate::reference::DEFAULT_REGISTRY;
use crate::store::{MAX_MANIFEST_BYTES, StoreError, StoredManifest};

/// Most names in one page of tags or repositories.
const MAX_PAGE: usize = 1000;

/// The registry behind this one that a request may be passed on to: the one it names (containerd's `ns` parameter), or
/// Docker Hub for its library.
pub(super) fn upstream(request: &Parts, repository: &str) -> Option<String> {
    let library = || repository.starts_with("library/").then(|| DEFAULT_REGISTRY.to_string());
    query(request, "ns").filter(|ns| !ns.is_empty()).or_else(library)
}

/// `HEAD`, `GET`, `PUT` and `DELETE` of a manifest by tag or digest.
pub(super) async fn serve(
    registry: &Arc<Registry>,
    repository: &str,
    reference: &str,
    request: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    match request.method {
        Method::GET | Method::HEAD => get(registry, repository, reference, request).await,
        Method::PUT => put(registry, repository, reference, request, body).await,
        Method::DELETE => {
            let (store, name, what) = (registry.store.clone(), repository.to_string(), reference.to_string());
            if blocking(move || store.delete_manifest(&name, &what)).await? {
                return Ok(empty(StatusCode::ACCEPTED, &[]));
            }
            Err(unknown(repository, reference))
        }
        _ => Err(method_not_allowed()),
    }
}

async fn get(
    registry: &Arc<Registry>,
    repository: &str,
    reference: &str,
    request: &Parts,
) -> Result<Response, Failure> {
    let found = match (registry.store.manifest(repository, reference)?, upstream(request, repository)) {
        (Some(found), _) => found,
        (None, Some(namespace)) => registry.remote.manifest(&namespace, repository, reference).await?,
        (None, None) => return Err(unknown(repository, reference)),
    };
    let accepted = Accepted::of(&request.headers);
    let manifest = if accepted.has(&found.media_type) {
        found
    } else {
        negotiate(registry, repository, reference, &found, &accepted)?
    };
    let headers = [
        ("content-type", manifest.media_type.clone()),
        ("content-length", manifest.bytes.len().to_string()),
        ("docker-content-digest", manifest.digest.to_string()),
        ("etag", format!("\"{}\"", manifest.digest)),
    ];
    let mut response = empty(StatusCode::OK, &headers);
    if request.method == Method::GET {
        *response.body_mut() = Body::from(manifest.bytes);
    }
    Ok(response)
}

/// A client that cannot read an index gets the manifest for this platform.
fn negotiate(
    registry: &Registry,
    repository: &str,
    reference: &str,
    found: &StoredManifest,
    accepted: &Accepted,
) -> Result<StoredManifest, Failure> {
    let chosen = match AnyManifest::parse(&found.bytes) {
        Ok(AnyManifest::Index(index)) => {
            index.select(&Platform::here()).map(|entry| entry.digest.to_string())
        }
        _ => None,
    };
    let chosen = chosen.map(|digest| registry.store.manifest(repository, &digest)).transpose()?.flatten();
    chosen.filter(|manifest| accepted.has(&manifest.media_type)).ok_or_else(|| {
        let message =
            format!("{repository}:{reference} is {}, which the request does not accept", found.media_type);
        Failure::new(Code::ManifestUnknown, message)
    })
}

/// The media types of the `Accept` headers.
struct Accepted(Vec<String>);

impl Accepted {
    fn of(headers: &HeaderMap) -> Accepted {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let types = values.flat_map(|value| value.split(','));
        Accepted(types.map(|one| one.split(';').next().unwrap_or_default().trim().to_string()).collect())
    }

    fn has(&self, media_type: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|one| one == media_type || one == "*/*" || one == "application/*")
    }
}

async fn put(
    registry: &Arc<Registry>,
    repository: &str,
    reference: &str,
    request: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    let declared = request.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let declared = declared.map(|text| text.split(';').next().unwrap_or_default().trim().to_string());
    let body = Limited::new(body, MAX_MANIFEST_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return StoreError::TooLarge(MAX_MANIFEST_BYTES as u64).into();
        }
        Failure::new(Code::ManifestInvalid, "the body ended early")
    })?;
    let bytes = body.to_bytes();
    let checked = check(&bytes, declared.as_deref())?;
    let digest = reference.parse::<Digest>().ok();
    if let Some(wanted) = digest.clone().filter(|wanted| *wanted != Digest::of(&bytes)) {
        return Err(StoreError::Mismatch { wanted, actual: Digest::of(&bytes) }.into());
    }
    let (store, name) = (registry.store.clone(), repository.to_string());
    let tag = digest.is_none().then(|| reference.to_string());
    let subject = checked.subject.clone();
    let stored = blocking(move || {
        let parts: Vec<&Descriptor> = checked.parts.iter().collect();
        let subject = checked.subject.as_ref();
        store.put_manifest(&name, tag.as_deref(), &checked.media_type, &bytes, &parts, subject)
    });
    let digest = stored.await?;
    let mut headers = vec![
        ("location", format!("/v2/{repository}/manifests/{digest}")),
        ("docker-content-digest", digest.to_string()),
    ];
    headers.extend(subject.map(|subject| ("oci-subject", subject.to_string())));
    Ok(empty(StatusCode::CREATED, &headers))
}

#[derive(Debug)]
struct Checked {
    media_type: String,
    /// What has to be in the repository already.
    parts: Vec<Descriptor>,
    subject: Option<Digest>,
}

/// A manifest that may be stored: one of the four types, saying the same as the request's header.
fn check(bytes: &[u8], declared: Option<&str>) -> Result<Checked, Failure> {
    let invalid = |message: String| Failure::new(Code::ManifestInvalid, message);
    let value: Value = serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?;
    let inside = value.get("mediaType").and_then(Value::as_str);
    let media_type = declared.or(inside).unwrap_or_default().to_string();
    if inside.is_some_and(|inside| inside != media_type) {
        return Err(invalid(format!(
            "Content-Type is {media_type}, mediaType {}",
            inside.unwrap_or_default()
        )));
    }
    if !matches!(media_type.as_str(), OCI_MANIFEST | OCI_INDEX | DOCKER_MANIFEST | DOCKER_LIST) {
        return Err(invalid(format!("manifests of type {media_type:?} are not supported")));
    }
    let parsed = AnyManifest::parse(bytes).map_err(|error| invalid(error.to_string()))?;
    let parts = match parsed {
        AnyManifest::Index(index) => index.manifests,
        AnyManifest::Image(manifest) => {
            let foreign = |layer: &Descriptor| {
                layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable")
            };
            let mut parts = manifest.layers;
            parts.retain(|layer| !foreign(layer));
            parts.push(manifest.config);
            parts
        }
    };
    let subject = value.pointer("/subject/digest").and_then(Value::as_str);
    let subject =
        subject.map(str::parse::<Digest>).transpose().map_err(|error| invalid(error.to_string()))?;
    Ok(Checked { media_type, parts, subject })
}

/// `GET …/tags/list?n=&last=`.
pub(super) fn tags(registry: &Registry, repository: &str, request: &Parts) -> Result<Response, Failure> {
    only_get(request)?;
    let Some(tags) = registry.store.tags(repository)? else {
        return Err(Failure::new(Code::NameUnknown, format!("there is no repository {repository}")));
    };
    let (page, link) = page(&tags, request, &format!("/v2/{repository}/tags/list"));
    Ok(with_link(json(StatusCode::OK, &json!({ "name": repository, "tags": page })), link))
}

/// `GET /v2/_catalog?n=&last=`: the repositories that the caller may pull from.
pub(super) fn catalog(registry: &Registry, caller: &Caller, request: &Parts) -> Result<Response, Failure> {
    only_get(request)?;
    let mut names = registry.store.repositories()?;
    names.retain(|name| caller.allows(name, "pull"));
    let (page, link) = page(&names, request, "/v2/_catalog");
    Ok(with_link(json(StatusCode::OK, &json!({ "repositories": page })), link))
}

/// `GET …/referrers/<digest>?artifactType=`: an index of the manifests that name the digest as their subject.
pub(super) fn referrers(
    registry: &Registry,
    repository: &str,
    digest: &str,
    request: &Parts,
) -> Result<Response, Failure> {
    only_get(request)?;
    let digest: Digest =
        digest.parse().map_err(|_| Failure::new(Code::DigestInvalid, "not a sha256 digest"))?;
    let wanted = query(request, "artifactType");
    let found = registry.store.referrers(repository, &digest)?;
    let entries: Vec<Value> = found.iter().filter_map(describe).collect();
    let fits = |entry: &&Value| wanted.as_deref().is_none_or(|wanted| entry["artifactType"] == wanted);
    let entries: Vec<&Value> = entries.iter().filter(fits).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
    let mut headers = vec![("content-type", OCI_INDEX.to_string())];
    headers.extend(wanted.is_some().then(|| ("oci-filters-applied", "artifactType".to_string())));
    let mut response = empty(StatusCode::OK, &headers);
    *response.body_mut() = Body::from(index.to_string());
    Ok(response)
}

/// A manifest's descriptor as the referrers API wants it: the artifact type is the config's where none is written.
fn describe(manifest: &StoredManifest) -> Option<Value> {
    let value: Value = serde_json::from_slice(&manifest.bytes).ok()?;
    let kind = value.get("artifactType").or_else(|| value.pointer("/config/mediaType")).cloned();
    let mut entry = json!({
        "mediaType": manifest.media_type, "digest": manifest.digest, "size": manifest.bytes.len(),
    });
    entry["artifactType"] = kind.unwrap_or_default();
    if let Some(annotations) = value.get("annotations") {
        entry["annotations"] = annotations.clone();
    }
    Some(entry)
}

/// The names after `last`, at most `n`, and the link to the next page.
fn page(names: &[String], request: &Parts, path: &str) -> (Vec<String>, Option<String>) {
    let wanted = query(request, "n").and_then(|n| n.parse().ok()).unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let after = query(request, "last").unwrap_or_default();
    let rest: Vec<&String> = names.iter().filter(|name| **name > after).collect();
    let page: Vec<String> = rest.iter().take(wanted).map(ToString::to_string).collect();
    let link = match page.last() {
        Some(last) if rest.len() > page.len() => {
            Some(format!("<{path}?n={wanted}&last={last}>; rel=\"next\""))
        }
        _ => None,
    };
    (page, link)
}

fn with_link(mut response: Response, link: Option<String>) -> Response {
    if let Some(value) = link.and_then(|link| http::HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(header::LINK, value);
    }
    response
}

fn only_get(request: &Parts) -> Result<(), Failure> {
    if matches!(request.method, Method::GET | Method::HEAD) { Ok(()) } else { Err(method_not_allowed()) }
}

fn unknown(repository: &str, reference: &str) -> Failure {
    Failure::new(Code::ManifestUnknown, format!("{repository} has no manifest {reference}"))
}
