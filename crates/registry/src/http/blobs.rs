//! Blobs and their uploads: monolithic, in chunks, resumed, or mounted from another repository.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::auth::Caller;
use super::errors::{Code, Failure, method_not_allowed};
use super::{Registry, blocking, empty, query};
use crate::digest::Digest;
use crate::store::StoreError;

/// Bytes read from a file at a time.
const READ_SIZE: usize = 64 << 10;

/// `HEAD`, `GET` (whole or one range) and `DELETE` of a blob.
pub(super) async fn serve(
    registry: &Arc<Registry>,
    repository: &str,
    digest: &str,
    request: &Parts,
) -> Result<Response, Failure> {
    let digest = parse(digest)?;
    match request.method {
        Method::GET | Method::HEAD => get(registry, repository, &digest, request).await,
        Method::DELETE => {
            let (store, name) = (registry.store.clone(), repository.to_string());
            if blocking(move || store.delete_blob(&name, &digest)).await? {
                return Ok(empty(StatusCode::ACCEPTED, &[]));
            }
            Err(Failure::new(Code::BlobUnknown, "this repository does not have that blob"))
        }
        _ => Err(method_not_allowed()),
    }
}

async fn get(
    registry: &Arc<Registry>,
    repository: &str,
    digest: &Digest,
    request: &Parts,
) -> Result<Response, Failure> {
    let (path, size) =
        match (registry.store.blob(repository, digest)?, super::manifests::upstream(request, repository)) {
            (Some(found), _) => found,
            (None, Some(namespace)) => registry.remote.blob(&namespace, repository, digest).await?,
            (None, None) => {
                return Err(Failure::new(Code::BlobUnknown, "this repository does not have that blob"));
            }
        };
    let gone = |_| Failure::new(Code::BlobUnknown, "the blob was removed");
    let range = range(&request.headers, size)?;
    let (start, length) = range.unwrap_or((0, size));
    let body = if request.method == Method::HEAD {
        Body::empty()
    } else {
        let mut file = tokio::fs::File::open(path).await.map_err(gone)?;
        file.seek(std::io::SeekFrom::Start(start)).await.map_err(gone)?;
        Body::from_stream(ReaderStream::with_capacity(file.take(length), READ_SIZE))
    };
    let mut headers = vec![
        ("content-type", "application/octet-stream".to_string()),
        ("content-length", length.to_string()),
        ("accept-ranges", "bytes".to_string()),
        ("docker-content-digest", digest.to_string()),
        ("etag", format!("\"{digest}\"")),
        ("cache-control", "max-age=31536000, immutable".to_string()),
    ];
    let mut status = StatusCode::OK;
    if range.is_some() {
        status = StatusCode::PARTIAL_CONTENT;
        headers.push(("content-range", format!("bytes {start}-{}/{size}", start + length - 1)));
    }
    let mut response = empty(status, &headers);
    *response.body_mut() = body;
    Ok(response)
}

/// `POST …/blobs/uploads/`: begins an upload, takes a whole blob (`?digest=`), or mounts one (`?mount=&from=`).
pub(super) async fn begin(
    registry: &Arc<Registry>,
    caller: &Caller,
    repository: &str,
    request: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    if let (Some(digest), Some(from)) = (query(request, "mount"), query(request, "from")) {
        let digest = parse(&digest)?;
        // Whoever may not read there gets an ordinary upload, as if it were not there.
        if caller.allows(&from, "pull") {
            let (store, name, wanted) = (registry.store.clone(), repository.to_string(), digest.clone());
            if blocking(move || store.mount(&name, &from, &wanted)).await? {
                return Ok(created(repository, &digest));
            }
        }
    }
    let whole = query(request, "digest").map(|digest| parse(&digest)).transpose()?;
    let id = registry.store.begin_upload(repository).await?;
    let Some(digest) = whole else {
        return Ok(accepted(repository, &id, 0));
    };
    append(registry, repository, &id, body).await?;
    registry.store.finish_upload(repository, &id, &digest).await?;
    Ok(created(repository, &digest))
}

