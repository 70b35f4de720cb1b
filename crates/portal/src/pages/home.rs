//! Home: what needs me now, what I own and how it is in each environment, what changed last.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use maud::{Markup, html};
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::fleet::{self, Seen};
use crate::layout::{Page, encode, page as frame};
use crate::live::{self, Part};
use crate::marks::{self, State as Mark};
use crate::pages::catalog::{entities, path_of, title_of};
use crate::pages::entity::owned_by;
use crate::pages::repositories::subject;
use crate::pages::voyage;
use crate::session::Signed;
use crate::{Config, when};

/// Repositories whose last commits are looked at for "changed last".
const RECENT: usize = 8;
/// Commits that are shown.
const CHANGES: usize = 6;
/// Workflow runs that are searched for failures.
const RUNS: u32 = 50;

pub(crate) async fn page(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
) -> Result<Markup, Failure> {
    let content = html! {
        div.head { div.grow { h1 { "Good to see you, " (caller.claims.name) } } a.button.primary href="/create" { "Create" } }
        (now(&config, &caller).await?)
    };
    Ok(frame(&caller, &Page { title: "Home", section: "/", crumbs: &[("Home", "")] }, content))
}

pub(crate) async fn live(State(config): State<Arc<Config>>, Extension(caller): Signed) -> impl IntoResponse {
    live::stream(live::CALM_BEAT, move || {
        let (config, caller) = (config.clone(), caller.clone());
        async move {
            let lost = |failure: Failure| html! { div data-live="/home/live" { p.notice.bad { (failure.message) } } };
            let markup = now(&config, &caller).await.unwrap_or_else(lost);
            Part { markup, finished: false }
        }
    })
}

/// Everything below the greeting.
async fn now(config: &Config, caller: &Caller) -> Result<Markup, Failure> {
    let (seen, owned, runs) =
        tokio::join!(fleet::look(config, caller), owned_by(caller), failed_runs(caller));
    let owned = owned?;
    Ok(html! { div data-live="/home/live" {
        h2 { "What needs you" }
        (attention(&seen, caller, &runs))
        @if owned.is_empty() {
            // Whoever owns nothing looks after everything.
            h2 { "What runs" }
            (mine(&entities(caller, "kind=component").await?, &seen, false))
        } @else {
            h2 { "What you own" }
            (mine(&owned, &seen, true))
        }
        h2 { "Changed last" }
        (changes(config, caller, &seen).await?)
    } })
}

/// One line of what needs somebody.
struct Need {
    mark: Mark,
    words: String,
    about: String,
    link: String,
    action: &'static str,
}

fn attention(seen: &[Seen], caller: &Caller, runs: &[Value]) -> Markup {
    let mut needs = troubles(seen);
    needs.extend(runs.iter().map(|run| Need {
        mark: Mark::Degraded,
        words: format!("{} failed", run["spec"]["workflow"].as_str().unwrap_or("A workflow")),
        about: run["spec"]["repository"].as_str().unwrap_or_default().to_owned(),
        link: format!("/pipelines/runs/{}", encode(run["metadata"]["name"].as_str().unwrap_or_default())),
        action: "See the log",
    }));
    if caller.claims.groups.iter().any(|group| group == "release-managers") {
        needs.extend(behind(seen));
    }
    html! {
        @if needs.is_empty() { p { (marks::state(Mark::Healthy, "Nothing: everything is as it should be")) } }
        @else { ul.plain { @for need in &needs {
            li { div.actions.between {
                div { (marks::state(need.mark, &need.words)) div.small.muted { (need.about) } }
                a.button href=(need.link) { (need.action) }
            } }
        } } }
    }
}

/// What is broken or cannot be read.
fn troubles(seen: &[Seen]) -> Vec<Need> {
    let mut needs = vec![];
    for one in seen {
        let need = |words: &str, about: String, action| Need {
            mark: Mark::Degraded,
            words: words.to_owned(),
            about: format!("{about} in {}", one.environment),
            link: "/environments".to_owned(),
            action,
        };
        needs.extend(one.problem.iter().map(|problem| need(problem, "Everything".into(), "Look")));
        let bad = one.workloads.iter().filter(|w| w.state == Mark::Degraded);
        needs.extend(bad.map(|w| need(&w.words, w.component.clone(), "Look")));
        let stuck = one.deliveries.iter().filter(|d| d.state == Mark::Degraded);
        needs.extend(stuck.map(|d| need(&d.words, format!("Delivery {}", d.name), "Look")));
    }
    needs
}

/// Environments whose left neighbour is ahead, one line per component: a release manager moves them on.
fn behind(seen: &[Seen]) -> Vec<Need> {
    let mut needs = vec![];
    for pair in seen.windows(2) {
        for w in &pair[0].workloads {
            let next = pair[1].workloads.iter().find(|n| n.component == w.component);
            let Some(next) = next.filter(|n| n.version != w.version) else { continue };
            needs.push(Need {
                mark: Mark::Progress,
                words: format!("{} waits for {}", w.component, pair[1].environment),
                about: format!(
                    "{} is in {}, {} still has {}",
                    w.version, pair[0].environment, pair[1].environment, next.version
                ),
                link: "/environments".to_owned(),
                action: "Review",
            });
        }
    }
    needs
}

