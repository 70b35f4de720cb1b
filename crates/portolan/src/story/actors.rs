//! The story's people: each has a token and the ordinary clients, HTTP, Git and the Kubernetes API.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use controller::Cluster;
use identity::Keyring;
use reqwest::Method;
use serde_json::Value;
use tokio::process::Command;

use crate::config::ENVIRONMENTS;
use crate::people;

/// Everybody, and where the platform is.
pub(crate) struct Actors {
    http: reqwest::Client,
    keyring: Keyring,
    pub(crate) base_url: String,
    pub(crate) gateway_port: u16,
    kubeconfig: PathBuf,
    /// For clones and pushes.
    pub(crate) workdir: tempfile::TempDir,
}

impl Actors {
    /// `data` is the platform's directory, `listen` and `gateway` its addresses.
    pub(crate) fn new(data: &Path, base_url: String, gateway_port: u16) -> Result<Self> {
        let http =
            reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self {
            http,
            keyring: Keyring::open(&data.join("identity.key"))?,
            base_url,
            gateway_port,
            kubeconfig: data.join("kubeconfig"),
            workdir: tempfile::tempdir().context("cannot make a working folder")?,
        })
    }

    /// A person's token, as `portolan token` prints it.
    pub(crate) fn token(&self, login: &str) -> Result<String> {
        let person = people::find(login).with_context(|| format!("there is nobody called {login}"))?;
        Ok(self.keyring.sign(&person.claims()))
    }

    /// A JSON request in a person's name: status and answer.
    pub(crate) async fn ask(
        &self,
        login: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.base_url);
        let mut request = self.http.request(method, &url).bearer_auth(self.token(login)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.with_context(|| format!("{url} cannot be reached"))?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// Reads JSON, or none when it is not there.
    pub(crate) async fn find(&self, login: &str, path: &str) -> Result<Option<Value>> {
        match self.ask(login, Method::GET, path, None).await? {
            (200, found) => Ok(Some(found)),
            (404, _) => Ok(None),
            (status, answer) => bail!("{path} answered {status}: {answer}"),
        }
    }

    /// Writes JSON and expects success.
    pub(crate) async fn write(&self, login: &str, method: Method, path: &str, body: &Value) -> Result<Value> {
        match self.ask(login, method, path, Some(body)).await? {
            (200..=299, answer) => Ok(answer),
            (status, answer) => bail!("{path} answered {status}: {answer}"),
        }
    }

    /// A signed-in browser: the session cookie.
    pub(crate) async fn sign_in(&self, login: &str) -> Result<String> {
        let form = format!("person={login}");
        let request = self.http.post(format!("{}/sign-in", self.base_url)).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send().await?;
        let cookie = response.headers().get("set-cookie").and_then(|v| v.to_str().ok());
        let cookie = cookie.and_then(|c| c.split(';').next()).context("sign-in set no cookie")?;
        Ok(cookie.to_owned())
    }

    /// A page as the browser gets it.
    pub(crate) async fn page(&self, cookie: &str, path: &str) -> Result<String> {
        let request = self.http.get(format!("{}{path}", self.base_url)).header("cookie", cookie);
        let response = request.send().await?;
        anyhow::ensure!(response.status().is_success(), "the page {path} answered {}", response.status());
        Ok(response.text().await?)
    }

    /// Sends a form as the browser does; `fields` are URL-encoded already. The status.
    pub(crate) async fn post_form(&self, cookie: &str, path: &str, fields: &str) -> Result<u16> {
        let request = self.http.post(format!("{}{path}", self.base_url)).header("cookie", cookie);
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(fields.to_owned());
        Ok(request.send().await?.status().as_u16())
    }

    /// A page through the gateway: status and text. Connections go to loopback, whatever the host says.
    pub(crate) async fn through_gateway(&self, host: &str, path: &str) -> Result<(u16, String)> {
        let url = format!("http://127.0.0.1:{}{path}", self.gateway_port);
        let response = self.http.get(url).header("host", host).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// One environment through its listener, as kubectl reaches it.
    pub(crate) async fn cluster(&self, environment: &str) -> Result<Cluster> {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig)?;
        let options =
            kube::config::KubeConfigOptions { context: Some(environment.to_owned()), ..Default::default() };
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Cluster::new(kube::Client::try_from(config)?, "story"))
    }

    /// Every environment, left to right.
    pub(crate) async fn clusters(&self) -> Result<Vec<(&'static str, Cluster)>> {
        let mut all = vec![];
        for name in ENVIRONMENTS {
            all.push((*name, self.cluster(name).await?));
        }
        Ok(all)
    }

    /// Runs the git program in a folder, as a person, with the token where no process list shows it.
    pub(crate) async fn git(&self, login: &str, folder: &Path, arguments: &[&str]) -> Result<String> {
        let person = people::find(login).with_context(|| format!("there is nobody called {login}"))?.claims();
        let output = Command::new("git")
            .args(arguments)
            .current_dir(folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "http.extraHeader")
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: Bearer {}", self.token(login)?))
            .env("GIT_AUTHOR_NAME", &person.name)
            .env("GIT_AUTHOR_EMAIL", &person.email)
            .env("GIT_COMMITTER_NAME", &person.name)
            .env("GIT_COMMITTER_EMAIL", &person.email)
            .output()
            .await
            .context("cannot run git")?;
        if !output.status.success() {
            bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A fresh clone of a repository of the organisation.
    pub(crate) async fn clone(&self, login: &str, repository: &str) -> Result<PathBuf> {
        let folder = self.workdir.path().join(format!("{login}-{repository}"));
        if folder.exists() {
            self.git(login, &folder, &["pull", "--quiet", "--rebase"]).await?;
            return Ok(folder);
        }
        let url = format!("{}/{}/{repository}.git", self.base_url, people::ORGANISATION);
        let target = folder.to_string_lossy().into_owned();
        self.git(login, self.workdir.path(), &["clone", "--quiet", &url, &target]).await?;
        Ok(folder)
    }
}
