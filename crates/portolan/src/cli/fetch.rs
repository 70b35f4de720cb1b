//! What remote references of a kustomization name, got with `git` and over HTTP.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kustomize::{FILE_SIZE_LIMIT, Fetch, Kind, Remote, Tree};

use crate::directory::Directory;

/// How long a file over HTTP may take; a whole repository has about as long.
const FILE_TIMEOUT: Duration = Duration::from_secs(27);
/// How often a running `git` is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Fetches with the `git` program, with the person's own credentials and configuration.
pub(crate) struct Git;

/// A checkout that goes away with its tree.
struct Checkout {
    tree: Directory,
    _folder: tempfile::TempDir,
}

impl Fetch for Git {
    fn repository(&self, remote: &Remote) -> Result<Box<dyn Tree>, String> {
        let folder = tempfile::Builder::new().prefix("portolan-build-").tempdir();
        let folder = folder.map_err(|error| format!("cannot make a folder: {error}"))?;
        let until = Instant::now() + Duration::from_millis(remote.timeout_ms);
        let run = |arguments: &[&str]| git(folder.path(), arguments, until);
        let wanted = if remote.git_ref.is_empty() { "HEAD" } else { &remote.git_ref };
        run(&["init", "--quiet"])?;
        run(&["fetch", "--quiet", "--depth=1", "--", &remote.url, wanted])?;
        run(&["checkout", "--quiet", "FETCH_HEAD"])?;
        if remote.submodules {
            run(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])?;
        }
        let tree = Directory::open(folder.path()).map_err(|error| error.to_string())?;
        Ok(Box::new(Checkout { tree, _folder: folder }))
    }

    fn file(&self, url: &str) -> Result<Bytes, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(download(url))
    }
}

impl Tree for Checkout {
    fn read(&self, path: &str) -> Option<Bytes> {
        self.tree.read(path)
    }

    fn kind(&self, path: &str) -> Option<Kind> {
        self.tree.kind(path)
    }

    fn list(&self, path: &str) -> Vec<(String, Kind)> {
        self.tree.list(path)
    }

    fn size(&self, path: &str) -> Option<u64> {
        self.tree.size(path)
    }

    fn follow(&self, path: &str) -> Option<String> {
        self.tree.follow(path)
    }
}

/// Runs `git` in a folder until it ends or the time is over.
fn git(folder: &Path, arguments: &[&str], until: Instant) -> Result<(), String> {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        // Neither a password prompt nor a transport that runs a command may come from a kustomization.
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot run git: {error}"))?;
    loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) if status.success() => return Ok(()),
            Some(_) => break,
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("git took too long; `timeout` in the reference gives it more time".to_owned());
            }
            None => std::thread::sleep(POLL),
        }
    }
    let mut said = String::new();
    if let Some(mut errors) = child.stderr.take() {
        let _ = errors.read_to_string(&mut said);
    }
    let line = said.lines().find(|line| line.starts_with("fatal:")).or(said.lines().next());
    Err(format!("git {} failed: {}", arguments[0], line.unwrap_or("without a word")))
}

async fn download(url: &str) -> Result<Bytes, String> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(FILE_TIMEOUT).build();
    let failed = |error: reqwest::Error| controller::chain(&error).replace('\n', " ");
    let mut answer = client.map_err(failed)?.get(url).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(format!("{url} answers {}", answer.status()));
    }
    let mut content = vec![];
    while let Some(part) = answer.chunk().await.map_err(failed)? {
        content.extend_from_slice(&part);
        if content.len() as u64 > FILE_SIZE_LIMIT {
            return Err(format!("{url} has more than {FILE_SIZE_LIMIT} bytes"));
        }
    }
    Ok(content.into())
}
