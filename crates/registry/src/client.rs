//! The other side of the registry protocol: manifests and blobs from and to any OCI registry.
//!
//! Authentication follows the registry's own challenge (`WWW-Authenticate`): basic, or a bearer token from the realm it
//! names (distribution's token specification).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, StatusCode, header};
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use crate::digest::{Digest, Hasher};
use crate::image::{Descriptor, MANIFEST_TYPES};
use crate::reference::{DEFAULT_REGISTRY, Reference};
use crate::store::{MAX_BLOB_BYTES, MAX_MANIFEST_BYTES};

/// A registry that does not accept a connection in this time does not answer.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest silence in the middle of an answer.
pub const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest error or token answer that is read.
const MAX_SMALL_ANSWER_BYTES: usize = 1 << 20;

/// Tokens kept for the next request.
const MAX_TOKENS: usize = 1000;

/// How to prove who asks.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    /// A token of Portolan's own identity.
    Token(String),
}

impl Auth {
    /// Tells credentials apart without naming them, so that nobody gets another one's token.
    fn fingerprint(&self) -> String {
        match self {
            Auth::None => String::new(),
            Auth::Basic { user, password } => Digest::of(format!("{user}\0{password}")).to_string(),
            Auth::Token(token) => Digest::of(token).to_string(),
        }
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Auth::None => "Auth::None",
            Auth::Basic { .. } => "Auth::Basic(…)",
            Auth::Token(_) => "Auth::Token(…)",
        })
    }
}

/// A repository on a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `http://127.0.0.1:7007`, `https://registry-1.docker.io`: without a slash at the end.
    pub base: String,
    pub repository: String,
    /// The registry the image is named after, if `base` only stands in front of it (containerd's `ns` parameter).
    pub namespace: Option<String>,
}

impl Location {
    /// The registry that the reference names. Loopback hosts are spoken to without TLS, as Docker does.
    pub fn of(reference: &Reference) -> Location {
        let host = reference.registry.as_str();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let loopback = name == "localhost"
            || name.ends_with(".localhost")
            || name.starts_with("127.")
            || name == "[::1]";
        let base = match host {
            DEFAULT_REGISTRY => "https://registry-1.docker.io".to_string(),
            _ if loopback => format!("http://{host}"),
            _ => format!("https://{host}"),
        };
        Location { base, repository: reference.repository.clone(), namespace: None }
    }

    fn url(&self, rest: &str) -> String {
        let namespace = self.namespace.as_ref().map(|ns| format!("?ns={ns}")).unwrap_or_default();
        format!("{}/v2/{}/{rest}{namespace}", self.base, self.repository)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the registry {base} does not answer")]
    Unreachable {
        base: String,
        #[source]
        source: Option<reqwest::Error>,
    },
    #[error("{what} is not in the registry {base}")]
    NotFound { base: String, what: String },
    #[error("the registry {base} refuses {what}: {message}")]
    Denied { base: String, what: String, message: String },
    #[error("the registry {base} answers {status} to {what}: {message}")]
    Status { base: String, what: String, status: StatusCode, message: String },
    #[error("{what} has digest {actual}, not {wanted}")]
    Mismatch { what: String, wanted: Digest, actual: Digest },
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: String, limit: u64 },
    #[error(
        "the registry {base} asks for credentials to be sent to {realm}, which is another host without TLS"
    )]
    Realm { base: String, realm: String },
    #[error("the registry {base} gave an answer that is not understood: {message}")]
    Protocol { base: String, message: String },
    #[error("file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
}

impl ClientError {
    /// Whether nobody could say if the image exists: no connection, no time, an overloaded or offline registry.
    pub fn is_unavailable(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } => true,
            ClientError::Status { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            _ => false,
        }
    }
}

/// A manifest as the registry sent it.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub media_type: String,
    pub digest: Digest,
    pub bytes: Bytes,
}

/// Content for an upload.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Bytes),
    File(PathBuf),
}

/// A client of registries; holds tokens until they expire.
pub struct Client {
    http: reqwest::Client,
    tokens: Mutex<HashMap<String, (String, Instant)>>,
}

