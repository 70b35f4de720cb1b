//! Nobody gets in without a good token, anybody's token opens only what that person may do, and pages cannot be made to
//! act by other sites.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod platform;

use identity::{Claims, Keyring};
use object::{Key, kinds};
use platform::{Platform, text};
use reqwest::{Method, StatusCode, header};
use serde_json::json;

/// One path for each part that answers, and the pages.
const PROTECTED: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/catalog"),
    ("GET", "/create"),
    ("GET", "/create/default/node-development"),
    ("POST", "/create/default/node-development"),
    ("GET", "/environments"),
    ("POST", "/environments/promote"),
    ("GET", "/repositories"),
    ("GET", "/no-such-page"),
    ("GET", "/api/catalog/entities"),
    ("POST", "/api/catalog/refresh"),
    ("GET", "/api/scaffolder/v2/tasks"),
    ("POST", "/api/scaffolder/v2/tasks"),
    ("GET", "/api/pipelines/runs"),
    ("GET", "/api/no-such-api"),
    ("GET", "/api/v3/user"),
    ("GET", "/api/v3/orgs/platform/repos"),
    ("POST", "/api/v3/orgs/platform/repos"),
    ("GET", "/platform/org.git/info/refs?service=git-upload-pack"),
    ("GET", "/platform/org.git/info/refs?service=git-receive-pack"),
    ("POST", "/platform/org.git/git-upload-pack"),
    ("POST", "/platform/org.git/git-receive-pack"),
    ("GET", "/v2/"),
    ("GET", "/v2/platform/x/tags/list"),
    ("POST", "/v2/platform/x/blobs/uploads/"),
];

/// Whether an answer keeps its secret: 401, or on to the sign-in page.
fn refused(status: StatusCode, location: &str) -> bool {
    status == StatusCode::UNAUTHORIZED
        || (status == StatusCode::SEE_OTHER && location.starts_with("/sign-in"))
}

async fn tried(
    platform: &Platform,
    method: &str,
    path: &str,
    token: Option<&str>,
    cookie: bool,
) -> (StatusCode, String) {
    let mut request = platform.http.request(method.parse().unwrap(), platform.url(path));
    if let Some(token) = token {
        request = match cookie {
            true => request.header("cookie", format!("portolan_session={token}")),
            false => request.bearer_auth(token),
        };
    }
    let answer = request.send().await.unwrap();
    let location =
        answer.headers().get(header::LOCATION).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    (answer.status(), location)
}

/// Sasha with every scope there is: what a thief would write.
fn sasha(expires_at_s: Option<i64>) -> Claims {
    Claims {
        subject: "sasha".to_owned(),
        name: "Sasha".to_owned(),
        email: "sasha@platform.example".to_owned(),
        groups: vec!["system:masters".to_owned()],
        scopes: vec!["*".to_owned()],
        expires_at_s,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answers_without_a_good_token() {
    let platform = Platform::start().await;
    let good = platform.token("sasha");
    let own = Keyring::open(&platform.data.join("identity.key")).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let (payload, tag) = good.split_once('.').unwrap();
    let tokens = [
        ("none", None),
        ("empty", Some(String::new())),
        ("nonsense", Some("pt_nonsense.nonsense".to_owned())),
        ("expired", Some(own.sign(&sasha(Some(now - 1))))),
        ("signed by another key", Some(Keyring::from_bytes(&[7; 32]).sign(&sasha(None)))),
        (
            "with another's claims",
            Some({
                let forged = own.sign(&sasha(None));
                format!("{}.{tag}", forged.split_once('.').unwrap().0)
            }),
        ),
        ("cut short", Some(format!("{payload}.{}", &tag[..tag.len() - 1]))),
    ];
    let mut open = vec![];
    for (method, path) in PROTECTED {
        for (what, token) in &tokens {
            for cookie in [false, true] {
                let (status, location) = tried(&platform, method, path, token.as_deref(), cookie).await;
                if !refused(status, &location) {
                    open.push(format!("{method} {path} with a token that is {what} (as cookie: {cookie}): {status} {location}"));
                }
            }
        }
    }
    assert!(open.is_empty(), "{}", open.join("\n"));
    // The same paths are not simply refused to everybody.
    for path in ["/api/catalog/entities", "/api/v3/user", "/api/v3/orgs/platform/repos", "/v2/"] {
        let (status, _) = tried(&platform, "GET", path, Some(&good), false).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_tells_nothing() {
    let platform = Platform::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = platform.http.get(platform.url(path)).send().await.unwrap();
        assert!([200, 503].contains(&answer.status().as_u16()), "{path}: {}", answer.status());
        assert!(answer.text().await.unwrap().len() < 200, "{path} is one line");
    }
    let page = platform.http.get(platform.url("/sign-in")).send().await.unwrap().text().await.unwrap();
    let stylesheet = page
        .split("href=\"")
        .find(|rest| rest.contains("portal.css"))
        .and_then(|rest| rest.split('"').next());
    let answer = platform.http.get(platform.url(stylesheet.unwrap())).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    platform.ready().await;
    let answer = platform.http.get(platform.url("/readyz")).send().await.unwrap();
    assert_eq!(answer.status(), 200, "/readyz says what the command line says");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clusters_refuse_strangers_and_hide_secrets_from_sasha() {
    let platform = Platform::start().await;
    platform.ready().await;
    let admin = platform.cluster("prod").await;
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "default"}, "stringData": {"password": "geheim"}});
    admin.create(&kinds::SECRET, &secret).await.unwrap();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "default"}, "data": {"k": "v"}});
    admin.create(&kinds::CONFIG_MAP, &map).await.unwrap();

    let url = |path: &str| format!("{}{path}", text(&platform.endpoints["clusters"]["prod"]));
    let pem = std::fs::read(platform.data.join("tls/ca.pem")).unwrap();
    let authority = reqwest::Certificate::from_pem(&pem).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let own = Keyring::open(&platform.data.join("identity.key")).unwrap();
    let expired = own.sign(&sasha(Some(1)));
    let sasha = platform.token("sasha");
    let (secrets, maps) = ("/api/v1/namespaces/default/secrets", "/api/v1/namespaces/default/configmaps");
    let rows: &[(Method, String, Option<&str>, u16)] = &[
        // As a real API server says it: nobody is `system:anonymous`, who may do nothing.
        (Method::GET, url(maps), None, 403),
        (Method::GET, url(secrets), None, 403),
        (Method::GET, url(maps), Some("nonsense"), 401),
        (Method::GET, url(maps), Some(&expired), 401),
        (Method::GET, url(maps), Some(&sasha), 200),
        (Method::GET, url(&format!("{maps}/c")), Some(&sasha), 200),
        (Method::GET, url(secrets), Some(&sasha), 403),
        (Method::GET, url("/api/v1/secrets"), Some(&sasha), 403),
        (Method::GET, url(&format!("{secrets}/s")), Some(&sasha), 403),
        (Method::GET, url(&format!("{secrets}?watch=true")), Some(&sasha), 403),
        (Method::DELETE, url(&format!("{maps}/c")), Some(&sasha), 403),
        (Method::POST, url("/api/v1/namespaces/default/pods/x/exec?command=sh"), Some(&sasha), 403),
    ];
    for (method, url, token, expected) in rows {
        let mut request = http.request(method.clone(), url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert_eq!(status, *expected, "{method} {url}: {text}");
        assert!(!text.contains("Z2VoZWlt") && !text.contains("geheim"), "{method} {url} told the secret");
    }
    assert!(admin.get(&kinds::CONFIG_MAP, &Key::new("default", "c")).await.unwrap().is_some());
    // A name that nobody serves is not somebody else's: no cluster answers without TLS from its own authority.
    assert!(
        platform.http.get(url(maps)).send().await.is_err(),
        "the cluster's certificate is not one of the machine's"
    );
}

