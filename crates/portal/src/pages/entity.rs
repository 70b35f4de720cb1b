//! One entity: what it is, what it belongs to, where it runs, its repository and commits.

mod graph;
mod kubernetes;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::Config;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::fleet::{self, Seen};
use crate::layout::{Page, encode, page as frame};
use crate::live::{self, Part};
use crate::pages::catalog::{owner_link, path_of, path_of_reference, short, tags, title_of};
use crate::pages::{board, repositories};
use crate::session::Signed;

use kubernetes::LogOf;

/// What of an entity is shown.
#[derive(Deserialize)]
pub(crate) struct View {
    #[serde(default)]
    tab: String,
    /// The pod whose log is shown, as `environment/namespace/pod`.
    #[serde(default)]
    log: String,
}

pub(crate) async fn page(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(view): Query<View>,
) -> Result<Markup, Failure> {
    let entity = find(&caller, &namespace, &kind, &name).await?;
    let runs = runs_somewhere(&kind);
    let repository = repository_of(&entity);
    let title = title_of(&entity).to_owned();
    let path = path_of(&entity);
    let content = html! {
        div.head {
            div.grow { h1 { (title) } p { (entity["metadata"]["description"].as_str().unwrap_or_default()) } }
            @if kind == "template" { a.button.primary href={ "/create/" (encode(&namespace)) "/" (encode(&name)) } { "Use this template" } }
            @if let Some(repository) = &repository { a.button href={ "/repositories/" (repository) } { "Repository" } }
        }
        (problems(&entity))
        (tabs(&path, &view.tab, runs))
        @match view.tab.as_str() {
            "kubernetes" if runs => (workloads(&config, &caller, &entity, &view).await),
            "relations" => (relations(&entity)),
            "yaml" => (as_yaml(&entity)),
            _ => (overview(&config, &caller, &entity, (&kind, runs), repository.as_deref()).await),
        }
    };
    let crumbs = [("Catalog", "/catalog"), (title.as_str(), "")];
    Ok(frame(&caller, &Page { title: &title, section: "/catalog", crumbs: &crumbs }, content))
}

/// What changes on the overview and on the Kubernetes tab.
pub(crate) async fn live(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Path((namespace, kind, name)): Path<(String, String, String)>,
    Query(view): Query<View>,
) -> Result<impl IntoResponse, Failure> {
    let entity = Arc::new(find(&caller, &namespace, &kind, &name).await?);
    if !runs_somewhere(&kind) {
        return Err(Failure::not_found(format!("A {kind} does not run anywhere.")));
    }
    let view = Arc::new(view);
    Ok(live::stream(live::CALM_BEAT, move || {
        let (config, caller, entity, view) = (config.clone(), caller.clone(), entity.clone(), view.clone());
        async move {
            let markup = match view.tab.as_str() {
                "kubernetes" => workloads(&config, &caller, &entity, &view).await,
                _ => everywhere(&config, &caller, &entity).await,
            };
            Part { markup, finished: false }
        }
    }))
}

async fn find(caller: &Caller, namespace: &str, kind: &str, name: &str) -> Result<Value, Failure> {
    let path =
        format!("/api/catalog/entities/by-name/{}/{}/{}", encode(kind), encode(namespace), encode(name));
    let found = caller.find(&path).await?;
    found.ok_or_else(|| Failure::not_found(format!("The catalog has no {kind} called {name}.")))
}

/// Whether things of a kind have workloads in clusters.
fn runs_somewhere(kind: &str) -> bool {
    matches!(kind, "component" | "system" | "resource")
}

/// The Kubernetes tab.
async fn workloads(config: &Config, caller: &Caller, entity: &Value, view: &View) -> Markup {
    let (seen, path) = (fleet::look(config, caller).await, path_of(entity));
    let log = LogOf::parse(&view.log);
    let tab = kubernetes::tab(config, caller, &seen, &components_of(entity), (&path, log)).await;
    html! { div data-live={ (path) "/live?tab=kubernetes&log=" (encode(&view.log)) } { (tab) } }
}

