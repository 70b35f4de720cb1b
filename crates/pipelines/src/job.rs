//! One job: a workspace, and its steps one after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use controller::now;
use dialect::actions;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Annotation;
use crate::contexts::{Contexts, State};
use crate::log::Log;
use crate::run::{Instance, Run, step_name};
use crate::triggers::JOB_SUBJECT;
use crate::workflow::{Action, Job, Permissions, Step};
use crate::{process, runner};

mod environment;
mod script;

/// A job without `timeout-minutes`. GitHub gives six hours; on one's own machine a job that takes an hour hangs.
const TIMEOUT_MINUTES: f64 = 60.0;
/// Longest `timeout-minutes`: a day.
const MINUTES_LIMIT: f64 = 60.0 * 24.0;
/// What steps with `if: always()` get after a cancellation.
const AFTER_CANCEL: Duration = Duration::from_secs(60);
/// Annotations that are kept of one job.
const ANNOTATION_LIMIT: usize = 50;
/// A job's token lives a little longer than the job.
const TOKEN_MARGIN_S: i64 = 600;

/// A job under way: what its steps share.
pub(crate) struct JobRun {
    pub(crate) run: Arc<Run>,
    pub(crate) id: String,
    /// Which of the workflow's jobs it is.
    index: usize,
    pub(crate) log: Log,
    pub(crate) directories: Directories,
    pub(crate) token: String,
    /// Variables of all later steps: the workflow's, the job's, and what steps wrote to `GITHUB_ENV`.
    pub(crate) env: BTreeMap<String, String>,
    /// In front of `PATH`, newest first.
    pub(crate) path: Vec<String>,
    /// Credentials by registry, from logins.
    pub(crate) registries: BTreeMap<String, (String, String)>,
    /// What runs after all steps.
    pub(crate) posts: Vec<crate::actions::Post>,
    contexts: Contexts,
    steps: Map<String, Value>,
    annotations: Vec<Annotation>,
    shell: Option<String>,
    working_directory: Option<String>,
}

/// The directories of a job; all go away with it.
pub(crate) struct Directories {
    pub(crate) root: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) temp: PathBuf,
    pub(crate) workspace: PathBuf,
}

/// How one step ended, before `continue-on-error`.
pub(crate) struct StepEnd {
    pub(crate) state: State,
    pub(crate) outputs: BTreeMap<String, String>,
}

/// Executes one job. Gives its state, its outputs, and whether its failure counts as success.
pub(crate) async fn execute(
    run: Arc<Run>,
    instance: &Instance,
    cancel: CancellationToken,
) -> (State, Map<String, Value>, bool) {
    let path = run.shared.log_path(&run.name, &instance.id);
    let log = match run.shared.logs.create(&path, run.secrets.values().cloned().collect()) {
        Ok(log) => log,
        Err(error) => {
            let message = format!("cannot write the log {}: {error}", path.display());
            note(&run, &instance.id, "error", &message);
            return (State::Failure, Map::new(), false);
        }
    };
    run.tracker.job(&instance.id, |status| {
        status.status = "in_progress".to_owned();
        status.started_at = Some(now());
    });
    let tracking = format!("{}{}-{}-{}", run.shared.tracking, run.name, run.spec.attempt, instance.id);
    let result = match JobRun::prepare(run.clone(), instance, log.clone(), &tracking) {
        Ok(mut job) => {
            let state = job.steps(&cancel).await;
            let outputs = job.outputs(state).await;
            let tolerated = job.flag(job.definition().continue_on_error.as_deref());
            let root = job.directories.root.clone();
            drop(job);
            // Step processes may have written files that only root may remove; what stays is removed at the next start.
            tokio::fs::remove_dir_all(&root).await.ok();
            (state, outputs, tolerated)
        }
        Err(message) => {
            log.line(&format!("##[error]{message}"));
            note(&run, &instance.id, "error", &log.masked(&message));
            (State::Failure, Map::new(), false)
        }
    };
    tokio::task::spawn_blocking(move || process::end_tracked(&tracking)).await.ok();
    log.line(&format!("##[end]{}", result.0.word()));
    result
}

fn note(run: &Run, job: &str, level: &str, message: &str) {
    let annotation = Annotation { level: level.to_owned(), message: message.to_owned() };
    run.tracker.job(job, |status| status.annotations.push(annotation));
}

