//! The environments board: what version of each component is where, how it is, and how it differs from its left
//! neighbour; and promotion, which shows its diff before the button and is one commit of the person who presses it.

pub(crate) mod rollback;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, RawForm, State};
use axum::http::Method;
use axum::response::{IntoResponse, Redirect};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::failure::Failure;
use crate::fleet::{self, Seen, Workload};
use crate::layout::{Page, encode, form_key, page as frame};
use crate::live::{self, Part};
use crate::pages::board::{self, Row};
use crate::pages::catalog::{entities, path_of};
use crate::promotion::{self, Overlay, Plan};
use crate::session::{Signed, form_value};
use crate::{Config, marks, when};

/// Files read of one overlay; an overlay is a handful.
const OVERLAY_FILES: usize = 200;
/// Deepest folder below an overlay.
const OVERLAY_DEPTH: usize = 4;

pub(crate) async fn page(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
) -> Result<Markup, Failure> {
    let content = html! {
        div.head { div.grow { h1 { "Environments" } p { "What runs where, left to right. Clusters pull every change from Git." } } }
        (board(&config, &caller).await.markup)
    };
    Ok(frame(
        &caller,
        &Page { title: "Environments", section: "/environments", crumbs: &[("Environments", "")] },
        content,
    ))
}

pub(crate) async fn live(State(config): State<Arc<Config>>, Extension(caller): Signed) -> impl IntoResponse {
    live::stream(live::BEAT, move || {
        let (config, caller) = (config.clone(), caller.clone());
        async move { board(&config, &caller).await }
    })
}

/// The board, and below it what each cluster pulls.
async fn board(config: &Config, caller: &Caller) -> Part {
    let (seen, known) = tokio::join!(fleet::look(config, caller), known(caller));
    let rows = board::rows(&seen, |_| true);
    let mut projects: BTreeMap<&str, BTreeMap<&str, &Row<'_>>> = BTreeMap::new();
    for (component, row) in &rows {
        let project = row.values().next().map(|w| w.project.as_str()).unwrap_or_default();
        projects.entry(project).or_default().insert(component, row);
    }
    let markup = html! {
        div data-live="/environments/live" {
            @for one in &seen { @if let Some(problem) = &one.problem { p.notice.bad { (one.environment) ": " (problem) } } }
            @if rows.is_empty() {
                div.empty {
                    h2 { "Nothing runs yet" }
                    p { "A deploy repository with the topic " code { "flux-managed" } " brings its overlays " code { "dev" } ", " code { "qa" } " and " code { "prod" } " here within seconds." }
                    p { a.button.primary href="/create" { "Create a stack" } }
                }
            } @else { div.scroll { table.board {
                thead { tr { th { "Component" } @for one in &seen { th { (one.environment) } } } }
                @for (project, rows) in &projects { (one_project(config, &seen, &known, project, rows)) }
            } } }
            @if seen.iter().any(|one| !one.deliveries.is_empty()) { h2 { "Pulled from Git" } div.scroll { (deliveries(&seen, config)) } }
        }
    };
    Part { markup, finished: false }
}

/// Catalog entities by the Kubernetes id that their workloads carry.
async fn known(caller: &Caller) -> BTreeMap<String, Value> {
    let found = entities(caller, "kind=component,kind=resource,kind=system").await.unwrap_or_default();
    let id = |entity: &Value| {
        let own = entity["metadata"]["annotations"]["backstage.io/kubernetes-id"].as_str();
        own.or(entity["metadata"]["name"].as_str()).unwrap_or_default().to_owned()
    };
    // Components and resources win over a system of the same name.
    let (systems, rest): (Vec<Value>, Vec<Value>) =
        found.into_iter().partition(|entity| entity["kind"] == "System");
    systems.into_iter().chain(rest).map(|entity| (id(&entity), entity)).collect()
}

fn one_project(
    config: &Config,
    seen: &[Seen],
    known: &BTreeMap<String, Value>,
    project: &str,
    rows: &BTreeMap<&str, &Row<'_>>,
) -> Markup {
    let named = |name: &str| html! { @match known.get(name) { Some(entity) => a href=(path_of(entity)) { (name) }, None => (name) } };
    let deploy = rows.keys().find_map(|component| {
        known.get(*component)?["metadata"]["annotations"]["portolan.dev/deploy-repository"].as_str()
    });
    html! { tbody {
        tr.project {
            th scope="rowgroup" { (named(project)) @if let Some(deploy) = deploy { div.small.faint { a href={ "/repositories/" (deploy) } { (deploy.rsplit('/').next().unwrap_or(deploy)) } } } }
            @for (i, one) in seen.iter().enumerate() {
                @let here: Vec<&Workload> = rows.values().filter_map(|row| row.get(one.environment.as_str()).copied()).collect();
                td {
                    (board::open(config, one, &here))
                    @if let Some(deploy) = deploy { div.moves {
                        @if let Some(next) = seen.get(i + 1).filter(|_| !here.is_empty()) {
                            @if differs(rows, &one.environment, &next.environment) {
                                a.button href={ "/environments/promote?repository=" (encode(deploy)) "&from=" (one.environment) "&to=" (next.environment) } { "Promote to " (next.environment) }
                            } @else { span.small.faint { "In step with " (next.environment) } }
                        }
                        @if !here.is_empty() { a.small href={ "/environments/rollback?repository=" (encode(deploy)) "&environment=" (one.environment) } { "Roll back…" } }
                    } }
                }
            }
        }
        @for (component, row) in rows { tr { td { (named(component)) div.small.faint { (row.values().next().map(|w| w.kind.as_str()).unwrap_or_default()) } } (board::cells(seen, row)) } }
    } }
}

