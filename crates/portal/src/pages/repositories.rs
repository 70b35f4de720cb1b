//! Repositories: the list, files at a reference, commits with their checks, one commit's diff.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use maud::{Markup, html};
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, page as frame};
use crate::marks::State as Mark;
use crate::session::Signed;
use crate::{Config, marks, when};

/// Commits on one page.
const COMMITS: u32 = 50;
/// A file larger than this is not shown, only offered by name, in bytes.
const SHOWN: usize = 512 << 10;

pub(crate) async fn list(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
) -> Result<Markup, Failure> {
    let found = caller
        .get(&format!("/api/v3/orgs/{}/repos?per_page=100&sort=pushed", encode(&config.organisation)))
        .await?;
    let repositories = found.as_array().map(Vec::as_slice).unwrap_or_default();
    let content = html! {
        div.head { div.grow { h1 { "Repositories" } p { (repositories.len()) " in " (config.organisation) } } }
        @if repositories.is_empty() {
            div.empty { h2 { "No repository yet" } p { "Create something from a template, or push one: " code { "git push " (config.base_url) "/" (config.organisation) "/NAME.git main" } } }
        } @else {
            div.scroll { table {
                thead { tr { th { "Name" } th { "Description" } th { "Topics" } th { "Last push" } } }
                tbody { @for repository in repositories {
                    tr {
                        td { a href={ "/repositories/" (repository["full_name"].as_str().unwrap_or_default()) } { (repository["name"].as_str().unwrap_or_default()) } }
                        td.muted { (repository["description"].as_str().unwrap_or_default()) }
                        td { span.tags { @for topic in repository["topics"].as_array().into_iter().flatten().filter_map(Value::as_str) { span.tag { (topic) } } } }
                        td.muted { @if let Some(at) = repository["pushed_at"].as_str() { (when::ago(at)) } }
                    }
                } }
            } }
        }
    };
    Ok(frame(
        &caller,
        &Page { title: "Repositories", section: "/repositories", crumbs: &[("Repositories", "")] },
        content,
    ))
}

