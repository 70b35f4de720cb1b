//! Actions on the git host, under the names that templates for GitHub use: `publish:github`, `github:repo:create`,
//! `github:repo:push`, `github:actions:dispatch`.
//!
//! A repository is either complete or not there: when the push of the first commit fails, the repository that this
//! step has just made is removed again. What the step made is noted in the task's record before it is made, so that a
//! retry (also after a crash between two calls) takes up its own repository and never somebody else's.

use std::collections::BTreeMap;

use git::{Change, NewCommit, Repository, Signature};
use serde_json::{Value, json};

use super::{Action, ActionContext, ActionError, text, texts};
use crate::git_host::{GitHost, HostError};
use crate::workspace::{self, Content};

/// Key of the note that holds the name of the repository which the step made.
const MADE: &str = "repository";

fn repository_properties() -> Value {
    json!({
        "repoUrl": {"type": "string", "title": "Repository location", "description": "host?owner=o&repo=r"},
        "description": {"type": "string"},
        "homepage": {"type": "string"},
        "topics": {"type": "array", "items": {"type": "string"}},
        "repoVisibility": {"type": "string", "enum": ["private", "public", "internal"]},
        "defaultBranch": {"type": "string"},
        "protectDefaultBranch": {"type": "boolean"},
        "sourcePath": {"type": "string"},
        "gitCommitMessage": {"type": "string"},
        "gitAuthorName": {"type": "string"},
        "gitAuthorEmail": {"type": "string"},
    })
}

fn published() -> Value {
    json!({"type": "object", "required": ["remoteUrl", "repoContentsUrl"], "properties": {
        "remoteUrl": {"type": "string"}, "repoContentsUrl": {"type": "string"}, "commitHash": {"type": "string"}}})
}

pub(super) const PUBLISH: Action = Action {
    id: "publish:github",
    description: "Makes a repository and pushes the content of the workspace as its first commit.",
    input: || json!({"type": "object", "required": ["repoUrl"], "properties": repository_properties()}),
    output: published,
    call: |context, input| Box::pin(publish(context, input)),
    works_on_files: false,
};

pub(super) const REPO_CREATE: Action = Action {
    id: "github:repo:create",
    description: "Makes an empty repository.",
    input: || json!({"type": "object", "required": ["repoUrl"], "properties": repository_properties()}),
    output: published,
    call: |context, input| {
        Box::pin(async move {
            let (owner, name) = target(&context, &input)?;
            let host = context.host_of_own(&format!("{owner}/{name}"))?;
            let repository = make(&context, &host, &owner, &name, &input).await?;
            Ok(outputs(&repository, &host, &format!("{owner}/{name}"), None))
        })
    },
    works_on_files: false,
};

pub(super) const REPO_PUSH: Action = Action {
    id: "github:repo:push",
    description: "Pushes the content of the workspace as the first commit of an empty repository.",
    input: || json!({"type": "object", "required": ["repoUrl"], "properties": repository_properties()}),
    output: published,
    call: |context, input| {
        Box::pin(async move {
            let (owner, name) = target(&context, &input)?;
            let (host, full_name) = (context.host(), format!("{owner}/{name}"));
            let repository = host.repository(&full_name).await?;
            let repository = repository
                .ok_or_else(|| ActionError::Input(format!("there is no repository {full_name}")))?;
            let commit = push_first(&context, &host, &full_name, &input).await?;
            protect(&context, &host, &full_name, &input).await;
            Ok(outputs(&repository, &host, &full_name, Some(&commit)))
        })
    },
    works_on_files: false,
};

