//! Create: choose a template, fill its form, start its task.
//!
//! The form is made from the template's JSON schema; the scaffolder checks the values against the same schema, and what
//! it refuses comes back to the field that it names, with everything that was typed still there.

mod fields;

use axum::Extension;
use axum::extract::{Path, RawForm};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::failure::Failure;
use crate::layout::{Page, encode, form_key, page as frame};
use crate::pages::catalog::{entities, owner_link, path_of, title_of};
use crate::session::Signed;
use fields::{Choices, Entered, Field};

pub(crate) async fn choose(Extension(caller): Signed) -> Result<Markup, Failure> {
    let templates = entities(&caller, "kind=template").await?;
    let content = html! {
        div.head { div.grow { h1 { "Create" } p { "Each template makes repositories with workflows, and what they need to run." } } a.button href="/tasks" { "Tasks" } }
        @if templates.is_empty() {
            div.empty {
                h2 { "No template yet" }
                p { "Push a repository whose " code { "catalog-info.yaml" } " leads to a Template; it shows here within seconds." }
            }
        } @else {
            div.cards { @for template in &templates { (card(template)) } }
        }
    };
    Ok(frame(&caller, &Page { title: "Create", section: "/create", crumbs: &[("Create", "")] }, content))
}

fn card(template: &Value) -> Markup {
    let name = template["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = template["metadata"]["namespace"].as_str().unwrap_or("default");
    html! {
        article.card {
            h2 { a href=(path_of(template)) { (title_of(template)) } }
            p { (template["metadata"]["description"].as_str().unwrap_or_default()) }
            (crate::pages::catalog::tags(template))
            div.actions {
                span.small.muted { "Owned by " (owner_link(template)) }
                a.button.primary href={ "/create/" (encode(namespace)) "/" (encode(name)) } { "Choose" }
            }
        }
    }
}

pub(crate) async fn form(
    Extension(caller): Signed,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Markup, Failure> {
    let schema = schema_of(&caller, &namespace, &name).await?;
    let entered = Entered::default();
    render(&caller, (&namespace, &name), &schema, &entered, &[]).await
}

/// One refusal: the property's name (`""`: the whole form) and why.
type Refusal = (String, String);

pub(crate) async fn submit(
    Extension(caller): Signed,
    Path((namespace, name)): Path<(String, String)>,
    RawForm(form): RawForm,
) -> Result<Response, Failure> {
    let schema = schema_of(&caller, &namespace, &name).await?;
    let entered = Entered::parse(&form);
    let (values, mut refusals) = fields::values(&fields::all(&schema), &entered);
    if refusals.is_empty() {
        let body = json!({"templateRef": format!("template:{namespace}/{name}"), "values": values});
        match caller.send(Method::POST, "/api/scaffolder/v2/tasks", &body).await {
            Ok(task) => {
                let id = task["id"].as_str().unwrap_or_default();
                return Ok(Redirect::to(&format!("/tasks/{}", encode(id))).into_response());
            }
            Err(failure) if failure.status == StatusCode::BAD_REQUEST => refusals = refusals_of(&failure),
            Err(failure) => return Err(failure),
        }
    }
    let page = render(&caller, (&namespace, &name), &schema, &entered, &refusals).await?;
    Ok((StatusCode::BAD_REQUEST, page).into_response())
}

async fn schema_of(caller: &Caller, namespace: &str, name: &str) -> Result<Value, Failure> {
    let path = format!(
        "/api/scaffolder/v2/templates/{}/template/{}/parameter-schema",
        encode(namespace),
        encode(name)
    );
    let found = caller.find(&path).await?;
    found.ok_or_else(|| Failure::not_found(format!("There is no template called {name}.")))
}

/// The scaffolder's `errors` list as field and message.
fn refusals_of(failure: &Failure) -> Vec<Refusal> {
    let errors = failure.body["errors"].as_array().cloned().unwrap_or_default();
    let one = |error: &Value| {
        let path = error["property"].as_str().or(error["path"].as_str()).unwrap_or_default();
        let missing = error["argument"].as_str().filter(|_| error["name"] == "required");
        let field = missing.unwrap_or_else(|| path.trim_start_matches("instance").trim_start_matches('.'));
        let field = field.trim_start_matches('/').split(['/', '.']).next().unwrap_or_default();
        (field.to_owned(), error["message"].as_str().unwrap_or("is not valid").to_owned())
    };
    let found: Vec<Refusal> = errors.iter().map(one).collect();
    if found.is_empty() { vec![(String::new(), failure.message.clone())] } else { found }
}

async fn render(
    caller: &Caller,
    (namespace, name): (&str, &str),
    schema: &Value,
    entered: &Entered,
    refusals: &[Refusal],
) -> Result<Markup, Failure> {
    let all = fields::all(schema);
    let mut choices = std::collections::BTreeMap::new();
    for field in &all {
        let Some(filters) = field.entities() else { continue };
        let mut offered: Vec<(String, String)> = vec![];
        for filter in filters {
            offered.extend(entities(caller, &filter).await?.iter().map(reference_of));
        }
        let mine = |(reference, _): &&(String, String)| {
            caller.claims.groups.iter().any(|g| *reference == format!("group:default/{g}"))
        };
        let first =
            offered.iter().find(mine).map(|(reference, _)| reference.clone()).filter(|_| field.is_owner());
        choices.insert(field.name.clone(), Choices { all: offered, first });
    }
    let path = format!("/api/catalog/entities/by-name/template/{}/{}", encode(namespace), encode(name));
    let template = caller.find(&path).await?.unwrap_or_default();
    let title = schema["title"].as_str().unwrap_or(name).to_owned();
    let button = schema["presentation"]["buttonLabels"]["createButtonText"].as_str().unwrap_or("Create");
    let content = html! {
        div.head { div.grow { h1 { (title) } p { (schema["description"].as_str().unwrap_or_default()) } } }
        (summary(&all, refusals))
        div.columns { form method="post" action={ "/create/" (encode(namespace)) "/" (encode(name)) } data-once {
            (form_key(caller))
            @for step in schema["steps"].as_array().into_iter().flatten() {
                h2 { (step["title"].as_str().unwrap_or_default()) }
                @if let Some(text) = step["description"].as_str() { p.muted { (text) } }
                @for field in fields::of_page(&step["schema"]) {
                    (field.input(entered, refusals, choices.get(&field.name)))
                }
            }
            div.actions { button.primary { (button) } a.button.quiet href="/create" { "Cancel" } }
        } aside { (preview(&template, &all, entered)) } }
    };
    let crumbs = [("Create", "/create"), (title.as_str(), "")];
    Ok(frame(caller, &Page { title: &title, section: "/create", crumbs: &crumbs }, content))
}

/// What the template's steps will make, as far as its file says before it runs.
fn preview(template: &Value, all: &[Field], entered: &Entered) -> Markup {
    let steps = template["spec"]["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let repositories: Vec<Markup> = steps
        .iter()
        .filter_map(|s| s["input"]["repoUrl"].as_str())
        .filter_map(|url| repository(url, all, entered))
        .collect();
    html! { @if !steps.is_empty() {
        h2 { "What will be made" }
        @if !repositories.is_empty() {
            p.small.muted { "Repositories" }
            ul.plain.made { @for repository in &repositories { li.mono { (repository) } } }
        }
        p.small.muted { (steps.len()) " steps, each with its log; a failed one can be tried again." }
        details { summary.small { "All steps" } ol.small { @for step in steps { li { (step["name"].as_str().unwrap_or_default()) } } } }
    } }
}

/// The name in a `repoUrl`, with what was typed in place of `${{ parameters.x }}`, marked so that the page's script can
/// follow the typing.
fn repository(url: &str, all: &[Field], entered: &Entered) -> Option<Markup> {
    let mut rest = url.split_once("repo=")?.1.split('&').next()?;
    let mut parts = vec![];
    while let Some((before, after)) = rest.split_once("${{") {
        let (expression, after) = after.split_once("}}")?;
        let name = expression.trim().strip_prefix("parameters.")?;
        let field = all.iter().find(|field| field.name == name)?;
        let typed = field.current(entered);
        parts.push(html! { (before) span data-mirror=(name) data-empty=(field.title()) { (if typed.is_empty() { field.title() } else { &typed }) } });
        rest = after;
    }
    Some(html! { @for part in &parts { (part) } (rest) })
}

fn summary(all: &[Field], refusals: &[Refusal]) -> Markup {
    let label =
        |name: &str| all.iter().find(|f| f.name == name).map_or(name.to_owned(), |f| f.title().to_owned());
    html! { @if !refusals.is_empty() {
        div.summary role="alert" tabindex="-1" autofocus {
            h2 { "Nothing was created" }
            ul { @for (field, message) in refusals {
                li { @if field.is_empty() { (message) } @else { a href={ "#" (field) } { (label(field)) } ": " (message) } }
            } }
        }
    } }
}

fn reference_of(entity: &Value) -> (String, String) {
    let kind = entity["kind"].as_str().unwrap_or_default().to_lowercase();
    let namespace = entity["metadata"]["namespace"].as_str().unwrap_or("default");
    let name = entity["metadata"]["name"].as_str().unwrap_or_default();
    (format!("{kind}:{namespace}/{name}"), title_of(entity).to_owned())
}
