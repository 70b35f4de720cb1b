//! One fetch: from an address and a ref to a commit in a bare repository of our own.

use std::path::Path;
use std::time::Duration;

use git::Repository;
use git::command::Call;

use super::semver;
use crate::api::git_repository::Reference;

/// Where the fetched commit is kept; the only ref of the repository.
const HELD: &str = "refs/portolan/source";

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) commit: String,
    pub(crate) tree: String,
    /// Flux's text for it: `main@sha1:<commit>`.
    pub(crate) revision: String,
    /// First line of the commit message.
    pub(crate) subject: String,
}

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0}")]
    Git(#[from] git::Error),
    #[error("no match found for semver: {0}")]
    NoVersion(String),
    #[error("the address {0} is not one of HTTP or HTTPS")]
    Address(String),
    #[error("the controller is stopping")]
    Stopped,
    #[error("the ref {0:?} is not a name of a ref")]
    Name(String),
}

impl FetchError {
    /// Whether our own repository is to blame, not the remote one.
    fn is_damage(&self) -> bool {
        let text = self.to_string();
        [".lock", "not a git repository", "corrupt", "bad object", "unable to read"]
            .iter()
            .any(|part| text.contains(part))
    }

    /// Whether the server did not accept the credentials.
    pub(crate) fn is_authentication(&self) -> bool {
        let text = self.to_string().to_lowercase();
        ["authentication failed", "could not read username", "401", "403"]
            .iter()
            .any(|part| text.contains(part))
    }
}

/// Fetches what `reference` names, without its history. `authorization` is the value of the HTTP header.
///
/// Each directory has one writer at a time; a lock file or half a repository in it is what a killed process left, so the
/// fetch starts over with an empty directory.
pub(crate) async fn fetch(
    directory: &Path,
    url: &str,
    reference: &Reference,
    authorization: Option<&str>,
    timeout: Duration,
) -> Result<Fetched, FetchError> {
    match fetch_into(directory, url, reference, authorization, timeout).await {
        Err(error) if error.is_damage() => {
            tracing::info!(path = %directory.display(), %error, "a fetched repository is damaged: fetching anew");
            let removed = tokio::fs::remove_dir_all(directory).await;
            removed.map_err(|source| git::Error::File { path: directory.to_owned(), source })?;
            fetch_into(directory, url, reference, authorization, timeout).await
        }
        outcome => outcome,
    }
}

async fn fetch_into(
    directory: &Path,
    url: &str,
    reference: &Reference,
    authorization: Option<&str>,
    timeout: Duration,
) -> Result<Fetched, FetchError> {
    if !["http://", "https://", "file://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(FetchError::Address(url.to_owned()));
    }
    let repository = Repository::open_or_create(directory).await?;
    let remote = Remote { directory, url, authorization, timeout };
    let (wanted, shown) = wanted(&remote, reference).await?;
    match remote.get(&wanted).await {
        Ok(()) => {}
        Err(_) if !reference.commit.is_empty() && !reference.branch.is_empty() => {
            // Not every server gives out commits by their ids; the branch with its history has it.
            remote.get_all(&format!("refs/heads/{}", reference.branch)).await?;
            let held = ["update-ref", HELD, wanted.as_str()].map(str::to_owned);
            Call::new(directory).env("GIT_DIR", directory).args(held).output().await?;
        }
        Err(error) => return Err(error),
    }
    let commit = repository.commit_at(HELD).await?;
    if packs(directory).await > PACK_LIMIT {
        // What is not needed any more goes; what a run may be reading stays for a while.
        let arguments = ["gc", "--quiet", "--prune=1.hour.ago"];
        Call::new(directory).env("GIT_DIR", directory).args(arguments).output().await?;
    }
    let revision = match shown {
        Some(name) => format!("{name}@sha1:{}", commit.id),
        None => format!("sha1:{}", commit.id),
    };
    let subject = commit.message.lines().next().unwrap_or_default().to_owned();
    Ok(Fetched { commit: commit.id, tree: commit.tree, revision, subject })
}

/// Packs that a repository may have before it is packed anew: each fetch brings one.
const PACK_LIMIT: usize = 50;

async fn packs(directory: &Path) -> usize {
    let Ok(mut entries) = tokio::fs::read_dir(directory.join("objects/pack")).await else { return 0 };
    let mut count = 0;
    while let Ok(Some(entry)) = entries.next_entry().await {
        count += usize::from(entry.path().extension().is_some_and(|extension| extension == "pack"));
    }
    count
}

/// What to ask the server for, and how the revision names it.
async fn wanted(remote: &Remote<'_>, reference: &Reference) -> Result<(String, Option<String>), FetchError> {
    let checked = |name: &str| {
        let odd = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        let fine = !name.is_empty() && !name.starts_with('-') && !name.contains("..") && !name.contains(odd);
        if fine { Ok(name.to_owned()) } else { Err(FetchError::Name(name.to_owned())) }
    };
    if !reference.commit.is_empty() {
        let branch = Some(&reference.branch).filter(|branch| !branch.is_empty());
        return Ok((checked(&reference.commit)?, branch.cloned()));
    }
    if !reference.name.is_empty() {
        let name = checked(&reference.name)?;
        return Ok((name.clone(), Some(name)));
    }
    if !reference.semver.is_empty() {
        let tags = remote.tags().await?;
        let best = semver::greatest(&reference.semver, tags.iter().map(String::as_str));
        let tag = best.ok_or_else(|| FetchError::NoVersion(reference.semver.clone()))?;
        return Ok((format!("refs/tags/{}", checked(tag)?), Some(tag.to_owned())));
    }
    if !reference.tag.is_empty() {
        let tag = checked(&reference.tag)?;
        return Ok((format!("refs/tags/{tag}"), Some(tag)));
    }
    let branch = if reference.branch.is_empty() { "master" } else { &reference.branch };
    Ok((format!("refs/heads/{}", checked(branch)?), Some(branch.to_owned())))
}