/// Whether any component has another version in the one than in the other.
fn differs(rows: &BTreeMap<&str, &Row<'_>>, one: &str, other: &str) -> bool {
    let version = |row: &&Row<'_>, environment: &str| row.get(environment).map(|w| w.version.clone());
    rows.values().any(|row| version(row, one).is_some() && version(row, one) != version(row, other))
}

fn deliveries(seen: &[Seen], config: &Config) -> Markup {
    html! {
        table {
            thead { tr { th { "Environment" } th { "Delivery" } th { "State" } th { "Commit" } th { "Path" } th { "Since" } } }
            tbody { @for one in seen { @for delivery in &one.deliveries {
                tr {
                    td { (one.environment) }
                    td { (delivery.name) }
                    td { (marks::state(delivery.state, &delivery.words)) }
                    td { @if delivery.applied.is_empty() { span.faint { "none yet" } }
                        @else { a href={ "/repositories/" (config.organisation) "/" (delivery.source) "/commit/" (delivery.applied) } { (marks::commit(&delivery.applied)) } } }
                    td.mono { (delivery.path) }
                    td.muted { (when::ago(&delivery.since)) }
                }
            } } }
        }
    }
}

/// A promotion: which repository, from where to where.
#[derive(Deserialize)]
pub(crate) struct Promotion {
    repository: String,
    from: String,
    to: String,
}

impl Promotion {
    fn check(&self, config: &Config) -> Result<(), Failure> {
        check_repository(&self.repository)?;
        check_environment(config, &self.from)?;
        check_environment(config, &self.to)
    }
}

fn check_environment(config: &Config, name: &str) -> Result<(), Failure> {
    let known = config.environments.iter().any(|e| e.name == name);
    known.then_some(()).ok_or_else(|| Failure::input(format!("there is no environment called {name:?}")))
}

