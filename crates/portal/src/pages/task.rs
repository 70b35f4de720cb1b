//! A scaffolder task: its steps, its log as it is written, what it made; and the list of tasks.

use axum::Extension;
use axum::extract::Path;
use axum::http::Method;
use axum::response::{IntoResponse, Redirect};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, form_key, page as frame};
use crate::live::{self, Part};
use crate::marks::{self, State};
use crate::pages::catalog::path_of_reference;
use crate::session::Signed;
use crate::when;

pub(crate) async fn list(Extension(caller): Signed) -> Result<Markup, Failure> {
    let found = caller.get("/api/scaffolder/v2/tasks?limit=100").await?;
    let tasks = found["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    let content = html! {
        div.head { div.grow { h1 { "Tasks" } p { "What templates were used for, newest first." } } a.button.primary href="/create" { "Create" } }
        @if tasks.is_empty() { div.empty { h2 { "No task yet" } p { "Choose a template to start one." } } }
        @else { div.scroll { table {
            thead { tr { th { "Template" } th { "State" } th { "By" } th { "Started" } } }
            tbody { @for task in tasks {
                @let (state, word) = state_of(task["status"].as_str().unwrap_or_default());
                tr {
                    td { a href={ "/tasks/" (task["id"].as_str().unwrap_or_default()) } { (title_of(task)) } }
                    td { (marks::state(state, word)) }
                    td.muted { (task["createdBy"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()) }
                    td.muted { (when::ago(task["createdAt"].as_str().unwrap_or_default())) }
                }
            } }
        } } }
    };
    Ok(frame(
        &caller,
        &Page { title: "Tasks", section: "/create", crumbs: &[("Create", "/create"), ("Tasks", "")] },
        content,
    ))
}

pub(crate) async fn page(Extension(caller): Signed, Path(id): Path<String>) -> Result<Markup, Failure> {
    let task = caller.get(&format!("/api/scaffolder/v2/tasks/{}", encode(&id))).await?;
    let title = title_of(&task);
    let content = html! {
        div.head { div.grow { h1 { (title) } p { "Started " (when::ago(task["createdAt"].as_str().unwrap_or_default())) } } }
        (part(&caller, &id).await.markup)
    };
    let crumbs = [("Create", "/create"), ("Tasks", "/tasks"), (title.as_str(), "")];
    Ok(frame(&caller, &Page { title: &title, section: "/create", crumbs: &crumbs }, content))
}

pub(crate) async fn live(Extension(caller): Signed, Path(id): Path<String>) -> impl IntoResponse {
    live::stream(live::BEAT, move || {
        let (caller, id) = (caller.clone(), id.clone());
        async move { part(&caller, &id).await }
    })
}

pub(crate) async fn retry(Extension(caller): Signed, Path(id): Path<String>) -> Result<Redirect, Failure> {
    let path = format!("/api/scaffolder/v2/tasks/{}/retry", encode(&id));
    caller.send(Method::POST, &path, &json!({})).await?;
    Ok(Redirect::to(&format!("/tasks/{}", encode(&id))))
}

async fn part(caller: &Caller, id: &str) -> Part {
    let path = format!("/api/scaffolder/v2/tasks/{}", encode(id));
    let read = futures::future::try_join(caller.get(&path), events(caller, &path)).await;
    let (task, events) = match read {
        Ok(read) => read,
        Err(failure) => {
            return Part { markup: html! { div { p.notice.bad { (failure.message) } } }, finished: false };
        }
    };
    let status = task["status"].as_str().unwrap_or_default();
    let finished = matches!(status, "completed" | "failed" | "cancelled");
    let (state, word) = state_of(status);
    let markup = html! {
        div data-live=[(!finished).then(|| format!("/tasks/{}/live", encode(id)))] {
            p { (marks::state(state, word)) }
            @if status == "failed" {
                form method="post" action={ "/tasks/" (encode(id)) "/retry" } {
                    (form_key(caller))
                    p.notice.bad { (reason(&events)) }
                    p.actions { button.primary { "Try again from the failed step" } span.small.muted { "Steps that finished are not done twice." } }
                }
            }
            @if status == "completed" { (output(&task, &events)) }
            div.columns {
                div { h2 { "Log" } div.log { pre { @for line in log(&events) { (line) "\n" } } } }
                div { h2 { "Steps" } (steps(&task, &events)) }
            }
        }
    };
    Part { markup, finished }
}

/// The events so far; the long poll answers at once when there are any.
async fn events(caller: &Caller, path: &str) -> Result<Vec<Value>, Failure> {
    let found = caller.get(&format!("{path}/events")).await?;
    Ok(found.as_array().cloned().unwrap_or_default())
}

fn log(events: &[Value]) -> impl Iterator<Item = String> {
    events.iter().filter(|e| e["type"] == "log").map(|event| {
        let at = event["createdAt"].as_str().and_then(|t| t.get(11..19)).unwrap_or_default();
        format!("{at}  {}", event["body"]["message"].as_str().unwrap_or_default())
    })
}

fn reason(events: &[Value]) -> String {
    let last = events.iter().rev().find(|e| e["type"] == "completion");
    let body = last.map(|e| &e["body"]);
    let text = body.and_then(|b| b["error"]["message"].as_str().or(b["message"].as_str()));
    text.unwrap_or("A step failed; the log says which.").to_owned()
}

fn steps(task: &Value, events: &[Value]) -> Markup {
    let steps = task["spec"]["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! { ol.steps { @for step in steps {
        @let id = step["id"].as_str().unwrap_or_default();
        @let (state, word, times) = step_state(id, events);
        li {
            span.state.(state.class()) title=(word) { (marks::shape(state)) span.visually-hidden { (word) } }
            span { (step["name"].as_str().unwrap_or(id)) div.small.faint.mono { (step["action"].as_str().unwrap_or_default()) } }
            span.small.muted { (times.unwrap_or_default()) }
        }
    } } }
}

