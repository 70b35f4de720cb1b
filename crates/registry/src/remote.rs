//! Pull-through: what this registry does not have, it asks of the registry that an image is named after, and keeps.
//!
//! Tags are looked up anew each time; if the other side does not answer, the one seen last is given. Content is kept in
//! the repository `<host>/<name>`, so that it never mixes with what was pushed here.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use crate::client::{Auth, Client, ClientError, Location};
use crate::digest::Digest;
use crate::image::AnyManifest;
use crate::reference::Reference;
use crate::store::{Store, StoreError, StoredManifest};

/// A registry that did not answer is not asked again for this long: a build asks for many things in a row.
pub const QUIET_TIME: Duration = Duration::from_secs(30);
/// The longest wait for a manifest, all redirects and tokens included.
pub const MANIFEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// Nobody could say whether the image exists.
    #[error("{0}")]
    Unavailable(String),
    #[error("{0} is not a registry that may be asked")]
    Forbidden(String),
    #[error("asking {registry}")]
    Client {
        registry: String,
        #[source]
        source: ClientError,
    },
    #[error("keeping what {registry} gave")]
    Store {
        registry: String,
        #[source]
        source: StoreError,
    },
}

/// The registries behind this one.
pub struct Remote {
    client: Client,
    offline: bool,
    store: Arc<Store>,
    /// Registries that are asked at another address than their own.
    upstreams: HashMap<String, String>,
    /// When each registry failed to answer.
    silent: Mutex<HashMap<String, Instant>>,
}

impl Remote {
    /// # Errors
    /// No HTTP client can be made on this machine.
    pub fn new(store: Arc<Store>, offline: bool) -> Result<Remote, ClientError> {
        let client = Client::new()?;
        Ok(Remote { client, offline, store, upstreams: HashMap::new(), silent: Mutex::new(HashMap::new()) })
    }

    /// Asks for images of `registry` at `base` (`https://proxy.example.com`).
    pub fn redirect(&mut self, registry: &str, base: &str) {
        self.upstreams.insert(registry.to_string(), base.trim_end_matches('/').to_string());
    }

    fn location(&self, registry: &str, repository: &str) -> Location {
        let (host, repository) = (registry.to_string(), repository.to_string());
        let own = Location::of(&Reference { registry: host, repository, tag: None, digest: None });
        match self.upstreams.get(registry) {
            Some(base) => Location { base: base.clone(), ..own },
            None => own,
        }
    }

    /// The manifest of `repository` on `registry` (`docker.io`).
    pub async fn manifest(
        &self,
        registry: &str,
        repository: &str,
        reference: &str,
    ) -> Result<StoredManifest, RemoteError> {
        let kept = kept_in(registry, repository)?;
        let failed = |source| RemoteError::Store { registry: registry.to_string(), source };
        let known = self.store.manifest(&kept, reference).map_err(failed)?;
        if let Some(known) = &known
            && reference.parse::<Digest>().is_ok()
        {
            return Ok(known.clone());
        }
        match self.fetch_manifest(registry, repository, reference, &kept).await {
            Err(RemoteError::Unavailable(reason)) => known.ok_or(RemoteError::Unavailable(reason)),
            done => done,
        }
    }

    async fn fetch_manifest(
        &self,
        registry: &str,
        repository: &str,
        reference: &str,
        kept: &str,
    ) -> Result<StoredManifest, RemoteError> {
        self.may_ask(registry)?;
        let at = self.location(registry, repository);
        let asked =
            tokio::time::timeout(MANIFEST_TIMEOUT, self.client.manifest(&at, reference, &Auth::None)).await;
        let fetched = match asked {
            Ok(answer) => answer.map_err(|error| self.judge(registry, error))?,
            Err(_) => return Err(self.silence(registry)),
        };
        let tag = reference.parse::<Digest>().is_err().then_some(reference);
        let failed = |source| RemoteError::Store { registry: registry.to_string(), source };
        // Its parts are fetched when somebody asks for them.
        let put = self.store.put_manifest(kept, tag, &fetched.media_type, &fetched.bytes, &[], None);
        put.map_err(failed)?;
        let bytes = fetched.bytes.to_vec();
        // Only what is understood is passed on.
        let parsed = AnyManifest::parse(&bytes).map_err(|error| RemoteError::Client {
            registry: registry.to_string(),
            source: ClientError::Protocol { base: at.base.clone(), message: error.to_string() },
        });
        parsed.map(|_| StoredManifest { media_type: fetched.media_type, digest: fetched.digest, bytes })
    }

