//! The voyage of a commit: from the push through checks and image to each environment, with times.
//!
//! It is put together from what is public anyway: commit statuses, the deploy repository's commits that name the
//! commit's short id, and what each cluster says it applied and runs.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use maud::{Markup, html};
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::fleet::{self, Delivery, Seen};
use crate::layout::{Page, encode, page as frame};
use crate::live::{self, Part};
use crate::marks::{self, State as Mark};
use crate::pages::repositories::{mark_of, status, subject};
use crate::session::Signed;
use crate::{Config, when};

/// Commits of a deploy repository that are searched for those that name this commit.
const SEARCHED: u32 = 50;
/// Deploy commits that are read whole; a version is moved once per environment.
const READ: usize = 12;

/// One stop of the line.
#[derive(Default)]
struct Stop {
    name: String,
    mark: Option<Mark>,
    words: String,
    /// Who or what moved it here.
    by: String,
    at: String,
    link: String,
}

impl Stop {
    fn mark(&self) -> Mark {
        self.mark.unwrap_or(Mark::Idle)
    }
}

pub(crate) async fn page(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Path((owner, name, sha)): Path<(String, String, String)>,
) -> Result<Markup, Failure> {
    let repository = format!("{}/{}", encode(&owner), encode(&name));
    let commit = caller.get(&format!("/api/v3/repos/{repository}/commits/{}", encode(&sha))).await?;
    let content = html! {
        div.head { div.grow { h1 { (subject(&commit)) }
            p { "The voyage of " a href={ "/repositories/" (repository) "/commit/" (sha) } { (marks::commit(&sha)) } " in " a href={ "/repositories/" (repository) } { (name) } } } }
        (part(&config, &caller, &repository, &sha).await.markup)
        p.small.muted { "The same by hand: " code { "git log --grep " (sha.get(..7).unwrap_or(&sha)) } " in the deploy repository, then " code { "kubectl get kustomizations -A" } "." }
    };
    let home = format!("/repositories/{repository}");
    let crumbs = [("Repositories", "/repositories"), (name.as_str(), home.as_str()), ("Voyage", "")];
    Ok(frame(&caller, &Page { title: "Voyage", section: "/repositories", crumbs: &crumbs }, content))
}

pub(crate) async fn live(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Path((owner, name, sha)): Path<(String, String, String)>,
) -> impl IntoResponse {
    let repository = format!("{}/{}", encode(&owner), encode(&name));
    live::stream(live::BEAT, move || {
        let (config, caller, repository, sha) =
            (config.clone(), caller.clone(), repository.clone(), sha.clone());
        async move { part(&config, &caller, &repository, &sha).await }
    })
}

/// The line alone, for other pages; nothing when it cannot be read.
pub(crate) async fn small(
    config: &Config,
    caller: &Caller,
    repository: &str,
    sha: &str,
    seen: &[Seen],
) -> Markup {
    let stops = stops(config, caller, repository, sha, seen).await.unwrap_or_default();
    html! { ol.voyage.small { @for stop in &stops {
        li.(stop.mark().class()) title={ (stop.name) ": " (stop.words) } {
            span.stop { (marks::shape(stop.mark())) }
            span.visually-hidden[!seen.iter().any(|one| one.environment == stop.name)] { (stop.name) }
            span.visually-hidden { ": " (stop.words) }
        }
    } } }
}

async fn part(config: &Config, caller: &Caller, repository: &str, sha: &str) -> Part {
    let seen = fleet::look(config, caller).await;
    let stops = stops(config, caller, repository, sha, &seen).await;
    let markup = html! {
        div data-live={ "/voyages/" (repository) "/" (sha) "/live" } {
            @match &stops {
                Ok(stops) => { (line(stops)) div.scroll { (table(stops)) } },
                Err(failure) => p.notice.bad { (failure.message) },
            }
        }
    };
    Part { markup, finished: false }
}

fn line(stops: &[Stop]) -> Markup {
    html! { ol.voyage { @for (i, stop) in stops.iter().enumerate() {
        li.(stop.mark().class()) {
            span.stop { (marks::shape(stop.mark())) }
            strong { @if stop.link.is_empty() { (stop.name) } @else { a href=(stop.link) { (stop.name) } } }
            span { (stop.words) }
            @if !stop.at.is_empty() { span { (when::ago(&stop.at)) } }
            @if let Some(took) = took(stops, i) { span.faint { "after " (took) } }
        }
    } } }
}

