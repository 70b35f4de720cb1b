//! `jobs:` and their steps.

use serde_json::{Map, Value};

use super::matrix::{self, Strategy};
use super::permissions::{self, Permissions};
use super::{At, Error, JOB_LIMIT, STEP_LIMIT};

/// One job. Texts may hold expressions; they are evaluated when their turn comes.
#[derive(Clone, Debug)]
pub struct Job {
    pub id: String,
    pub name: Option<String>,
    pub needs: Vec<String>,
    pub condition: Option<String>,
    pub env: Map<String, Value>,
    pub outputs: Map<String, Value>,
    pub defaults: RunDefaults,
    pub permissions: Option<Permissions>,
    pub strategy: Strategy,
    pub timeout_minutes: Option<String>,
    pub continue_on_error: Option<String>,
    pub steps: Vec<Step>,
}

/// `defaults.run`.
#[derive(Clone, Debug, Default)]
pub struct RunDefaults {
    pub shell: Option<String>,
    pub working_directory: Option<String>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: Option<String>,
    pub name: Option<String>,
    pub condition: Option<String>,
    pub env: Map<String, Value>,
    pub continue_on_error: Option<String>,
    pub timeout_minutes: Option<String>,
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    Run { script: String, shell: Option<String>, working_directory: Option<String> },
    Uses { action: String, with: Map<String, Value> },
}

pub(super) fn defaults(parent: &At<'_>) -> Result<RunDefaults, Error> {
    let Some(run) = parent.get("defaults").and_then(|defaults| defaults.get("run")) else {
        return Ok(RunDefaults::default());
    };
    run.only(&["shell", "working-directory"])?;
    Ok(RunDefaults { shell: run.text("shell")?, working_directory: run.text("working-directory")? })
}

const JOB_FIELDS: [&str; 19] = [
    "name",
    "needs",
    "if",
    "runs-on",
    "env",
    "outputs",
    "defaults",
    "permissions",
    "strategy",
    "timeout-minutes",
    "continue-on-error",
    "steps",
    "environment",
    "concurrency",
    "container",
    "services",
    "uses",
    "with",
    "secrets",
];

pub(super) fn parse(at: &At<'_>, warnings: &mut Vec<String>) -> Result<Vec<Job>, Error> {
    let fields = at.fields()?;
    if fields.is_empty() || fields.len() > JOB_LIMIT {
        return at.error(format!("must have 1 to {JOB_LIMIT} jobs"));
    }
    fields.iter().map(|(id, at)| job(id, at, warnings)).collect()
}

fn job(id: &str, at: &At<'_>, warnings: &mut Vec<String>) -> Result<Job, Error> {
    at.only(&JOB_FIELDS)?;
    let name_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !id.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') || !id.chars().all(name_fine) {
        return at.error("a job's id consists of letters, digits, `-` and `_`");
    }
    for unsupported in ["container", "services", "uses"] {
        if at.get(unsupported).is_some() {
            return at
                .error(format!("`{unsupported}` is not supported: jobs run as processes of this machine"));
        }
    }
    for ignored in ["environment", "concurrency"] {
        if at.get(ignored).is_some() {
            warnings.push(format!("`{}.{ignored}` of a job has no effect here", at.path));
        }
    }
    at.required("runs-on")?;
    let steps = at.required("steps")?.items()?;
    if steps.is_empty() || steps.len() > STEP_LIMIT {
        return at.error(format!("must have 1 to {STEP_LIMIT} steps"));
    }
    Ok(Job {
        id: id.to_owned(),
        name: at.text("name")?,
        needs: at.texts("needs")?,
        condition: at.text("if")?,
        env: at.map("env")?,
        outputs: at.map("outputs")?,
        defaults: defaults(at)?,
        permissions: permissions::parse(at)?,
        strategy: matrix::parse(at)?,
        timeout_minutes: at.text("timeout-minutes")?,
        continue_on_error: at.text("continue-on-error")?,
        steps: steps.iter().map(step).collect::<Result<_, _>>()?,
    })
}

fn step(at: &At<'_>) -> Result<Step, Error> {
    at.only(&[
        "id",
        "name",
        "if",
        "run",
        "uses",
        "with",
        "env",
        "shell",
        "working-directory",
        "continue-on-error",
        "timeout-minutes",
    ])?;
    let action = match (at.text("run")?, at.text("uses")?) {
        (Some(script), None) => {
            Action::Run { script, shell: at.text("shell")?, working_directory: at.text("working-directory")? }
        }
        (None, Some(action)) => Action::Uses { action, with: at.map("with")? },
        _ => return at.error("a step has either `run` or `uses`"),
    };
    Ok(Step {
        id: at.text("id")?,
        name: at.text("name")?,
        condition: at.text("if")?,
        env: at.map("env")?,
        continue_on_error: at.text("continue-on-error")?,
        timeout_minutes: at.text("timeout-minutes")?,
        action,
    })
}
