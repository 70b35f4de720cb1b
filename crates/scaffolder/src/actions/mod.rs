//! The actions a step can name. One table drives the listing, the check of the input and the call.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::Services;
use crate::catalog::CatalogError;
use crate::engine::{Task, lock};
use crate::git_host::{GitHost, HostError};
use crate::workspace::WorkspaceError;

mod catalog;
mod fetch;
mod files;
mod github;

/// One action.
pub(crate) struct Action {
    /// What steps call it.
    pub(crate) id: &'static str,
    /// One sentence.
    pub(crate) description: &'static str,
    input: fn() -> Value,
    output: fn() -> Value,
    call: fn(ActionContext, Value) -> BoxFuture<'static, Result<Value, ActionError>>,
    /// Its work is in the workspace, so it has to be done again when that is lost.
    works_on_files: bool,
}

/// What an action works with.
pub(crate) struct ActionContext {
    pub(crate) services: Arc<Services>,
    pub(crate) task: Arc<Task>,
    pub(crate) step_id: String,
    pub(crate) workspace: PathBuf,
}

/// Why an action failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActionError {
    /// The input cannot be carried out.
    #[error("{0}")]
    Input(String),
    /// The git host.
    #[error("{}", controller::chain(.0))]
    Host(#[from] HostError),
    /// Git itself.
    #[error("{}", controller::chain(.0))]
    Git(#[from] git::Error),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The workspace.
    #[error("{}", controller::chain(.0))]
    Workspace(#[from] WorkspaceError),
    /// A text of the template.
    #[error("{path}: {source}")]
    Render {
        /// File of the template.
        path: String,
        /// What is wrong in it.
        source: dialect::nunjucks::RenderError,
    },
    /// The task's record.
    #[error("{0}")]
    Record(String),
}

const ACTIONS: &[Action] = &[
    fetch::TEMPLATE,
    fetch::PLAIN,
    github::PUBLISH,
    github::REPO_CREATE,
    github::REPO_PUSH,
    github::DISPATCH,
    catalog::REGISTER,
    catalog::WRITE,
    catalog::FETCH,
    files::DEBUG_LOG,
    files::RENAME,
    files::DELETE,
];

/// The action with this id.
pub(crate) fn find(id: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.id == id)
}

/// Whether an action's work is in the workspace.
pub(crate) fn works_on_files(id: &str) -> bool {
    find(id).is_some_and(|action| action.works_on_files)
}

/// The answer of `GET /v2/actions`.
pub(crate) fn listing() -> Value {
    ACTIONS
        .iter()
        .map(|action| {
            json!({
                "id": action.id, "description": action.description, "examples": [],
                "schema": {"input": (action.input)(), "output": (action.output)()},
            })
        })
        .collect()
}

impl Action {
    pub(crate) fn input_schema(&self) -> Value {
        (self.input)()
    }

    pub(crate) async fn run(&self, context: ActionContext, input: Value) -> Result<Value, ActionError> {
        (self.call)(context, input).await
    }
}

impl ActionContext {
    /// Adds a line to the task's log.
    pub(crate) fn log(&self, message: &str) {
        self.task.log(Some(&self.step_id), None, message);
    }

    /// The git host with the rights of the person whose task it is.
    pub(crate) fn host(&self) -> GitHost {
        let user = self.task.with(|record| record.spec.user.clone());
        let host = self.services.git_host(&user);
        lock(&self.task.redactor).hide(&host.token);
        host
    }

    /// The git host as the owner of a repository that this task makes sees it. Whoever may write to a repository of this
    /// name may have it made by a template; only this one repository is theirs then, and only for this step.
    pub(crate) fn host_of_own(&self, full_name: &str) -> Result<GitHost, ActionError> {
        let mut user = self.task.with(|record| record.spec.user.clone());
        if !user.allows(&format!("repo:{full_name}:write")) {
            return Err(ActionError::Input(format!(
                "{} may not make the repository {full_name}",
                user.subject
            )));
        }
        user.scopes.push(format!("repo:{full_name}:admin"));
        let host = self.services.git_host(&user);
        lock(&self.task.redactor).hide(&host.token);
        Ok(host)
    }

    pub(crate) async fn note(&self, key: &str, value: Value) -> Result<(), ActionError> {
        self.task.note(&self.services, &self.step_id, key, value).await.map_err(ActionError::Record)
    }

    pub(crate) fn noted(&self, key: &str) -> Option<Value> {
        self.task.noted(&self.step_id, key)
    }

    /// Runs file work on the blocking pool.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(PathBuf) -> Result<T, ActionError> + Send + 'static,
    ) -> Result<T, ActionError> {
        let workspace = self.workspace.clone();
        let done = tokio::task::spawn_blocking(move || work(workspace)).await;
        done.map_err(|error| ActionError::Input(format!("the step broke off: {error}")))?
    }
}

/// The text of an input field, or the default.
pub(crate) fn text<'a>(input: &'a Value, field: &str, default: &'a str) -> &'a str {
    input[field].as_str().unwrap_or(default)
}

/// The texts of a list field; a single text counts as a list of one.
pub(crate) fn texts(input: &Value, field: &str) -> Vec<String> {
    match &input[field] {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}