pub(super) const DISPATCH: Action = Action {
    id: "github:actions:dispatch",
    description: "Starts a workflow of a repository.",
    input: || {
        json!({"type": "object", "required": ["repoUrl", "workflowId", "branchOrTagName"], "properties": {
            "repoUrl": {"type": "string"}, "workflowId": {"type": "string"}, "branchOrTagName": {"type": "string"},
            "workflowInputs": {"type": "object"}}})
    },
    output: || json!({}),
    call: |context, input| {
        Box::pin(async move {
            let (owner, name) = target(&context, &input)?;
            let workflow = text(&input, "workflowId", "").to_owned();
            context.log(&format!("Dispatching workflow {workflow} for repository {owner}/{name}"));
            let inputs = input.get("workflowInputs").cloned().unwrap_or_else(|| json!({}));
            let branch = text(&input, "branchOrTagName", "main");
            context.host().dispatch(&format!("{owner}/{name}"), &workflow, branch, &inputs).await?;
            Ok(json!({}))
        })
    },
    works_on_files: false,
};

/// Owner and name from `repoUrl`.
fn target(context: &ActionContext, input: &Value) -> Result<(String, String), ActionError> {
    let address = text(input, "repoUrl", "");
    context.services.repository_of(address).map_err(ActionError::Input)
}

async fn publish(context: ActionContext, input: Value) -> Result<Value, ActionError> {
    let (owner, name) = target(&context, &input)?;
    let full_name = format!("{owner}/{name}");
    let host = context.host_of_own(&full_name)?;
    let repository = make(&context, &host, &owner, &name, &input).await?;
    let finished = async {
        let commit = push_first(&context, &host, &full_name, &input).await?;
        protect(&context, &host, &full_name, &input).await;
        Ok::<_, ActionError>(commit)
    };
    match finished.await {
        Ok(commit) => Ok(outputs(&repository, &host, &full_name, Some(&commit))),
        Err(error) => {
            take_back(&context, &host, &full_name).await;
            Err(error)
        }
    }
}

/// Makes the repository, or takes up the one that an earlier attempt of this step made.
async fn make(
    context: &ActionContext,
    host: &GitHost,
    owner: &str,
    name: &str,
    input: &Value,
) -> Result<Value, ActionError> {
    let full_name = format!("{owner}/{name}");
    let ours = context.noted(MADE).as_ref().and_then(Value::as_str) == Some(full_name.as_str());
    if let Some(existing) = host.repository(&full_name).await? {
        if !ours {
            return Err(ActionError::Input(format!("The repository {full_name} exists already")));
        }
        context.log(&format!("Using the repository {full_name} that this task has made"));
        set_topics(context, host, &full_name, input).await?;
        return Ok(existing);
    }
    context.note(MADE, Value::from(full_name.clone())).await?;
    let visibility = text(input, "repoVisibility", "private");
    let mut body = json!({
        "name": name, "private": visibility != "public", "visibility": visibility, "auto_init": false,
        "default_branch": text(input, "defaultBranch", "main"),
    });
    for field in ["description", "homepage"] {
        if let Some(value) = input[field].as_str() {
            body[field] = Value::from(value);
        }
    }
    context.log(&format!("Creating the repository {full_name}"));
    let created = match host.create(owner, &body).await {
        Ok(created) => created,
        Err(error) => {
            // Somebody else's repository of this name must not be taken for ours later on.
            if matches!(error, HostError::Refused { .. }) {
                context.note(MADE, Value::Null).await?;
            }
            return Err(error.into());
        }
    };
    if let Err(error) = set_topics(context, host, &full_name, input).await {
        take_back(context, host, &full_name).await;
        return Err(error);
    }
    Ok(created)
}

async fn set_topics(
    context: &ActionContext,
    host: &GitHost,
    full_name: &str,
    input: &Value,
) -> Result<(), ActionError> {
    let topics: Vec<String> = texts(input, "topics").iter().map(|topic| topic.to_lowercase()).collect();
    if !topics.is_empty() {
        host.set_topics(full_name, &topics).await?;
        context.log(&format!("Set the topics {}", topics.join(", ")));
    }
    Ok(())
}

