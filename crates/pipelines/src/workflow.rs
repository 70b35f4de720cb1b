//! A workflow file as a value: read strictly, so that a mistake is an error with its place, not a step that never runs.

use serde_json::{Map, Value};

mod jobs;
mod matrix;
mod permissions;
mod triggers;

pub use jobs::{Action, Job, RunDefaults, Step};
pub use matrix::{Strategy, combinations};
pub use permissions::{Access, Permissions};
pub use triggers::{Event, Patterns, PushFilter, Triggers};

/// Longest workflow file in bytes; GitHub's own limit.
pub const SIZE_LIMIT: usize = 512 << 10;
/// Jobs of one workflow, and steps of one job.
pub const JOB_LIMIT: usize = 256;
pub const STEP_LIMIT: usize = 1000;

/// What is wrong with a workflow file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {message}")]
pub struct Error {
    /// Such as `jobs.build.steps[2].run`, or a line.
    pub at: String,
    pub message: String,
}

/// One workflow file.
#[derive(Clone, Debug)]
pub struct Workflow {
    /// What people see: `name`, or the file's path.
    pub name: String,
    pub triggers: Triggers,
    pub env: Map<String, Value>,
    pub defaults: RunDefaults,
    /// `None`: nothing was said.
    pub permissions: Option<Permissions>,
    pub concurrency: Option<Concurrency>,
    /// In the order of the file.
    pub jobs: Vec<Job>,
    /// What was read but has no effect here; the log of each job begins with it.
    pub warnings: Vec<String>,
}

impl Workflow {
    /// Reads the file at `path` of a repository.
    pub fn parse(path: &str, text: &str) -> Result<Workflow, Error> {
        if text.len() > SIZE_LIMIT {
            return Err(Error { at: path.to_owned(), message: format!("longer than {SIZE_LIMIT} bytes") });
        }
        // `on` must stay the string that it is, which is how Kubernetes' own tools read YAML keys too.
        let value = yaml::parse(text, yaml::Resolver::Kyaml)
            .map_err(|error| Error { at: format!("line {}", error.line), message: error.message })?;
        let root = At::root(&value);
        root.only(&["name", "run-name", "on", "env", "defaults", "permissions", "jobs", "concurrency"])?;
        let mut warnings = Vec::new();
        let workflow = Workflow {
            name: root.text("name")?.unwrap_or_else(|| path.to_owned()),
            triggers: triggers::parse(&root.required("on")?)?,
            env: root.map("env")?,
            defaults: jobs::defaults(&root)?,
            permissions: permissions::parse(&root)?,
            concurrency: concurrency(&root)?,
            jobs: jobs::parse(&root.required("jobs")?, &mut warnings)?,
            warnings,
        };
        check_needs(&workflow.jobs)?;
        Ok(workflow)
    }
}

/// `concurrency`; both texts may hold expressions.
#[derive(Clone, Debug)]
pub struct Concurrency {
    pub group: String,
    pub cancel_in_progress: Option<String>,
}

fn concurrency(root: &At<'_>) -> Result<Option<Concurrency>, Error> {
    let Some(at) = root.get("concurrency") else { return Ok(None) };
    if !at.value.is_object() {
        return Ok(Some(Concurrency { group: at.scalar()?, cancel_in_progress: None }));
    }
    at.only(&["group", "cancel-in-progress"])?;
    let group = at.required("group")?.scalar()?;
    Ok(Some(Concurrency { group, cancel_in_progress: at.text("cancel-in-progress")? }))
}

/// Every needed job exists and no job waits for itself.
fn check_needs(jobs: &[Job]) -> Result<(), Error> {
    let fail = |job: &Job, message: String| Err(Error { at: format!("jobs.{}.needs", job.id), message });
    for job in jobs {
        if let Some(missing) = job.needs.iter().find(|need| jobs.iter().all(|other| other.id != **need)) {
            return fail(job, format!("there is no job `{missing}`"));
        }
    }
    let mut done: Vec<&str> = Vec::new();
    while done.len() < jobs.len() {
        let ready = |job: &&Job| {
            !done.contains(&job.id.as_str()) && job.needs.iter().all(|need| done.contains(&need.as_str()))
        };
        match jobs.iter().find(ready) {
            Some(job) => done.push(&job.id),
            None => {
                let waiting = jobs.iter().find(|job| !done.contains(&job.id.as_str()));
                return waiting.map_or(Ok(()), |job| fail(job, "the jobs wait for each other".to_owned()));
            }
        }
    }
    Ok(())
}

/// A value with its place in the file.
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    pub(crate) path: String,
}

impl<'a> At<'a> {
    fn root(value: &'a Value) -> At<'a> {
        At { value, path: String::new() }
    }

    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        let at = if self.path.is_empty() { "workflow".to_owned() } else { self.path.clone() };
        Err(Error { at, message: message.into() })
    }

    fn child(&self, name: &str, value: &'a Value) -> At<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        At { value, path }
    }

    /// An object's field; null counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<At<'a>> {
        self.value.get(name).filter(|value| !value.is_null()).map(|value| self.child(name, value))
    }

    pub(crate) fn required(&self, name: &str) -> Result<At<'a>, Error> {
        match self.value.get(name) {
            Some(value) => Ok(self.child(name, value)),
            None => self.error(format!("`{name}` is missing")),
        }
    }

    /// Refuses fields other than `names`.
    pub(crate) fn only(&self, names: &[&str]) -> Result<(), Error> {
        let Value::Object(map) = self.value else { return self.error("must be a mapping") };
        match map.keys().find(|key| !names.contains(&key.as_str())) {
            Some(unknown) => self.error(format!("unknown field `{unknown}`")),
            None => Ok(()),
        }
    }

    /// All fields in order; an absent or null value has none.
    pub(crate) fn fields(&self) -> Result<Vec<(&'a str, At<'a>)>, Error> {
        match self.value {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => {
                Ok(map.iter().map(|(key, value)| (key.as_str(), self.child(key, value))).collect())
            }
            _ => self.error("must be a mapping"),
        }
    }

    pub(crate) fn items(&self) -> Result<Vec<At<'a>>, Error> {
        let Value::Array(items) = self.value else { return self.error("must be a list") };
        let item = |(index, value): (usize, &'a Value)| At { value, path: format!("{}[{index}]", self.path) };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// A scalar as text.
    pub(crate) fn scalar(&self) -> Result<String, Error> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Ok(dialect::actions::text_of(self.value)),
            _ => self.error("must be a text"),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Error> {
        self.get(name).map(|at| at.scalar()).transpose()
    }

    /// One text or a list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Error> {
        let Some(at) = self.get(name) else { return Ok(Vec::new()) };
        if at.value.is_array() {
            at.items()?.iter().map(At::scalar).collect()
        } else {
            Ok(vec![at.scalar()?])
        }
    }

    /// A mapping of scalars, kept as values; they may be expressions.
    pub(crate) fn map(&self, name: &str) -> Result<Map<String, Value>, Error> {
        let Some(at) = self.get(name) else { return Ok(Map::new()) };
        let entry = |(key, at): (&str, At<'_>)| -> Result<(String, Value), Error> {
            let value = if at.value.is_null() { Value::String(String::new()) } else { at.scalar()?.into() };
            Ok((key.to_owned(), value))
        };
        at.fields()?.into_iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests;