struct Remote<'a> {
    directory: &'a Path,
    url: &'a str,
    authorization: Option<&'a str>,
    timeout: Duration,
}

impl Remote<'_> {
    /// The newest state of one ref or commit only.
    async fn get(&self, wanted: &str) -> Result<(), FetchError> {
        let refspec = format!("+{wanted}:{HELD}");
        let arguments =
            ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1", "--end-of-options"];
        self.call().args(arguments).args([self.url, &refspec]).output().await?;
        Ok(())
    }

    /// A ref with all of its history.
    async fn get_all(&self, wanted: &str) -> Result<(), FetchError> {
        let refspec = format!("+{wanted}:{HELD}");
        let unshallow = self.directory.join("shallow").exists().then_some("--unshallow");
        let arguments = ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"];
        let call = self.call().args(arguments).args(unshallow);
        call.args(["--end-of-options", self.url, &refspec]).output().await?;
        Ok(())
    }

    async fn tags(&self) -> Result<Vec<String>, FetchError> {
        let arguments = ["ls-remote", "--quiet", "--refs", "--tags", "--end-of-options", self.url];
        let text = self.call().args(arguments).text().await?;
        let names = text.lines().filter_map(|line| line.split_once("\trefs/tags/"));
        Ok(names.map(|(_, tag)| tag.to_owned()).collect())
    }

    fn call(&self) -> Call {
        let call = Call::new(self.directory).env("GIT_DIR", self.directory).timeout(self.timeout);
        // In the environment, because arguments are visible to every user of the machine.
        match self.authorization {
            Some(value) => call
                .env("GIT_CONFIG_COUNT", "1")
                .env("GIT_CONFIG_KEY_0", "http.extraHeader")
                .env("GIT_CONFIG_VALUE_0", format!("Authorization: {value}")),
            None => call,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use git::{Change, NewCommit, Signature};

    async fn commit(repository: &Repository, reference: &str, text: &str) -> String {
        let author = Signature::now("Sasha", "sasha@example.com");
        let new = NewCommit {
            reference: reference.to_owned(),
            parent: repository.tip(reference).await.unwrap(),
            author: author.clone(),
            committer: author,
            message: format!("Say {text}\n\nMore"),
            changes: [("file.yaml".to_owned(), Change::file(text.to_owned()))].into(),
        };
        repository.commit(&new).await.unwrap()
    }

    #[tokio::test]
    async fn refs_of_every_kind() {
        if git::command::version().await.is_err() {
            println!("skipped: git is not installed");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let remote = Repository::open_or_create(&folder.path().join("remote")).await.unwrap();
        let first = commit(&remote, "refs/heads/main", "one").await;
        commit(&remote, "refs/tags/v1.1.0", "tagged").await;
        let tagged = commit(&remote, "refs/tags/v1.2.0", "tagged").await;
        let newest = commit(&remote, "refs/heads/main", "two").await;
        let url = format!("file://{}", remote.path().display());
        let local = folder.path().join("local");
        let check = async |reference: Reference, commit: &str, revision: String| {
            let fetched = fetch(&local, &url, &reference, None, Duration::from_secs(30)).await.unwrap();
            assert_eq!((fetched.commit.as_str(), fetched.revision), (commit, revision));
            fetched.subject
        };
        let text = str::to_owned;
        let main = Reference { branch: text("main"), ..Reference::default() };
        assert_eq!(check(main.clone(), &newest, format!("main@sha1:{newest}")).await, "Say two");
        let tag = Reference { tag: text("v1.2.0"), ..main.clone() };
        check(tag, &tagged, format!("v1.2.0@sha1:{tagged}")).await;
        let semver = Reference { semver: text("1.x"), ..main.clone() };
        check(semver, &tagged, format!("v1.2.0@sha1:{tagged}")).await;
        let name = Reference { name: text("refs/heads/main"), ..Reference::default() };
        check(name, &newest, format!("refs/heads/main@sha1:{newest}")).await;
        let old = Reference { commit: first.clone(), ..main.clone() };
        check(old, &first, format!("main@sha1:{first}")).await;

        // What a killed process left is in nobody's way.
        std::fs::write(local.join("shallow.lock"), "").unwrap();
        std::fs::write(local.join("refs/portolan/source.lock"), "").unwrap();
        let third = commit(&remote, "refs/heads/main", "three").await;
        check(main.clone(), &third, format!("main@sha1:{third}")).await;

        let missing = Reference { branch: text("missing"), ..Reference::default() };
        let error = fetch(&local, &url, &missing, None, Duration::from_secs(30)).await.unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        let odd = Reference { branch: text("--upload-pack=x"), ..Reference::default() };
        assert!(matches!(
            fetch(&local, &url, &odd, None, Duration::from_secs(30)).await,
            Err(FetchError::Name(_))
        ));
    }
}