impl Client {
    /// # Errors
    /// The TLS roots of this machine cannot be read.
    pub fn new() -> Result<Client, ClientError> {
        // The provider is chosen once per process; a second choice of the same is no error.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("portolan/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(ClientError::Client)?;
        Ok(Client { http, tokens: Mutex::new(HashMap::new()) })
    }

    /// The manifest under a tag or digest; a digest is verified.
    pub async fn manifest(
        &self,
        at: &Location,
        reference: &str,
        auth: &Auth,
    ) -> Result<Fetched, ClientError> {
        let url = at.url(&format!("manifests/{reference}"));
        let accept = MANIFEST_TYPES.join(", ");
        let response =
            self.send(at, "pull", auth, || Ok(self.http.get(&url).header(header::ACCEPT, &accept))).await?;
        let what = format!("{}:{reference}", at.repository);
        let response = good(at, response, &what).await?;
        let media_type = header_text(response.headers(), header::CONTENT_TYPE.as_str());
        let bytes = small(at, response, MAX_MANIFEST_BYTES, &what).await?;
        let digest = Digest::of(&bytes);
        if let Ok(wanted) = reference.parse::<Digest>()
            && wanted != digest
        {
            return Err(ClientError::Mismatch { what, wanted, actual: digest });
        }
        Ok(Fetched { media_type, digest, bytes })
    }