/// `GET`, `PATCH`, `PUT` and `DELETE` of an upload under way.
pub(super) async fn upload(
    registry: &Arc<Registry>,
    repository: &str,
    id: &str,
    request: &Parts,
    body: Body,
) -> Result<Response, Failure> {
    match request.method {
        Method::GET => {
            let length = registry.store.upload(repository, id).await?.lock().await.length();
            let mut response = accepted(repository, id, length);
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        Method::PATCH => {
            if let Err(error) = check_place(registry, repository, id, &request.headers).await {
                return out_of_order(registry, repository, id, error).await;
            }
            let length = append(registry, repository, id, body).await?;
            Ok(accepted(repository, id, length))
        }
        Method::PUT => {
            let digest = query(request, "digest")
                .ok_or_else(|| Failure::new(Code::DigestInvalid, "the parameter digest is missing"))?;
            let digest = parse(&digest)?;
            if let Err(error) = check_place(registry, repository, id, &request.headers).await {
                return out_of_order(registry, repository, id, error).await;
            }
            append(registry, repository, id, body).await?;
            registry.store.finish_upload(repository, id, &digest).await?;
            Ok(created(repository, &digest))
        }
        Method::DELETE => {
            registry.store.cancel_upload(repository, id).await?;
            Ok(empty(StatusCode::NO_CONTENT, &[]))
        }
        _ => Err(method_not_allowed()),
    }
}

/// A chunk that says where it begins has to begin where the upload ends.
async fn check_place(
    registry: &Arc<Registry>,
    repository: &str,
    id: &str,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    let Some(value) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let start = value.to_str().ok().and_then(|text| text.trim_start_matches("bytes ").split_once('-'));
    let given = start.and_then(|(start, _)| start.trim().parse::<u64>().ok());
    let given =
        given.ok_or_else(|| Failure::new(Code::BlobUploadInvalid, "Content-Range is not <start>-<end>"))?;
    let held = registry.store.upload(repository, id).await?.lock().await.length();
    if given == held { Ok(()) } else { Err(StoreError::Range { given, held }.into()) }
}

/// 416 carries where to go on, so it has headers besides the error.
async fn out_of_order(
    registry: &Arc<Registry>,
    repository: &str,
    id: &str,
    failure: Failure,
) -> Result<Response, Failure> {
    if failure.code != Code::RangeInvalid {
        return Err(failure);
    }
    let held = registry.store.upload(repository, id).await?.lock().await.length();
    let mut response = failure.respond("");
    let place = accepted(repository, id, held);
    response.headers_mut().extend(place.headers().clone());
    Ok(response)
}

/// Appends the body and returns how many bytes the upload has.
async fn append(registry: &Arc<Registry>, repository: &str, id: &str, body: Body) -> Result<u64, Failure> {
    let upload = registry.store.upload(repository, id).await?;
    let mut upload = upload.lock().await;
    let mut stream = body.into_data_stream();
    let mut cut = false;
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => upload.append(&chunk).await?,
            Err(_) => {
                cut = true;
                break;
            }
        }
    }
    // What arrived counts even if the connection broke: the client asks where to go on.
    upload.flush().await?;
    if cut {
        return Err(Failure::new(Code::BlobUploadInvalid, "the body ended early"));
    }
    Ok(upload.length())
}

fn accepted(repository: &str, id: &str, length: u64) -> Response {
    empty(
        StatusCode::ACCEPTED,
        &[
            ("location", format!("/v2/{repository}/blobs/uploads/{id}")),
            ("range", format!("0-{}", length.saturating_sub(1))),
            ("docker-upload-uuid", id.to_string()),
        ],
    )
}

fn created(repository: &str, digest: &Digest) -> Response {
    empty(
        StatusCode::CREATED,
        &[
            ("location", format!("/v2/{repository}/blobs/{digest}")),
            ("docker-content-digest", digest.to_string()),
        ],
    )
}

fn parse(digest: &str) -> Result<Digest, Failure> {
    digest
        .parse()
        .map_err(|error: crate::digest::DigestError| Failure::new(Code::DigestInvalid, error.to_string()))
}

/// Start and length of the one range that is asked for. Several ranges, and forms not understood, give the whole.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, Failure> {
    let Some(text) = headers.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let Some((start, end)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = match (start.trim().parse::<u64>(), end.trim().parse::<u64>()) {
        (Ok(start), Ok(end)) => (start, end.min(size.saturating_sub(1))),
        (Ok(start), Err(_)) if end.trim().is_empty() => (start, size.saturating_sub(1)),
        (Err(_), Ok(count)) if start.trim().is_empty() => {
            (size.saturating_sub(count), size.saturating_sub(1))
        }
        _ => return Ok(None),
    };
    if first >= size || first > last {
        return Err(Failure::new(Code::RangeInvalid, format!("the blob has {size} bytes")));
    }
    Ok(Some((first, last - first + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_http() {
        let check = |text: &str, expected: Result<Option<(u64, u64)>, ()>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().unwrap());
            assert_eq!(range(&headers, 10).map_err(|_| ()), expected, "{text}");
        };
        check("bytes=0-3", Ok(Some((0, 4))));
        check("bytes=4-", Ok(Some((4, 6))));
        check("bytes=-3", Ok(Some((7, 3))));
        check("bytes=8-99", Ok(Some((8, 2))));
        check("bytes=10-", Err(()));
        check("bytes=5-2", Err(()));
        check("bytes=0-1,4-5", Ok(None));
        check("lines=1-2", Ok(None));
    }
}
