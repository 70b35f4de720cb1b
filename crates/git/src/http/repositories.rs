//! Repositories and their owners: list, create, edit, topics, search; and dispatches, which are events only.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Administered, ApiError, Caller, Page, Readable, Writable, query};
use super::shapes;
use crate::host::metadata::{self, Metadata};
use crate::host::{Hosted, Sender};
use crate::{Change, Event, Host, NewCommit, Signature};

/// Topics of a repository, as on GitHub.
const TOPIC_LIMIT: usize = 20;
/// Length of a topic, as on GitHub.
const TOPIC_LENGTH_LIMIT: usize = 50;

/// `GET /user`.
pub(crate) async fn user(caller: Caller) -> Json<Value> {
    let mut shown = shapes::user(&caller.base, &caller.claims.subject);
    shown["name"] = caller.claims.name.as_str().into();
    shown["email"] = caller.claims.email.as_str().into();
    Json(shown)
}

/// `GET /users/{name}` and `GET /orgs/{name}`: an organisation or a person.
pub(crate) async fn named_user(
    State(host): State<Host>,
    Path(name): Path<String>,
    caller: Caller,
) -> Result<Json<Value>, ApiError> {
    if host.has_organization(&name) {
        return Ok(Json(shapes::owner(&caller.base, &name)));
    }
    if name == caller.claims.subject {
        return Ok(user(caller).await);
    }
    let person =
        host.inner.options.people.iter().find(|person| person.login == name).ok_or_else(ApiError::missing)?;
    let mut shown = shapes::user(&caller.base, &person.login);
    shown["name"] = person.name.as_str().into();
    shown["email"] = person.email.as_str().into();
    Ok(Json(shown))
}

/// `GET /orgs/{org}/repos`.
pub(crate) async fn list(
    State(host): State<Host>,
    Path(owner): Path<String>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, ApiError> {
    if !host.has_organization(&owner) {
        return Err(ApiError::missing());
    }
    let readable =
        |hosted: &std::sync::Arc<Hosted>| hosted.owner() == owner && caller.may(&hosted.full_name, "read");
    let mut list: Vec<Value> =
        host.repositories().into_iter().filter(readable).map(|hosted| shown(&caller, &hosted)).collect();
    sort(&mut list, &uri);
    Ok(Page::of(&uri).of_list(&caller.base, &uri, list))
}

/// `sort` and `direction` as on GitHub: names rise, times fall. Without `sort`, by name, which is stable between pages.
fn sort(list: &mut [Value], uri: &Uri) {
    let field = match query(uri, "sort").as_deref() {
        Some("created") => "created_at",
        Some("updated") => "updated_at",
        Some("pushed") => "pushed_at",
        _ => "full_name",
    };
    list.sort_by(|a, b| a[field].as_str().cmp(&b[field].as_str()));
    let falling = query(uri, "direction").map_or(field != "full_name", |direction| direction == "desc");
    if falling {
        list.reverse();
    }
}

/// Body of a creation or an edit; what GitHub knows besides is accepted and ignored.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wanted {
    name: Option<String>,
    description: Option<String>,
    homepage: Option<String>,
    private: Option<bool>,
    visibility: Option<String>,
    default_branch: Option<String>,
    archived: Option<bool>,
    auto_init: bool,
}