impl JobRun {
    fn prepare(run: Arc<Run>, instance: &Instance, log: Log, tracking: &str) -> Result<JobRun, String> {
        let job = &run.workflow.jobs[instance.job];
        let permissions = job.permissions.or(run.workflow.permissions).unwrap_or(Permissions::DEFAULT);
        let mut claims = runner::claims(JOB_SUBJECT, "Workflow", permissions.scopes(&run.spec.repository));
        claims.expires_at_s =
            Some(jiff::Timestamp::now().as_second() + TIMEOUT_MINUTES as i64 * 60 + TOKEN_MARGIN_S);
        let token = (run.shared.config.mint)(&claims);
        log.mask(&token);
        let directories = Directories::create(&run, &instance.id)?;
        let mut contexts = run.contexts(&token, instance.needs.clone());
        contexts.workspace = Some(directories.workspace.clone());
        contexts.set("matrix", instance.matrix.clone());
        contexts.set("strategy", instance.strategy.clone());
        contexts.set("runner", environment::runner_context(&directories));
        contexts.set("job", json!({ "status": "success" }));
        let mut secrets: Map<String, Value> =
            run.secrets.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        secrets.insert("GITHUB_TOKEN".into(), token.clone().into());
        contexts.set("secrets", secrets);
        contexts.set("steps", Map::new());
        contexts.set("env", Map::new());
        let mut prepared = JobRun {
            id: instance.id.clone(),
            index: instance.job,
            log,
            token,
            env: BTreeMap::new(),
            path: Vec::new(),
            registries: BTreeMap::new(),
            posts: Vec::new(),
            contexts,
            steps: Map::new(),
            annotations: Vec::new(),
            shell: job.defaults.shell.clone().or(run.workflow.defaults.shell.clone()),
            working_directory: job.defaults.working_directory.clone().or(run
                .workflow
                .defaults
                .working_directory
                .clone()),
            directories,
            run: run.clone(),
        };
        prepared.contexts.set("github", prepared.github(&instance.id));
        for declared in [&run.workflow.env, &job.env] {
            let evaluated = prepared.evaluate_map(declared)?;
            prepared.env.extend(evaluated);
            prepared.refresh(&BTreeMap::new());
        }
        environment::add_fixed(&mut prepared, job, tracking)?;
        Ok(prepared)
    }

    fn definition(&self) -> &Job {
        &self.run.workflow.jobs[self.index]
    }

    fn github(&self, job: &str) -> Value {
        let mut github = self.contexts.values["github"].clone();
        github["job"] = job.into();
        github["workspace"] = self.directories.workspace.to_string_lossy().into();
        github["event_path"] = self.directories.temp.join("event.json").to_string_lossy().into();
        github
    }

    /// All steps, then what actions left to be done.
    async fn steps(&mut self, cancel: &CancellationToken) -> State {
        let run = self.run.clone();
        for warning in &run.workflow.warnings {
            self.log.line(&format!("##[warning]{warning}"));
        }
        let job = self.definition().clone();
        let minutes = self.number(job.timeout_minutes.as_deref()).unwrap_or(TIMEOUT_MINUTES);
        let deadline = Instant::now() + Duration::from_secs_f64(minutes.clamp(0.0, MINUTES_LIMIT) * 60.0);
        let mut state = State::Success;
        for (index, step) in job.steps.iter().enumerate() {
            if cancel.is_cancelled() && state != State::Cancelled {
                state = State::Cancelled;
                self.log.line("##[error]The job was cancelled.");
            }
            self.contexts.state = state;
            self.contexts.set("job", json!({ "status": state.word() }));
            // After a cancellation, what must run always gets a token and a time of its own.
            let (token, deadline) = if state == State::Cancelled {
                (CancellationToken::new(), Instant::now() + AFTER_CANCEL)
            } else {
                (cancel.clone(), deadline)
            };
            match self.step(index + 1, step, deadline, &token).await {
                State::Failure if state == State::Success => state = State::Failure,
                State::Cancelled if state != State::Failure => state = State::Cancelled,
                _ => {}
            }
        }
        for post in std::mem::take(&mut self.posts).into_iter().rev() {
            crate::actions::finish(self, post, state).await;
        }
        state
    }