/// What the events say of one step.
fn step_state(id: &str, events: &[Value]) -> (State, &'static str, Option<String>) {
    let of_step = || events.iter().filter(|e| e["body"]["stepId"].as_str() == Some(id));
    let status = of_step().rev().find_map(|e| e["body"]["status"].as_str());
    let (first, last) = (of_step().next(), of_step().next_back());
    let times = match (first, last) {
        (Some(a), Some(b)) => when::duration(
            a["createdAt"].as_str().unwrap_or_default(),
            b["createdAt"].as_str().unwrap_or_default(),
        ),
        _ => None,
    };
    match status {
        Some("completed") => (State::Healthy, "Finished", times),
        Some("failed") => (State::Degraded, "Failed", times),
        Some("skipped") => (State::Idle, "Skipped", None),
        Some("cancelled") => (State::Idle, "Cancelled", None),
        Some(_) => (State::Progress, "Running", None),
        None => (State::Idle, "Waiting", None),
    }
}

fn output(task: &Value, events: &[Value]) -> Markup {
    let from_events = events.iter().rev().find_map(|e| e["body"].get("output"));
    let output = from_events.or(task["state"].get("output")).unwrap_or(&Value::Null);
    html! {
        div.notice.good { ul.plain {
            @for link in output["links"].as_array().into_iter().flatten() {
                @let url = match (link["url"].as_str(), link["entityRef"].as_str()) {
                    (Some(url), _) => url.to_owned(),
                    (None, Some(reference)) => path_of_reference(reference),
                    (None, None) => continue,
                };
                li { a href=(url) { (link["title"].as_str().unwrap_or(&url)) } }
            }
            @for text in output["text"].as_array().into_iter().flatten() {
                li { strong { (text["title"].as_str().unwrap_or_default()) } " " (with_code(text["content"].as_str().unwrap_or_default())) }
            }
            li { a href="/environments" { "Environments: watch it arrive" } }
        } }
    }
}

/// Text in which backquotes mark code.
fn with_code(text: &str) -> Markup {
    html! { @for (i, part) in text.split('`').enumerate() { @if i % 2 == 1 { code { (part) } } @else { (part) } } }
}

fn title_of(task: &Value) -> String {
    let info = &task["spec"]["templateInfo"]["entity"]["metadata"];
    let name = info["title"].as_str().or(info["name"].as_str());
    let reference = task["spec"]["templateInfo"]["entityRef"].as_str().unwrap_or("Task");
    name.map_or_else(|| reference.rsplit('/').next().unwrap_or("Task").to_owned(), str::to_owned)
}

fn state_of(status: &str) -> (State, &'static str) {
    match status {
        "completed" => (State::Healthy, "Finished"),
        "failed" => (State::Degraded, "Failed"),
        "cancelled" => (State::Idle, "Cancelled"),
        "processing" => (State::Progress, "Running"),
        _ => (State::Idle, "Waiting to start"),
    }
}