fn table(stops: &[Stop]) -> Markup {
    html! {
        table.gap {
            thead { tr { th { "Stop" } th { "State" } th { "Moved by" } th { "At" } th { "After the stop before" } } }
            tbody { @for (i, stop) in stops.iter().enumerate() { tr {
                td { @if stop.link.is_empty() { (stop.name) } @else { a href=(stop.link) { (stop.name) } } }
                td { (marks::state(stop.mark(), &stop.words)) }
                td.muted { (stop.by) }
                td.muted { @if !stop.at.is_empty() { (when::clock(&stop.at)) } }
                td.muted { (took(stops, i).unwrap_or_default()) }
            } } }
        }
    }
}

/// The time since the last stop before that has one.
fn took(stops: &[Stop], index: usize) -> Option<String> {
    let at = &stops.get(index)?.at;
    let before = stops.get(..index)?.iter().rev().find(|stop| !stop.at.is_empty())?;
    // A stop that was passed on the way, before the one left of it ended, waited for nothing.
    (before.at <= *at).then(|| when::duration(&before.at, at))?
}

async fn stops(
    config: &Config,
    caller: &Caller,
    repository: &str,
    sha: &str,
    seen: &[Seen],
) -> Result<Vec<Stop>, Failure> {
    let commit = caller.get(&format!("/api/v3/repos/{repository}/commits/{}", encode(sha))).await?;
    let mut stops = vec![Stop {
        name: "Commit".into(),
        mark: Some(Mark::Healthy),
        words: "Pushed".into(),
        by: author(&commit).to_owned(),
        at: date(&commit).to_owned(),
        link: format!("/repositories/{repository}/commit/{sha}"),
    }];
    if is_deploy(caller, repository).await {
        for one in seen {
            stops.push(applied(caller, one, repository, &commit).await);
        }
        return Ok(stops);
    }
    stops.extend(checks(status(caller, repository, sha).await.as_ref()));
    let (deploy, moves) = deploy_commits(config, caller, sha).await?;
    stops.push(deployed(&deploy, moves.first()));
    // Jobs run beside each other: the line has them as they ended, what has not ended yet last.
    stops.sort_by_cached_key(|stop| (stop.at.is_empty(), stop.at.clone()));
    for one in seen {
        stops.push(arrived(caller, one, (&deploy, &moves), (repository, sha)).await);
    }
    Ok(stops)
}

fn checks(status: Option<&Value>) -> Vec<Stop> {
    let all = status.and_then(|s| s["statuses"].as_array()).cloned().unwrap_or_default();
    if all.is_empty() {
        return vec![Stop {
            name: "Checks".into(),
            words: "No workflow has reported".into(),
            ..Stop::default()
        }];
    }
    let one = |status: &Value| {
        let (mark, word) = mark_of(status["state"].as_str().unwrap_or_default());
        let description = status["description"].as_str().filter(|_| mark != Mark::Healthy);
        Stop {
            name: status["context"].as_str().unwrap_or("Check").to_owned(),
            mark: Some(mark),
            words: description.unwrap_or(word).to_owned(),
            by: "workflow".into(),
            at: status["updated_at"].as_str().unwrap_or_default().to_owned(),
            link: status["target_url"].as_str().unwrap_or_default().to_owned(),
        }
    };
    let mut stops: Vec<Stop> = all.iter().map(one).collect();
    stops.sort_by(|a, b| a.at.cmp(&b.at));
    stops
}

async fn is_deploy(caller: &Caller, repository: &str) -> bool {
    let found = caller.get(&format!("/api/v3/repos/{repository}")).await.unwrap_or_default();
    is_managed(&found)
}

fn is_managed(repository: &Value) -> bool {
    repository["topics"].as_array().is_some_and(|t| t.iter().any(|t| t == "flux-managed"))
}

