//! A small client of the W3C WebDriver protocol: a headless Chromium, driven through chromedriver over HTTP.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::platform::{Guarded, eventually, processes, text};

/// The key under which the protocol names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// A page or a live part.
const SOON: Duration = Duration::from_secs(30);

/// One browser window.
pub(crate) struct Browser {
    http: reqwest::Client,
    session: String,
    driver: Guarded,
    _profile: TempDir,
}

impl Browser {
    /// Starts a browser; none, with a notice, where Chromium or its driver is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let mut command = Command::new("chromedriver");
        // A free port of its own, which it prints.
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(child) = command.spawn() else {
            println!("skipped: chromedriver is not installed (Debian: chromium-driver)");
            return None;
        };
        let mut driver = Guarded(child);
        let lines = BufReader::new(driver.0.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            // Chromium's own sandbox does not work for root, as whom tests may run.
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--window-size=1280,900".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments}}}});
        let base = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        let answer = http.post(format!("{base}/session")).json(&wanted).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let Some(id) = answer["value"]["sessionId"].as_str() else {
            let message = text(&answer["value"]["message"]);
            assert!(message.contains("cannot find"), "no browser: {message}");
            println!("skipped: chromium is not installed");
            return None;
        };
        Some(Self { session: format!("{base}/session/{id}"), http, driver, _profile: profile })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, String> {
        let mut request = self.http.request(method, format!("{}{path}", self.session));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer: Value =
            request.send().await.map_err(|e| e.to_string())?.json().await.map_err(|e| e.to_string())?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", text(&answer["value"]["message"]))),
            None => Ok(answer["value"].clone()),
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.ask(Method::POST, "/url", Some(json!({"url": url}))).await.unwrap();
    }

    pub(crate) async fn url(&self) -> String {
        text(&self.ask(Method::GET, "/url", None).await.unwrap())
    }

    /// What the page shows, as text.
    pub(crate) async fn shown(&self) -> String {
        text(&self.script("return document.body.innerText").await)
    }

    /// Runs a script in the page; its result.
    pub(crate) async fn script(&self, script: &str) -> Value {
        self.ask(Method::POST, "/execute/sync", Some(json!({"script": script, "args": []}))).await.unwrap()
    }

    async fn find(&self, selector: &str) -> Result<String, String> {
        let body = json!({"using": "css selector", "value": selector});
        let found = self.ask(Method::POST, "/element", Some(body)).await?;
        Ok(text(&found[ELEMENT]))
    }

    /// Clicks as a person does: the element has to be visible and not covered.
    pub(crate) async fn click(&self, selector: &str) {
        let click = async || {
            let element = self.find(selector).await.ok()?;
            self.ask(Method::POST, &format!("/element/{element}/click"), Some(json!({}))).await.ok()
        };
        eventually(&format!("a click on {selector}"), SOON, click).await;
    }

    /// Replaces what a field holds by typing.
    pub(crate) async fn fill(&self, selector: &str, typed: &str) {
        let element = self.find(selector).await.unwrap();
        self.ask(Method::POST, &format!("/element/{element}/clear"), Some(json!({}))).await.unwrap();
        self.ask(Method::POST, &format!("/element/{element}/value"), Some(json!({"text": typed})))
            .await
            .unwrap();
    }

    /// Waits until the page shows all of these texts.
    pub(crate) async fn wait_for(&self, limit: Duration, texts: &[&str]) -> String {
        let all = async || {
            let shown = self.shown().await;
            texts.iter().all(|text| shown.contains(text)).then_some(shown)
        };
        eventually(&format!("the page shows {texts:?}"), limit, all).await
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver does not end its browser when it is killed.
        for process in processes::descendants(self.driver.0.id()) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(process.pid).unwrap_or(i32::MAX));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
    }
}