/// Removes the repository that this step made, if nothing was pushed to it.
async fn take_back(context: &ActionContext, host: &GitHost, full_name: &str) {
    let removed = async {
        if host.is_empty(full_name).await? {
            host.delete(full_name).await?;
            context.note(MADE, Value::Null).await?;
            context.log(&format!("Removed the empty repository {full_name} again"));
        }
        Ok::<_, ActionError>(())
    };
    if let Err(error) = removed.await {
        context.log(&format!(
            "The empty repository {full_name} could not be removed: {error}; a retry will use it"
        ));
    }
}

/// Pushes the workspace as one commit by the person whose task it is. A repository that has this task's commit
/// already (the answer got lost) is left as it is.
async fn push_first(
    context: &ActionContext,
    host: &GitHost,
    full_name: &str,
    input: &Value,
) -> Result<String, ActionError> {
    let branch = text(input, "defaultBranch", "main").to_owned();
    let url = host.clone_url(full_name);
    let reference = format!("refs/heads/{branch}");
    if let Some(commit) = context.noted("commit").as_ref().and_then(Value::as_str) {
        let refs = git::repository::remote_refs(&url, Some(&host.token), &reference).await?;
        if refs.get(&reference).map(String::as_str) == Some(commit) {
            context.log(&format!("The first commit {commit} is there already"));
            return Ok(commit.to_owned());
        }
    }
    let source = text(input, "sourcePath", "").to_owned();
    let entries = context.blocking(move |root| Ok(workspace::read_all(&root, &source)?)).await?;
    if entries.is_empty() {
        return Err(ActionError::Input("there are no files to push".to_owned()));
    }
    let changes: BTreeMap<String, Change> =
        entries.into_iter().map(|entry| (entry.path, change(entry.content))).collect();
    let user = context.task.with(|record| record.spec.user.clone());
    let author = Signature::now(
        text(input, "gitAuthorName", &user.name).to_owned(),
        text(input, "gitAuthorEmail", &user.email).to_owned(),
    );
    let message = text(input, "gitCommitMessage", "initial commit").to_owned();
    let folder = tempfile::tempdir()
        .map_err(|source| workspace::WorkspaceError::File { path: ".git".to_owned(), source })?;
    let local = Repository::open_or_create(folder.path()).await?;
    let committer = author.clone();
    let count = changes.len();
    let new = NewCommit { reference: reference.clone(), parent: None, changes, author, committer, message };
    let commit = local.commit(&new).await?;
    context.note("commit", Value::from(commit.clone())).await?;
    context.log(&format!("Pushing {count} files as commit {}", &commit[..7.min(commit.len())]));
    local.push(&url, Some(&host.token), &[&format!("{reference}:{reference}")]).await?;
    Ok(commit)
}

fn change(content: Content) -> Change {
    match content {
        Content::File { bytes, executable } => Change::Write { content: bytes.into(), executable },
        Content::Link(target) => Change::Link { target },
    }
}

/// Protects the default branch when asked to; a host that cannot is only worth a line in the log.
async fn protect(context: &ActionContext, host: &GitHost, full_name: &str, input: &Value) {
    if input["protectDefaultBranch"] != true {
        return;
    }
    let branch = text(input, "defaultBranch", "main");
    match host.protect(full_name, branch).await {
        Ok(()) => context.log(&format!("Protected the branch {branch}")),
        Err(error) => context.log(&format!("Skipping branch protection: {error}")),
    }
}

fn outputs(repository: &Value, host: &GitHost, full_name: &str, commit: Option<&str>) -> Value {
    let branch = repository["default_branch"].as_str().unwrap_or("main");
    let clone_url = host.clone_url(full_name);
    let web_url = repository["html_url"]
        .as_str()
        .map_or_else(|| format!("{}/{full_name}", host.base_url), str::to_owned);
    let mut outputs = json!({
        "remoteUrl": repository["clone_url"].as_str().unwrap_or(&clone_url),
        "repoContentsUrl": format!("{web_url}/blob/{branch}"),
    });
    if let Some(commit) = commit {
        outputs["commitHash"] = Value::from(commit);
    }
    outputs
}