/// The deploy repository and its commits that bring this commit's image tag somewhere, oldest first, with files.
async fn deploy_commits(
    config: &Config,
    caller: &Caller,
    sha: &str,
) -> Result<(String, Vec<Value>), Failure> {
    let tag = format!("sha-{}", sha.get(..7).unwrap_or(sha));
    let path = format!("/api/v3/orgs/{}/repos?per_page=100", encode(&config.organisation));
    let found = caller.get(&path).await?;
    for candidate in found.as_array().into_iter().flatten().filter(|r| is_managed(r)) {
        let Some(full) = candidate["full_name"].as_str() else { continue };
        let commits = caller.find(&format!("/api/v3/repos/{full}/commits?per_page={SEARCHED}")).await?;
        let commits = commits.and_then(|c| c.as_array().cloned()).unwrap_or_default();
        let mut moves = vec![];
        for commit in commits.iter().rev().filter(|c| brings(c, &tag)).take(READ) {
            let sha = commit["sha"].as_str().unwrap_or_default();
            moves.push(caller.get(&format!("/api/v3/repos/{full}/commits/{sha}")).await?);
        }
        if !moves.is_empty() {
            return Ok((full.to_owned(), moves));
        }
    }
    Ok((String::new(), vec![]))
}

/// Whether a deploy commit's message says that it brings a version (`deploy: x sha-1`, `- x: sha-0 to sha-1`).
fn brings(commit: &Value, tag: &str) -> bool {
    let message = commit["commit"]["message"].as_str().unwrap_or_default();
    let takes_away = message.contains(&format!("{tag} to ")) && !message.contains(&format!(" to {tag}"));
    message.contains(tag) && !takes_away && !message.starts_with("Revert")
}

/// Whether a commit changes what an environment runs: its overlay, or what all overlays share.
fn touches(commit: &Value, environment: &str) -> bool {
    let files = commit["files"].as_array().into_iter().flatten().filter_map(|f| f["filename"].as_str());
    let own = format!("overlays/{environment}/");
    files.into_iter().any(|file| file.starts_with(&own) || file.starts_with("base/"))
}

fn deployed(repository: &str, commit: Option<&Value>) -> Stop {
    let name = "Deploy commit".to_owned();
    let Some(commit) = commit else {
        return Stop { name, words: "No deploy repository names this version yet".into(), ..Stop::default() };
    };
    let sha = commit["sha"].as_str().unwrap_or_default();
    Stop {
        name,
        mark: Some(Mark::Healthy),
        words: sha.get(..7).unwrap_or(sha).to_owned(),
        by: author(commit).to_owned(),
        at: date(commit).to_owned(),
        link: format!("/repositories/{repository}/commit/{sha}"),
    }
}

/// Whether an environment runs the image of a commit.
async fn arrived(
    caller: &Caller,
    seen: &Seen,
    (deploy, moves): (&str, &[Value]),
    (repository, sha): (&str, &str),
) -> Stop {
    let moved = moves.iter().find(|commit| touches(commit, &seen.environment));
    let by = moved.map(author).unwrap_or_default();
    let stop = |mark, words: &str, at: &str| Stop {
        name: seen.environment.clone(),
        mark: Some(mark),
        words: words.to_owned(),
        by: by.to_owned(),
        at: at.to_owned(),
        link: "/environments".to_owned(),
    };
    if let Some(problem) = &seen.problem {
        return stop(Mark::Degraded, problem, "");
    }
    let tag = format!("sha-{}", sha.get(..7).unwrap_or(sha));
    let component = repository.rsplit('/').next().unwrap_or_default();
    let first =
        seen.arrivals.iter().filter(|a| a.component == component && a.version == tag).map(|a| &a.at).min();
    let current = seen.workloads.iter().find(|w| w.component == component);
    if let Some(workload) = current.filter(|w| w.version == tag) {
        return stop(workload.state, &workload.words, first.unwrap_or(&workload.since));
    }
    if let (Some(first), Some(current)) = (first, current) {
        return stop(Mark::Idle, &format!("Was here, now {}", current.version), first);
    }
    let Some(moved) = moved else {
        return stop(Mark::Idle, if moves.is_empty() { "Not here yet" } else { "Waits for promotion" }, "");
    };
    match (delivery_of(seen, deploy), current) {
        (Some(delivery), Some(current)) if contains(caller, deploy, moved, &delivery.applied).await => {
            stop(Mark::Idle, &format!("Passed over for {}", current.version), "")
        }
        _ => stop(Mark::Progress, "Waiting to be pulled", ""),
    }
}

