//! The distribution protocol as clients speak it, over a real listener.

#![allow(clippy::unwrap_used, reason = "in a test, whatever goes wrong ends it")]

use std::path::Path;
use std::sync::Arc;

use identity::{Claims, Keyring};
use registry::client::{Auth, Client, Content, Location};
use registry::digest::Digest;
use registry::image::OCI_MANIFEST;
use registry::{Access, Options, Registry};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

struct Server {
    base: String,
    keyring: Keyring,
    http: reqwest::Client,
}

impl Server {
    async fn start(dir: &Path) -> Server {
        Client::new().unwrap();
        let keyring = Keyring::from_bytes(&[1; 32]);
        let options = Options { access: Access::Keyring(Box::new(keyring.clone())), offline: true };
        let registry = Arc::new(Registry::open(dir, options).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = registry.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server { base, keyring, http: reqwest::Client::new() }
    }

    fn token(&self, scopes: &[&str]) -> String {
        self.keyring.sign(&Claims {
            subject: "sasha".into(),
            name: "Sasha".into(),
            email: "sasha@example.com".into(),
            groups: vec![],
            scopes: scopes.iter().map(ToString::to_string).collect(),
            expires_at_s: None,
        })
    }

    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("http") { path.to_string() } else { format!("{}{path}", self.base) };
        self.http.request(method, url).bearer_auth(self.token(&["registry:platform/*:admin"]))
    }

    async fn push_blob(&self, repository: &str, content: &'static str) -> Digest {
        let digest = Digest::of(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.ask(Method::POST, &path).body(content).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        digest
    }

    async fn push_image(&self, repository: &str, tag: &str, config: &'static str) -> reqwest::Response {
        let digest = self.push_blob(repository, config).await;
        let manifest = image(&digest, config.len());
        let path = format!("/v2/{repository}/manifests/{tag}");
        let put = self.ask(Method::PUT, &path).header("content-type", OCI_MANIFEST);
        put.body(manifest.to_string()).send().await.unwrap()
    }
}

fn image(config: &Digest, size: usize) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size },
    })
}

async fn code_of(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap_or_default();
    (status, body["errors"][0]["code"].as_str().unwrap_or_default().to_string())
}

#[tokio::test]
async fn a_blob_is_uploaded_in_chunks_and_read_in_ranges() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let begun = server.ask(Method::POST, "/v2/platform/x/blobs/uploads/").send().await.unwrap();
    assert_eq!(begun.status(), StatusCode::ACCEPTED);
    let place = begun.headers()["location"].to_str().unwrap().to_string();
    let chunk = |range: &'static str, text: &'static str| {
        server.ask(Method::PATCH, &place).header("content-range", range).body(text).send()
    };
    assert_eq!(chunk("0-4", "hello").await.unwrap().headers()["range"], "0-4");
    let wrong = chunk("9-10", "xx").await.unwrap();
    assert_eq!((wrong.status().as_u16(), wrong.headers()["range"].to_str().unwrap()), (416, "0-4"));
    let status = server.ask(Method::GET, &place).send().await.unwrap();
    assert_eq!((status.status().as_u16(), status.headers()["range"].to_str().unwrap()), (204, "0-4"));
    assert_eq!(chunk("5-10", " world").await.unwrap().status(), StatusCode::ACCEPTED);
    let digest = Digest::of("hello world");
    let done = server.ask(Method::PUT, &format!("{place}?digest={digest}")).send().await.unwrap();
    assert_eq!(done.status(), StatusCode::CREATED);
    let path = format!("/v2/platform/x/blobs/{digest}");
    let part = server.ask(Method::GET, &path).header("range", "bytes=6-").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap().as_str()), (206, "world"));
    let head = server.ask(Method::HEAD, &path).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], "11");
    assert_eq!(server.ask(Method::DELETE, &path).send().await.unwrap().status(), StatusCode::ACCEPTED);
    let gone = server.ask(Method::GET, &path).send().await.unwrap();
    assert_eq!(code_of(gone).await, (404, "BLOB_UNKNOWN".to_string()));
}

