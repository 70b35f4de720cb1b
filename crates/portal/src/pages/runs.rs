//! Workflow runs: the list, and one run with its jobs, steps and log as it is written.

use axum::Extension;
use axum::extract::Path;
use axum::response::IntoResponse;
use maud::{Markup, html};
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, page as frame};
use crate::live::{self, Part};
use crate::marks::{self, State};
use crate::session::Signed;
use crate::when;

/// Characters of a log that the page shows, from its end.
const LOG_SHOWN: usize = 64 << 10;

pub(crate) async fn list(Extension(caller): Signed) -> Result<Markup, Failure> {
    let found = caller.get("/api/pipelines/runs?limit=100").await?;
    let runs = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let content = html! {
        div.head { div.grow { h1 { "Pipelines" } p { "Workflow runs, newest first." } } }
        @if runs.is_empty() {
            div.empty { h2 { "No run yet" } p { "A push to a repository with " code { ".github/workflows/*.yaml" } " starts one." } }
        } @else { div.scroll { table {
            thead { tr { th { "Workflow" } th { "State" } th { "Repository" } th { "Commit" } th { "By" } th { "Started" } th { "Took" } } }
            tbody { @for run in runs {
                @let (state, word) = state_of(&run["status"]);
                tr {
                    td { a href={ "/pipelines/runs/" (name_of(run)) } { (title_of(run)) } }
                    td { (marks::state(state, word)) }
                    @let (repository, sha) = (run["spec"]["repository"].as_str().unwrap_or_default(), run["spec"]["sha"].as_str().unwrap_or_default());
                    td { a href={ "/repositories/" (repository) } { (repository.rsplit('/').next().unwrap_or_default()) } }
                    td { a href={ "/repositories/" (repository) "/commit/" (sha) } { (marks::commit(sha)) } }
                    td.muted { (run["spec"]["actor"].as_str().unwrap_or_default()) }
                    td.muted { (when::ago(started(run))) }
                    td.muted { (run_took(run).unwrap_or_default()) }
                }
            } }
        } } }
    };
    Ok(frame(
        &caller,
        &Page { title: "Pipelines", section: "/pipelines", crumbs: &[("Pipelines", "")] },
        content,
    ))
}

pub(crate) async fn page(Extension(caller): Signed, Path(run): Path<String>) -> Result<Markup, Failure> {
    let found = caller.get(&format!("/api/pipelines/runs/{}", encode(&run))).await?;
    let repository = found["spec"]["repository"].as_str().unwrap_or_default();
    let sha = found["spec"]["sha"].as_str().unwrap_or_default();
    let content = html! {
        div.head { div.grow { h1 { (title_of(&found)) }
            p { a href={ "/repositories/" (repository) } { (repository) } " at " a href={ "/repositories/" (repository) "/commit/" (sha) } { (marks::commit(sha)) } } }
            a.button href={ "/voyages/" (repository) "/" (sha) } { "Voyage" } }
        (part(&caller, &run).await.markup)
    };
    let crumbs = [("Pipelines", "/pipelines"), (title_of(&found), "")];
    Ok(frame(&caller, &Page { title: title_of(&found), section: "/pipelines", crumbs: &crumbs }, content))
}

pub(crate) async fn live(Extension(caller): Signed, Path(run): Path<String>) -> impl IntoResponse {
    live::stream(live::BEAT, move || {
        let (caller, run) = (caller.clone(), run.clone());
        async move { part(&caller, &run).await }
    })
}

async fn part(caller: &Caller, run: &str) -> Part {
    let path = format!("/api/pipelines/runs/{}", encode(run));
    let found = match caller.get(&path).await {
        Ok(found) => found,
        Err(failure) => {
            return Part { markup: html! { div { p.notice.bad { (failure.message) } } }, finished: false };
        }
    };
    let finished = found["status"]["status"] == "completed";
    let jobs = found["status"]["jobs"].as_array().cloned().unwrap_or_default();
    let mut logs = vec![];
    for job in &jobs {
        let id = job["id"].as_str().unwrap_or_default();
        logs.push(
            caller.text(&format!("{path}/jobs/{}/log", encode(id)), "text/plain").await.unwrap_or_default(),
        );
    }
    let (state, word) = state_of(&found["status"]);
    let markup = html! {
        div data-live=[(!finished).then(|| format!("/pipelines/runs/{}/live", encode(run)))] {
            p { (marks::state(state, word)) }
            @if let Some(message) = found["status"]["message"].as_str() { p.notice.bad { (message) } }
            @for (job, log) in jobs.iter().zip(&logs) { (one_job(job, log)) }
        }
    };
    Part { markup, finished }
}

fn one_job(job: &Value, log: &str) -> Markup {
    let (state, word) = state_of(job);
    html! {
        h2 { (job["name"].as_str().or(job["id"].as_str()).unwrap_or("Job")) " " (marks::state(state, word)) }
        div.columns {
            div { div.log { pre { (tail(log)) } } }
            ol.steps { @for step in job["steps"].as_array().into_iter().flatten() {
                @let (state, word) = state_of(step);
                li {
                    span.state.(state.class()) title=(word) { (marks::shape(state)) span.visually-hidden { (word) } }
                    span { (step["name"].as_str().unwrap_or_default()) }
                    span.small.muted { (took(step).unwrap_or_default()) }
                }
            } }
        }
    }
}

fn tail(log: &str) -> &str {
    let from = log.len().saturating_sub(LOG_SHOWN);
    let from = (from..log.len()).find(|i| log.is_char_boundary(*i)).unwrap_or(0);
    log.get(from..).unwrap_or(log)
}

fn took(step: &Value) -> Option<String> {
    when::duration(step["startedAt"].as_str()?, step["completedAt"].as_str()?)
}

fn run_took(run: &Value) -> Option<String> {
    when::duration(run["status"]["startedAt"].as_str()?, run["status"]["completedAt"].as_str()?)
}

fn name_of(run: &Value) -> &str {
    run["metadata"]["name"].as_str().unwrap_or_default()
}

fn title_of(run: &Value) -> &str {
    run["spec"]["workflowName"].as_str().or(run["spec"]["workflow"].as_str()).unwrap_or("Workflow")
}

fn started(run: &Value) -> &str {
    run["status"]["startedAt"].as_str().or(run["metadata"]["creationTimestamp"].as_str()).unwrap_or_default()
}

/// GitHub's pair of status and conclusion as one state.
fn state_of(of: &Value) -> (State, &'static str) {
    match (of["status"].as_str(), of["conclusion"].as_str()) {
        (Some("completed"), Some("success")) => (State::Healthy, "Passed"),
        (Some("completed"), Some("skipped")) => (State::Idle, "Skipped"),
        (Some("completed"), Some("cancelled")) => (State::Idle, "Cancelled"),
        (Some("completed"), _) => (State::Degraded, "Failed"),
        (Some("in_progress"), _) => (State::Progress, "Running"),
        _ => (State::Idle, "Waiting"),
    }
}