/// The environments on the overview.
async fn everywhere(config: &Config, caller: &Caller, entity: &Value) -> Markup {
    let seen = fleet::look(config, caller).await;
    html! { div data-live={ (path_of(entity)) "/live" } { (environments(config, &seen, &components_of(entity))) } }
}

fn tabs(path: &str, chosen: &str, runs: bool) -> Markup {
    let all = [("", "Overview"), ("kubernetes", "Kubernetes"), ("relations", "Relations"), ("yaml", "YAML")];
    let chosen = all.iter().find(|(tab, _)| *tab == chosen).map_or("", |(tab, _)| tab);
    html! { nav.tabs aria-label="Views" { @for (tab, label) in all.iter().filter(|(tab, _)| runs || *tab != "kubernetes") {
        @let query = if tab.is_empty() { String::new() } else { format!("?tab={tab}") };
        a href={ (path) (query) } aria-current=[(*tab == chosen).then_some("page")] { (label) }
    } } }
}

async fn overview(
    config: &Config,
    caller: &Caller,
    entity: &Value,
    (kind, runs): (&str, bool),
    repository: Option<&str>,
) -> Markup {
    let commits = match repository {
        Some(repository) => Some(repositories::recent(caller, repository, 8).await),
        None => None,
    };
    html! {
        @if runs { (everywhere(config, caller, entity).await) }
        div.columns {
            div {
                @match commits {
                    Some(Ok(markup)) => { h2 #commits { "Commits" } (markup) },
                    Some(Err(failure)) => { h2 { "Commits" } p.notice.bad { (failure.message) } },
                    None => { h2 { "Relations" } (relations_list(entity)) },
                }
            }
            div {
                h2 { "About" }
                (about(entity, kind))
                @if repository.is_some() { h2 { "Relations" } (relations_list(entity)) }
            }
        }
    }
}

fn as_yaml(entity: &Value) -> Markup {
    let text = yaml::emit(entity);
    html! {
        div.actions.gap { button type="button" data-copy=(text) { "Copy" } span.small.muted { "As the catalog has it, with the relations that it found." } }
        div.code { pre.pad { (text) } }
    }
}

fn about(entity: &Value, kind: &str) -> Markup {
    let text =
        |path: &[&str]| path.iter().fold(entity, |v, key| &v[*key]).as_str().unwrap_or_default().to_owned();
    let links = entity["metadata"]["links"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        dl.facts {
            dt { "Kind" } dd { (kind) }
            dt { "Owner" } dd { (owner_link(entity)) }
            @for (label, path) in [("Type", ["spec", "type"]), ("Lifecycle", ["spec", "lifecycle"]), ("Name", ["metadata", "name"])] {
                @let value = text(&path);
                @if !value.is_empty() { dt { (label) } dd { (value) } }
            }
            @if entity["metadata"]["tags"].is_array() { dt { "Tags" } dd { (tags(entity)) } }
            @if !links.is_empty() {
                dt { "Links" }
                dd { @for link in links {
                    div { a href=(link["url"].as_str().unwrap_or_default()) rel="noreferrer" { (link["title"].as_str().or(link["url"].as_str()).unwrap_or_default()) } }
                } }
            }
            @if let Some(source) = entity["metadata"]["annotations"]["backstage.io/managed-by-location"].as_str() {
                dt { "Defined in" } dd { (defined_in(source)) }
            }
        }
    }
}

/// A file of this platform's git host leads to its page.
fn defined_in(source: &str) -> Markup {
    let url = source.trim_start_matches("url:");
    let path = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map(|(_, path)| path);
    let parts = path.and_then(|path| path.split_once("/blob/"));
    html! { @match parts.and_then(|(repository, rest)| Some((repository, rest.split_once('/')?))) {
        Some((repository, (reference, file))) => a href={ "/repositories/" (repository) "/tree/" (reference) "/" (file) } { (repository) "/" (file) },
        None => span.mono { (url) },
    } }
}

fn problems(entity: &Value) -> Markup {
    let items = entity["status"]["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! { @for item in items { p.notice.bad { (item["message"].as_str().unwrap_or("The file of this entity has a problem.")) } } }
}

fn relations(entity: &Value) -> Markup {
    let any = entity["relations"].as_array().is_some_and(|all| !all.is_empty());
    html! { @if any { div.scroll { (graph::draw(entity)) } } (relations_list(entity)) }
}

fn relations_list(entity: &Value) -> Markup {
    let all = entity["relations"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if all.is_empty() { p.muted { "It stands alone: its file names no system, owner or dependency." } }
        @else {
            dl.facts {
                @for relation in all {
                    @let target = relation["targetRef"].as_str().unwrap_or_default();
                    dt { (spoken(relation["type"].as_str().unwrap_or_default())) }
                    dd { a href=(path_of_reference(target)) { (short(target)) } span.faint { " " (target.split(':').next().unwrap_or_default()) } }
                }
            }
        }
    }
}

/// `dependsOn` as words: "Depends on".
fn spoken(relation: &str) -> String {
    let mut words = String::new();
    for c in relation.chars() {
        if c.is_uppercase() {
            words.push(' ');
        }
        words.extend(c.to_lowercase());
    }
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The Kubernetes ids of this entity: its own, or those of a system's parts.
fn components_of(entity: &Value) -> Vec<String> {
    let own = entity["metadata"]["annotations"]["backstage.io/kubernetes-id"].as_str();
    let name = entity["metadata"]["name"].as_str().unwrap_or_default();
    let parts = entity["relations"].as_array().into_iter().flatten().filter(|r| r["type"] == "hasPart");
    let parts = parts.filter_map(|r| r["targetRef"].as_str()).map(|r| short(r).to_owned());
    std::iter::once(own.unwrap_or(name).to_owned()).chain(parts).collect()
}

/// `owner/name` of the repository that the entity's file is in.
fn repository_of(entity: &Value) -> Option<String> {
    let annotations = &entity["metadata"]["annotations"];
    if let Some(slug) = annotations["github.com/project-slug"].as_str() {
        return Some(slug.to_owned());
    }
    let source = annotations["backstage.io/source-location"].as_str()?.trim_start_matches("url:");
    let after_host = source.split_once("://")?.1.split_once('/')?.1;
    let mut parts = after_host.split('/');
    Some(format!("{}/{}", parts.next()?, parts.next()?.trim_end_matches(".git")))
}

fn environments(config: &Config, seen: &[Seen], components: &[String]) -> Markup {
    let rows = board::rows(seen, |w| components.contains(&w.component));
    let open = |one: &Seen| {
        let here: Vec<_> =
            rows.values().filter_map(|row| row.get(one.environment.as_str()).copied()).collect();
        board::open(config, one, &here)
    };
    html! {
        @for one in seen { @if let Some(problem) = &one.problem { p.notice.bad { (one.environment) ": " (problem) } } }
        @if rows.is_empty() {
            p.muted { "Nothing of it runs in a cluster." }
        } @else {
            div.scroll { table.board {
                thead { tr { th { "Environments" } @for one in seen { th { (one.environment) } } } }
                tbody {
                    @for (component, row) in &rows { tr {
                        td { (component) div.small.faint { (row.values().next().map(|w| w.kind.as_str()).unwrap_or_default()) } }
                        (board::cells(seen, row))
                    } }
                    tr { td.muted { "Open" } @for one in seen { td { (open(one)) } } }
                }
            } }
        }
    }
}

/// For other pages: the caller's components, newest first.
pub(crate) async fn owned_by(caller: &Caller) -> Result<Vec<Value>, Failure> {
    let mut all = vec![];
    for group in &caller.claims.groups {
        let filter = format!("kind=component,relations.ownedBy=group:default/{group}");
        all.extend(crate::pages::catalog::entities(caller, &filter).await?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn relations_are_words() {
        assert_eq!(spoken("dependsOn"), "Depends on");
        assert_eq!(spoken("apiProvidedBy"), "Api provided by");
    }

    #[test]
    fn the_repository_comes_from_the_source_location() {
        let entity =
            |location: &str| json!({"metadata": {"annotations": {"backstage.io/source-location": location}}});
        let found = repository_of(&entity("url:http://127.0.0.1:7007/platform/x/tree/main/"));
        assert_eq!(found.as_deref(), Some("platform/x"));
    }
}
