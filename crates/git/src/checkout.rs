//! Work trees: what a workflow's checkout step and templates need of a remote repository.

use std::path::Path;
use std::time::Duration;

use crate::Error;
use crate::command::Call;
use crate::names::{check_ref, check_revision};
use crate::repository::check_url;

/// As for fetches into caches.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(300);

/// What to check out.
#[derive(Clone, Copy, Debug)]
pub struct Checkout<'a> {
    /// Address of the repository.
    pub url: &'a str,
    pub token: Option<&'a str>,
    /// Branch, tag, full ref or commit id; `None` is the remote's default branch.
    pub revision: Option<&'a str>,
    /// Local branch to be on when `revision` is a commit id.
    pub branch: Option<&'a str>,
    /// How many commits of history; 0 is all, with all branches and tags.
    pub depth: u32,
    /// Leaves the token in the work tree's configuration, so that later `git push` calls there work.
    pub persist_credentials: bool,
}

/// Fetches into `directory` (made if missing) and checks the files out; gives the commit id.
pub async fn checkout(directory: &Path, what: &Checkout<'_>) -> Result<String, Error> {
    tokio::fs::create_dir_all(directory).await.map_err(|e| Error::file(directory, e))?;
    let url = check_url(what.url)?;
    let call = |arguments: &[&str]| Call::new(directory).args(arguments.iter().map(|a| (*a).to_owned()));
    if !directory.join(".git").exists() {
        call(&["init", "--quiet", "--initial-branch=main", "--template=", "."]).output().await?;
    }
    call(&["config", "remote.origin.url", url]).output().await?;
    call(&["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]).output().await?;
    if what.persist_credentials {
        persist(directory, url, what.token).await?;
    }
    let depth = format!("--depth={}", what.depth);
    let mut fetch = call(&["fetch", "--quiet", "--no-tags"]);
    if what.depth > 0 {
        fetch = fetch.args([depth.as_str()]);
    }
    fetch = fetch.args(["origin"]);
    let wanted = check_revision(what.revision.unwrap_or("HEAD"))?;
    fetch = if what.depth == 0 {
        fetch.args(["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*", wanted])
    } else {
        fetch.args([wanted])
    };
    // A persisted token is already in the configuration; sent twice, servers refuse it.
    let token = what.token.filter(|_| !what.persist_credentials);
    fetch.token(token).timeout(REMOTE_TIMEOUT).output().await?;
    let id = fetched(directory, what.depth, wanted).await?;
    match branch_of(what, directory).await? {
        Some(branch) => {
            call(&["checkout", "--quiet", "--force", "-B", &branch, &id]).output().await?;
            // So that a plain `git push` knows where to.
            call(&["config", &format!("branch.{branch}.remote"), "origin"]).output().await?;
            call(&["config", &format!("branch.{branch}.merge"), &format!("refs/heads/{branch}")])
                .output()
                .await?
        }
        None => call(&["checkout", "--quiet", "--force", "--detach", &id]).output().await?,
    };
    Ok(id)
}

/// `FETCH_HEAD` lists what was asked for in order; with all branches asked for, the wanted one is the last line.
async fn fetched(directory: &Path, depth: u32, wanted: &str) -> Result<String, Error> {
    let path = directory.join(".git/FETCH_HEAD");
    let text = tokio::fs::read_to_string(&path).await.map_err(|e| Error::file(&path, e))?;
    let line = if depth == 0 {
        text.lines().find(|line| !line.contains("\tnot-for-merge\t"))
    } else {
        text.lines().next()
    };
    let id =
        line.and_then(|line| line.split('\t').next()).ok_or_else(|| Error::NotFound(wanted.to_owned()))?;
    Call::new(directory).args(["rev-parse", "--verify", &format!("{id}^{{commit}}")]).text().await
}

/// The local branch to be on: the named one, or the remote's default branch; none for tags and commit ids.
async fn branch_of(what: &Checkout<'_>, directory: &Path) -> Result<Option<String>, Error> {
    match what.revision {
        Some(revision) => {
            if let Some(branch) = revision.strip_prefix("refs/heads/") {
                return Ok(Some(branch.to_owned()));
            }
            if crate::names::is_object_id(revision) {
                let branch = what.branch.map(|branch| format!("refs/heads/{branch}"));
                return branch
                    .map(|name| Ok(check_ref(&name)?["refs/heads/".len()..].to_owned()))
                    .transpose();
            }
            if revision.starts_with("refs/") {
                return Ok(None);
            }
            let path = directory.join(".git/FETCH_HEAD");
            let text = tokio::fs::read_to_string(&path).await.map_err(|e| Error::file(&path, e))?;
            let named = text.contains(&format!("\tbranch '{revision}' of "));
            Ok(named.then(|| revision.to_owned()))
        }
        None => {
            let call = Call::new(directory).args(["ls-remote", "--symref", "origin", "HEAD"]);
            let token = what.token.filter(|_| !what.persist_credentials);
            let text = call.token(token).timeout(REMOTE_TIMEOUT).text().await?;
            let head = text.lines().find_map(|l| l.strip_prefix("ref: refs/heads/")?.split_once('\t'));
            Ok(head.map(|(branch, _)| branch.to_owned()))
        }
    }
}

/// Writes `http.<server>/.extraheader` into the work tree's configuration file, which only its owner may read.
async fn persist(directory: &Path, url: &str, token: Option<&str>) -> Result<(), Error> {
    use base64::Engine as _;
    use std::os::unix::fs::PermissionsExt as _;
    let Some(token) = token else { return Ok(()) };
    let Some(server) = server_of(url) else { return Ok(()) };
    let path = directory.join(".git/config");
    let text = tokio::fs::read_to_string(&path).await.map_err(|e| Error::file(&path, e))?;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("x-access-token:{token}"));
    let section = format!("[http \"{server}/\"]\n\textraheader = Authorization: Basic {basic}\n");
    if !text.contains(&section) {
        tokio::fs::write(&path, text + &section).await.map_err(|e| Error::file(&path, e))?;
    }
    let private = std::fs::Permissions::from_mode(0o600);
    tokio::fs::set_permissions(&path, private).await.map_err(|e| Error::file(&path, e))
}

/// `http://host:port` of an address.
fn server_of(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let end = url[start..].find('/').map_or(url.len(), |at| start + at);
    Some(&url[..end])
}
