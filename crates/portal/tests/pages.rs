//! The pages from outside: sign-in, the form key, headers, redirects, and what pages make of answers that were recorded
//! from a platform on which the founding story had been played.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use identity::{Claims, Keyring};
use portal::{Config, Environment, SignInChoice};
use serde_json::{Value, json};
use tower::ServiceExt as _;

const PLATFORM: &str = include_str!("data/platform.json");
const DEV: &str = include_str!("data/dev.json");
const REFUSAL: &str = "must start with a lower-case letter";

/// Requests other than reads that reached the platform's APIs: method, path, body.
type Writes = Arc<Mutex<Vec<(Method, String, Value)>>>;

struct Portal {
    router: Router,
    writes: Writes,
    /// The commit that was recorded with its voyage.
    commit: String,
}

/// One answer, read whole.
struct Page {
    status: StatusCode,
    headers: axum::http::HeaderMap,
    text: String,
}

impl Portal {
    fn new() -> Self {
        let mut platform: Value = serde_json::from_str(PLATFORM).unwrap();
        let answers = &mut platform["answers"];
        // What the home page asks for has the same answers.
        let repositories = answers["/api/v3/orgs/platform/repos?per_page=100"].clone();
        answers["/api/v3/orgs/platform/repos?per_page=100&sort=pushed"] = repositories;
        let owned = json!([answers["/api/catalog/entities/by-name/component/default/dashboard-frontend"]]);
        answers["/api/catalog/entities?limit=500&filter=kind%3Dcomponent%2Crelations.ownedBy%3Dgroup%3Adefault%2Fplatform-team"] =
            owned;
        let writes = Writes::default();
        let cluster = recorded(serde_json::from_str(DEV).unwrap());
        let client = move |_: &Claims| kube::Client::new(cluster.clone(), "default");
        let router = portal::routes(Config {
            keyring: Keyring::from_bytes(&[7; 32]),
            people: vec![SignInChoice {
                role: "Software developer".into(),
                claims: |login| Some(claims(login)),
                login: "sasha".into(),
                name: "Sasha".into(),
            }],
            services: services(platform["answers"].clone(), writes.clone()),
            environments: vec![Environment { name: "dev".into(), client: Arc::new(client) }],
            organisation: "platform".into(),
            base_url: "http://127.0.0.1:7107".into(),
            gateway_url: "http://localhost:8180".into(),
        });
        Self { router, writes, commit: platform["commit"].as_str().unwrap().to_owned() }
    }

