//! The catalog: everything that is registered, by kind, type, owner, tag and words. The filters are the URL.

use axum::Extension;
use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;

use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, page as frame};
use crate::session::Signed;

/// Rows of one page.
const ROWS: u32 = 50;

/// The filters, as the URL has them.
#[derive(Deserialize, Default)]
pub(crate) struct Filters {
    #[serde(default)]
    q: String,
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "type")]
    of_type: String,
    #[serde(default)]
    owner: String,
    #[serde(default)]
    tag: String,
    #[serde(default)]
    cursor: String,
}

pub(crate) async fn page(
    Extension(caller): Signed,
    Query(filters): Query<Filters>,
) -> Result<Markup, Failure> {
    let found = caller.get(&query(&filters)).await?;
    let facets = caller
        .get("/api/catalog/entity-facets?facet=kind&facet=spec.type&facet=relations.ownedBy&facet=metadata.tags")
        .await?;
    let content = html! {
        div.head {
            div.grow { h1 { "Catalog" } p { (total(&found)) } }
            a.button.primary href="/create" { "Create" }
        }
        (form(&filters, &facets["facets"]))
        @let items = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        @if items.is_empty() {
            div.empty {
                h2 { "Nothing matches" }
                p { "Take a filter away, or create something: a template makes repositories, workflows and three environments from one form." }
                p { a.button href="/catalog" { "Clear filters" } }
            }
        } @else {
            div.scroll { (table(items)) }
            @if let Some(cursor) = found["pageInfo"]["nextCursor"].as_str() {
                p.actions { a.button href={ "/catalog?cursor=" (encode(cursor)) } { "Next page" } }
            }
        }
    };
    Ok(frame(&caller, &Page { title: "Catalog", section: "/catalog", crumbs: &[("Catalog", "")] }, content))
}

/// The path of an entity's page.
pub(crate) fn path_of(entity: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let namespace = entity["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
    let (kind, name) = (text(&entity["kind"]).to_lowercase(), text(&entity["metadata"]["name"]));
    format!("/catalog/{}/{}/{}", encode(&namespace), encode(&kind), encode(&name))
}

/// The path of the page of an entity reference such as `group:default/platform-team`.
pub(crate) fn path_of_reference(reference: &str) -> String {
    let (kind, rest) = reference.split_once(':').unwrap_or(("component", reference));
    let (namespace, name) = rest.split_once('/').unwrap_or(("default", rest));
    format!("/catalog/{}/{}/{}", encode(namespace), encode(&kind.to_lowercase()), encode(name))
}

/// The last part of a reference, as people say it.
pub(crate) fn short(reference: &str) -> &str {
    reference.rsplit('/').next().unwrap_or(reference)
}

/// Title if there is one, else name.
pub(crate) fn title_of(entity: &Value) -> &str {
    entity["metadata"]["title"].as_str().or(entity["metadata"]["name"].as_str()).unwrap_or_default()
}

/// A link to what owns an entity.
pub(crate) fn owner_link(entity: &Value) -> Markup {
    let relations = entity["relations"].as_array().into_iter().flatten();
    let owner = relations.filter(|r| r["type"] == "ownedBy").find_map(|r| r["targetRef"].as_str());
    html! {
        @match owner {
            Some(owner) => a href=(path_of_reference(owner)) { (short(owner)) },
            None => span.faint { "nobody" },
        }
    }
}

fn query(filters: &Filters) -> String {
    let mut path = format!("/api/catalog/entities/by-query?limit={ROWS}");
    if !filters.cursor.is_empty() {
        return format!("{path}&cursor={}", encode(&filters.cursor));
    }
    let wanted = [
        ("kind", &filters.kind),
        ("spec.type", &filters.of_type),
        ("relations.ownedBy", &filters.owner),
        ("metadata.tags", &filters.tag),
    ];
    // Without a kind: what people make and use. Locations are how the catalog got there.
    let software =
        ["component", "system", "api", "resource", "template", "domain"].map(|kind| format!("kind={kind}"));
    let implied = software.into_iter().filter(|_| filters.kind.is_empty());
    let terms: Vec<String> = wanted
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={value}"))
        .chain(implied)
        .collect();
    if !terms.is_empty() {
        path = format!("{path}&filter={}", encode(&terms.join(",")));
    }
    if !filters.q.is_empty() {
        path = format!("{path}&fullTextFilterTerm={}", encode(&filters.q));
    }
    format!("{path}&orderField=metadata.name%2Casc")
}

fn total(found: &Value) -> String {
    match found["totalItems"].as_u64().unwrap_or(0) {
        1 => "1 entity".to_owned(),
        n => format!("{n} entities"),
    }
}

fn form(filters: &Filters, facets: &Value) -> Markup {
    let choice = |name: &str, label: &str, facet: &str, chosen: &str, all: &str| {
        let values = facets[facet].as_array().map(Vec::as_slice).unwrap_or_default();
        html! {
            label { (label)
                select name=(name) {
                    option value="" { (all) }
                    @for value in values {
                        @let text = value["value"].as_str().unwrap_or_default();
                        option value=(text) selected[text.eq_ignore_ascii_case(chosen)] { (short(text)) " (" (value["count"]) ")" }
                    }
                }
            }
        }
    };
    html! {
        form.filters action="/catalog" role="search" {
            label.grow { "Words" input type="search" name="q" value=(filters.q) placeholder="Name, description, tag"; }
            (choice("kind", "Kind", "kind", &filters.kind, "Software"))
            (choice("type", "Type", "spec.type", &filters.of_type, "All"))
            (choice("owner", "Owner", "relations.ownedBy", &filters.owner, "All"))
            (choice("tag", "Tag", "metadata.tags", &filters.tag, "All"))
            button { "Filter" }
        }
    }
}

fn table(items: &[Value]) -> Markup {
    html! {
        table.catalog {
            thead { tr { th { "Name" } th { "Kind" } th { "Type" } th { "Owner" } th { "Description" } th { "Tags" } } }
            tbody {
                @for entity in items {
                    tr {
                        td { a href=(path_of(entity)) { (title_of(entity)) } }
                        td { (entity["kind"].as_str().unwrap_or_default()) }
                        td.muted { (entity["spec"]["type"].as_str().unwrap_or_default()) }
                        td { (owner_link(entity)) }
                        td.muted { (entity["metadata"]["description"].as_str().unwrap_or_default()) }
                        td { (tags(entity)) }
                    }
                }
            }
        }
    }
}

/// An entity's tags, each a filter.
pub(crate) fn tags(entity: &Value) -> Markup {
    html! {
        span.tags {
            @for tag in entity["metadata"]["tags"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                a.tag href={ "/catalog?tag=" (encode(tag)) } { (tag) }
            }
        }
    }
}

/// All entities that match a catalog filter; at most 500.
pub(crate) async fn entities(caller: &Caller, filter: &str) -> Result<Vec<Value>, Failure> {
    let found = caller.get(&format!("/api/catalog/entities?limit=500&filter={}", encode(filter))).await?;
    Ok(found.as_array().cloned().unwrap_or_default())
}