/// `POST /orgs/{org}/repos`.
pub(crate) async fn create(
    State(host): State<Host>,
    Path(owner): Path<String>,
    caller: Caller,
    Json(wanted): Json<Wanted>,
) -> Result<Response, ApiError> {
    let name = wanted.name.clone().unwrap_or_default();
    if !host.has_organization(&owner) {
        return Err(ApiError::missing());
    }
    if !caller.may(&format!("{owner}/{name}"), "admin") {
        let message = format!("{} may not create {owner}/{name}", caller.claims.subject);
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    let mut metadata = Metadata::default();
    wanted.apply(&mut metadata)?;
    let sender = caller.sender();
    let hosted = host.create(&owner, &name, metadata, &sender).await.map_err(|error| match error {
        crate::Error::Conflict { .. } => {
            ApiError::field("Repository", "name", "custom", "name already exists on this account")
        }
        crate::Error::Invalid(message) => ApiError::field("Repository", "name", "custom", &message),
        other => other.into(),
    })?;
    if wanted.auto_init {
        initialize(&host, &hosted, &sender).await?;
    }
    Ok((StatusCode::CREATED, Json(shown(&caller, &hosted))).into_response())
}

/// `GET /repos/{owner}/{repo}`.
pub(crate) async fn show(Readable(hosted, caller): Readable) -> Json<Value> {
    Json(shown(&caller, &hosted))
}

/// `PATCH /repos/{owner}/{repo}`; a new name is not supported and says so.
pub(crate) async fn edit(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>, ApiError> {
    if wanted.name.as_deref().is_some_and(|name| name != hosted.name()) {
        return Err(ApiError::field("Repository", "name", "custom", "renaming is not supported"));
    }
    let mut edited = hosted.metadata();
    wanted.apply(&mut edited)?;
    host.edit(&hosted, &caller.sender(), |facts| {
        facts.description = edited.description;
        facts.homepage = edited.homepage;
        facts.private = edited.private;
        facts.archived = edited.archived;
        facts.default_branch = edited.default_branch;
    })
    .await?;
    Ok(Json(shown(&caller, &hosted)))
}

/// `DELETE /repos/{owner}/{repo}`.
pub(crate) async fn remove(
    State(host): State<Host>,
    Administered(hosted, caller): Administered,
) -> Result<StatusCode, ApiError> {
    host.delete(&hosted, &caller.sender()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /repos/{owner}/{repo}/topics`.
pub(crate) async fn topics(Readable(hosted, _): Readable) -> Json<Value> {
    Json(json!({ "names": hosted.metadata().topics }))
}

/// Body of `PUT …/topics`.
#[derive(Deserialize)]
pub(crate) struct Topics {
    names: Vec<String>,
}

/// `PUT /repos/{owner}/{repo}/topics`: replaces all topics.
pub(crate) async fn set_topics(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Json(wanted): Json<Topics>,
) -> Result<Json<Value>, ApiError> {
    let mut names: Vec<String> = Vec::new();
    for name in wanted.names.iter().map(|name| name.to_lowercase()) {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty()
            || name.len() > TOPIC_LENGTH_LIMIT
            || !name.chars().all(allowed)
            || name.starts_with('-')
        {
            let message = "Topics must start with a lowercase letter or number, consist of 50 characters or less, \
                           and can include hyphens.";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > TOPIC_LIMIT {
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, format!("at most {TOPIC_LIMIT} topics")));
    }
    host.edit(&hosted, &caller.sender(), |facts| facts.topics.clone_from(&names)).await?;
    Ok(Json(json!({ "names": names })))
}

/// `GET /repos/{owner}/{repo}/activity`: who moved which ref, newest first.
pub(crate) async fn activity(Readable(hosted, caller): Readable, uri: Uri) -> Result<Response, ApiError> {
    let reference = query(&uri, "ref");
    let mut activities = metadata::activities(hosted.git.path()).await?;
    activities.retain(|activity| reference.as_ref().is_none_or(|wanted| activity.reference == *wanted));
    let shown = |activity: metadata::Activity| {
        json!({
            "before": activity.before,
            "after": activity.after,
            "ref": activity.reference,
            "timestamp": activity.timestamp,
            "activity_type": "push",
            "actor": shapes::user(&caller.base, &activity.actor),
        })
    };
    Ok(Page::of(&uri).of_list(&caller.base, &uri, activities.into_iter().map(shown).collect()))
}

/// `GET /search/repositories?q=topic:x org:y words`.
pub(crate) async fn search(
    State(host): State<Host>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Value>, ApiError> {
    let text = query(&uri, "q").unwrap_or_default();
    if text.trim().is_empty() {
        return Err(ApiError::field("Search", "q", "missing", "q is missing"));
    }
    let terms: Vec<&str> = text.split_whitespace().collect();
    let found: Vec<Value> = host
        .repositories()
        .iter()
        .filter(|hosted| caller.may(&hosted.full_name, "read"))
        .filter(|hosted| terms.iter().all(|term| matches(hosted, term)))
        .map(|hosted| shown(&caller, hosted))
        .collect();
    let page = Page::of(&uri);
    let total = found.len();
    let items: Vec<Value> = found.into_iter().skip(page.skip()).take(page.size).collect();
    Ok(Json(json!({ "total_count": total, "incomplete_results": false, "items": items })))
}

/// Body of `POST …/dispatches`.
#[derive(Deserialize)]
pub(crate) struct RepositoryDispatch {
    event_type: String,
    #[serde(default)]
    client_payload: Value,
}

/// `POST /repos/{owner}/{repo}/dispatches`: an event for the workflow runner.
pub(crate) async fn dispatch(
    State(host): State<Host>,
    Writable(hosted, caller): Writable,
    Json(wanted): Json<RepositoryDispatch>,
) -> StatusCode {
    let event = Event::Dispatch {
        repository: hosted.full_name.clone(),
        workflow: None,
        event_type: wanted.event_type,
        reference: format!("refs/heads/{}", hosted.metadata().default_branch),
        inputs: wanted.client_payload,
        sender: caller.claims.subject,
    };
    host.emit(&hosted, event);
    StatusCode::NO_CONTENT
}

/// Body of `POST …/actions/workflows/{workflow}/dispatches`.
#[derive(Deserialize)]
pub(crate) struct WorkflowDispatch {
    #[serde(rename = "ref")]
    reference: String,
    #[serde(default)]
    inputs: Value,
}

/// `POST /repos/{owner}/{repo}/actions/workflows/{workflow}/dispatches`.
pub(crate) async fn dispatch_workflow(
    State(host): State<Host>,
    Path((_, _, workflow)): Path<(String, String, String)>,
    Writable(hosted, caller): Writable,
    Json(wanted): Json<WorkflowDispatch>,
) -> Result<StatusCode, ApiError> {
    let mut reference = wanted.reference;
    if !reference.starts_with("refs/") {
        let branch = format!("refs/heads/{reference}");
        let is_branch = hosted.git.tip(&branch).await?.is_some();
        reference = if is_branch { branch } else { format!("refs/tags/{reference}") };
    }
    if hosted.git.tip(&reference).await?.is_none() {
        let message = format!("No ref found for: {reference}");
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    let event = Event::Dispatch {
        repository: hosted.full_name.clone(),
        workflow: Some(workflow),
        event_type: "workflow_dispatch".to_owned(),
        reference,
        inputs: wanted.inputs,
        sender: caller.claims.subject,
    };
    host.emit(&hosted, event);
    Ok(StatusCode::NO_CONTENT)
}

impl Wanted {
    fn apply(&self, facts: &mut Metadata) -> Result<(), ApiError> {
        if let Some(description) = &self.description {
            facts.description.clone_from(description);
        }
        if let Some(homepage) = &self.homepage {
            facts.homepage.clone_from(homepage);
        }
        if let Some(private) = self.private {
            facts.private = private;
        }
        if let Some(visibility) = &self.visibility {
            facts.private = visibility != "public";
        }
        if let Some(archived) = self.archived {
            facts.archived = archived;
        }
        if let Some(branch) = &self.default_branch {
            crate::names::check_ref(&format!("refs/heads/{branch}"))?;
            facts.default_branch.clone_from(branch);
        }
        Ok(())
    }
}

/// The repository with what this caller may do.
fn shown(caller: &Caller, hosted: &Hosted) -> Value {
    let mut shown = shapes::repository(&caller.base, hosted);
    let may = |verb| caller.may(&hosted.full_name, verb);
    shown["permissions"] = json!({ "admin": may("admin"), "push": may("write"), "pull": may("read") });
    shown
}

/// One term of a search: a qualifier, or a word in name or description.
fn matches(hosted: &Hosted, term: &str) -> bool {
    let facts = hosted.metadata();
    match term.split_once(':') {
        Some(("topic", topic)) => facts.topics.iter().any(|t| t.eq_ignore_ascii_case(topic)),
        Some(("org" | "user", owner)) => hosted.owner().eq_ignore_ascii_case(owner),
        Some(("repo", name)) => hosted.full_name.eq_ignore_ascii_case(name),
        Some(("archived", value)) => facts.archived.to_string() == value,
        Some(("is", "public")) => !facts.private,
        Some(("is", "private")) => facts.private,
        // `in:name` and the like say where words are searched, which is everywhere here.
        Some(("in", _)) => true,
        _ => {
            let word = term.to_lowercase();
            hosted.name().to_lowercase().contains(&word) || facts.description.to_lowercase().contains(&word)
        }
    }
}

/// The first commit of `auto_init`.
async fn initialize(host: &Host, hosted: &std::sync::Arc<Hosted>, sender: &Sender) -> Result<(), ApiError> {
    let facts = hosted.metadata();
    let mut text = format!("# {}\n", hosted.name());
    if !facts.description.is_empty() {
        text.push_str(&facts.description);
        text.push('\n');
    }
    let signature = Signature::now(&sender.name, &sender.email);
    let commit = NewCommit {
        reference: format!("refs/heads/{}", facts.default_branch),
        parent: None,
        changes: [("README.md".to_owned(), Change::file(text))].into(),
        author: signature.clone(),
        committer: signature,
        message: "Initial commit".to_owned(),
    };
    host.commit(hosted, &commit, sender).await?;
    Ok(())
}