    async fn send(&self, request: Request) -> Page {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Page { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    async fn get(&self, path: &str, cookie: &str) -> Page {
        self.send(Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, cookie: &str, form: String) -> Page {
        let request = Request::post(path).header(header::COOKIE, cookie);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(request.body(Body::from(form)).unwrap()).await
    }

    /// Signs Sasha in; the answer is the cookie that a browser would send.
    async fn sign_in(&self) -> String {
        let page = self.post("/sign-in", "", "person=sasha&to=%2Fcatalog".into()).await;
        assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/catalog"));
        let cookie = page.header("set-cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
        cookie.split(';').next().unwrap().to_owned()
    }
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The form key that the page's form carries.
    fn form_key(&self) -> String {
        let (_, rest) = self.text.split_once("name=\"form_key\" value=\"").expect("the page has a form");
        rest.split('"').next().unwrap().to_owned()
    }

    #[track_caller]
    fn says(&self, expected: &[&str]) {
        for text in expected {
            assert!(self.text.contains(text), "{text:?} is missing in {}", self.text);
        }
    }
}

fn claims(login: &str) -> Claims {
    Claims {
        subject: login.to_owned(),
        name: "Sasha".to_owned(),
        email: "sasha@example.com".to_owned(),
        groups: vec!["platform-team".to_owned()],
        scopes: vec!["repo:platform/*:write".to_owned()],
        expires_at_s: None,
    }
}

/// Answers reads with what was recorded, by path and query; anything else was not there.
fn recorded(answers: Value) -> Router {
    Router::new().fallback(async move |request: Request| answer(&answers, &request))
}

fn answer(answers: &Value, request: &Request) -> Response {
    let path = request.uri().path_and_query().map_or("", |path| path.as_str());
    match answers.get(path) {
        Some(found) => axum::Json(found.clone()).into_response(),
        None => {
            (StatusCode::NOT_FOUND, axum::Json(json!({"code": 404, "message": "not found"}))).into_response()
        }
    }
}

/// The platform's APIs: reads are recorded; a task with a name that is no name is refused as the scaffolder does.
fn services(answers: Value, writes: Writes) -> Router {
    Router::new().fallback(async move |request: Request| {
        if request.method() == Method::GET {
            assert!(
                request.headers().contains_key(header::AUTHORIZATION),
                "the portal reads with the person's token"
            );
            return answer(&answers, &request);
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let bytes = request.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap();
        writes.lock().unwrap().push((method, path, body.clone()));
        if body["values"]["name"] == "Dash Board!" {
            let error =
                json!({"path": ["name"], "property": "instance.name", "message": REFUSAL, "name": "pattern"});
            return (StatusCode::BAD_REQUEST, axum::Json(json!({"errors": [error]}))).into_response();
        }
        (StatusCode::CREATED, axum::Json(json!({"id": "42"}))).into_response()
    })
}

#[tokio::test]
async fn pages_need_a_session_and_come_back_to_it() {
    let portal = Portal::new();
    for cookie in ["", "portolan_session=pt_forged.signature"] {
        let page = portal.get("/catalog?kind=component", cookie).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER);
        assert_eq!(page.header("location"), "/sign-in?to=%2Fcatalog%3Fkind%3Dcomponent");
    }
    let page = portal.get("/sign-in?to=%2Fcatalog", "").await;
    page.says(&["Sasha", "Software developer", "value=\"/catalog\""]);
}

#[tokio::test]
async fn nobody_signs_in_as_a_stranger_or_from_elsewhere() {
    let portal = Portal::new();
    let page = portal.post("/sign-in", "", "person=mallory".into()).await;
    assert_eq!((page.status, page.header("set-cookie")), (StatusCode::BAD_REQUEST, ""));
    let request = Request::post("/sign-in").header("sec-fetch-site", "cross-site");
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let page = portal.send(request.body(Body::from("person=sasha")).unwrap()).await;
    assert_eq!((page.status, page.header("set-cookie")), (StatusCode::FORBIDDEN, ""));
}

#[tokio::test]
async fn every_answer_forbids_what_pages_do_not_need() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    for path in ["/sign-in", "/create/default/tiny-app", "/nothing/here/at/all", "/healthz"] {
        let page = portal.get(path, &cookie).await;
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert!(
            !page.text.contains(" style=") && !page.text.contains("onclick"),
            "{path} has inline style or script"
        );
        assert!(page.text.len() < 100 << 10, "{path} has {} bytes", page.text.len());
    }
}

#[tokio::test]
async fn addresses_of_the_git_host_lead_to_their_pages() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    for (path, expected) in [
        ("/platform/shop/blob/main/a/b.yaml", "/repositories/platform/shop/tree/main/a/b.yaml"),
        ("/platform/shop/commit/abc", "/repositories/platform/shop/commit/abc"),
        ("/platform/shop", "/repositories/platform/shop"),
    ] {
        assert_eq!(portal.get(path, &cookie).await.header("location"), expected, "{path}");
    }
    let page = portal.get("/nobody/shop", &cookie).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    page.says(&["Nothing is here", "There is no page at this address."]);
}

#[tokio::test]
async fn a_form_without_its_key_writes_nothing() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    for form in ["name=shop", "name=shop&form_key=guessed"] {
        let page = portal.post("/create/default/tiny-app", &cookie, form.into()).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
    assert!(portal.writes.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_form_says_what_the_template_asks_and_makes() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let page = portal.get("/create/default/tiny-app", &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    page.says(&["Project name", "type=\"radio\"", "What will be made", "-frontend", "-deploy"]);
    // Only teams are offered, and the person's own is chosen.
    page.says(&["value=\"group:default/platform-team\" selected"]);
    assert!(!page.text.contains("group:default/engineering"), "the picker's whole filter is asked");
}

#[tokio::test]
async fn what_the_scaffolder_refuses_comes_back_to_its_field() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let key = portal.get("/create/default/tiny-app", &cookie).await.form_key();
    let bad = format!("form_key={key}&name=Dash+Board%21&database=metrics&apiPort=3001");
    let page = portal.post("/create/default/tiny-app", &cookie, bad).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    page.says(&[
        "Nothing was created",
        REFUSAL,
        "value=\"Dash Board!\"",
        "href=\"#name\"",
        "value=\"metrics\"",
    ]);
    let good = format!("form_key={key}&name=shop&database=metrics&apiPort=3001&monitoring=true");
    let page = portal.post("/create/default/tiny-app", &cookie, good).await;
    assert_eq!((page.status, page.header("location")), (StatusCode::SEE_OTHER, "/tasks/42"));
    let writes = portal.writes.lock().unwrap();
    let (method, path, body) = writes.last().unwrap();
    assert_eq!((method, path.as_str()), (&Method::POST, "/api/scaffolder/v2/tasks"));
    assert_eq!(body["values"]["apiPort"], 3001);
    assert_eq!(body["values"]["exposeEverywhere"], false, "an empty box is a no");
}

#[tokio::test]
async fn an_entity_shows_what_runs_of_it() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let page = portal.get("/catalog/default/component/dashboard-frontend", &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    let tag = format!("sha-{}", &portal.commit[..7]);
    page.says(&[
        &tag,
        "Healthy",
        "http://dashboard.dev.localhost:8180/",
        "Start from the template",
        "Passed",
    ]);
    let page = portal.get("/catalog/default/component/dashboard-frontend?tab=kubernetes", &cookie).await;
    page.says(&["Deployment in dashboard-dev", "log=dev%2Fdashboard-dev%2Fdashboard-frontend-"]);
    let page = portal.get("/catalog/default/component/dashboard-frontend?tab=relations", &cookie).await;
    page.says(&["<svg", "Depends on", "/catalog/default/component/dashboard-backend"]);
    let page = portal.get("/catalog/default/component/dashboard-frontend?tab=yaml", &cookie).await;
    page.says(&["backstage.io/kubernetes-id: dashboard-frontend"]);
    let page = portal.get("/catalog/default/component/nothing", &cookie).await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
}

fn without_times(html: &str) -> String {
    let mut pieces = html.split("<time");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + piece.split_once("</time>").map_or(piece, |(_, rest)| rest))
}

/// Every part that a page names as live is streamed, with what the page has in its place.
#[tokio::test]
async fn live_parts_are_streamed() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let entity = "/catalog/default/component/dashboard-frontend";
    for path in ["/", "/environments", entity, &format!("{entity}?tab=kubernetes")] {
        let page = portal.get(path, &cookie).await;
        let live = page.text.split("data-live=\"").nth(1).expect("a live part").split('"').next().unwrap();
        let live = live.replace("&amp;", "&");
        let request = Request::get(&live).header(header::COOKIE, &cookie).body(Body::empty()).unwrap();
        let response = portal.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{live}");
        let event = response.into_body().frame().await.unwrap().unwrap().into_data().unwrap();
        let event = String::from_utf8(event.to_vec()).unwrap();
        let html: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let html = html.join("\n");
        let shown = &page.text[page.text.find("<div data-live").unwrap()..];
        // Times in words may have moved on between the two.
        assert!(without_times(shown).starts_with(&without_times(&html)), "{path}: {html}");
    }
}

#[tokio::test]
async fn the_board_groups_by_project_and_links_databases_as_resources() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let page = portal.get("/environments", &cookie).await;
    page.says(&[
        "/catalog/default/system/dashboard",
        "/catalog/default/resource/dashboard-database",
        "PostgreSQL",
    ]);
    page.says(&["/environments/rollback?repository=platform%2Fdashboard-deploy&amp;environment=dev"]);
}

#[tokio::test]
async fn a_voyage_goes_from_the_commit_to_the_environment() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let page = portal.get(&format!("/voyages/platform/dashboard-frontend/{}", portal.commit), &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    page.says(&["ci / test", "release / image", "Deploy commit", "dashboard-frontend release", "dev"]);
    let order: Vec<usize> = ["Commit<", "ci / test", "Deploy commit", ">dev<"]
        .iter()
        .map(|stop| page.text.find(stop).unwrap())
        .collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[tokio::test]
async fn the_list_of_runs_has_the_runs() {
    let portal = Portal::new();
    let cookie = portal.sign_in().await;
    let page = portal.get("/pipelines", &cookie).await;
    page.says(&["/pipelines/runs/dashboard-frontend-ci-", "Passed", "dashboard-backend"]);
}
