//! `actions/checkout`: the files of a repository at a commit, over smart HTTP.

use git::checkout::{Checkout, checkout};

use super::{Call, files};

pub(super) async fn run(call: &mut Call<'_>) -> Result<(), String> {
    let spec = call.job.run.spec.clone();
    let repository = call.input("repository").unwrap_or(&spec.repository).to_owned();
    let token = call.input("token").unwrap_or(&call.job.token).to_owned();
    let depth = call.input("fetch-depth").unwrap_or("1");
    let depth: u32 =
        depth.parse().map_err(|_| format!("the input `fetch-depth` is `{depth}`: it must be a number"))?;
    let own = repository == spec.repository;
    let given = call.input("ref").map(str::to_owned);
    // The commit that started the run, however far its branch has moved since.
    let (revision, branch) = match (&given, own) {
        (Some(given), _) => (Some(given.clone()), None),
        (None, true) => (Some(spec.sha.clone()), spec.reference.strip_prefix("refs/heads/")),
        (None, false) => (None, None),
    };
    let directory = files::inside(&call.job.directories.workspace, call.input("path").unwrap_or("."))?;
    let url = format!("{}/{repository}.git", call.job.run.shared.config.git_url.trim_end_matches('/'));
    call.log.mask(&token);
    call.log.line(&format!(
        "Checking out {repository} at {}",
        revision.as_deref().unwrap_or("its default branch")
    ));
    let what = Checkout {
        url: &url,
        token: Some(&token),
        revision: revision.as_deref(),
        branch,
        depth,
        persist_credentials: call.flag("persist-credentials", true)?,
    };
    let id = checkout(&directory, &what).await.map_err(|error| {
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{source}")
    })?;
    call.log.line(&format!("HEAD is now at {id}"));
    call.output("commit", id);
    call.output("ref", revision.unwrap_or_default());
    Ok(())
}