/// Signs in as the browser does: the cookie line as it was set.
async fn sign_in(platform: &Platform, person: &str, site: Option<&str>) -> (StatusCode, String) {
    let form = format!("person={person}");
    let mut request = platform.http.post(platform.url("/sign-in")).body(form);
    request = request.header("content-type", "application/x-www-form-urlencoded");
    if let Some(site) = site {
        request = request.header("sec-fetch-site", site);
    }
    let answer = request.send().await.unwrap();
    let cookie =
        answer.headers().get(header::SET_COOKIE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    (answer.status(), cookie)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_cannot_be_framed_scripted_or_posted_to_from_elsewhere() {
    let platform = Platform::start().await;
    platform.ready().await;
    let (status, cookie) = sign_in(&platform, "rachel", Some("cross-site")).await;
    assert_eq!((status, cookie.as_str()), (StatusCode::FORBIDDEN, ""), "another site signed somebody in");
    let (status, cookie) = sign_in(&platform, "rachel", Some("same-origin")).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    for flag in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age="] {
        assert!(cookie.contains(flag), "{flag} is missing: {cookie}");
    }
    let session = cookie.split(';').next().unwrap().to_owned();
    pages_carry_their_headers(&platform, &session).await;
    forms_need_their_key(&platform, &session).await;

    // A cookie alone writes nothing through the APIs either.
    let body = json!({"templateRef": "template:default/node-development", "values": {}}).to_string();
    let request =
        platform.http.post(platform.url("/api/scaffolder/v2/tasks")).header("cookie", &session).body(body);
    let answer = request.header("content-type", "application/json").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "an API was written to with a cookie alone");
}

async fn pages_carry_their_headers(platform: &Platform, session: &str) {
    for path in ["/", "/sign-in", "/catalog", "/no-such-page"] {
        let answer = platform.http.get(platform.url(path)).header("cookie", session).send().await.unwrap();
        let header = |name: &str| {
            answer.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        let policy = header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {rule} is missing from {policy:?}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        if path != "/sign-in" {
            assert!(
                header("cache-control").contains("no-store"),
                "{path} is kept by caches: {:?}",
                header("cache-control")
            );
        }
        let body = answer.text().await.unwrap();
        assert!(
            !body.contains("<script>") && !body.contains("style=\"") && !body.contains("onclick="),
            "{path} has inline parts"
        );
        assert!(
            !body.contains("src=\"http") && !body.contains("href=\"https://"),
            "{path} loads something from elsewhere"
        );
    }
}

async fn forms_need_their_key(platform: &Platform, session: &str) {
    let post = async |path: &str, form: &str, fields: &[(&str, &str)]| {
        let mut request =
            platform.http.post(platform.url(path)).header("cookie", session).body(form.to_owned());
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status()
    };
    let promote = "/environments/promote";
    let wanted = "repository=platform/org&from=dev&to=qa";
    assert_eq!(post(promote, wanted, &[]).await, StatusCode::FORBIDDEN, "without the form key");
    let wrong = format!("form_key=AAAA&{wanted}");
    assert_eq!(post(promote, &wrong, &[]).await, StatusCode::FORBIDDEN, "with a wrong form key");
    let (_, other) = sign_in(platform, "amy", None).await;
    let page = platform.http.get(platform.url("/create/default/node-development"));
    let page =
        page.header("cookie", other.split(';').next().unwrap()).send().await.unwrap().text().await.unwrap();
    let key =
        page.split("name=\"form_key\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let others = format!("form_key={key}&{wanted}");
    assert_eq!(post(promote, &others, &[]).await, StatusCode::FORBIDDEN, "with somebody else's form key");
}