/// Of each workflow of a repository that the caller's groups own, the newest run, if it failed.
async fn failed_runs(caller: &Caller) -> Vec<Value> {
    let found = caller.get(&format!("/api/pipelines/runs?limit={RUNS}")).await.unwrap_or_default();
    let owned = owned_by(caller).await.unwrap_or_default();
    let slugs: Vec<&str> = owned
        .iter()
        .filter_map(|e| e["metadata"]["annotations"]["github.com/project-slug"].as_str())
        .collect();
    let mut known = std::collections::BTreeSet::new();
    let runs = found["items"].as_array().cloned().unwrap_or_default();
    let is_newest = |run: &Value| {
        known.insert((run["spec"]["repository"].to_string(), run["spec"]["workflow"].to_string()))
    };
    let mine = |run: &Value| run["spec"]["repository"].as_str().is_some_and(|r| slugs.contains(&r));
    let newest: Vec<Value> = runs.into_iter().filter(is_newest).collect();
    newest.into_iter().filter(|run| run["status"]["conclusion"] == "failure" && mine(run)).collect()
}

fn mine(owned: &[Value], seen: &[Seen], is_owner: bool) -> Markup {
    let runs =
        |entity: &Value| seen.iter().any(|one| one.workloads.iter().any(|w| w.component == name_of(entity)));
    let (running, resting): (Vec<&Value>, Vec<&Value>) = owned.iter().partition(|entity| runs(entity));
    html! {
        @if owned.is_empty() || (running.is_empty() && !is_owner) {
            div.empty { h2 { "Nothing yet" } p { "What your teams own shows here, with its state in each environment." } p { a.button href="/create" { "Create something" } } }
        } @else if !running.is_empty() { div.scroll { table.board.tight {
            thead { tr { th { "Component" } @for one in seen { th { (one.environment) } } } }
            tbody { @for entity in running { tr {
                td { a href=(path_of(entity)) { (title_of(entity)) } }
                @for one in seen {
                    td { @match one.workloads.iter().find(|w| w.component == name_of(entity)) {
                        Some(w) => { (marks::state(w.state, &w.version)) span.visually-hidden { ", " (w.words) } },
                        None => span.faint { "Not here" },
                    } }
                }
            } } }
        } } }
        @if is_owner && !resting.is_empty() {
            p.small.muted { "And what runs nowhere by itself: "
                @for (i, entity) in resting.iter().enumerate() { @if i > 0 { ", " } a href=(path_of(entity)) { (title_of(entity)) } } }
        }
    }
}

fn name_of(entity: &Value) -> &str {
    let id = entity["metadata"]["annotations"]["backstage.io/kubernetes-id"].as_str();
    id.or(entity["metadata"]["name"].as_str()).unwrap_or_default()
}

async fn changes(config: &Config, caller: &Caller, seen: &[Seen]) -> Result<Markup, Failure> {
    let path = format!("/api/v3/orgs/{}/repos?per_page=100&sort=pushed", encode(&config.organisation));
    let found = caller.get(&path).await?;
    let names = found.as_array().into_iter().flatten().filter_map(|r| r["full_name"].as_str());
    let looks = names.take(RECENT).map(|name| last_commits(caller, name));
    let mut last: Vec<(String, Value)> =
        futures::future::join_all(looks).await.into_iter().flatten().collect();
    last.sort_by_key(|(_, commit)| std::cmp::Reverse(date(commit).to_owned()));
    last.truncate(CHANGES);
    let sha = |commit: &Value| commit["sha"].as_str().unwrap_or_default().to_owned();
    let lines = last.iter().map(|(repository, commit)| async move {
        voyage::small(config, caller, repository, &sha(commit), seen).await
    });
    let lines = futures::future::join_all(lines).await;
    Ok(html! {
        @if last.is_empty() { p.muted { "No commit yet." } }
        @else { div.scroll { table.changes {
            thead { tr { th { "Change" } th { "Voyage" } } }
            tbody { @for ((repository, commit), line) in last.iter().zip(&lines) { tr {
                td {
                    a.cut href={ "/voyages/" (repository) "/" (sha(commit)) } { (subject(commit)) }
                    div.small.muted { (repository.rsplit('/').next().unwrap_or_default()) ", " (commit["commit"]["author"]["name"].as_str().unwrap_or_default()) ", " (when::ago(date(commit))) }
                }
                td { (line) }
            } } }
        } } }
    })
}

async fn last_commits(caller: &Caller, repository: &str) -> Vec<(String, Value)> {
    let found =
        caller.get(&format!("/api/v3/repos/{repository}/commits?per_page=3")).await.unwrap_or_default();
    found.as_array().into_iter().flatten().map(|commit| (repository.to_owned(), commit.clone())).collect()
}

fn date(commit: &Value) -> &str {
    commit["commit"]["committer"]["date"].as_str().unwrap_or_default()
}
