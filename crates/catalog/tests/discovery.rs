//! A push to the git host brings entities into the catalog, and takes them out, without anybody's registering them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use catalog::api::EntityRef;
use catalog::{Catalog, Config};
use git::{Change, NewCommit, Repository, Signature};
use http_body_util::BodyExt as _;
use identity::{Claims, Keyring};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const DEADLINE: Duration = Duration::from_secs(20);

struct Fixture {
    _folder: tempfile::TempDir,
    folder: std::path::PathBuf,
    url: String,
    token: String,
    claims: Claims,
    client: reqwest::Client,
    catalog: Catalog,
    stop: CancellationToken,
}

async fn fixture() -> Fixture {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::from_bytes(b"a key for tests, long enough to sign");
    let claims = Claims {
        subject: "priyanka".to_owned(),
        name: "Priyanka".to_owned(),
        email: "priyanka@example.org".to_owned(),
        groups: vec!["platform".to_owned()],
        scopes: vec!["*".to_owned()],
        expires_at_s: None,
    };
    let token = keyring.sign(&claims);
    let options = git::Options { organizations: vec!["platform".to_owned()], ..git::Options::default() };
    let host = git::Host::open(&folder.path().join("git"), keyring, options).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, host.router()).await.unwrap() });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let stop = CancellationToken::new();
    let config = Config {
        client: client.clone(),
        git_url: url.clone(),
        token: token.clone(),
        organization: "platform".to_owned(),
        // Long: what the tests see came by a hint, or by the quick sweeps of the start.
        sweep: Duration::from_secs(3600),
    };
    let catalog = Catalog::start(config, stop.clone());
    tokio::time::timeout(DEADLINE, catalog.ready()).await.unwrap();
    let path = folder.path().to_path_buf();
    Fixture { _folder: folder, folder: path, url, token, claims, client, catalog, stop }
}