    /// A blob of `repository` on `registry`: where it is now, and its size.
    pub async fn blob(
        &self,
        registry: &str,
        repository: &str,
        digest: &Digest,
    ) -> Result<(PathBuf, u64), RemoteError> {
        let kept = kept_in(registry, repository)?;
        let failed = |source| RemoteError::Store { registry: registry.to_string(), source };
        if let Some(found) = self.store.blob(&kept, digest).map_err(failed)? {
            return Ok(found);
        }
        self.may_ask(registry)?;
        let at = self.location(registry, repository);
        let answer = self.client.blob_stream(&at, digest, &Auth::None).await;
        let mut body = answer.map_err(|error| self.judge(registry, error))?.bytes_stream();
        let id = self.store.begin_upload(&kept).await.map_err(failed)?;
        let upload = self.store.upload(&kept, &id).await.map_err(failed)?;
        while let Some(chunk) = body.next().await {
            let appended = match chunk {
                Ok(chunk) => upload.lock().await.append(&chunk).await.map_err(failed),
                Err(source) => Err(self.judge(
                    registry,
                    ClientError::Unreachable { base: at.base.clone(), source: Some(source.without_url()) },
                )),
            };
            if let Err(error) = appended {
                let _ = self.store.cancel_upload(&kept, &id).await;
                return Err(error);
            }
        }
        self.store.finish_upload(&kept, &id, digest).await.map_err(failed)?;
        let found = self.store.blob(&kept, digest).map_err(failed)?;
        found.ok_or_else(|| RemoteError::Unavailable(format!("the blob {digest} was removed")))
    }

    fn may_ask(&self, registry: &str) -> Result<(), RemoteError> {
        if self.offline {
            return Err(RemoteError::Unavailable("offline".to_string()));
        }
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match silent.get(registry) {
            Some(at) if at.elapsed() < QUIET_TIME => {
                Err(RemoteError::Unavailable(format!("{registry} does not answer")))
            }
            _ => Ok(()),
        }
    }

    fn judge(&self, registry: &str, error: ClientError) -> RemoteError {
        if error.is_unavailable() {
            return self.silence(registry);
        }
        RemoteError::Client { registry: registry.to_string(), source: error }
    }

    fn silence(&self, registry: &str) -> RemoteError {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.insert(registry.to_string(), Instant::now());
        RemoteError::Unavailable(format!("{registry} does not answer"))
    }
}

/// The repository in which content of another registry is kept. Only public-looking host names are asked: a name on this
/// machine or an address would let a caller reach what only this machine can.
fn kept_in(registry: &str, repository: &str) -> Result<String, RemoteError> {
    let forbidden = || RemoteError::Forbidden(registry.to_string());
    let parsed: Reference = format!("{registry}/{repository}").parse().map_err(|_| forbidden())?;
    let host = registry.split(':').next().unwrap_or_default();
    let address = host.bytes().all(|b| b.is_ascii_digit() || b == b'.') || host.starts_with('[');
    if address || !host.contains('.') || host.ends_with(".localhost") || parsed.registry != registry {
        return Err(forbidden());
    }
    Ok(format!("{}/{repository}", registry.to_lowercase().replace(':', "__")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_registries_elsewhere_are_asked() {
        let check = |registry: &str, expected: Option<&str>| {
            assert_eq!(kept_in(registry, "library/node").ok().as_deref(), expected, "{registry}");
        };
        check("docker.io", Some("docker.io/library/node"));
        check("registry.example.com:5000", Some("registry.example.com__5000/library/node"));
        for refused in
            ["localhost", "localhost:7007", "127.0.0.1", "10.0.0.1:80", "[::1]:80", "metadata", "a.localhost"]
        {
            check(refused, None);
        }
        check("docker.io/x", None);
        check("", None);
    }
}
