//! The JSON shapes of GitHub's REST API, one function per object.

use serde_json::{Value, json};

use crate::diff::FileDiff;
use crate::host::Hosted;
use crate::host::metadata::{Status, Webhook};
use crate::repository::{Commit, Entry, Person};

/// An organisation as an owner.
pub(crate) fn owner(base: &str, login: &str) -> Value {
    account(base, login, "Organization")
}

/// A person.
pub(crate) fn user(base: &str, login: &str) -> Value {
    account(base, login, "User")
}

fn account(base: &str, login: &str, kind: &str) -> Value {
    json!({
        "login": login,
        "type": kind,
        "url": format!("{base}/api/v3/users/{login}"),
        "html_url": format!("{base}/{login}"),
        "repos_url": format!("{base}/api/v3/users/{login}/repos"),
        "site_admin": false,
    })
}

/// A repository.
pub(crate) fn repository(base: &str, hosted: &Hosted) -> Value {
    let (facts, name) = (hosted.metadata(), &hosted.full_name);
    let api = format!("{base}/api/v3/repos/{name}");
    json!({
        "id": facts.id,
        "node_id": format!("R_{}", facts.id),
        "name": hosted.name(),
        "full_name": name,
        "owner": owner(base, hosted.owner()),
        "private": facts.private,
        "visibility": if facts.private { "private" } else { "public" },
        "html_url": format!("{base}/{name}"),
        "description": Some(&facts.description).filter(|text| !text.is_empty()),
        "homepage": Some(&facts.homepage).filter(|text| !text.is_empty()),
        "fork": false,
        "url": api,
        "archive_url": format!("{api}/{{archive_format}}{{/ref}}"),
        "contents_url": format!("{api}/contents/{{+path}}"),
        "clone_url": format!("{base}/{name}.git"),
        "default_branch": facts.default_branch,
        "topics": facts.topics,
        "archived": facts.archived,
        "disabled": false,
        "is_template": false,
        "created_at": facts.created_at,
        "updated_at": facts.updated_at,
        "pushed_at": facts.pushed_at,
        "permissions": { "admin": true, "push": true, "pull": true },
    })
}

/// A commit as `GET /commits` lists it.
pub(crate) fn commit(base: &str, full_name: &str, commit: &Commit) -> Value {
    let api = format!("{base}/api/v3/repos/{full_name}");
    let parents: Vec<Value> = commit
        .parents
        .iter()
        .map(|sha| json!({ "sha": sha, "url": format!("{api}/commits/{sha}"), "html_url": format!("{base}/{full_name}/commit/{sha}") }))
        .collect();
    json!({
        "sha": commit.id,
        "commit": {
            "author": person(&commit.author),
            "committer": person(&commit.committer),
            "message": commit.message,
            "tree": { "sha": commit.tree, "url": format!("{api}/git/trees/{}", commit.tree) },
            "url": format!("{api}/git/commits/{}", commit.id),
        },
        "url": format!("{api}/commits/{}", commit.id),
        "html_url": format!("{base}/{full_name}/commit/{}", commit.id),
        "author": null,
        "committer": null,
        "parents": parents,
    })
}

/// A commit as the git data API shows it.
pub(crate) fn git_commit(base: &str, full_name: &str, c: &Commit) -> Value {
    let mut shown = commit(base, full_name, c);
    let mut inner = shown["commit"].take();
    inner["sha"] = shown["sha"].take();
    inner["parents"] = shown["parents"].take();
    inner["html_url"] = shown["html_url"].take();
    inner
}

/// A commit in a webhook payload.
pub(crate) fn hook_commit(base: &str, full_name: &str, commit: &Commit, files: &[FileDiff]) -> Value {
    let with = |statuses: &[&str]| -> Vec<&str> {
        files.iter().filter(|file| statuses.contains(&file.status)).map(|file| file.path.as_str()).collect()
    };
    json!({
        "id": commit.id,
        "tree_id": commit.tree,
        "distinct": true,
        "message": commit.message,
        "timestamp": commit.committer.date,
        "url": format!("{base}/{full_name}/commit/{}", commit.id),
        "author": { "name": commit.author.name, "email": commit.author.email },
        "committer": { "name": commit.committer.name, "email": commit.committer.email },
        "added": with(&["added", "copied", "renamed"]),
        "removed": with(&["removed"]),
        "modified": with(&["modified", "changed"]),
    })
}

/// A changed file of a commit or comparison.
pub(crate) fn file(file: &FileDiff) -> Value {
    let mut shown = json!({
        "sha": file.id,
        "filename": file.path,
        "status": file.status,
        "additions": file.additions,
        "deletions": file.deletions,
        "changes": file.additions + file.deletions,
    });
    if let Some(previous) = &file.previous {
        shown["previous_filename"] = previous.as_str().into();
    }
    if let Some(patch) = &file.patch {
        shown["patch"] = patch.as_str().into();
    }
    shown
}

/// An entry of a directory, without content.
pub(crate) fn content(base: &str, full_name: &str, revision: &str, entry: &Entry) -> Value {
    let api = format!("{base}/api/v3/repos/{full_name}");
    let kind = match (entry.kind.as_str(), entry.mode.as_str()) {
        ("tree", _) => "dir",
        ("commit", _) => "submodule",
        (_, "120000") => "symlink",
        _ => "file",
    };
    json!({
        "type": kind,
        "name": entry.path.rsplit('/').next(),
        "path": entry.path,
        "sha": entry.id,
        "size": entry.size.unwrap_or(0),
        "url": format!("{api}/contents/{}?ref={revision}", entry.path),
        "html_url": format!("{base}/{full_name}/blob/{revision}/{}", entry.path),
        "git_url": format!("{api}/git/{}s/{}", entry.kind, entry.id),
    })
}

/// A commit status.
pub(crate) fn status(base: &str, status: &Status) -> Value {
    json!({
        "id": status.id,
        "state": status.state,
        "context": status.context,
        "description": status.description,
        "target_url": status.target_url,
        "creator": user(base, &status.creator),
        "created_at": status.created_at,
        "updated_at": status.updated_at,
    })
}

/// A webhook, its secret hidden.
pub(crate) fn webhook(base: &str, full_name: &str, hook: &Webhook) -> Value {
    let mut config = json!({ "url": hook.url, "content_type": hook.content_type, "insecure_ssl": "0" });
    if hook.secret.is_some() {
        config["secret"] = "********".into();
    }
    json!({
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": hook.events,
        "config": config,
        "created_at": hook.created_at,
        "updated_at": hook.updated_at,
        "url": format!("{base}/api/v3/repos/{full_name}/hooks/{}", hook.id),
    })
}

fn person(person: &Person) -> Value {
    json!({ "name": person.name, "email": person.email, "date": person.date })
}