fn check_repository(repository: &str) -> Result<(), Failure> {
    let plain = |part: &str| {
        !part.trim_matches('.').is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let parts = repository.split('/').collect::<Vec<_>>();
    let is_one = parts.len() == 2 && parts.iter().all(|part| plain(part));
    is_one.then_some(()).ok_or_else(|| Failure::input(format!("{repository:?} is not a repository")))
}

pub(crate) async fn review(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Query(promotion): Query<Promotion>,
) -> Result<Markup, Failure> {
    promotion.check(&config)?;
    let (plan, old) = read_plan(&caller, &promotion).await?;
    let content = html! {
        div.head { div.grow {
            h1 { "Promote " (promotion.from) " to " (promotion.to) }
            p { (promotion.repository) ": one commit in your name; the " (promotion.to) " cluster pulls it." }
        } }
        @if plan.moves.is_empty() {
            div.empty { h2 { "Nothing to promote" } p { (promotion.to) " names the same versions as " (promotion.from) "." }
                p { a.button href="/environments" { "Back" } } }
        } @else {
            div.scroll { table {
                thead { tr { th { "Version of" } th { "Now in " (promotion.to) } th { "From " (promotion.from) } } }
                tbody { @for one in &plan.moves { tr { td { (one.place) div.small.faint { (one.file) } } td.mono { (one.before) } td.mono { (one.after) } } } }
            } }
            h2 { "The commit" }
            @for (file, new) in &plan.files { (diff(file, old.get(file).map_or("", String::as_str), new)) }
            form method="post" action="/environments/promote" data-once {
                (form_key(&caller))
                input type="hidden" name="repository" value=(promotion.repository);
                input type="hidden" name="from" value=(promotion.from);
                input type="hidden" name="to" value=(promotion.to);
                div.actions { button.primary { "Promote to " (promotion.to) } a.button.quiet href="/environments" { "Cancel" } }
            }
        }
    };
    let crumbs = [("Environments", "/environments"), ("Promote", "")];
    Ok(frame(&caller, &Page { title: "Promote", section: "/environments", crumbs: &crumbs }, content))
}

pub(crate) async fn promote(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    RawForm(form): RawForm,
) -> Result<Redirect, Failure> {
    let field = |name: &str| form_value(&form, name).unwrap_or_default();
    let promotion = Promotion { repository: field("repository"), from: field("from"), to: field("to") };
    promotion.check(&config)?;
    let (plan, _) = read_plan(&caller, &promotion).await?;
    if plan.moves.is_empty() {
        return Err(Failure::input(format!(
            "{} already has the versions of {}",
            promotion.to, promotion.from
        )));
    }
    let path = |file: &String| format!("overlays/{}/{file}", promotion.to);
    let changes = plan.files.iter().map(|(file, text)| (path(file), Some(text.clone()))).collect();
    commit(&caller, &promotion.repository, &changes, &message(&promotion, &plan)).await?;
    Ok(Redirect::to("/environments"))
}

/// A file's new text, or none to remove it, by its path in the repository.
type Changes = BTreeMap<String, Option<String>>;

/// One commit of this person through the Git data API; refused when the branch moved meanwhile.
async fn commit(caller: &Caller, repository: &str, changes: &Changes, message: &str) -> Result<(), Failure> {
    let api = format!("/api/v3/repos/{repository}");
    let branch = default_branch(caller, repository).await?;
    let head = caller.get(&format!("{api}/git/ref/heads/{}", encode(&branch))).await?;
    let parent = head["object"]["sha"].as_str().unwrap_or_default().to_owned();
    let base = caller.get(&format!("{api}/git/commits/{parent}")).await?;
    let entry = |(path, text): (&String, &Option<String>)| match text {
        Some(text) => json!({"path": path, "mode": "100644", "type": "blob", "content": text}),
        None => json!({"path": path, "mode": "100644", "type": "blob", "sha": null}),
    };
    let entries: Vec<Value> = changes.iter().map(entry).collect();
    let tree = json!({"base_tree": base["tree"]["sha"], "tree": entries});
    let tree = caller.send(Method::POST, &format!("{api}/git/trees"), &tree).await?;
    let new = json!({"message": message, "tree": tree["sha"], "parents": [parent],
        "author": {"name": caller.claims.name, "email": caller.claims.email}});
    let new = caller.send(Method::POST, &format!("{api}/git/commits"), &new).await?;
    let update = json!({"sha": new["sha"], "force": false});
    caller.send(Method::PATCH, &format!("{api}/git/refs/heads/{}", encode(&branch)), &update).await?;
    Ok(())
}

fn message(promotion: &Promotion, plan: &Plan) -> String {
    let list: Vec<String> =
        plan.moves.iter().map(|m| format!("- {}: {} to {}", m.place, m.before, m.after)).collect();
    format!("promote: {} to {}\n\n{}\n", promotion.from, promotion.to, list.join("\n"))
}

async fn read_plan(caller: &Caller, promotion: &Promotion) -> Result<(Plan, Overlay), Failure> {
    let (from, to) = futures::future::try_join(
        overlay(caller, &promotion.repository, &promotion.from),
        overlay(caller, &promotion.repository, &promotion.to),
    )
    .await?;
    let plan = promotion::plan(&from, &to).map_err(|e| Failure::input(e.to_string()))?;
    Ok((plan, to))
}

/// The YAML files of one overlay at the default branch.
async fn overlay(caller: &Caller, repository: &str, environment: &str) -> Result<Overlay, Failure> {
    let root = format!("overlays/{environment}");
    let (mut files, mut open) = (Overlay::new(), vec![(root.clone(), 0)]);
    while let Some((folder, depth)) = open.pop() {
        let found = caller.find(&format!("/api/v3/repos/{repository}/contents/{folder}")).await?;
        let entries = found.and_then(|f| f.as_array().cloned());
        let entries =
            entries.ok_or_else(|| Failure::not_found(format!("{repository} has no folder {folder}")))?;
        for entry in entries {
            let path = entry["path"].as_str().unwrap_or_default().to_owned();
            if entry["type"] == "dir" && depth < OVERLAY_DEPTH {
                open.push((path, depth + 1));
            } else if path.ends_with(".yaml") || path.ends_with(".yml") {
                let file = caller.get(&format!("/api/v3/repos/{repository}/contents/{path}")).await?;
                let name = path.strip_prefix(&format!("{root}/")).unwrap_or(&path).to_owned();
                files.insert(name, decoded(&file));
            }
            if files.len() > OVERLAY_FILES {
                return Err(Failure::input(format!("{root} has more than {OVERLAY_FILES} files")));
            }
        }
    }
    Ok(files)
}

fn decoded(file: &Value) -> String {
    let packed: String = file["content"].as_str().unwrap_or_default().split_whitespace().collect();
    String::from_utf8(STANDARD.decode(packed).unwrap_or_default()).unwrap_or_default()
}

async fn default_branch(caller: &Caller, repository: &str) -> Result<String, Failure> {
    let found = caller.get(&format!("/api/v3/repos/{repository}")).await?;
    Ok(found["default_branch"].as_str().unwrap_or("main").to_owned())
}

fn diff(file: &str, old: &str, new: &str) -> Markup {
    let diff = similar::TextDiff::from_lines(old, new);
    html! {
        div.code.gap {
            div.file-head { (file) }
            table { tbody { @for group in diff.grouped_ops(3) { @for op in group { @for change in diff.iter_changes(&op) {
                @let (class, sign) = match change.tag() {
                    similar::ChangeTag::Insert => ("add", "+"),
                    similar::ChangeTag::Delete => ("del", "-"),
                    similar::ChangeTag::Equal => ("", " "),
                };
                tr class=(class) { td { (sign) (change.value().trim_end_matches('\n')) } }
            } } } } }
        }
    }
}