#[tokio::test]
async fn wrong_content_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let digest = Digest::of("good");
    let path = format!("/v2/platform/x/blobs/uploads/?digest={digest}");
    let bad = server.ask(Method::POST, &path).body("bad").send().await.unwrap();
    assert_eq!(code_of(bad).await, (400, "DIGEST_INVALID".to_string()));
    let manifest = |body: String| {
        let put = server.ask(Method::PUT, "/v2/platform/x/manifests/v1");
        put.header("content-type", OCI_MANIFEST).body(body).send()
    };
    let missing = manifest(image(&digest, 4).to_string()).await.unwrap();
    assert_eq!(code_of(missing).await, (404, "MANIFEST_BLOB_UNKNOWN".to_string()));
    let broken = manifest("{".to_string()).await.unwrap();
    assert_eq!(code_of(broken).await, (400, "MANIFEST_INVALID".to_string()));
    let unknown = server.ask(Method::GET, "/v2/platform/x/manifests/v1").send().await.unwrap();
    assert_eq!(code_of(unknown).await, (404, "MANIFEST_UNKNOWN".to_string()));
    let name = server.ask(Method::POST, "/v2/platform/UPPER/blobs/uploads/").send().await.unwrap();
    assert_eq!(code_of(name).await, (400, "NAME_INVALID".to_string()));
}

#[tokio::test]
async fn a_tag_of_a_commit_stays_and_latest_moves() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for tag in ["sha-1a2b3c4", "latest"] {
        assert_eq!(server.push_image("platform/x", tag, "{}").await.status(), StatusCode::CREATED);
    }
    let digest = async |tag: &str| {
        let answer =
            server.ask(Method::HEAD, &format!("/v2/platform/x/manifests/{tag}")).send().await.unwrap();
        answer.headers()["docker-content-digest"].to_str().unwrap().to_string()
    };
    assert_eq!(digest("sha-1a2b3c4").await, digest("latest").await);
    let refused = server.push_image("platform/x", "sha-1a2b3c4", "{ }").await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let text = refused.text().await.unwrap();
    assert!(text.contains("DENIED") && text.contains("tag sha-1a2b3c4 of platform/x is immutable"), "{text}");
    assert_eq!(server.push_image("platform/x", "latest", "{ }").await.status(), StatusCode::CREATED);
    assert_ne!(digest("sha-1a2b3c4").await, digest("latest").await);
    assert_eq!(server.push_image("platform/x", "sha-1a2b3c4", "{}").await.status(), StatusCode::CREATED);
}

#[tokio::test]
async fn tags_and_repositories_come_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    for tag in ["c", "a", "b"] {
        server.push_image("platform/x", tag, "{}").await;
    }
    server.push_image("platform/y/z", "a", "{}").await;
    let first = server.ask(Method::GET, "/v2/platform/x/tags/list?n=2").send().await.unwrap();
    let link = first.headers()["link"].to_str().unwrap().to_string();
    assert_eq!(first.json::<Value>().await.unwrap(), json!({ "name": "platform/x", "tags": ["a", "b"] }));
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let second = server.ask(Method::GET, next).send().await.unwrap();
    assert!(second.headers().get("link").is_none());
    assert_eq!(second.json::<Value>().await.unwrap()["tags"], json!(["c"]));
    let catalog = server.ask(Method::GET, "/v2/_catalog").send().await.unwrap();
    let expected = json!({ "repositories": ["platform/x", "platform/y/z"] });
    assert_eq!(catalog.json::<Value>().await.unwrap(), expected);
}

#[tokio::test]
async fn referrers_name_what_was_attached() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let pushed = server.push_image("platform/x", "v1", "{}").await;
    let subject = pushed.headers()["docker-content-digest"].to_str().unwrap().to_string();
    let mut signature = image(&Digest::of("{}"), 2);
    signature["artifactType"] = json!("application/vnd.example.signature");
    signature["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
    let text = signature.to_string();
    let path = format!("/v2/platform/x/manifests/{}", Digest::of(&text));
    let put =
        server.ask(Method::PUT, &path).header("content-type", OCI_MANIFEST).body(text).send().await.unwrap();
    assert_eq!(
        (put.status().as_u16(), put.headers()["oci-subject"].to_str().unwrap()),
        (201, subject.as_str())
    );
    let list = async |filter: &str| {
        let path = format!("/v2/platform/x/referrers/{subject}{filter}");
        let index: Value = server.ask(Method::GET, &path).send().await.unwrap().json().await.unwrap();
        index["manifests"].as_array().unwrap().len()
    };
    assert_eq!(list("").await, 1);
    assert_eq!(list("?artifactType=application%2Fvnd.example.signature").await, 1);
    assert_eq!(list("?artifactType=other").await, 0);
}