pub(crate) async fn files_root(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Markup, Failure> {
    show(&config, &caller, &Place { owner, name, reference: None, path: String::new() }).await
}

pub(crate) async fn files(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Path((owner, name, reference, path)): Path<(String, String, String, String)>,
) -> Result<Markup, Failure> {
    show(&config, &caller, &Place { owner, name, reference: Some(reference), path }).await
}

/// A place in a repository.
struct Place {
    owner: String,
    name: String,
    reference: Option<String>,
    path: String,
}

impl Place {
    fn home(&self) -> String {
        format!("/repositories/{}/{}", encode(&self.owner), encode(&self.name))
    }

    fn api(&self) -> String {
        format!("/api/v3/repos/{}/{}", encode(&self.owner), encode(&self.name))
    }
}

async fn show(config: &Config, caller: &Caller, place: &Place) -> Result<Markup, Failure> {
    let repository = caller.get(&place.api()).await?;
    let branch = repository["default_branch"].as_str().unwrap_or("main").to_owned();
    let reference = place.reference.clone().unwrap_or(branch);
    let encoded: Vec<String> = place.path.split('/').map(encode).collect();
    let contents = format!("{}/contents/{}?ref={}", place.api(), encoded.join("/"), encode(&reference));
    let found = match caller.find(&contents).await? {
        Some(found) => found,
        None if place.path.is_empty() => Value::Array(vec![]),
        None => {
            return Err(Failure::not_found(format!("{} has no {} at {reference}.", place.name, place.path)));
        }
    };
    let content = html! {
        (heading(config, place, &repository))
        @match found.as_array() {
            Some(entries) if entries.is_empty() => (empty(config, place)),
            Some(entries) => (folder(place, &reference, entries)),
            None => (file(&found)),
        }
        @if place.path.is_empty() && found.as_array().is_some_and(|e| !e.is_empty()) {
            h2 { "Last commits" }
            @match recent(caller, &format!("{}/{}", place.owner, place.name), 5).await {
                Ok(markup) => (markup),
                Err(failure) => p.notice.bad { (failure.message) },
            }
        }
    };
    let home = place.home();
    let crumbs =
        [("Repositories", "/repositories"), (place.name.as_str(), home.as_str()), (place.path.as_str(), "")];
    let crumbs = if place.path.is_empty() { &crumbs[..2] } else { &crumbs[..] };
    Ok(frame(caller, &Page { title: &place.name, section: "/repositories", crumbs }, content))
}

fn heading(config: &Config, place: &Place, repository: &Value) -> Markup {
    let clone = format!("{}/{}/{}.git", config.base_url, place.owner, place.name);
    html! {
        div.head {
            div.grow {
                h1 { (place.name) }
                p { (repository["description"].as_str().unwrap_or_default()) " "
                    span.tags { @for topic in repository["topics"].as_array().into_iter().flatten().filter_map(Value::as_str) { span.tag { (topic) } } } }
            }
            a.button href={ (place.home()) "/commits" } { "Commits" }
            button type="button" data-copy={ "git clone " (clone) } { "Copy clone command" }
        }
    }
}

fn empty(config: &Config, place: &Place) -> Markup {
    html! { div.empty {
        h2 { "No commit yet" }
        p { "Push the first one:" }
        pre.mono { "git push " (config.base_url) "/" (place.owner) "/" (place.name) ".git main" }
    } }
}

fn folder(place: &Place, reference: &str, entries: &[Value]) -> Markup {
    let mut sorted: Vec<&Value> = entries.iter().collect();
    sorted.sort_by_key(|e| (e["type"] != "dir", e["name"].as_str().unwrap_or_default().to_owned()));
    html! {
        table {
            thead { tr { th { "Name" } th.number { "Bytes" } } }
            tbody {
                @for entry in sorted {
                    @let dir = entry["type"] == "dir";
                    tr {
                        td { a href={ (place.home()) "/tree/" (encode(reference)) "/" (entry["path"].as_str().unwrap_or_default()) } {
                            (entry["name"].as_str().unwrap_or_default()) @if dir { "/" }
                        } }
                        td.number.muted { @if !dir { (entry["size"]) } }
                    }
                }
            }
        }
    }
}

fn file(found: &Value) -> Markup {
    use base64::Engine as _;
    let packed: String = found["content"].as_str().unwrap_or_default().split_whitespace().collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(packed).unwrap_or_default();
    let size = found["size"].as_u64().unwrap_or(bytes.len() as u64);
    let path = found["path"].as_str().unwrap_or_default();
    html! {
        div.code {
            div.file-head { span { (path) } span.faint { (size) " bytes" } }
            @match String::from_utf8(bytes) {
                Ok(text) if text.len() <= SHOWN && !(text.is_empty() && size > 0) => (numbered(&text)),
                _ => p.pad.muted { "This file is binary or too large to show here: clone the repository to see it." },
            }
        }
    }
}

fn numbered(text: &str) -> Markup {
    html! { table { tbody { @for (i, line) in text.lines().enumerate() {
        tr { td.n { (i + 1) } td { (line) } }
    } } } }
}

/// The newest commits of a repository, each with its checks, as a list.
pub(crate) async fn recent(caller: &Caller, repository: &str, count: u32) -> Result<Markup, Failure> {
    let commits = caller.find(&format!("/api/v3/repos/{repository}/commits?per_page={count}")).await?;
    let commits = commits.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    let shas: Vec<String> =
        commits.iter().map(|c| c["sha"].as_str().unwrap_or_default().to_owned()).collect();
    let checks = shas.iter().map(|sha| status(caller, repository, sha));
    let checks = futures::future::join_all(checks).await;
    Ok(html! {
        @if commits.is_empty() { p.muted { "No commit yet." } }
        ul.plain {
            @for (commit, check) in commits.iter().zip(&checks) {
                @let sha = commit["sha"].as_str().unwrap_or_default();
                li {
                    div.actions {
                        a href={ "/repositories/" (repository) "/commit/" (sha) } { (subject(commit)) }
                        (checks_mark(check.as_ref()))
                    }
                    div.small.muted {
                        (marks::commit(sha)) " by " (commit["commit"]["author"]["name"].as_str().unwrap_or_default()) ", "
                        (when::ago(commit["commit"]["author"]["date"].as_str().unwrap_or_default()))
                        " · " a href={ "/voyages/" (repository) "/" (sha) } { "Voyage" }
                    }
                }
            }
        }
    })
}

/// The combined status of a commit; none when it has no check.
pub(crate) async fn status(caller: &Caller, repository: &str, sha: &str) -> Option<Value> {
    let found = caller.get(&format!("/api/v3/repos/{repository}/commits/{sha}/status")).await.ok()?;
    let any = found["statuses"].as_array().is_some_and(|s| !s.is_empty());
    any.then_some(found)
}

/// One commit state as a mark.
pub(crate) fn mark_of(state: &str) -> (Mark, &'static str) {
    match state {
        "success" => (Mark::Healthy, "Passed"),
        "failure" => (Mark::Degraded, "Failed"),
        "error" => (Mark::Degraded, "Error"),
        "pending" => (Mark::Progress, "Running"),
        _ => (Mark::Idle, "Unknown"),
    }
}

fn checks_mark(status: Option<&Value>) -> Markup {
    html! { @if let Some(status) = status {
        @let (mark, word) = mark_of(status["state"].as_str().unwrap_or_default());
        @let url = status["statuses"][0]["target_url"].as_str().unwrap_or_default();
        @if url.is_empty() { (marks::state(mark, word)) } @else { a href=(url) { (marks::state(mark, word)) } }
    } }
}

/// First line of a commit's message.
pub(crate) fn subject(commit: &Value) -> &str {
    commit["commit"]["message"].as_str().unwrap_or_default().lines().next().unwrap_or("(no message)")
}

pub(crate) async fn commits(
    Extension(caller): Signed,
    Path((owner, name)): Path<(String, String)>,
) -> Result<Markup, Failure> {
    let repository = format!("{}/{}", encode(&owner), encode(&name));
    let content = html! {
        div.head { div.grow { h1 { "Commits" } p { "Of " (name) ", newest first" } } }
        (recent(&caller, &repository, COMMITS).await?)
    };
    let home = format!("/repositories/{repository}");
    let crumbs = [("Repositories", "/repositories"), (name.as_str(), home.as_str()), ("Commits", "")];
    Ok(frame(&caller, &Page { title: "Commits", section: "/repositories", crumbs: &crumbs }, content))
}

pub(crate) async fn commit(
    Extension(caller): Signed,
    Path((owner, name, sha)): Path<(String, String, String)>,
) -> Result<Markup, Failure> {
    let repository = format!("{}/{}", encode(&owner), encode(&name));
    let found = caller.get(&format!("/api/v3/repos/{repository}/commits/{}", encode(&sha))).await?;
    let status = status(&caller, &repository, &sha).await;
    let message = found["commit"]["message"].as_str().unwrap_or_default();
    let body = message.split_once('\n').map(|(_, rest)| rest.trim()).unwrap_or_default();
    let content = html! {
        div.head {
            div.grow { h1 { (subject(&found)) }
                p { (marks::commit(found["sha"].as_str().unwrap_or_default())) " by " (found["commit"]["author"]["name"].as_str().unwrap_or_default()) ", "
                    (when::ago(found["commit"]["author"]["date"].as_str().unwrap_or_default())) } }
            a.button href={ "/voyages/" (repository) "/" (sha) } { "Voyage" }
        }
        @if !body.is_empty() { pre.muted { (body) } }
        @if let Some(status) = &status { h2 { "Checks" } (checks(status)) }
        h2 { "Changes" }
        @for file in found["files"].as_array().into_iter().flatten() { (changed(file)) }
    };
    let home = format!("/repositories/{repository}");
    let crumbs = [("Repositories", "/repositories"), (name.as_str(), home.as_str()), ("Commit", "")];
    Ok(frame(&caller, &Page { title: subject(&found), section: "/repositories", crumbs: &crumbs }, content))
}

fn checks(status: &Value) -> Markup {
    html! { ul.plain { @for one in status["statuses"].as_array().into_iter().flatten() {
        @let (mark, word) = mark_of(one["state"].as_str().unwrap_or_default());
        li { div.actions {
            (marks::state(mark, word))
            @match one["target_url"].as_str() {
                Some(url) if !url.is_empty() => a href=(url) { (one["context"].as_str().unwrap_or_default()) },
                _ => span { (one["context"].as_str().unwrap_or_default()) },
            }
            span.small.muted { (one["description"].as_str().unwrap_or_default()) }
        } }
    } } }
}

/// One file of a diff, from GitHub's `patch` text.
pub(crate) fn changed(file: &Value) -> Markup {
    let patch = file["patch"].as_str().unwrap_or_default();
    html! {
        div.code.gap {
            div.file-head { span { (file["filename"].as_str().unwrap_or_default()) }
                span.faint { (file["status"].as_str().unwrap_or_default()) " +" (file["additions"]) " −" (file["deletions"]) } }
            @if patch.is_empty() { p.pad.muted { "No text to show." } }
            @else { table { tbody { @for line in patch.lines() {
                @let class = match line.as_bytes().first() { Some(b'+') => "add", Some(b'-') => "del", Some(b'@') => "hunk", _ => "" };
                tr class=(class) { td { (line) } }
            } } } }
        }
    }
}
