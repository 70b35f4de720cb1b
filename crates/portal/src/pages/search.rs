//! Search: one field that finds entities, repositories and pages; the palette asks for the list alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use crate::Config;
use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, page as frame};
use crate::pages::catalog::{path_of, title_of};
use crate::session::Signed;

/// Results of each sort.
const MOST: usize = 8;
const PAGES: &[(&str, &str)] = &[
    ("Home", "/"),
    ("Catalog", "/catalog"),
    ("Create", "/create"),
    ("Tasks", "/tasks"),
    ("Environments", "/environments"),
    ("Repositories", "/repositories"),
    ("Pipelines", "/pipelines"),
];

#[derive(Deserialize)]
pub(crate) struct Asked {
    #[serde(default)]
    q: String,
    /// Only the list, for the palette.
    #[serde(default)]
    fragment: String,
}

struct Hit {
    title: String,
    sort: String,
    path: String,
}

pub(crate) async fn page(
    State(config): State<Arc<Config>>,
    Extension(caller): Signed,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let hits = find(&config, &caller, asked.q.trim()).await?;
    if !asked.fragment.is_empty() {
        return Ok(items(&hits).into_response());
    }
    let content = html! {
        div.head { div.grow { h1 { "Search" } } }
        form.filters action="/search" { label.grow { "Words" input type="search" name="q" value=(asked.q) autofocus; } button { "Search" } }
        @if hits.is_empty() { div.empty { h2 { "Nothing found" } p { "Try fewer or other words." } } }
        ul.plain { (items(&hits)) }
    };
    let page = Page { title: "Search", section: "", crumbs: &[("Search", "")] };
    Ok(frame(&caller, &page, content).into_response())
}

fn items(hits: &[Hit]) -> Markup {
    html! { @for hit in hits { li { a href=(hit.path) { span { (hit.title) } span.faint { " " (hit.sort) } } } } }
}

async fn find(config: &Config, caller: &Caller, words: &str) -> Result<Vec<Hit>, Failure> {
    let lower = words.to_lowercase();
    let pages = PAGES.iter().filter(|(title, _)| title.to_lowercase().contains(&lower));
    let mut hits: Vec<Hit> = pages
        .map(|(title, path)| Hit { title: (*title).into(), sort: "page".into(), path: (*path).into() })
        .collect();
    if words.is_empty() {
        return Ok(hits);
    }
    let entities =
        format!("/api/catalog/entities/by-query?limit={MOST}&fullTextFilterTerm={}", encode(words));
    let repositories = format!("/api/v3/orgs/{}/repos?per_page=100", encode(&config.organisation));
    let (entities, repositories) =
        futures::future::try_join(caller.get(&entities), caller.get(&repositories)).await?;
    for entity in entities["items"].as_array().into_iter().flatten() {
        let sort = entity["kind"].as_str().unwrap_or_default().to_lowercase();
        hits.push(Hit { title: title_of(entity).to_owned(), sort, path: path_of(entity) });
    }
    let names = repositories.as_array().into_iter().flatten().filter_map(|r| r["full_name"].as_str());
    for name in names.filter(|name| name.to_lowercase().contains(&lower)).take(MOST) {
        hits.push(Hit {
            title: name.to_owned(),
            sort: "repository".into(),
            path: format!("/repositories/{name}"),
        });
    }
    Ok(hits)
}