    /// Writes a blob to `file` (made, or replaced), verifying digest and size while it streams.
    pub async fn blob(
        &self,
        at: &Location,
        blob: &Descriptor,
        auth: &Auth,
        file: &Path,
    ) -> Result<(), ClientError> {
        let failed = |source| ClientError::File { path: file.to_path_buf(), source };
        let mut out = tokio::fs::File::create(file).await.map_err(failed)?;
        let mut hasher = Hasher::new();
        let mut body = self.blob_stream(at, &blob.digest, auth).await?.bytes_stream();
        let what = format!("{}@{}", at.repository, blob.digest);
        let limit = if blob.size == 0 { MAX_BLOB_BYTES } else { blob.size };
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|source| unreachable(at, source))?;
            hasher.update(&chunk);
            if hasher.length() > limit {
                return Err(ClientError::TooLarge { what, limit });
            }
            out.write_all(&chunk).await.map_err(failed)?;
        }
        out.flush().await.map_err(failed)?;
        let actual = hasher.finish();
        if actual != blob.digest {
            return Err(ClientError::Mismatch { what, wanted: blob.digest.clone(), actual });
        }
        Ok(())
    }

    /// The answer that carries a blob, not yet verified.
    pub async fn blob_stream(
        &self,
        at: &Location,
        digest: &Digest,
        auth: &Auth,
    ) -> Result<Response, ClientError> {
        let url = at.url(&format!("blobs/{digest}"));
        let response = self.send(at, "pull", auth, || Ok(self.http.get(&url))).await?;
        good(at, response, &format!("{}@{digest}", at.repository)).await
    }

    /// Uploads a blob unless the repository has it, or gets it from the repository `from` on the same registry.
    pub async fn push_blob(
        &self,
        at: &Location,
        digest: &Digest,
        content: &Content,
        from: Option<&str>,
        auth: &Auth,
    ) -> Result<(), ClientError> {
        let what = format!("{}@{digest}", at.repository);
        let url = at.url(&format!("blobs/{digest}"));
        let head = self.send(at, "pull,push", auth, || Ok(self.http.head(&url))).await?;
        if head.status().is_success() {
            return Ok(());
        }
        let mount = from.map(|from| format!("?mount={digest}&from={from}")).unwrap_or_default();
        let url = format!("{}{mount}", at.url("blobs/uploads/"));
        let begun = self.send(at, "pull,push", auth, || Ok(self.http.post(&url))).await?;
        let begun = good(at, begun, &what).await?;
        if begun.status() == StatusCode::CREATED {
            return Ok(());
        }
        let location = header_text(begun.headers(), header::LOCATION.as_str());
        let protocol = |message: String| ClientError::Protocol { base: at.base.clone(), message };
        let base = Url::parse(&at.base).map_err(|error| protocol(error.to_string()))?;
        let mut target =
            base.join(&location).map_err(|error| protocol(format!("Location {location:?}: {error}")))?;
        target.query_pairs_mut().append_pair("digest", &digest.to_string());
        let put = || {
            let body = body_of(content)?;
            let request =
                self.http.put(target.clone()).header(header::CONTENT_TYPE, "application/octet-stream");
            Ok(request.header(header::CONTENT_LENGTH, body.1).body(body.0))
        };
        let done = self.send(at, "pull,push", auth, put).await?;
        good(at, done, &what).await.map(|_| ())
    }

    /// Stores a manifest under a tag or its digest.
    pub async fn push_manifest(
        &self,
        at: &Location,
        reference: &str,
        media_type: &str,
        bytes: &Bytes,
        auth: &Auth,
    ) -> Result<(), ClientError> {
        let url = at.url(&format!("manifests/{reference}"));
        let put = || Ok(self.http.put(&url).header(header::CONTENT_TYPE, media_type).body(bytes.clone()));
        let done = self.send(at, "pull,push", auth, put).await?;
        good(at, done, &format!("{}:{reference}", at.repository)).await.map(|_| ())
    }

    /// Sends a request; after a challenge, once more with what it asks for.
    async fn send(
        &self,
        at: &Location,
        actions: &str,
        auth: &Auth,
        build: impl Fn() -> Result<RequestBuilder, ClientError>,
    ) -> Result<Response, ClientError> {
        let key = format!("{} {} {actions} {}", at.base, at.repository, auth.fingerprint());
        let request = match (self.token(&key), auth) {
            (Some(token), _) => build()?.bearer_auth(token),
            (None, Auth::Token(token)) => build()?.bearer_auth(token),
            (None, _) => build()?,
        };
        let response = request.send().await.map_err(|source| unreachable(at, source))?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let Some(challenge) = Challenge::of(response.headers()) else { return Ok(response) };
        let request = match (challenge, auth) {
            (Challenge::Basic, Auth::Basic { user, password }) => build()?.basic_auth(user, Some(password)),
            (Challenge::Basic, Auth::Token(token)) => build()?.basic_auth("token", Some(token)),
            (Challenge::Basic, Auth::None) => return Ok(response),
            (Challenge::Bearer { realm, service, scope }, auth) => {
                let scope = scope.unwrap_or_else(|| format!("repository:{}:{actions}", at.repository));
                let token = self.fetch_token(at, &realm, service.as_deref(), &scope, auth, &key).await?;
                build()?.bearer_auth(token)
            }
        };
        request.send().await.map_err(|source| unreachable(at, source))
    }

    fn token(&self, key: &str) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(key).filter(|(_, until)| *until > Instant::now()).map(|(token, _)| token.clone())
    }

    async fn fetch_token(
        &self,
        at: &Location,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        auth: &Auth,
        key: &str,
    ) -> Result<String, ClientError> {
        let protocol = |message: String| ClientError::Protocol { base: at.base.clone(), message };
        let mut url = Url::parse(realm).map_err(|error| protocol(format!("realm {realm:?}: {error}")))?;
        let own = Url::parse(&at.base).is_ok_and(|base| base.origin() == url.origin());
        if !own && url.scheme() != "https" && *auth != Auth::None {
            return Err(ClientError::Realm { base: at.base.clone(), realm: realm.to_string() });
        }
        url.query_pairs_mut()
            .extend_pairs(service.map(|service| ("service", service)))
            .append_pair("scope", scope);
        let request = self.http.get(url);
        let request = match auth {
            Auth::None => request,
            Auth::Basic { user, password } => request.basic_auth(user, Some(password)),
            Auth::Token(token) => request.basic_auth("token", Some(token)),
        };
        let response = request.send().await.map_err(|source| unreachable(at, source))?;
        let response = good(at, response, &format!("a token for {scope}")).await?;
        let bytes = small(at, response, MAX_SMALL_ANSWER_BYTES, "the token").await?;
        let answer: TokenAnswer =
            serde_json::from_slice(&bytes).map_err(|error| protocol(format!("token: {error}")))?;
        let token = answer.token.or(answer.access_token).ok_or_else(|| protocol("no token".to_string()))?;
        // A little less than promised, at least what the token specification calls the shortest.
        let seconds = answer.expires_in.unwrap_or(60).saturating_sub(10).max(10);
        let until = Instant::now() + Duration::from_secs(seconds);
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MAX_TOKENS {
            tokens.retain(|_, (_, until)| *until > Instant::now());
        }
        if tokens.len() < MAX_TOKENS {
            tokens.insert(key.to_string(), (token.clone(), until));
        }
        Ok(token)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

#[derive(Debug, PartialEq)]
enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    fn of(headers: &HeaderMap) -> Option<Challenge> {
        let all = headers.get_all(header::WWW_AUTHENTICATE);
        all.iter().filter_map(|value| value.to_str().ok()).find_map(Challenge::parse)
    }

    fn parse(text: &str) -> Option<Challenge> {
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut values = HashMap::new();
        let mut rest = rest.trim();
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(',').unwrap_or((after, "")),
            };
            values.insert(name.trim().to_ascii_lowercase(), value.to_string());
            rest = after.trim_start_matches([',', ' ']);
        }
        let realm = values.remove("realm")?;
        Some(Challenge::Bearer { realm, service: values.remove("service"), scope: values.remove("scope") })
    }
}