    /// One step; gives its conclusion, after `continue-on-error`.
    async fn step(
        &mut self,
        number: usize,
        step: &Step,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> State {
        self.refresh(&BTreeMap::new());
        let run = self.run.clone();
        let condition = actions::condition(step.condition.as_deref().unwrap_or_default(), &self.contexts);
        let name =
            actions::interpolate_text(&step_name(step), &self.contexts).unwrap_or_else(|_| step_name(step));
        let name = self.log.masked(&name);
        let end = match condition {
            Ok(false) => {
                run.tracker.step(&self.id, number, |status| status.end("skipped"));
                self.record(step, State::Skipped, State::Skipped, BTreeMap::new());
                return State::Skipped;
            }
            Ok(true) => {
                run.tracker.step(&self.id, number, |status| {
                    status.name.clone_from(&name);
                    status.begin();
                });
                self.log.line(&format!("##[step]{number} {name}"));
                self.perform(number, step, deadline, cancel).await
            }
            Err(error) => Err(format!("`if`: {error}")),
        };
        let end = end.unwrap_or_else(|message| {
            self.annotate("error", &message);
            StepEnd { state: State::Failure, outputs: BTreeMap::new() }
        });
        let tolerated = end.state == State::Failure && self.flag(step.continue_on_error.as_deref());
        let conclusion = if tolerated { State::Success } else { end.state };
        self.record(step, end.state, conclusion, end.outputs);
        run.tracker.step(&self.id, number, |status| status.end(conclusion.word()));
        conclusion
    }

    async fn perform(
        &mut self,
        number: usize,
        step: &Step,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<StepEnd, String> {
        let env = self.evaluate_map(&step.env)?;
        self.refresh(&env);
        let own = self.number(step.timeout_minutes.as_deref());
        let own = own.map(|minutes| {
            Instant::now() + Duration::from_secs_f64(minutes.clamp(0.0, MINUTES_LIMIT) * 60.0)
        });
        let deadline = own.map_or(deadline, |own| own.min(deadline));
        match &step.action {
            Action::Run { script, shell, working_directory } => {
                let text = actions::interpolate_text(script, &self.contexts)
                    .map_err(|error| format!("`run`: {error}"))?;
                let shell = shell.clone().or(self.shell.clone());
                let directory = working_directory.clone().or(self.working_directory.clone());
                let script = script::Script { number, text, shell, directory, env };
                script::run(self, script, deadline, cancel).await
            }
            Action::Uses { action, with } => {
                let inputs = self.evaluate_map(with).map_err(|error| format!("`with`: {error}"))?;
                crate::actions::run(self, action, inputs, env, deadline, cancel).await
            }
        }
    }

    /// Reports an error, warning or notice in the log and in the status.
    pub(crate) fn annotate(&mut self, level: &str, message: &str) {
        self.log.line(&format!("##[{level}]{message}"));
        if self.annotations.len() < ANNOTATION_LIMIT {
            let annotation = Annotation { level: level.to_owned(), message: self.log.masked(message) };
            self.annotations.push(annotation.clone());
            self.run.tracker.job(&self.id, |status| status.annotations.push(annotation));
        }
    }

    /// A text of the workflow with its expressions filled in.
    pub(crate) fn evaluate(&self, text: &str) -> Result<String, String> {
        actions::interpolate_text(text, &self.contexts).map_err(|error| error.to_string())
    }

    /// All variables of a step's process.
    pub(crate) fn process_environment(&self, step: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        environment::of_process(self, step)
    }

    fn evaluate_map(&self, map: &Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
        let entry = |(name, value): (&String, &Value)| {
            let text =
                self.evaluate(&actions::text_of(value)).map_err(|error| format!("`{name}`: {error}"))?;
            Ok((name.clone(), text))
        };
        map.iter().map(entry).collect()
    }

    /// Brings the contexts up to date: `env` and `steps` grow from step to step.
    fn refresh(&mut self, step: &BTreeMap<String, String>) {
        let all: Map<String, Value> =
            self.env.iter().chain(step).map(|(k, v)| (k.clone(), json!(v))).collect();
        self.contexts.set("env", all);
        self.contexts.set("steps", self.steps.clone());
    }

    fn record(&mut self, step: &Step, outcome: State, conclusion: State, outputs: BTreeMap<String, String>) {
        if let Some(id) = &step.id {
            let record =
                json!({ "outputs": outputs, "outcome": outcome.word(), "conclusion": conclusion.word() });
            self.steps.insert(id.clone(), record);
        }
    }

    /// A `true`, `false` or expression of the workflow.
    fn flag(&self, text: Option<&str>) -> bool {
        text.is_some_and(|text| self.evaluate(text).is_ok_and(|value| value == "true"))
    }

    fn number(&self, text: Option<&str>) -> Option<f64> {
        text.and_then(|text| self.evaluate(text).ok()).and_then(|text| text.trim().parse().ok())
    }

    /// The job's outputs. One that holds a secret is left out, as on GitHub.
    async fn outputs(&mut self, state: State) -> Map<String, Value> {
        self.contexts.state = state;
        self.refresh(&BTreeMap::new());
        let mut outputs = Map::new();
        for (name, value) in self.definition().outputs.clone() {
            match self.evaluate(&actions::text_of(&value)) {
                Ok(text) if self.log.masked(&text) == text => {
                    outputs.insert(name, text.into());
                }
                Ok(_) => self
                    .annotate("warning", &format!("the output `{name}` may hold a secret: it is left out")),
                Err(error) => self.annotate("error", &format!("the output `{name}`: {error}")),
            }
        }
        outputs
    }
}

impl Directories {
    fn create(run: &Run, job: &str) -> Result<Directories, String> {
        let root = run.shared.config.data.join("work").join(&run.name).join(job);
        let repository = run.spec.repository.rsplit('/').next().unwrap_or_default();
        let directories = Directories {
            home: root.join("home"),
            temp: root.join("temp"),
            workspace: root.join("workspace").join(repository).join(repository),
            root,
        };
        // A former attempt may have left its files.
        std::fs::remove_dir_all(&directories.root).ok();
        for path in [&directories.home, &directories.temp, &directories.workspace] {
            std::fs::create_dir_all(path)
                .map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        }
        let event = serde_json::to_vec_pretty(&run.spec.payload).unwrap_or_default();
        let path = directories.temp.join("event.json");
        std::fs::write(&path, event).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(directories)
    }

    /// A path of the workflow: absolute, or in the workspace; `~` is the job's home.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        match path.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                self.home.join(rest.trim_start_matches('/'))
            }
            _ => self.workspace.join(Path::new(path)),
        }
    }
}