/// Whether an environment has applied a commit of a deploy repository.
async fn applied(caller: &Caller, seen: &Seen, repository: &str, commit: &Value) -> Stop {
    let stop = |mark, words: &str, at: &str| Stop {
        name: seen.environment.clone(),
        mark: Some(mark),
        words: words.to_owned(),
        by: "pulled by the cluster".to_owned(),
        at: at.to_owned(),
        link: "/environments".to_owned(),
    };
    let quiet = |words: &str| Stop { by: String::new(), ..stop(Mark::Idle, words, "") };
    if let Some(problem) = &seen.problem {
        return stop(Mark::Degraded, problem, "");
    }
    if !touches(commit, &seen.environment) {
        return quiet("Nothing changes here");
    }
    let Some(delivery) = delivery_of(seen, repository) else { return quiet("Not delivered here") };
    let sha = commit["sha"].as_str().unwrap_or_default();
    let first = delivery.history.iter().find(|(applied, at)| applied == sha && at.as_str() >= date(commit));
    if let Some((_, at)) = first {
        return stop(if delivery.applied == sha { delivery.state } else { Mark::Healthy }, "Applied", at);
    }
    if delivery.applied == sha {
        return stop(delivery.state, &delivery.words, "");
    }
    if contains(caller, repository, commit, &delivery.applied).await {
        return stop(Mark::Healthy, "Applied with a later commit", "");
    }
    stop(Mark::Progress, "Waiting to be pulled", "")
}

fn delivery_of<'a>(seen: &'a Seen, repository: &str) -> Option<&'a Delivery> {
    let name = repository.rsplit('/').next().unwrap_or_default();
    seen.deliveries.iter().find(|d| d.source == name || d.name == name)
}

/// Whether a branch at `newer` has the commit.
async fn contains(caller: &Caller, repository: &str, commit: &Value, newer: &str) -> bool {
    let older = commit["sha"].as_str().unwrap_or_default();
    if newer.is_empty() || older.is_empty() {
        return false;
    }
    let compared = caller
        .get(&format!("/api/v3/repos/{repository}/compare/{older}...{newer}"))
        .await
        .unwrap_or_default();
    matches!(compared["status"].as_str(), Some("ahead" | "identical"))
}

fn author(commit: &Value) -> &str {
    commit["commit"]["author"]["name"].as_str().unwrap_or("somebody")
}

fn date(commit: &Value) -> &str {
    commit["commit"]["committer"]["date"].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_deploy_commit_brings_the_version_that_it_names_last() {
        for (message, expected) in [
            ("deploy: web sha-abc1234", true),
            ("promote: dev to qa\n\n- images.web: sha-0000000 to sha-abc1234", true),
            ("promote: dev to qa\n\n- images.web: sha-abc1234 to sha-0000000", false),
            ("Revert \"deploy: web sha-abc1234\"", false),
            ("deploy: web sha-0000000", false),
        ] {
            assert_eq!(
                brings(&json!({"commit": {"message": message}}), "sha-abc1234"),
                expected,
                "{message}"
            );
        }
    }

    #[test]
    fn a_commit_touches_the_environments_whose_files_it_changes() {
        let commit = json!({"files": [{"filename": "overlays/qa/a.yaml"}]});
        assert!(touches(&commit, "qa") && !touches(&commit, "prod"));
        assert!(touches(&json!({"files": [{"filename": "base/a.yaml"}]}), "prod"));
    }

    #[test]
    fn the_time_of_a_stop_is_since_the_last_one_that_has_a_time() {
        let stop = |at: &str| Stop { at: at.into(), ..Stop::default() };
        let stops = [stop("2026-01-01T00:00:00Z"), stop(""), stop("2026-01-01T00:00:09Z")];
        assert_eq!(took(&stops, 2).as_deref(), Some("9 s"));
        assert_eq!(took(&stops, 1), None);
    }
}