#[tokio::test]
async fn only_the_scopes_of_the_token_count() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    server.push_image("platform/x", "v1", "{}").await;
    let url = format!("{}/v2/platform/x/manifests/v1", server.base);
    let anonymous = server.http.get(&url).send().await.unwrap();
    let challenge = anonymous.headers()["www-authenticate"].to_str().unwrap().to_string();
    assert_eq!(challenge, format!("Bearer realm=\"{}/v2/token\",service=\"portolan\"", server.base));
    assert_eq!(code_of(anonymous).await, (401, "UNAUTHORIZED".to_string()));
    let reader = server.token(&["registry:platform/x:pull"]);
    assert_eq!(server.http.get(&url).bearer_auth(&reader).send().await.unwrap().status(), StatusCode::OK);
    let put = server.http.put(&url).bearer_auth(&reader).body("{}").send().await.unwrap();
    assert_eq!(code_of(put).await, (403, "DENIED".to_string()));
    let other = server.token(&["registry:platform/y:push"]);
    assert_eq!(code_of(server.http.get(&url).bearer_auth(other).send().await.unwrap()).await.0, 403);
    // Through the token endpoint, as docker does: no more than the person has.
    let wanted = format!("{}/v2/token?service=portolan&scope=repository:platform/x:pull,push", server.base);
    let given = server.http.get(&wanted).basic_auth("sasha", Some(&reader)).send().await.unwrap();
    let short = given.json::<Value>().await.unwrap()["token"].as_str().unwrap().to_string();
    assert_eq!(server.keyring.verify(&short).unwrap().scopes, ["registry:platform/x:pull"]);
    let bad = server.http.get(&wanted).basic_auth("sasha", Some("wrong")).send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_blob_is_mounted_only_by_those_who_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let digest = server.push_blob("platform/x", "layer").await;
    let url = format!("{}/v2/platform/y/blobs/uploads/?mount={digest}&from=platform/x", server.base);
    let mount = async |scopes: &[&str]| {
        let answer = server.http.post(&url).bearer_auth(server.token(scopes)).send().await.unwrap();
        answer.status().as_u16()
    };
    assert_eq!(mount(&["registry:platform/y:push"]).await, 202);
    assert_eq!(mount(&["registry:platform/y:push", "registry:platform/x:pull"]).await, 201);
}

#[tokio::test]
async fn the_client_pushes_what_it_then_pulls() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let client = Client::new().unwrap();
    let at = Location { base: server.base.clone(), repository: "platform/z".into(), namespace: None };
    let token = server.token(&["registry:platform/z:push"]);
    let basic = Auth::Basic { user: "sasha".into(), password: token.clone() };
    let file = dir.path().join("content");
    std::fs::write(&file, "{}").unwrap();
    let digest = Digest::of("{}");
    for auth in [&basic, &Auth::Token(token)] {
        client.push_blob(&at, &digest, &Content::File(file.clone()), None, auth).await.unwrap();
        let manifest = bytes::Bytes::from(image(&digest, 2).to_string());
        client.push_manifest(&at, "v1", OCI_MANIFEST, &manifest, auth).await.unwrap();
        let pulled = client.manifest(&at, "v1", auth).await.unwrap();
        assert_eq!((pulled.bytes, pulled.media_type.as_str()), (manifest, OCI_MANIFEST));
    }
    let nobody = client.manifest(&at, "v1", &Auth::None).await.unwrap_err();
    assert!(!nobody.is_unavailable(), "{nobody}");
    let elsewhere = Location { repository: "library/node".into(), ..at };
    let token = Auth::Token(server.token(&["registry:library/*:pull"]));
    let offline = client.manifest(&elsewhere, "20-slim", &token).await.unwrap_err();
    assert!(offline.is_unavailable() && offline.to_string().contains("offline"), "{offline}");
}