/// Basic credentials as `.docker/config.json` and image pull secrets keep them: base64 of `user:password`.
pub fn decode_docker_auth(encoded: &str) -> Option<Auth> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Auth::Basic { user: user.to_string(), password: password.to_string() })
}

fn body_of(content: &Content) -> Result<(reqwest::Body, u64), ClientError> {
    match content {
        Content::Bytes(bytes) => Ok((bytes.clone().into(), bytes.len() as u64)),
        Content::File(path) => {
            let failed = |source| ClientError::File { path: path.clone(), source };
            let file = std::fs::File::open(path).map_err(failed)?;
            let length = file.metadata().map_err(failed)?.len();
            Ok((tokio::fs::File::from_std(file).into(), length))
        }
    }
}

fn unreachable(at: &Location, source: reqwest::Error) -> ClientError {
    ClientError::Unreachable { base: at.base.clone(), source: Some(source.without_url()) }
}

/// The answer, if it is a success; else what the registry says is wrong.
async fn good(at: &Location, response: Response, what: &str) -> Result<Response, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let (base, what) = (at.base.clone(), what.to_string());
    let text = small(at, response, MAX_SMALL_ANSWER_BYTES, "the error").await.unwrap_or_default();
    let message =
        error_message(&text).unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_string());
    Err(match status {
        StatusCode::NOT_FOUND => ClientError::NotFound { base, what },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ClientError::Denied { base, what, message },
        _ => ClientError::Status { base, what, status, message },
    })
}

fn error_message(body: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    value.pointer("/errors/0/message")?.as_str().map(str::to_string)
}

async fn small(at: &Location, response: Response, limit: usize, what: &str) -> Result<Bytes, ClientError> {
    let mut stream = response.bytes_stream();
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk.map_err(|source| unreachable(at, source))?);
        if all.len() > limit {
            return Err(ClientError::TooLarge { what: what.to_string(), limit: limit as u64 });
        }
    }
    Ok(all.into())
}

fn header_text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let check =
            |text: &str, expected: Option<Challenge>| assert_eq!(Challenge::parse(text), expected, "{text}");
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let (service, scope) = (service.map(str::to_string), scope.map(str::to_string));
            Some(Challenge::Bearer { realm: realm.to_string(), service, scope })
        };
        check("Basic realm=\"x\"", Some(Challenge::Basic));
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:a/b:pull,push"),
            ),
        );
        check("bearer realm=http://x/t, service=y", bearer("http://x/t", Some("y"), None));
        check("Bearer service=\"y\"", None);
        check("Negotiate", None);
    }

    #[test]
    fn a_reference_leads_to_its_registry() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Location::of(&text.parse().unwrap()).base, expected, "{text}");
        };
        check("node", "https://registry-1.docker.io");
        check("localhost:7007/p/x", "http://localhost:7007");
        check("127.0.0.1:5000/p/x", "http://127.0.0.1:5000");
        check("registry.localhost:5000/p/x", "http://registry.localhost:5000");
        check("ghcr.io/p/x", "https://ghcr.io");
    }
}
