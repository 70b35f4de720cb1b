//! A host on a free port with one organisation and people's tokens, and the git client of a developer's machine.

use std::path::Path;
use std::time::Duration;

use git::{Host, Options};
use serde_json::Value;

pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) host: Host,
    pub(crate) base: String,
    pub(crate) keyring: identity::Keyring,
    pub(crate) client: reqwest::Client,
}

pub(crate) async fn start() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let keyring = identity::Keyring::from_bytes(&[7; 32]);
    let options = Options { organizations: vec!["platform".into()], ..Options::default() };
    let host = Host::open(&directory.path().join("git"), keyring.clone(), options).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = host.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Fixture { directory, host, base, keyring, client }
}

impl Fixture {
    pub(crate) fn token(&self, subject: &str, scopes: &[&str]) -> String {
        self.keyring.sign(&identity::Claims {
            subject: subject.into(),
            name: format!("Name of {subject}"),
            email: format!("{subject}@example.com"),
            groups: Vec::new(),
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            expires_at_s: None,
        })
    }

    /// A request as Sasha, who may do everything: status and JSON body.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.call_as(&self.token("sasha", &["*"]), method, path, body).await
    }

    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (u16, Value) {
        let url = format!("{}/api/v3{path}", self.base);
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (
            status,
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(text.into()) },
        )
    }

    pub(crate) async fn create(&self, name: &str, auto_init: bool) {
        let body = serde_json::json!({ "name": name, "auto_init": auto_init });
        let (status, answer) = self.call("POST", "/orgs/platform/repos", Some(body)).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// The address of a repository with a token in it, as a person would type it.
    pub(crate) fn remote(&self, name: &str, token: &str) -> String {
        format!("{}/platform/{name}.git", self.base.replace("http://", &format!("http://me:{token}@")))
    }
}

/// Runs the developer's git; gives success and all output.
pub(crate) async fn git(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = tokio::process::Command::new("git");
    command
        .args(["-c", "user.name=Dev", "-c", "user.email=dev@example.com"])
        .args(arguments)
        .current_dir(directory);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0");
    let run = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(60), run).await.unwrap().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

pub(crate) async fn git_ok(directory: &Path, arguments: &[&str]) -> String {
    let (success, text) = git(directory, arguments).await;
    assert!(success, "git {arguments:?}: {text}");
    text
}