impl Fixture {
    async fn create(&self, name: &str) {
        let url = format!("{}/api/v3/orgs/platform/repos", self.url);
        let answer = self
            .client
            .post(url)
            .bearer_auth(&self.token)
            .json(&json!({ "name": name }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 201);
    }

    /// Commits `files` on top of what this fixture pushed before, and pushes.
    async fn push(&self, name: &str, files: &[(&str, Option<&str>)]) {
        let local = Repository::open_or_create(&self.folder.join(format!("local-{name}"))).await.unwrap();
        let changes: BTreeMap<String, Change> = files
            .iter()
            .map(|(path, text)| {
                ((*path).to_owned(), text.map_or(Change::Delete, |text| Change::file(text.to_owned())))
            })
            .collect();
        let author = Signature::now("Priyanka", "priyanka@example.org");
        let parent = local.tip("refs/heads/main").await.unwrap();
        let reference = "refs/heads/main".to_owned();
        let committer = author.clone();
        let new = NewCommit { reference, parent, changes, author, committer, message: "change".to_owned() };
        local.commit(&new).await.unwrap();
        let url = format!("{}/platform/{name}.git", self.url);
        local.push(&url, Some(&self.token), &["refs/heads/main:refs/heads/main"]).await.unwrap();
    }

    /// Waits until the entity is there and `holds`.
    async fn wait(&self, reference: &str, holds: impl Fn(Option<&Value>) -> bool) {
        let reference = EntityRef::parse(reference).unwrap();
        let done = async {
            while !holds(self.catalog.view().get(&reference).map(|entity| &entity.json)) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(DEADLINE, done)
            .await
            .unwrap_or_else(|_| panic!("{reference} did not become so"));
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        signed_in: bool,
    ) -> (StatusCode, Value) {
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let mut request = request.body(body).unwrap();
        if signed_in {
            request.extensions_mut().insert(self.claims.clone());
        }
        let response = self.catalog.routes().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

const WEB: &str = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: web\n  tags: [node]\n\
    spec:\n  type: website\n  lifecycle: production\n  owner: ops\n";
const OPS: &str = "apiVersion: backstage.io/v1alpha1\nkind: Group\nmetadata:\n  name: ops\n\
    spec:\n  type: team\n  children: []\n";
const ALL: &str = "apiVersion: backstage.io/v1alpha1\nkind: Location\nmetadata:\n  name: all\n\
    spec:\n  targets: [./groups/ops.yaml]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_changes_the_catalog_unasked() {
    let fixture = fixture().await;
    fixture.create("web").await;
    let both = format!("{WEB}---\n{ALL}");
    fixture.push("web", &[("catalog-info.yaml", Some(&both)), ("groups/ops.yaml", Some(OPS))]).await;
    // The stream of hints may connect after the push; registering reads at once, as `catalog:register` does.
    let target = format!("{}/platform/web/blob/main/catalog-info.yaml", fixture.url);
    let (status, answer) = fixture
        .call(Method::POST, "/api/catalog/locations", Some(json!({"type": "url", "target": target})), true)
        .await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(answer["entities"][0]["metadata"]["name"], "web");
    fixture
        .wait("group:default/ops", |group| {
            group.is_some_and(|group| {
                group["relations"] == json!([{"type": "ownerOf", "targetRef": "component:default/web"}])
            })
        })
        .await;

    let renamed = both.replace("type: website", "type: service");
    fixture.push("web", &[("catalog-info.yaml", Some(&renamed))]).await;
    let uid = EntityRef::parse("component:default/web").unwrap();
    let refreshed = async {
        while fixture.catalog.view().get(&uid).is_none_or(|web| web.text("spec.type") != "service") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, refreshed).await.unwrap();

    fixture.push("web", &[("catalog-info.yaml", Some("a: ["))]).await;
    fixture
        .wait("component:default/web", |web| {
            web.is_some_and(|web| web["status"]["items"][0]["level"] == "error")
        })
        .await;

    fixture.push("web", &[("catalog-info.yaml", Some(WEB)), ("groups/ops.yaml", None)]).await;
    fixture.wait("group:default/ops", |group| group.is_none()).await;
    fixture.wait("component:default/web", |web| web.is_some_and(|web| web.get("status").is_none())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_answers_in_backstages_shapes() {
    let fixture = fixture().await;
    fixture.create("web").await;
    fixture.push("web", &[("catalog-info.yaml", Some(&format!("{WEB}---\n{OPS}")))]).await;
    fixture.catalog.refresh("platform/web").await.unwrap();
    let get = async |path: &str| fixture.call(Method::GET, path, None, true).await;

    let (status, body) = fixture.call(Method::GET, "/api/catalog/entities", None, false).await;
    assert_eq!((status, &body["error"]["name"]), (StatusCode::UNAUTHORIZED, &json!("AuthenticationError")));

    let (_, body) = get("/api/catalog/entities?filter=kind%3Dcomponent&fields=metadata.name,kind").await;
    assert_eq!(body, json!([{"kind": "Component", "metadata": {"name": "web"}}]));

    let (_, page) =
        get("/api/catalog/entities/by-query?limit=1&orderField=metadata.name,desc&fields=metadata.name")
            .await;
    assert_eq!((&page["items"][0]["metadata"]["name"], &page["totalItems"]), (&json!("web"), &json!(3)));
    let next = page["pageInfo"]["nextCursor"].as_str().unwrap();
    let (_, page) = get(&format!("/api/catalog/entities/by-query?cursor={next}&fields=metadata.name")).await;
    assert_eq!(page["items"][0]["metadata"]["name"], "ops");
    assert!(page["pageInfo"]["prevCursor"].is_string());

    let refs = json!({"entityRefs": ["group:default/ops", "group:default/none"], "fields": ["kind"]});
    let (_, body) = fixture.call(Method::POST, "/api/catalog/entities/by-refs", Some(refs), true).await;
    assert_eq!(body, json!({"items": [{"kind": "Group"}, null]}));

    let (_, facets) = get("/api/catalog/entity-facets?facet=metadata.tags").await;
    assert_eq!(facets, json!({"facets": {"metadata.tags": [{"value": "node", "count": 1}]}}));

    let (_, web) = get("/api/catalog/entities/by-name/component/default/web").await;
    let (_, same) =
        get(&format!("/api/catalog/entities/by-uid/{}", web["metadata"]["uid"].as_str().unwrap())).await;
    assert_eq!(web, same);
    let (_, chain) = get("/api/catalog/entities/by-name/component/default/web/ancestry").await;
    assert_eq!(chain["items"].as_array().unwrap().len(), 2);

    let (status, body) = get("/api/catalog/entities/by-name/component/default/none").await;
    assert_eq!((status, &body["error"]["name"]), (StatusCode::NOT_FOUND, &json!("NotFoundError")));
    assert_eq!(body["request"]["url"], "/api/catalog/entities/by-name/component/default/none");
    assert_eq!(body["response"]["statusCode"], 404);

    let invalid = json!({"entity": {"kind": "Component"}, "location": "url:x"});
    let (status, body) =
        fixture.call(Method::POST, "/api/catalog/validate-entity", Some(invalid), true).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body["errors"][0]["message"].as_str().unwrap().contains("apiVersion"), "{body}");

    let outside =
        json!({"type": "url", "target": "https://example.org/other/web/blob/main/catalog-info.yaml"});
    let (status, _) = fixture.call(Method::POST, "/api/catalog/locations", Some(outside), true).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}
